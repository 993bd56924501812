"""Who comes in: keys become sessions, sessions end, and nobody else's page can use them."""

from __future__ import annotations

import time

import pytest

from budgetguard.server.keys import KeyRing
from budgetguard.server.keys.finding.failures import MOST_FAILURES
from budgetguard.server.page.door import sessions as sessions_module
from budgetguard.server.page.door.sessions import LASTS_S, MOST_OF_KEY, Sessions, SignedKey
from budgetguard.server.page.views import VIEWS
from budgetguard.stores.memory.store import MemoryStore
from budgetguard.testing import StoppedClock
from tests.support.browsing import Browsing
from tests.support.hosting import Hosted

KEYS = "/ui/keys"
LOOKS = [view.name for view in VIEWS if view.method == "GET"]
CHANGES = [view.name for view in VIEWS if view.method == "POST"]


def is_out(browser: Browsing) -> bool:
    return browser.get(KEYS).path.startswith("/ui/sign-in")


def wait_until(happens, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


def test_nobody_sees_a_view_without_signing_in(browser: Browsing) -> None:
    """What a company spends, and who of it, is nobody else's business."""
    for name in LOOKS:
        seen = browser.get(f"/ui/{name}", follow=False)
        assert seen.status == 303
        assert seen.where.startswith("/ui/sign-in")
        assert browser.get(f"/ui/{name}.json").status == browser.get(f"/ui/{name}.csv").status == 401


def test_nobody_changes_anything_without_signing_in(browser: Browsing) -> None:
    """A form is sent as easily as a page is asked for."""
    browser.get("/ui/sign-in")
    for name in CHANGES:
        assert browser.send(f"/ui/{name}").status == 401


def test_a_key_opens_the_page_once_and_is_in_no_address(page_ring: KeyRing, browser: Browsing) -> None:
    """Addresses are kept: in histories, in logs, in what one sends to somebody."""
    _, text = page_ring.create("shop", "admin")
    browser.get("/ui/keys")
    first = browser.send("/ui/sign-in", follow=False, key=text, next="/keys")
    assert (first.status, first.where) == (303, "/ui/keys")
    assert text not in first.text + str(first.headers)
    seen = browser.get(KEYS)
    assert seen.status == 200
    assert text not in seen.text


def test_a_key_in_the_address_opens_nothing(page_ring: KeyRing, browser: Browsing) -> None:
    """Nobody shall get used to writing it there."""
    _, text = page_ring.create("shop", "admin")
    assert browser.get(f"/ui/keys?key={text}", follow=False).status == 303


@pytest.mark.parametrize("scope", ["call", "spend"])
def test_a_key_that_is_for_programs_opens_no_page(page_ring: KeyRing, browser: Browsing, scope: str) -> None:
    """It may spend; that is not to see what others do."""
    seen = browser.sign_in(page_ring.create("shop", scope)[1])
    assert seen.status == 403
    assert "one of scope read or admin" in seen.text
    assert is_out(browser)


def test_a_wrong_key_is_refused_and_soon_not_even_looked_at(browser: Browsing) -> None:
    """As the API has it: who guesses waits."""
    statuses = [browser.sign_in("bg_0123456789_" + "x" * 43).status for _ in range(MOST_FAILURES + 1)]
    assert statuses == [401] * MOST_FAILURES + [429]
    assert is_out(browser)


def test_a_key_for_reading_shows_no_button_and_sends_no_form(page_ring: KeyRing, browser: Browsing) -> None:
    """Whoever was let in to look cannot change anything, whatever they send."""
    browser.sign_in(page_ring.create("shop", "read")[1])
    seen = browser.get("/ui/prices")
    assert 'action="/ui/prices/write' not in seen.text
    assert browser.get(KEYS).status == 403
    assert {name: browser.send(f"/ui/{name}").status for name in CHANGES} == dict.fromkeys(CHANGES, 403)


def test_a_session_is_for_the_page_alone(admin: Browsing) -> None:
    """The API reads keys: a page of another site that has a browser ask it is nobody there."""
    assert admin.get(KEYS).status == 200
    assert admin.get("/v1/keys").status == 401
    assert admin.get("/metrics").status == 401


def test_a_session_has_another_id_than_the_browser_came_with(page_ring: KeyRing, browser: Browsing) -> None:
    """Whoever gave somebody a cookie does not come in with it afterwards."""
    browser.get("/ui/sign-in")
    planted = dict(browser.cookies)
    browser.sign_in(page_ring.create("shop", "admin")[1])
    assert not is_out(browser)
    assert is_out(Browsing(browser.port, cookies=planted))


def test_a_cookie_is_kept_from_scripts_and_from_other_sites_forms(browser: Browsing) -> None:
    """And it is sent to the page only."""
    said = browser.get("/ui/sign-in").headers["set-cookie"]
    assert said.startswith(f"budgetguard-{browser.port}=")
    assert said.endswith("; Path=/ui; HttpOnly; SameSite=Lax")


def test_behind_tls_a_cookie_is_never_sent_in_the_clear(books_url: str) -> None:
    """A proxy in front says how it was asked."""
    hosted = Hosted(books_url, open_mode=False)
    browser = Browsing(hosted.port)
    said = browser.get("/ui/sign-in", **{"x-forwarded-proto": "https"}).headers["set-cookie"]
    hosted.stop()
    assert said.endswith("; Secure")


def test_signing_out_ends_the_session_everywhere(admin: Browsing) -> None:
    """Not in this browser only: whoever copied the cookie is out as well."""
    copied = Browsing(admin.port, cookies=dict(admin.cookies))
    assert not is_out(copied)
    admin.get(KEYS)
    admin.send("/ui/sign-out")
    assert is_out(admin)
    assert is_out(copied)


@pytest.mark.parametrize("ending", ["revoke", "rotate", "block"])
def test_a_session_ends_with_its_key(page_ring: KeyRing, browser: Browsing, ending: str) -> None:
    """Who took somebody's key away means the page as well, within seconds."""
    key, text = page_ring.create("shop", "admin")
    browser.sign_in(text)
    assert not is_out(browser)
    getattr(page_ring, ending)(key.prefix)
    wait_until(lambda: is_out(browser))


def test_every_server_on_a_store_knows_a_session(books_url: str, admin: Browsing) -> None:
    """Workers and replicas answer in turn."""
    other = Hosted(books_url, open_mode=False)
    names = {f"budgetguard-{other.port}": value for value in admin.cookies.values()}
    seen = Browsing(other.port, cookies=names).get(KEYS)
    other.stop()
    assert seen.path == KEYS


def test_a_session_has_a_key_of_each_project_and_sees_no_other(page_ring: KeyRing, admin: Browsing) -> None:
    """Projects are strangers to each other."""
    assert admin.get("/ui/keys?project=bank").status == 403
    admin.sign_in(page_ring.create("bank", "admin")[1])
    assert ">bank</option>" in admin.get("/ui/keys?project=shop").text
    assert admin.get("/ui/keys?project=bank").status == 200
    assert admin.get("/ui/keys?project=other").status == 403


def test_a_session_ends_by_itself(clock: StoppedClock) -> None:
    """Half a day, whatever the browser does."""
    made = Sessions(MemoryStore(), clock=clock, now=clock)
    made.begin("visit", (SignedKey("shop", "abc", "00"),))
    clock.advance(LASTS_S - 1)
    assert made.find("visit")
    clock.advance(2)
    assert made.find("visit") == ()


def test_a_key_has_so_many_sessions_at_once(clock: StoppedClock) -> None:
    """Whoever has a key may not fill the store with sessions: the oldest ends."""
    made = Sessions(MemoryStore(), clock=clock, now=clock)
    for number in range(MOST_OF_KEY + 1):
        clock.advance(1)
        made.begin(f"visit {number}", (SignedKey("shop", "abc", "00"),))
    clock.advance(10)
    assert made.find("visit 0") == ()
    assert made.find("visit 1")
    assert made.find(f"visit {MOST_OF_KEY}")


def test_a_session_keeps_no_id_and_no_key(clock: StoppedClock) -> None:
    """Whoever reads the store cannot come in with what is there."""
    store = MemoryStore()
    Sessions(store, clock=clock, now=clock).begin("the id of a visit", (SignedKey("shop", "abc", "00"),))
    [record] = store.noted(sessions_module.RecordQuery(sessions_module.KIND))
    assert "the id of a visit" not in str(record)
