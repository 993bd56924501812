"""The one JSON of the ledger's types: every type comes back as it was, and old and new writers are understood."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budgetguard import ledger
from budgetguard.ledger import Account, Admitted, Balance, Entry, Hold, Settled, Wanted
from budgetguard.ledger.as_json import plain, read, text, whole
from budgetguard.process.journal_files import JournalFile, Kept, Left, line_of
from budgetguard.stores.memory.store import MemoryStore

TYPES = [
    kind
    for kind in vars(ledger).values()
    if inspect.isclass(kind) and (hasattr(kind, "_fields") or hasattr(kind, "__dataclass_fields__"))
]
st.register_type_strategy(
    Account, st.builds(Account, st.text().map(lambda key: key.replace("#", "")), window=st.just(()))
)


def test_the_types_are_all_of_the_ledgers():
    """A new one is tested without a line here."""
    names = {kind.__name__ for kind in TYPES}
    assert {
        "Account",
        "Hold",
        "Entry",
        "Admitted",
        "Refusal",
        "Stale",
        "Settled",
        "Conflict",
        "Query",
        "Record",
    } <= names
    assert len(names) == 19


@pytest.mark.parametrize("kind", [*TYPES, Kept], ids=lambda kind: kind.__name__)
def test_every_value_comes_back_as_it_was(kind: Any):
    """Over text, whatever is in it; balances, which outcomes are compared without, included."""

    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(st.from_type(kind))
    def comes_back(value: Any) -> None:
        assert text(value).isascii()
        assert json.loads(text(value)) == plain(value)
        back = read(kind, json.loads(text(value)))
        assert back == value
        assert getattr(back, "balances", None) == getattr(value, "balances", None)
        assert type(back) is type(value)
        assert read(kind, json.loads(json.dumps(whole(value)))) == value

    comes_back()


def test_what_is_as_usual_is_left_out():
    """The common hold is short."""
    held = Hold("a", (Account("day", 100),), 60)
    assert plain(held) == {"id": "a", "accounts": [{"key": "day", "limit": 100}], "amount": 60}
    assert plain(Entry("a", 7, flags=frozenset({"late", "cut"}))) == {
        "hold_id": "a",
        "cost": 7,
        "flags": ["cut", "late"],
    }
    assert plain(held._replace(units={"tokens": Wanted(5)}))["units"] == {"tokens": {"amount": 5}}
    assert whole(Balance("day", 1)) == {"key": "day", "settled": 1, "held": 0}
    assert plain(Admitted(5, {}, (Balance("day", 1, 2),)))["balances"] == [{"key": "day", "settled": 1, "held": 2}]


class Before(NamedTuple):
    """A type of the version before."""

    key: str


class After(NamedTuple):
    """The same with one more field."""

    key: str
    shade: str = "red"


def test_a_field_that_was_added_disturbs_nobody():
    """What an older writer did not say takes its default, and what a newer one says besides is not looked at."""
    assert read(After, plain(Before("a"))) == After("a")
    assert read(Before, plain(After("a", "blue"))) == Before("a")


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (Entry, {"cost": 7}),
        (Entry, {"hold_id": "a", "cost": "7"}),
        (Entry, {"hold_id": "a", "cost": 7, "tags": 5}),
        (Entry, {"hold_id": "a", "cost": 7, "accounts": [1]}),
        (Entry, {"hold_id": "a", "cost": 7, "accounts": "ab"}),
        (Hold, {"id": "a", "accounts": [{"limit": 5}], "amount": 1}),
        (Hold, {"id": "a", "accounts": [], "amount": 1, "terms": [["ann"]]}),
        (Settled, {"cost": None}),
    ],
)
def test_what_is_no_value_is_an_error(kind: Any, data: Any):
    """So that a damaged line is noticed, and does not fail later in a store."""
    with pytest.raises((KeyError, TypeError, ValueError)):
        read(kind, data)


def test_a_line_of_the_journal_is_what_was_kept():
    """Of the hold what a settlement needs: its id, its accounts with their ends, and its leases."""
    hold = Hold("a", (Account("day", 100, start_ms=5, end_ms=10, window=("x", "y")),), 60, leases=("b",))
    tags, usage = {"user": "\ud800"}, {"input_tokens": 5}
    entry = Entry("a", 7, ("models",), 0, tags, "openai", "gpt", usage, frozenset({"cut"}), {"tokens": 5})
    left = Left([], {})
    for at_ms, asked in ((0, None), (5, "gpt")):
        left.add(json.loads(line_of(hold, entry, at_ms, asked)))
    kept = Hold("a", (Account("day", end_ms=20),), 0, leases=("b",))
    assert left.kept == [Kept(kept, entry), Kept(kept, entry, 5, "gpt")]


def test_a_journal_of_the_version_before_lands(tmp_path: Path):
    """Recorded from that version: settlements that waited when it was replaced, and a lease of a killed process."""
    path = tmp_path / "1.jsonl"
    path.write_bytes((Path(__file__).parent / "upgrades/kept/journal_version_1.jsonl").read_bytes())
    file = JournalFile.take(str(path))
    assert file is not None
    assert file.read("another") is None
    left = file.read("default")
    assert left is not None
    assert not file.damaged
    assert left.leases == {"0" * 31 + "9": True}
    store = MemoryStore()
    for kept in left.kept:
        store.settle(kept.hold, kept.entry)
    first, second = store.entries()
    assert (first.cost, first.tags, first.flags) == (25, {"user": "ann", "name": "Ünï"}, {"cut", "capped", "late"})
    assert first.accounts == ("models/ann/gpt", "team/2027-01", "daily//2027-01-01")
    assert (second.cost, second.accounts) == (7, ("team/2027-01",))
    assert [(kept.at_ms, kept.asked) for kept in left.kept] == [(0, None), (1_799_000_000_000, "gpt-4o")]
    assert [(each.key, each.end_ms) for each in store.carried()] == [
        ("daily//2027-01-01", 20),
        ("models/ann/gpt", 1_900_000_000_000),
        ("team/2027-01", 1_900_000_000_000),
    ]
    file.close()


def test_the_version_before_leaves_a_newer_file_alone(tmp_path: Path):
    """It reads the store's name from a field of the first line that is now empty, and takes it for another store's."""
    file = JournalFile.make(str(tmp_path / "journal"), "default")
    with open(file.path) as lines:
        first = json.loads(lines.readline())
    assert first["store"] != "default"
    left = file.read("default")
    assert left == Left([], {})
    file.close()
