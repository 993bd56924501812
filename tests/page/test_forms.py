"""Forms that only our own pages send: other sites, frames and names of other hosts do nothing here."""

from __future__ import annotations

import pytest

from budgetguard.server.keys import KeyRing
from budgetguard.server.page.door.visits import FORM_TOKEN
from budgetguard.server.page.views import VIEWS
from tests.support.browsing import Browsing
from tests.support.hosting import Hosted

CHANGES = [view.name for view in VIEWS if view.method == "POST"]
EVIL = "https://evil.example"


def test_a_form_of_another_site_does_nothing(admin: Browsing) -> None:
    """A browser sends the cookie with it; it also says who asked."""
    admin.get("/ui/keys")
    for name in [*CHANGES, "sign-out"]:
        assert admin.send(f"/ui/{name}", origin=EVIL).status == 403
        assert admin.send(f"/ui/{name}", origin="null").status == 403
    assert admin.get("/ui/keys").path == "/ui/keys"


def test_a_form_without_its_token_does_nothing(admin: Browsing) -> None:
    """The token is the visit's own, and no other site can read it."""
    for name in [*CHANGES, "sign-out", "sign-in"]:
        for token in ("", "0" * 64, "ü"):
            assert admin.send(f"/ui/{name}", **{FORM_TOKEN: token}).status == 403
    assert admin.get("/ui/keys").path == "/ui/keys"


def test_a_token_is_good_for_its_own_visit_only(page_ring: KeyRing, admin: Browsing) -> None:
    """Whoever has an account of his own has a token, too."""
    other = Browsing(admin.port)
    other.sign_in(page_ring.create("shop", "admin")[1])
    other.get("/ui/keys")
    admin.get("/ui/keys")
    admin.token = other.token
    assert admin.send("/ui/keys/create", scope="admin").status == 403


def test_a_browser_that_names_no_origin_says_it_otherwise(admin: Browsing) -> None:
    """An old one has the address of the page; without any of it, nothing is done."""
    admin.get("/ui/keys")
    assert admin.send("/ui/sign-out", origin=None).status == 403
    assert admin.get("/ui/keys").path == "/ui/keys"


def test_a_key_is_not_planted_by_another_site(page_ring: KeyRing, browser: Browsing) -> None:
    """Somebody who works under another's key unknowingly tells him all that he does."""
    browser.get("/ui/sign-in")
    _, text = page_ring.create("shop", "admin")
    assert browser.send("/ui/sign-in", origin=EVIL, key=text).status == 403
    assert browser.get("/ui/keys", follow=False).status == 303


ELSEWHERE = [
    "https://evil.example/",
    "//evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "javascript:alert(1)",
    "/ui/../../evil",
    "%2F%2Fevil.example",
    "http:evil.example",
    "@evil.example",
    "\r\nlocation: https://evil.example",
    ".evil.example",
]
"""Addresses that a link to the page may ask for afterwards."""


def test_signing_in_leads_nowhere_else(page_ring: KeyRing, browser: Browsing) -> None:
    """An address that begins with our name, and ends on a page that looks like ours, is how keys are stolen."""
    _, text = page_ring.create("shop", "admin")
    for wanted in ELSEWHERE:
        browser.get("/ui/sign-in")
        seen = browser.send("/ui/sign-in", follow=False, key=text, next=wanted)
        assert (seen.status, seen.where) == (303, "/ui/"), wanted


def test_signing_in_leads_back_to_where_one_was(page_ring: KeyRing, browser: Browsing) -> None:
    """A link that a colleague sent works for who has not signed in yet."""
    wanted = "/ui/calls?user=ann&zone=Europe%2FBerlin"
    page = browser.get(wanted)
    assert page.path.startswith("/ui/sign-in?next=")
    seen = browser.send("/ui/sign-in", follow=False, key=page_ring.create("shop", "admin")[1], next=wanted)
    assert seen.where == wanted
    assert 'value="/ui/calls?user=ann&amp;zone=Europe%2FBerlin"' in page.text


def test_every_answer_keeps_frames_sniffers_and_other_sources_out(admin: Browsing) -> None:
    """Also those of errors: a click into a frame that nobody sees is a click all the same."""
    for path in ("/ui/sign-in", "/ui/keys", "/ui/nothing", "/ui/static/page.css", "/ui/keys.json"):
        headers = admin.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
        kept = "public, max-age=31536000, immutable"
        assert headers["cache-control"] == (kept if "static" in path else "no-store")


def test_a_nonce_is_used_once(browser: Browsing) -> None:
    """One that could be known beforehand would be as good as none."""
    first, second = (browser.get("/ui/sign-in").headers["content-security-policy"] for _ in range(2))
    assert first != second


@pytest.fixture
def unlocked(books_url: str):
    """A server that asks for no keys, which is for this machine only."""
    made = Hosted(books_url, open_mode=True, project="shop")
    yield Browsing(made.port)
    made.stop()


def test_without_keys_no_other_name_leads_here(unlocked: Browsing) -> None:
    """A site whose name is made to lead to this machine (DNS rebinding) is of one origin with what it finds."""
    for host in ("evil.example", "127.0.0.1.evil.example", "10.0.0.7"):
        for path in ("/ui/", "/ui/keys", "/ui/events", "/ui/keys.json", "/ui/static/page.css"):
            assert Browsing(unlocked.port, host=host).get(path).status == 403


def test_without_keys_forms_need_their_token_all_the_same(unlocked: Browsing) -> None:
    """Any page in a browser may send a form to this machine."""
    assert unlocked.get("/ui/keys").status == 200
    assert unlocked.send("/ui/keys/create", origin=EVIL, scope="admin").status == 403
    assert unlocked.send("/ui/keys/create", scope="admin", **{FORM_TOKEN: "0" * 64}).status == 403
    assert unlocked.send("/ui/keys/create", scope="admin").status == 200


def test_a_form_is_bounded(admin: Browsing) -> None:
    """It is read before anything is known of who sends it."""
    assert admin.send("/ui/keys/create", note="x" * 70_000).status == 413
    many = {f"field{number}": "x" for number in range(200)}
    assert admin.send("/ui/keys/create", **many).status == 403, "nothing of it is read, its token neither"


def test_nothing_of_the_disk_is_a_file_of_ours(browser: Browsing) -> None:
    """Files are named in a table: no path of a request is one of the disk."""
    for path in ("../site.py", "..%2fsite.py", "%2e%2e/site.py", "/etc/passwd", "page.css/../../site.py", ""):
        assert browser.get(f"/ui/static/{path}").status == 404
