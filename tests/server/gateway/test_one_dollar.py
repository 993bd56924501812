"""
One dollar stays one dollar behind a gateway: a client that has nothing but a key bills at most what the key may cost.

These are some rows of `make shapes`, on each store.
"""

from __future__ import annotations

import pytest

from tests.support import gateway_shapes, shapes

NOT_STATED, STATED = False, True

ROWS = [
    ("50 gathered", "memory", NOT_STATED),
    ("50 threads of an executor", "sqlite", STATED),
    ("50 streams abandoned", "memory", STATED),
    ("50 streams cancelled", "sqlite", NOT_STATED),
    ("50 calls timed out *", "memory", NOT_STATED),
    ("50 of three answers", "valkey", NOT_STATED),
    ("50 long prompts", "postgres", STATED),
    ("50 with tools", "memory", NOT_STATED),
]


def test_every_shape_of_a_client_is_in_the_table() -> None:
    """A shape that a program takes without a gateway is one that it takes behind it."""
    assert {*shapes.EVERYWHERE, *shapes.ACROSS} - {"four SDKs at once"} <= set(gateway_shapes.BEHIND)
    assert len(gateway_shapes.BEHIND) == 16


@pytest.mark.parametrize(("shape", "store", "stated"), ROWS)
def test_a_key_of_one_dollar_bills_no_more(shape: str, store: str, stated: bool) -> None:
    """The promise of this package, for programs in any language."""
    row = gateway_shapes.run(shape, store, stated)

    assert row.holds, row
