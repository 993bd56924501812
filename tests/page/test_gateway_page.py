"""The page of a gateway: beside the calls of models, and of as many processes as serve."""

from __future__ import annotations

from budgetguard.server.gateway.config.resolve import Configuration
from budgetguard.testing import FakeProvider
from tests.support.browsing import Browsing
from tests.support.gateway import ServedGateway


def test_a_gateway_has_the_page(provider: FakeProvider) -> None:
    """Whoever opens its address in a browser is there; a program that asks for nothing is told so, as before."""
    with ServedGateway(Configuration.demo(provider.root_url)) as served:
        browser = Browsing(served.port)
        assert browser.get("/", follow=False, accept="text/html,*/*").where == "/ui/"
        assert browser.get("/", accept="text/html,*/*").path.startswith("/ui/overview")
        assert browser.get("/").status == 404
        assert browser.get("/ui/calls").status == 200
