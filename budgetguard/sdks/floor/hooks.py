"""
What is patched in httpx and httpx2: `send`, of both clients, by which every request of theirs goes out.

What a call of a seam above sends by its own client is an attempt of that, and has its charge. Everything else is looked
up by its path; a request that asks no model costs a lookup.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any, Final

from ...errors import BudgetGuardError
from ...guards.charge import Charge
from ...guards.scope import Scope
from ..built.calls import BuiltCall
from ..built.requests import content_of
from ..calling import acting_for, attempt, attempt_async, call, call_async, looking_for, say_uncounted
from ..exchange import charging
from ..hooks import wrap
from .families import candidates, may_cost, operation, routed, seller_of

_IN_PROCESS: Final = ("ASGITransport", "WSGITransport", "TestClientTransport")
"""What hands a request to an application in this process: what that asks of a model is seen where it does."""


class SentCall(BuiltCall):
    """A request that a client of httpx sends by itself."""

    model: str | None = None
    """The name of its model where it is answered, if that is not the one in its body."""

    def open(self, scope: Scope | None) -> Charge:
        """Read the request, and make its charge."""
        charge = super().open(scope)
        if self.model is not None:
            charge.call = charge.call._replace(model=self.model)
        return charge

    def rewrite(self, body: Mapping[str, Any]) -> bool:
        """As every request; but one of a router, whose model's name says where it goes, stays as it is."""
        return self.model is None and super().rewrite(body)

    def send(self, args: Any, kwargs: Any) -> Any:
        """Send it, as the one attempt that it is."""
        return (attempt_async if self.is_async else attempt)(self.wrapped, self.client, args, kwargs)


def _begin(
    wrapped: Any, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, is_async: bool
) -> SentCall | None:
    """The request, if it asks a model, some ledger covers it, and no call above has its charge."""
    given = args[0] if args else kwargs["request"]
    url = given.url
    host, path = url.host, url.path
    found = candidates(given.method, path)
    if not found:
        if may_cost(given.method, host, path):
            _say_uncounted(client, given, path)
        return None
    try:
        guard, held = acting_for(client)
    except BudgetGuardError:  # what is wrong with us concerns what costs money, and nothing else of the program
        asked = operation(found, given, content_of(given))
        if asked is not None and asked[1].request is not None and not _is_in_process(client, url):
            raise
        return None
    if guard is None or _is_in_process(client, url):
        return None
    content = content_of(given)
    asked = operation(found, given, content)
    if asked is None:
        return None
    request = SentCall((wrapped, client, args, kwargs), content, asked, guard, is_async=is_async)
    model = content.body.get("model")
    request.seller = seller_of(request.dialect, host, model)
    request.place, request.model = routed(request.place, model)
    return request.charged(held=held)


def _say_uncounted(client: Any, given: Any, path: str) -> None:
    """Say of a request to a provider that it passes, if anything here acts, and no seam above has or said it."""
    above = charging.get()
    if "x-stainless-lang" in given.headers or (above is not None and above.carried is not None):
        return
    if looking_for(client)[0] is not None:
        say_uncounted(given.method, path)


def _is_in_process(client: Any, url: Any) -> bool:
    """Whether a request goes to no server at all."""
    transport = client._transport_for_url(url)
    return any(cls.__name__.endswith(_IN_PROCESS) for cls in type(transport).__mro__)


def _install(httpx: ModuleType) -> None:
    wrap(httpx.Client, "send", partial(attempt, beneath=partial(call, _begin), by_http=True))
    wrap(httpx.AsyncClient, "send", partial(attempt_async, beneath=partial(call_async, _begin), by_http=True))


HOOKS: Final[Mapping[str, Callable[[ModuleType], None]]] = dict.fromkeys(("httpx", "httpx2"), _install)
"""What is patched in which module."""
