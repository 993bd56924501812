"""What happens is told to whoever looks: by one reader for all, to those who may, for as long as the server lives."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from budgetguard.ledger import Entry, Store, new_id
from budgetguard.server.keys import KeyRing
from budgetguard.server.page.live import streams
from tests.support.browsing import Browsing
from tests.support.hosting import Hosted, Process
from tests.support.viewing import Viewing


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are read, and signs of life given, so often that no test waits."""
    monkeypatch.setattr(streams, "EVERY_S", 0.05)


@pytest.fixture
def looking(site: Hosted, admin: Browsing) -> Iterator[Callable[[], Viewing]]:
    """Opens streams of somebody who has signed in."""
    opened: list[Viewing] = []

    def look() -> Viewing:
        opened.append(Viewing(site.port, admin.cookies))
        return opened[-1]

    yield look
    for each in opened:
        each.close()


def call(shop: Store, cost: int = 1_234_000_000) -> str:
    entry = Entry(new_id(), cost, (), shop.now_ms(), {"user": "ann"}, "openai", "gpt-4o")
    shop.load(entries=[entry])
    return entry.hold_id


def wait_until(happens: Callable[[], Any], told: str = "") -> None:
    until = time.monotonic() + 30
    while not happens():
        assert time.monotonic() < until, told or "it did not happen"
        time.sleep(0.02)


def test_a_call_is_told_to_everybody_who_looks(looking: Callable[[], Viewing], shop: Store) -> None:
    """Its cost is in the day's figures, and it is the first of the newest calls."""
    first, second = looking(), looking()
    assert first.next()["live"]["spent"] == second.next()["live"]["spent"] == "$0.00"
    hold_id = call(shop)
    for viewer in (first, second):
        said = viewer.next()
        assert said["live"] | {"held": "", "holds": ""} == {
            "spent": "$1.23", "calls": "1", "held": "", "holds": "", "refused": "0",
        }  # fmt: skip
        assert said["calls"][0]["id"] == hold_id
        assert said["calls"][0]["user"] == "ann"


def test_one_reader_is_enough_for_all(looking: Callable[[], Viewing], site: Hosted, shop: Store) -> None:
    """What a project's store is asked does not grow with those who look at it; nobody looks, and nobody asks."""
    asked = []
    watching = site.app.page._watch
    read, watching.read = watching.read, lambda *given: asked.append(given) or read(*given)  # type: ignore[method-assign]
    viewers = [looking() for _ in range(10)]
    for viewer in viewers:
        viewer.next()
    assert site.app.page.streams.viewers == 10
    at, begin = len(asked), time.monotonic()
    wait_until(lambda: len(asked) >= at + 5)
    assert len(asked) - at <= (time.monotonic() - begin) / streams.EVERY_S + 2
    for viewer in viewers:
        viewer.close()
    wait_until(lambda: site.app.page.streams.viewers == 0)
    quiet = len(asked)
    time.sleep(streams.EVERY_S * 5)
    assert len(asked) <= quiet + 1


def test_nobody_is_told_without_signing_in(site: Hosted) -> None:
    """A stream is a view as any other."""
    assert Browsing(site.port).get("/ui/events").status == 401


def test_a_stream_is_of_the_projects_whose_keys_were_shown(site: Hosted, admin: Browsing) -> None:
    """And of no other, whatever its address says."""
    assert admin.get("/ui/events?project=bank").status == 403


def test_a_stream_ends_with_the_key_that_opened_it(site: Hosted, page_ring: KeyRing, browser: Browsing) -> None:
    """It would go on for as long as the browser is open."""
    key, text = page_ring.create("shop", "read")
    browser.sign_in(text)
    viewer = Viewing(site.port, browser.cookies)
    viewer.next()
    page_ring.revoke(key.prefix)
    assert viewer.ends()


def test_a_stream_ends_at_sign_out(site: Hosted, admin: Browsing) -> None:
    """Also those of other tabs."""
    viewer = Viewing(site.port, admin.cookies)
    viewer.next()
    admin.get("/ui/keys")
    admin.send("/ui/sign-out")
    assert viewer.ends()


def test_there_are_so_many_viewers_at_most(looking: Callable[[], Viewing], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each holds a connection."""
    monkeypatch.setattr(streams, "MOST_VIEWERS", 2)
    for _ in range(2):
        looking().next()
    refused = looking()
    assert refused.status == 503


def test_who_reads_too_slowly_is_let_go(
    site: Hosted, admin: Browsing, shop: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not read is kept in memory: of one who never reads, for ever."""
    monkeypatch.setattr(streams, "SLOW_S", 0.3)
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.005)
    monkeypatch.setattr(streams, "_ALIVE", b": " + b"x" * 100_000 + b"\n\n")
    slow = socket.create_connection(("127.0.0.1", site.port))
    cookie = "; ".join(f"{name}={value}" for name, value in admin.cookies.items())
    slow.sendall(f"GET /ui/events HTTP/1.1\r\nhost: 127.0.0.1:{site.port}\r\ncookie: {cookie}\r\n\r\n".encode())
    wait_until(lambda: site.app.page.streams.viewers == 1)
    wait_until(lambda: site.app.page.streams.viewers == 0)
    slow.close()


def test_a_sign_of_life_comes_where_nothing_happens(
    looking: Callable[[], Viewing], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy in between closes what is silent."""
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.05)
    viewer = looking()
    viewer.next()
    assert viewer.line() == ":"


def test_a_server_ends_while_somebody_looks(books_url: str) -> None:
    """A stream would keep it for as long as requests may take."""
    with Process(books_url, "--open", "--project", "shop") as served:
        viewer = Viewing(served.port, {})
        viewer.next()
        begin = time.monotonic()
        ended = threading.Thread(target=viewer.ends)
        ended.start()
        assert served.stop() == 0
        assert time.monotonic() - begin < 14, "it did not wait until requests are cut off"
        ended.join(10)


def test_an_error_of_the_store_ends_nothing(looking: Callable[[], Viewing], site: Hosted, shop: Store) -> None:
    """What could not be read is read later."""
    viewer = looking()
    viewer.next()
    watching = site.app.page._watch
    read = watching.read

    def fails(*given: Any) -> Any:
        watching.read = read  # type: ignore[method-assign]
        raise OSError("planted")

    watching.read = fails  # type: ignore[method-assign]
    call(shop)
    assert viewer.next()["live"]["calls"] == "1"
