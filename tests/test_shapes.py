"""
One dollar stays one dollar, in every shape that a program takes: the rows of `make shapes` that matter most.

What a call truly cost is what the endpoint put into its own ledger. It must never pass the budget, agree with the
books to the nano-dollar, and come to nine tenths of the budget at least.
"""

from __future__ import annotations

import pytest

from budgetguard.money import DOLLAR
from tests.support import shapes
from tests.support.shapes import Row

NOT_STATED, STATED = False, True

ROWS = [
    ("50 gathered", "memory", NOT_STATED),
    ("50 gathered", "sqlite", STATED),
    ("50 threads of an executor", "sqlite", NOT_STATED),
    ("50 plain threads", "memory", STATED),
    ("50 gathered streams", "memory", STATED),
    ("50 streams abandoned", "memory", NOT_STATED),
    ("50 streams abandoned", "sqlite", STATED),
    ("50 streams cancelled", "sqlite", NOT_STATED),
    ("30 tries, errors swallowed", "memory", STATED),
    ("all of these at once", "memory", NOT_STATED),
    ("50 calls cancelled *", "sqlite", NOT_STATED),
    ("50 calls timed out *", "memory", STATED),
    ("4 spawned processes", "sqlite", NOT_STATED),
    ("16 spawned processes", "sqlite", STATED),
    ("4 forked processes", "sqlite", STATED),
    ("4 spawned processes", "valkey", NOT_STATED),
    ("4 forked processes", "valkey", STATED),
    ("4 spawned processes", "redis", STATED),
    ("4 spawned processes", "postgres", NOT_STATED),
    ("16 spawned processes", "postgres", STATED),
    ("4 forked processes", "postgres", STATED),
    ("four SDKs at once", "sqlite", NOT_STATED),
    ("four SDKs at once", "postgres", STATED),
]


def test_every_shape_of_the_table_is_tested_here():
    """A shape that is added to the table is added here."""
    assert {shape for shape, _, _ in ROWS} == {*shapes.EVERYWHERE, *shapes.ACROSS}


@pytest.mark.parametrize(("shape", "store", "stated"), ROWS)
def test_one_dollar_stays_one_dollar(shape: str, store: str, stated: bool):
    """The promise of this package."""
    row = shapes.run(shape, store, stated)

    assert row.holds, row


def test_fifty_calls_without_a_cap_are_all_admitted():
    """Calls in flight share what there is: none is locked out by the others' worst case."""
    row = shapes.run("50 gathered", "memory", NOT_STATED)

    assert row.outcomes["busy"] == 0
    assert row.outcomes["answered"] >= 50


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({"billed": DOLLAR + 1, "booked": DOLLAR + 1}, "overspent"),
        ({"booked": DOLLAR - 1}, "the books differ from the bill"),
        ({"booked": DOLLAR - 1, "known": False}, "the books differ from the bill"),
        ({"billed": DOLLAR // 2, "booked": DOLLAR // 2}, "could not be used"),
        ({"leaks": "1 holds are left"}, "1 holds are left"),
        ({"outcomes": {"error": 1, "late": 0}}, "1 unforeseen errors"),
    ],
)
def test_the_table_says_what_does_not_hold(changed: dict, verdict: str):
    """A table that could only say yes would prove nothing."""
    fields = {"outcomes": {"error": 0, "late": 0}, "billed": DOLLAR, "booked": DOLLAR, "known": True, "leaks": ""}
    assert Row("", "", stated=True, **fields).verdict == "holds"

    row = Row("", "", stated=True, **{**fields, **changed})

    assert (row.verdict, row.holds) == (verdict, False)
