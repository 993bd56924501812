"""Who asks: by which header, how long it is believed, and what asking costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from budgetguard.budgets.accounts import Coverage
from budgetguard.ledger import Store
from budgetguard.server.keys import CALL, KNOWN_S, Caller, Grant, KeyRing, Keys, Owners
from budgetguard.server.keys.finding.remembered import Remembered
from budgetguard.server.keys.limits import allowance, owner_limits, rules_of
from budgetguard.server.problems import Refused
from budgetguard.stores import open_store
from budgetguard.testing.clock import StoppedClock

FOREIGN = "sk-1234567890abcdefghij"


def asked(text: str = "", *, query: str = "", address: str = "10.0.0.1", **headers: str) -> dict[str, Any]:
    """The scope of a request."""
    given = {"authorization": f"Bearer {text}"} if text else {}
    pairs = [(n.replace("_", "-").encode(), v.encode("latin-1")) for n, v in {**given, **headers}.items()]
    return {"headers": pairs, "query_string": query.encode(), "client": (address, 1)}


def who(keys: Keys, scope: dict[str, Any]) -> Caller | int:
    """As an endpoint asks: the caller, or the status of the refusal."""
    try:
        return keys.known(scope) or keys.find(scope)
    except Refused as refused:
        return refused.status


def noting(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The terms that a store is asked for from now on."""
    names: list[str] = []
    one, several = store.terms, store.all_terms

    def terms(key: str) -> Any:
        names.append(key)
        return one(key)

    def all_terms(prefix: str = "", **more: Any) -> Any:
        names.append(prefix)
        return several(prefix, **more)

    monkeypatch.setattr(store, "terms", terms)
    monkeypatch.setattr(store, "all_terms", all_terms)
    return names


@pytest.fixture
def reads(own: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The terms that the store is asked for."""
    return noting(own, monkeypatch)


@pytest.mark.parametrize("name", ["authorization", "x_api_key", "x_goog_api_key", "api_key"])
@pytest.mark.parametrize("text", [None, FOREIGN])
def test_a_key_is_found_in_the_header_of_every_api(keys: Keys, ring: KeyRing, name: str, text: str | None) -> None:
    """The client of each API sends it in its own, and cannot be told another."""
    key, text = ring.create("shop", CALL, text=text)
    caller = who(keys, asked(**{name: f"bearer {text}" if name == "authorization" else text}))
    assert isinstance(caller, Caller)
    assert (caller.project, caller.scope, caller.prefix) == ("shop", CALL, key.prefix)


def test_a_key_in_a_query_is_one_for_a_gateway_alone(own: Store, keys: Keys, ring: KeyRing) -> None:
    """Gemini's clients put it there; elsewhere it would stand in the logs of proxies for nothing."""
    text = ring.create("shop", CALL, text="AIza+123/4567890abcdefghij")[1]
    scope = asked(query="alt=sse&key=AIza%2B123/4567890abcdefghij")
    assert who(keys, scope) == 401
    assert isinstance(who(Keys(own, by_query=True), scope), Caller)
    assert isinstance(who(Keys(own, by_query=True), asked(text, query="monkey=1&key=")), Caller)


def test_two_keys_that_differ_are_nobodys(own: Store, ring: KeyRing) -> None:
    """Who pays would depend on which of them somebody looks at."""
    keys = Keys(own, by_query=True)
    one, other = ring.create("shop", CALL)[1], ring.create("shop", CALL)[1]
    assert who(keys, asked(one, x_api_key=other)) == 401
    assert who(keys, asked(one, query=f"key={other}")) == 401
    assert who(keys, {**asked(), "headers": [(b"x-api-key", one.encode()), (b"x-api-key", other.encode())]}) == 401
    assert isinstance(who(keys, asked(one, x_api_key=one, api_key="", query="key=")), Caller)
    assert isinstance(who(keys, asked(authorization="Basic abc", x_api_key=one)), Caller)


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        (lambda ring, key: ring.revoke(key.prefix), 401),
        (lambda ring, key: ring.rotate(key.prefix), 401),
        (lambda ring, key: ring.block(key.prefix), 403),
        (lambda ring, key: ring.regrant(key.prefix, lambda grant: replace(grant, expires_ms=1)), 401),
        (lambda ring, key: Owners(ring._own).change("shop", "team", "a", lambda it: replace(it, blocked=True)), 403),
        (lambda ring, key: Owners(ring._own).change("shop", "user", "ann", lambda it: replace(it, blocked=True)), 403),
    ],
    ids=["revoked", "rotated", "blocked", "expired", "team", "user"],
)
def test_what_ends_a_key_ends_it_soon(
    keys: Keys, ring: KeyRing, clock: StoppedClock, wrong: Callable[..., Any], status: int
) -> None:
    """On every server, within the time that it believes what it knows."""
    key, text = ring.create("shop", CALL, grant=Grant(user="ann", team="a"))
    assert isinstance(who(keys, asked(text)), Caller)
    wrong(ring, key)
    clock.advance(KNOWN_S)
    assert who(keys, asked(text)) == status


