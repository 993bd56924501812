"""Money is exact, prints as people write it, and refuses what is no amount."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from math import inf, nan
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from budgetguard.errors import ConfigError
from budgetguard.money import DOLLAR, MAX_AMOUNT, Money, format_nano, nano_from_pico, parse_dollars

NANO = st.integers(-MAX_AMOUNT, MAX_AMOUNT)


@pytest.mark.parametrize(
    ("value", "nano"),
    [
        (5, 5 * DOLLAR),
        (0, 0),
        (0.1, 100_000_000),
        (0.1 + 0.2, 300_000_001),
        ("0.25", 250_000_000),
        (" $0.25 ", 250_000_000),
        ("1_000", 1000 * DOLLAR),
        ("1e-3", 1_000_000),
        (Decimal("0.0000000001"), 1),
        (Decimal("1.5"), 1_500_000_000),
        (Money(7), 7),
        (9_000_000, MAX_AMOUNT),
    ],
)
def test_dollars_are_read_as_they_print(value: object, nano: int) -> None:
    """A float means the number that it prints as; what is below a nano-dollar rounds up."""
    assert parse_dollars(value, name="limit") == nano


@pytest.mark.parametrize(
    "value",
    [
        *(-1, -0.01, "-$5", nan, inf, -inf, "nan", "inf", Decimal("NaN"), Decimal("Infinity")),
        *("five", "", "$", "1,5", None, True, False, b"5", [5], Fraction(1, 3), 1j),
        *(9_000_000.01, 10**30, "1e100"),
    ],
)
def test_what_is_no_amount_is_a_config_error_that_names_the_argument(value: object) -> None:
    """A wrong limit must be seen when it is set, and where."""
    with pytest.raises(ConfigError, match=r"^limit="):
        parse_dollars(value, name="limit")


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "$0.00"),
        (1, "$0.000000001"),
        (2_300_000, "$0.0023"),
        (12_500_000_000, "$12.50"),
        (-DOLLAR, "-$1.00"),
        (-1, "-$0.000000001"),
        (MAX_AMOUNT, "$9,000,000.00"),
        (1_234_567_890_123, "$1,234.567890123"),
    ],
)
def test_money_prints_as_people_write_it(nano: int, text: str) -> None:
    """Never rounded: what is shown is what is booked."""
    assert format_nano(nano) == text
    assert str(Money(nano)) == text
    assert repr(Money(nano)) == f"Money({text!r})"


@given(NANO.filter(lambda nano: nano >= 0))
def test_what_is_printed_is_read_back(nano: int) -> None:
    """No amount is lost on its way through a file or a screen."""
    assert parse_dollars(format_nano(nano).replace(",", ""), name="limit") == nano


@given(st.integers(0, 10**24))
def test_pico_dollars_round_up_to_the_next_nano_dollar(pico: int) -> None:
    """The one rounding of a cost is never in the customer's favour, and below a nano-dollar."""
    assert 0 <= nano_from_pico(pico) * 1000 - pico < 1000


@given(NANO, NANO)
def test_sums_are_exact(left: int, right: int) -> None:
    """Floats would lose the ninth digit of large amounts."""
    assert (Money(left) + Money(right)).nano == left + right
    assert (Money(left) - Money(right)).nano == left - right
    assert (Money(left) < Money(right)) == (left < right)
    assert (Money(left) == Money(right)) == (left == right)


def test_money_compares_with_and_adds_to_dollars() -> None:
    """`scope.remaining < 0.10` reads as it is meant."""
    dime = Money(100_000_000)

    assert dime == 0.1
    assert dime == Decimal("0.1")
    assert dime < 0.11
    assert dime <= 0.1
    assert dime > 0
    assert dime < inf
    assert dime > -inf
    assert dime != nan
    assert dime + 0.2 == 0.3
    assert 1 + dime == 1.1
    assert dime - 1 == -0.9
    assert sum([dime, dime], Money(0)) == 0.2


def test_money_that_equals_a_number_has_its_hash() -> None:
    """Equal things must find each other in a dictionary."""
    assert {Money(2 * DOLLAR): "two"}[2] == "two"
    assert {Money(2_300_000): "small"}[0.0023] == "small"


def test_money_is_not_mistaken_for_something_else() -> None:
    """A bool, a text and `None` are no dollars."""
    assert Money(DOLLAR) != True  # noqa: E712
    assert Money(DOLLAR) != "1"
    assert Money(0) != None  # noqa: E711
    with pytest.raises(TypeError):
        Money(1) + "1"
    with pytest.raises(TypeError):
        Money(1) < "1"  # noqa: B015


@pytest.mark.parametrize("dollars", [0.1, "0.1", Decimal("0.1"), Fraction(1, 10), True])
def test_money_is_made_of_whole_nano_dollars_only(dollars: Any) -> None:
    """What takes it for another `float` and makes one of it, as `statistics.mean` does, has no amount in silence."""
    with pytest.raises(TypeError, match=r"whole nano-dollars.*Money\.dollars"):
        Money(dollars)


