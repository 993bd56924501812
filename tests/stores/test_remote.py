"""What stores behind a network share: an outage costs the first calls their deadline, and the others nothing."""

from __future__ import annotations

import pytest

from budgetguard.errors import ConfigError, StoreError
from budgetguard.stores import open_store
from budgetguard.stores.remote import FAILURES, MOST_PAUSE_S, PAUSE_S, Breaker, journal_home
from budgetguard.testing.clock import StoppedClock


def broken(breaker: Breaker) -> bool:
    try:
        breaker.enter()
    except StoreError:
        return True
    return False


def test_a_breaker_opens_after_a_few_failures_in_a_row():
    """One lost packet is no outage."""
    breaker = Breaker("redis at db1", clock=StoppedClock())
    for _ in range(FAILURES - 1):
        breaker.failed(TimeoutError("timed out"))
    breaker.passed()
    for _ in range(FAILURES):
        assert not broken(breaker)
        breaker.failed(TimeoutError("timed out"))
    with pytest.raises(StoreError, match=r"redis at db1 is away \(timed out\); it is asked again in 0\.2 s"):
        breaker.enter()


def test_only_one_call_at_a_time_asks_an_engine_that_is_away():
    """The others are told at once, and its success lets all of them in again."""
    clock = StoppedClock()
    breaker = Breaker("redis", clock=clock)
    for _ in range(FAILURES):
        breaker.failed(OSError())
    clock.advance(PAUSE_S)
    assert [broken(breaker) for _ in range(4)] == [False, True, True, True]
    breaker.passed()
    assert [broken(breaker) for _ in range(4)] == [False] * 4


def test_a_probe_that_dies_is_followed_by_another():
    """It is a thread of the program, which may end in any way."""
    clock = StoppedClock()
    breaker = Breaker("redis", clock=clock)
    for _ in range(FAILURES):
        breaker.failed(OSError())
    clock.advance(PAUSE_S)
    assert not broken(breaker)
    clock.advance(PAUSE_S)
    assert not broken(breaker)


def test_a_long_outage_is_asked_about_less_often():
    """But never so seldom that nobody notices its end."""
    clock = StoppedClock()
    breaker = Breaker("redis", clock=clock)
    for _ in range(FAILURES + 10):
        breaker.failed(OSError())
    clock.advance(MOST_PAUSE_S - 0.01)
    assert broken(breaker)
    clock.advance(0.01)
    assert not broken(breaker)


def test_settlements_wait_in_the_users_state_directory(monkeypatch):
    """Each engine and project has a directory of its own there, that any process finds again."""
    monkeypatch.setenv("XDG_STATE_HOME", "/var/lib/state")
    found = journal_home("redis at db1:6379/0", "shop")
    assert found is not None
    assert found.startswith("/var/lib/state/budgetguard/")
    assert found == journal_home("redis at db1:6379/0", "shop")
    assert (
        len({found, journal_home("redis at db1:6379/1", "shop"), journal_home("redis at db1:6379/0", "a\udcff")}) == 3
    )
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/ann")
    assert str(journal_home("a", "b")).startswith("/home/ann/.local/state/budgetguard/")
    monkeypatch.setenv("HOME", "nowhere")
    assert journal_home("a", "b") is None


def test_a_store_is_a_url_a_store_a_pool_or_a_client():
    """Anything else is an error that says so."""
    with pytest.raises(ConfigError, match="a psycopg pool or a redis client is needed"):
        open_store(object())