def test_what_is_changed_is_not_believed_for_longer_by_way_of_another_key(
    keys: Keys, ring: KeyRing, owners: Owners, clock: StoppedClock
) -> None:
    """A team that one key was read with is as old for the next one."""
    texts = [ring.create("shop", CALL, grant=Grant(team="a"))[1] for _ in range(2)]
    assert isinstance(who(keys, asked(texts[0])), Caller)
    clock.advance(KNOWN_S - 0.1)
    owners.change("shop", "team", "a", lambda team: replace(team, blocked=True))
    assert isinstance(who(keys, asked(texts[1])), Caller)
    clock.advance(0.1)
    assert who(keys, asked(texts[1])) == 403


def test_a_key_ends_at_its_moment(keys: Keys, ring: KeyRing, clock: StoppedClock) -> None:
    """Not up to two seconds later, when the server looks again."""
    expires_ms = round(clock() * 1000) + 500
    text = ring.create("shop", CALL, grant=Grant(expires_ms=expires_ms))[1]
    caller = who(keys, asked(text))
    assert isinstance(caller, Caller)
    assert caller.expires_s == expires_ms / 1000
    clock.advance(0.499)
    assert who(keys, asked(text)) == caller
    clock.advance(0.001)
    assert who(keys, asked(text)) == 401


def test_the_old_text_of_a_key_is_right_for_its_grace(keys: Keys, own: Store, clock: StoppedClock) -> None:
    """Programs take the new one over one by one; both are one key, and spend one budget."""
    ring = KeyRing(own, now=clock)
    key, old = ring.create("shop", CALL)
    new = ring.rotate(key.prefix, grace_s=60)[1]
    callers = [who(keys, asked(text)) for text in (old, new)]
    assert callers[0] == callers[1]
    assert isinstance(callers[0], Caller)
    clock.advance(59.9)
    assert isinstance(who(keys, asked(old)), Caller)
    clock.advance(0.1)
    assert who(keys, asked(old)) == 401
    assert isinstance(who(keys, asked(new)), Caller)


def test_a_key_made_elsewhere_can_be_rotated(keys: Keys, own: Store, clock: StoppedClock) -> None:
    """Into one that was made here, under the name that its budgets have."""
    ring = KeyRing(own, now=clock)
    key = ring.create("shop", CALL, text=FOREIGN)[0]
    new = ring.rotate(key.prefix, grace_s=1)[1]
    assert who(keys, asked(FOREIGN)) == who(keys, asked(new))
    clock.advance(KNOWN_S)
    assert who(keys, asked(FOREIGN)) == 401
    assert isinstance(who(keys, asked(new)), Caller)


def test_a_refused_key_asks_the_store_no_more_than_a_good_one(
    keys: Keys, ring: KeyRing, reads: list[str], clock: StoppedClock
) -> None:
    """A program that goes on with a key that was blocked shuts nobody out, itself included once it is unblocked."""
    key, text = ring.create("shop", CALL)
    ring.block(key.prefix)
    reads.clear()
    assert {who(keys, asked(text)) for _ in range(300)} == {403}
    assert len(reads) == 1
    ring.block(key.prefix, blocked=False)
    clock.advance(KNOWN_S)
    assert isinstance(who(keys, asked(text)), Caller)


def test_wrong_keys_made_elsewhere_shut_out_no_right_one(keys: Keys, ring: KeyRing) -> None:
    """They have no prefix in common that could be counted, but for the address."""
    text = ring.create("shop", CALL, text=FOREIGN)[1]
    assert {who(keys, asked("sk-wrong-1234567890abcdef")) for _ in range(50)} == {401, 429}
    assert isinstance(who(keys, asked(text)), Caller)
    guesses = [who(keys, asked(f"sk-{number}", address="10.0.0.2")) for number in range(300)]
    assert guesses[-1] == 429


