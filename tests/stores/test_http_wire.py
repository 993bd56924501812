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
    Carried,
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
    Wanted,
    key_in,
    unit_of,
)
from budgetguard.ledger.as_json import members, plain
from budgetguard.server.api import schemas as s
from budgetguard.server.api import wire as server
from budgetguard.stores.http import rows as wire

texts = st.text(st.characters(), max_size=8) | st.sampled_from(["\ud83d\ude42", "\x1a", "\x1ad800", "\x1a001a", "\0"])
amounts = st.integers(0, 2**53)
times = st.none() | st.integers(0, 2**45)
tags = st.dictionaries(texts, texts, max_size=3)
units = st.sampled_from(["dollars", "tokens", "requests"])


@st.composite
def accounts(draw: st.DrawFn) -> Account:
    unit = draw(units)
    keys = texts.map(lambda text: key_in(unit, text.replace("#", "")))
    return draw(
        st.builds(
            Account,
            keys,
            limit=st.none() | amounts,
            enforce=st.sampled_from(["hard", "soft", "observe"]),
            share=st.integers(1, 100),
            start_ms=times,
            end_ms=times,
            window=st.lists(keys, max_size=3).map(tuple),
        )
    )


wanted = st.builds(Wanted, amounts, st.none() | amounts, amounts)
holds = st.builds(
    Hold,
    st.text("abcdef0123456789", min_size=1, max_size=32),
    st.lists(accounts(), max_size=3).map(tuple),
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
    units=st.fixed_dictionaries({"tokens": wanted}, optional={"requests": wanted}),
)
entries = st.builds(
    Entry,
    st.just("id"),
    amounts,
    accounts=st.lists(texts, max_size=3).map(tuple),
    at_ms=st.integers(0, 2**45),
    tags=tags,
    provider=texts,
    model=texts,
    usage=st.dictionaries(texts, st.integers(0, 10**9), max_size=3),
    flags=st.frozensets(texts, max_size=3),
    units=st.fixed_dictionaries({}, optional={"tokens": amounts, "requests": amounts}),
)
balances = st.builds(Balance, texts, amounts, amounts)


def heard(said: object, kind: type) -> object:
    """What the server makes of what the client writes."""
    raw = wire.dump(said)
    return msgspec.convert(wire.unescaped(msgspec.json.decode(raw)) if wire.has_marks(raw) else json.loads(raw), kind)


def answered(answer: object) -> object:
    """What the client reads of what the server answers."""
    return wire.load(msgspec.json.encode(wire.escaped(msgspec.to_builtins(answer))))


def test_every_field_is_on_the_wire() -> None:
    """A new one as well, without a line anywhere; what is left out is left out on purpose."""
    read_from = {s.AccountIn: Account, s.HoldIn: Hold, s.EntryIn: Entry, s.QueryIn: Query, s.CarriedIn: Carried}
    left_out = {
        (kind.__name__, field.name)
        for struct, kind in read_from.items()
        for field in members(kind)
        if field.name not in struct.__struct_fields__
    }
    assert left_out == {("Account", "lease"), ("Entry", "at_ms")}


@given(holds)
def test_a_hold_arrives_as_it_was(hold: Hold) -> None:
    """In all of its fields; what is as usual is not sent, but for the units that its accounts count."""
    arrived = server.hold(heard(wire.say_hold(hold), s.HoldIn))
    assert arrived._replace(units={}) == hold._replace(units={})
    assert arrived.amounts() == hold.amounts()
    assert {**arrived.units, **hold.units} == arrived.units


def test_a_lease_is_the_clients_affair() -> None:
    """A store takes no notice of it."""
    hold = Hold("id", (Account("a", 5, lease="charge"),), 9)
    assert server.hold(heard(wire.say_hold(hold), s.HoldIn)).accounts == (Account("a", 5),)


@given(entries)
def test_an_entry_arrives_as_it_was(entry: Entry) -> None:
    """And comes back as it was, with its time, which is the store's to fill in."""
    arrived = server.entry(heard(wire.say_entry(entry), s.EntryIn), entry.at_ms)
    assert arrived._replace(units={}) == entry._replace(units={})
    assert arrived.amounts() == entry.amounts()
    assert wire.hear_all(answered(server.all_of([entry])), Entry) == [entry]


@given(holds, entries)
def test_of_the_hold_that_ends_arrives_what_counts_then(hold: Hold, entry: Entry) -> None:
    """Its id, its accounts and its leases."""
    said = heard(wire.say_settlement(hold, entry), s.SettlementIn)
    assert server.hold(said.hold) == Hold(hold.id, hold.accounts, 0, leases=hold.leases)
    assert server.entry(said.entry).amounts() == entry.amounts()


@given(st.builds(Query, times, times, tags, st.none() | texts, st.none() | texts, st.none() | st.integers(0, 99)))
def test_a_query_arrives_as_it_was(query: Query) -> None:
    """What is not set is not sent."""
    assert server.taken(Query, heard(plain(query), s.QueryIn)) == query


@given(st.builds(Carried, texts, times, amounts))
def test_an_account_of_other_books_arrives_as_it_was(account: Carried) -> None:
    """With the unit that its key says."""
    said = heard(wire.say_rows([], [account], []), s.LoadIn).accounts[0]
    assert said.unit in {None, unit_of(account.key)}
    assert server.taken(Carried, said) == account


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
        Admitted(7, {"tokens": 5, "requests": 1}, (Balance("a"), Balance("b", 4, 3))),
        Refusal(Account("b", 5, "soft", lease="release"), Balance("b", 4, 3), busy=True),
        Stale(12, (Terms("ann", 2, None), Terms("bob", 1, "x\udcff"))),
        Stale(12),
        Ended(),
    ],
)
def test_the_answer_to_a_reserve_arrives_as_it_was(answer: Admitted | Refusal | Stale | Ended) -> None:
    """A refusal names the account that the client has, with what only the client knows of it."""
    hold = Hold("id", (Account("a"), Account("b", 5, "soft", lease="release")), 9)
    heard = wire.hear_reserved(answered(server.reserved(answer, hold)), hold)
    assert heard == answer
    assert getattr(heard, "balances", None) == getattr(answer, "balances", None)


@given(
    st.builds(Settled, amounts, st.booleans(), st.lists(balances, max_size=3).map(tuple))
    | st.builds(Conflict, amounts, st.dictionaries(units, amounts))
)
def test_the_answer_to_a_settlement_arrives_as_it_was(answer: Settled | Conflict) -> None:
    """With the balances, which outcomes are compared without."""
    heard = wire.hear_settled(answered(server.settled(answer)))
    assert heard == answer
    assert getattr(heard, "balances", None) == getattr(answer, "balances", None)


@pytest.mark.parametrize(
    "value",
    [
        OpenHold("id", 5, ("a", "b"), 1, 2, {"user": "\udcff"}, "p", "m", {"tokens": 7}),
        Total(("a", ""), 1, 2, 3, 4, 5),
        Difference("a", "held", 1, 2),
        Balance("a", 1, 2),
        Balance("a"),
        Carried("a#tokens", None, 2),
        Terms("a", 1, None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_answers_arrive_as_they_were(value: object) -> None:
    """And the schema of the answer has exactly their fields, all of which are said."""
    [said] = answered(server.all_of([value]))
    assert wire.hear_all([said], type(value)) == [value]
    assert tuple(said) == getattr(s, f"{type(value).__name__}Out").__struct_fields__
