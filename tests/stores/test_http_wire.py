"""The wire of hosted stores: what one side writes, the other reads, whatever the text."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetguard.ledger import (
    Account,
    Admitted,
    Balance,
    Conflict,
    Difference,
    Ended,
    Entry,
    Hold,
    OpenHold,
    Query,
    Refusal,
    Settled,
    Stale,
    Terms,
    Total,
)
from budgetguard.server.api import schemas as s
from budgetguard.server.api import wire as server
from budgetguard.stores.http import rows as wire

texts = st.text(st.characters(), max_size=8) | st.sampled_from(["\ud83d\ude42", "\x1a", "\x1ad800", "\x1a001a", "\0"])
amounts = st.integers(0, 2**53)
times = st.none() | st.integers(0, 2**45)
tags = st.dictionaries(texts, texts, max_size=3)
accounts = st.builds(
    Account,
    texts,
    limit=st.none() | amounts,
    enforce=st.sampled_from(["hard", "soft", "observe"]),
    share=st.integers(1, 100),
    start_ms=times,
    end_ms=times,
    window=st.lists(texts, max_size=3).map(tuple),
)
holds = st.builds(
    Hold,
    st.text("abcdef0123456789", min_size=1, max_size=32),
    st.lists(accounts, max_size=3).map(tuple),
    amounts,
    least=st.none() | amounts,
    useful=amounts,
    ttl_ms=st.integers(0, 10**9),
    on_expire=st.sampled_from(["release", "charge"]),
    terms=st.lists(st.tuples(texts, st.integers(0, 99)), max_size=3).map(tuple),
    tags=tags,
    provider=texts,
    model=texts,
    leases=st.lists(texts, max_size=2).map(tuple),
    units=st.just({}),  # the wire is in dollars only as yet
)
entries = st.builds(
    Entry,
    st.just("id"),
    amounts,
    accounts=st.lists(texts, max_size=3).map(tuple),
    tags=tags,
    provider=texts,
    model=texts,
    usage=st.dictionaries(texts, st.integers(0, 10**9), max_size=3),
    flags=st.frozensets(texts, max_size=3),
    units=st.just({}),
)


def heard(said: object, kind: type) -> object:
    """What the server makes of what the client writes."""
    raw = wire.dump(said)
    return msgspec.convert(wire.unescaped(msgspec.json.decode(raw)) if wire.has_marks(raw) else json.loads(raw), kind)


def answered(answer: object) -> object:
    """What the client reads of what the server answers."""
    return wire.load(msgspec.json.encode(wire.escaped(msgspec.to_builtins(answer))))


@given(holds)
def test_a_hold_arrives_as_it_was(hold: Hold) -> None:
    """In all of its fields; what is as usual is not sent."""
    assert server.hold(heard(wire.say_hold(hold), s.HoldIn)) == hold


@given(entries)
def test_an_entry_arrives_as_it_was(entry: Entry) -> None:
    """And comes back as it was."""
    assert server.entry(heard(wire.say_entry(entry), s.EntryIn)) == entry._replace(at_ms=0)  # the store's to fill in
    assert wire.hear_entry(answered(server.entry_out(entry))) == entry


@given(st.builds(Query, times, times, tags, st.none() | texts, st.none() | texts, st.none() | st.integers(0, 99)))
def test_a_query_arrives_as_it_was(query: Query) -> None:
    """What is not set is not sent."""
    assert server.query(heard(wire.say_query(query), s.QueryIn)) == query


@given(texts)
def test_any_text_can_be_turned_back(text: str) -> None:
    """Lone surrogates, and what stands for them."""
    written = wire.escape_text(text)
    written.encode()
    assert wire.unescape_text(written) == text
    assert wire.load(wire.dump({text: [text]})) == {text: [text]}


def test_a_mark_of_somebody_elses_stays() -> None:
    """A client that knows nothing of marks may send the character itself."""
    for text in ("\x1a", "\x1azzzz", "\x1a0041", "a\x1a"):
        assert wire.unescape_text(text) == text


@pytest.mark.parametrize(
    "answer",
    [
        Admitted(7),
        Admitted(0),
        Refusal(Account("b", 5, "soft", lease="release"), Balance("b", 4, 3), busy=True),
        Stale(12, (Terms("ann", 2, None), Terms("bob", 1, "x\udcff"))),
        Ended(),
    ],
)
def test_the_answer_to_a_reserve_arrives_as_it_was(answer: Admitted | Refusal | Stale | Ended) -> None:
    """A refusal names the account that the client has, with what only the client knows of it."""
    hold = Hold("id", (Account("a"), Account("b", 5, "soft", lease="release")), 9)
    assert wire.hear_reserved(answered(server.reserved(answer, hold)), hold) == answer


def test_other_answers_arrive_as_they_were() -> None:
    """Settlements, balances, holds, totals, differences."""
    for outcome in (Settled(7), Settled(0, late=True), Conflict(0), Conflict(3)):
        assert wire.hear_settled(answered(server.settled(outcome))) == outcome
    hold = OpenHold("id", 5, ("a", "b"), 1, 2, {"user": "\udcff"}, "p", "m")
    assert wire.hear_open_hold(answered(server.open_hold(hold))) == hold
    total = Total(("a", ""), 1, 2, 3, 4, 5)
    assert wire.hear_total(answered(server.total(total))) == total
    difference = Difference("a", "held", 1, 2)
    assert wire.hear_difference(answered(server.difference(difference))) == difference
    assert [wire.hear_balance(answered(each)) for each in server.balances([Balance("a", 1, 2)])] == [Balance("a", 1, 2)]