def test_the_limits_of_all_owners_come_with_the_key(keys: Keys, ring: KeyRing, owners: Owners) -> None:
    """A gateway tells them to its budgets as they are; one that was taken away is told as nothing."""
    limits = owner_limits([allowance(5, "monthly")], rpm=60)
    text = ring.create("shop", CALL, grant=Grant(user="ann", team="a", limits=limits))[1]
    owners.change("shop", "team", "a", lambda team: replace(team, limits=limits, models=("gpt*",)))
    caller = who(keys, asked(text))
    assert isinstance(caller, Caller)
    assert [(tag, name, len(rules)) for tag, name, rules in caller.owners] == [
        ("key", caller.prefix, 2),
        ("team", "a", 2),
        ("user", "ann", 0),
    ]
    assert caller.within == (("gpt*",),)


def test_limits_that_did_not_change_are_the_same_objects(keys: Keys, ring: KeyRing, clock: StoppedClock) -> None:
    """Whoever is told them again sees at once that there is nothing to do; nor does each key have its own."""
    limits = owner_limits([allowance(5, "monthly")], rpm=60)
    texts = [ring.create("shop", CALL, grant=Grant(limits=limits))[1] for _ in range(2)]
    first, other = (who(keys, asked(text)) for text in texts)
    clock.advance(KNOWN_S)
    again = who(keys, asked(texts[0]))
    assert isinstance(first, Caller)
    assert isinstance(other, Caller)
    assert isinstance(again, Caller)
    assert first is not again
    assert first.owners[0].rules is again.owners[0].rules is other.owners[0].rules


def test_limits_are_counted_for_each_by_name(clock: StoppedClock) -> None:
    """Keys with one limit share the rule, and not what it counts; each of its units and models is an account."""
    dollars = [allowance(5, "monthly"), allowance(1, "daily"), allowance("0.50", "daily", model="o3*")]
    rules = rules_of("key", owner_limits(dollars, rpm=60, tpm=1000))
    coverage = Coverage(rules, clock)
    keys = {name: {each.key for each in coverage.cover({"key": name, "model": "o3"}).accounts} for name in "ab"}
    assert len(keys["a"]) == 5
    assert not keys["a"] & keys["b"]
    assert len(coverage.cover({"key": "a", "model": "gpt-4o"}).accounts) == 4


def test_a_customer_is_known_by_name(keys: Keys, owners: Owners, clock: StoppedClock) -> None:
    """What a request calls its end user says nothing of who pays, but may be limited, or blocked, below the key."""
    assert keys.known_customer("shop", "c1") is None
    assert keys.find_customer("shop", "c1") == (False, ("end_user", "c1", ()))
    owners.change("shop", "end_user", "c1", lambda it: replace(it, blocked=True, limits=owner_limits(rpm=1)))
    clock.advance(KNOWN_S)
    assert keys.known_customer("shop", "c1") is None
    found = keys.find_customer("shop", "c1")
    assert (found.blocked, len(found.owner.rules)) == (True, 1)
    assert keys.known_customer("shop", "c1") == found
    assert not keys.find_customer("shop", "c2").blocked
    assert not keys.find_customer("other", "c1").blocked


def test_customers_of_whom_nothing_is_set_are_asked_for_once(
    keys: Keys, owners: Owners, reads: list[str], clock: StoppedClock
) -> None:
    """Their names come from outside, any number of them: one look says that no customer has a limit."""
    for number in range(100):
        keys.find_customer("shop", f"c{number}")
    assert len(reads) == 1
    owners.change("shop", "end_user", "c1", lambda it: it)
    clock.advance(KNOWN_S)
    assert not keys.find_customer("shop", "x" * 100_000).blocked
    assert len(keys._known_owners) == 0


def test_what_is_remembered_is_bounded() -> None:
    """Ten thousand keys, or names that somebody makes up: the oldest goes, and no other with it."""
    remembered: Remembered[int, int] = Remembered(100)
    for number in range(1_000):
        remembered.put(number, number, 5)
    assert len(remembered) == 100
    assert remembered.get(999, 4.9) == (5, 999)
    assert remembered.get(899, 0) is None
    assert remembered.get(999, 5) is None


def test_of_many_keys_each_is_found_by_one_look(monkeypatch: pytest.MonkeyPatch, clock: StoppedClock) -> None:
    """However many there are."""
    memory = open_store("memory://")
    keys, ring = Keys(memory, clock=clock), KeyRing(memory)
    texts = [ring.create("shop", CALL)[1] for _ in range(2_000)]
    reads = noting(memory, monkeypatch)
    for _ in range(2):
        assert all(isinstance(who(keys, asked(text)), Caller) for text in texts)
    assert len(reads) == len(texts)