def test_what_is_not_finite_is_not_added() -> None:
    """Infinite dollars would make every later sum meaningless."""
    with pytest.raises(ConfigError, match="not finite"):
        Money(1) + inf


def test_money_is_truthy_unless_it_is_zero() -> None:
    """`if scope.spent:`"""
    assert not Money(0)
    assert Money(1)


def test_money_formats_as_a_number_or_as_text() -> None:
    """Tables align it; logs round it."""
    assert f"{Money(1_234_567_890):.2f}" == "1.23"
    assert f"{Money(1_500_000_000):>8}" == "   $1.50"
    assert f"{Money(1_500_000_000):*^7s}" == "*$1.50*"
    assert f"{Money(1_234_567_890_000):,.2f}" == "1,234.57"
    assert f"{Money(12_345_678_900):.3}|{Money(1_500_000_000_000):,}" == "12.3|1,500.0"
    assert f"{Money(250_000_000):.0%}" == "25%"
    assert float(Money(250_000_000)) == 0.25


def test_dollars_make_money() -> None:
    """The short way, with the same checks."""
    assert Money.dollars("$0.0023").nano == 2_300_000
    with pytest.raises(ConfigError):
        Money.dollars(-1)


EXACT = st.integers(-8_388_608 * DOLLAR + 1, 8_388_608 * DOLLAR - 1)


@given(EXACT)
def test_money_is_a_number_of_dollars_in_json(nano: int) -> None:
    """`json.dumps({"spent": b.spent})` is the first thing that a web program does with it, and nothing gets lost."""
    text = json.dumps({"spent": Money(nano)})
    assert text == json.dumps({"spent": nano / DOLLAR})
    assert json.loads(text)["spent"] == Money(nano)
    assert TypeAdapter(Money).validate_json(json.dumps(Money(nano))).nano == nano


def test_an_absurd_amount_is_one_all_the_same() -> None:
    """An answer that claims so much must not raise after the call."""
    absurd = Money(10**400)
    assert absurd.nano == 10**400
    assert absurd > 10**300
    assert float(-1 - absurd) == -inf


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda money: pickle.loads(pickle.dumps(money))])
def test_a_copy_of_money_is_the_same_amount(again: Callable[[Money], Money]) -> None:
    """A job's result travels between processes."""
    most = Money(MAX_AMOUNT - 1)
    assert (type(again(most)), again(most).nano) == (Money, most.nano)


def test_money_subtracts_from_dollars_exactly() -> None:
    """`1 - b.spent` is money as well, not what a float makes of it."""
    assert type(1 - Money(1)) is Money
    assert (1 - Money(1)).nano == DOLLAR - 1
    assert Money(1) != 0
    assert Money(1) >= Decimal("1e-9")
    assert not Money(1) > 1e-9


class Bill(BaseModel):
    """What a service answers with."""

    spent: Money
    left: Money | None = None


@pytest.mark.parametrize("given", [0.25, "0.25", "$0.25", Decimal("0.25"), Money(DOLLAR // 4)])
def test_a_pydantic_model_has_fields_of_money(given: object) -> None:
    """Read from all that a limit may be written as, written as a number, and described as one."""
    bill = Bill(spent=given, left=Money(-DOLLAR))
    assert type(bill.spent) is Money
    assert bill.spent == 0.25
    assert bill.model_dump()["spent"] is bill.spent
    assert bill.model_dump(mode="json") == {"spent": 0.25, "left": -1.0}
    assert Bill.model_validate_json(bill.model_dump_json()) == bill
    for mode in ("validation", "serialization"):
        assert Bill.model_json_schema(mode=mode)["properties"]["spent"]["type"] == "number"


@pytest.mark.parametrize("given", ["five", nan, True, None, [], "--1", 10**8])
def test_what_is_no_money_is_a_validation_error(given: object) -> None:
    """A service answers 422 to it, not 500."""
    with pytest.raises(ValidationError, match="dollars="):
        Bill(spent=given)


def test_fastapi_takes_and_gives_money() -> None:
    """In models, and in plain dictionaries that no model describes."""
    app = FastAPI()

    @app.post("/bills")
    def double(bill: Bill) -> Bill:
        return Bill(spent=bill.spent + bill.spent)

    @app.get("/spent")
    def spent() -> dict[str, Any]:
        return {"spent": Money(2_300_000)}

    client = TestClient(app)
    assert client.post("/bills", json={"spent": "$0.0023"}).json() == {"spent": 0.0046, "left": None}
    assert client.post("/bills", json={"spent": "much"}).status_code == 422
    assert client.get("/spent").json() == {"spent": 0.0023}
    assert client.get("/openapi.json").json()["components"]["schemas"]["Bill"]["properties"]["spent"] == {
        "type": "number",
        "title": "Spent",
    }
