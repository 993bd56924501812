"""The errors: what they are, what they carry through a pickle, and where a refusal is found."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime

import pytest

from budgetguard import (
    BudgetBusyError,
    BudgetExceededError,
    BudgetGuardError,
    ConfigError,
    ConflictError,
    Money,
    StoreError,
    UnknownUserError,
    UnpricedModelError,
    find_budget_error,
)

REFUSAL = BudgetBusyError(
    0.5,
    1.0,
    "no room",
    budget="users",
    user="ann",
    window="2027-01",
    spent=Money.dollars("0.5"),
    held=Money.dollars("0.5"),
    limit=Money.dollars(1),
    projected=Money.dollars("0.1"),
    resets_at=datetime(2027, 2, 1, tzinfo=UTC),
)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BudgetBusyError, BudgetExceededError),
        (UnpricedModelError, LookupError),
        (UnknownUserError, KeyError),
        (ConfigError, ValueError),
        (ConflictError, StoreError),
    ],
)
def test_an_error_is_of_the_kind_that_programs_catch(error, kind):
    """Ours, and Python's own where there is one."""
    assert issubclass(error, kind)
    assert issubclass(error, BudgetGuardError)
    assert not issubclass(BudgetExceededError, OSError | ConnectionError | TimeoutError)


@pytest.mark.parametrize("again", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize(
    "error",
    [
        REFUSAL,
        UnpricedModelError("no price", model="our-own", provider="openai"),
        UnknownUserError("no budget was created for 'ann'"),
        ConfigError("limit=-1"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_back_whole_from_a_worker_process(error, again):
    """Type, text and every attribute."""
    copied = again(error)

    assert type(copied) is type(error)
    assert str(copied) == str(error)
    assert copied.__dict__ == error.__dict__


IN_TOKENS = BudgetExceededError(70, 60, budget="calls", spent=70, limit=60, unit="tokens")


@pytest.mark.parametrize("error", [REFUSAL, IN_TOKENS, BudgetExceededError(1.5, 1.0)], ids=["all", "tokens", "least"])
def test_a_refusal_is_made_again_by_its_arguments_as_json(error):
    """Task queues keep an error's `args` as JSON, and call its class with them: amounts stay exact, and money."""
    again = type(error)(*json.loads(json.dumps(error.args)))

    assert (type(again), str(again), again.args) == (type(error), str(error), error.args)
    assert again.__dict__ == error.__dict__
    assert type(again.spent) is type(error.spent)


def wrapped_in(*layers):
    """A refusal as it comes out of layers of other people's code."""
    error = REFUSAL
    for layer in layers:
        error = layer(error)
    return error


def from_cause(error):
    """`raise ... from error`."""
    outer = RuntimeError("a tool failed")
    outer.__cause__ = error
    return outer


def in_context(error):
    """`raise ...` while the other was handled."""
    outer = ValueError("no answer")
    outer.__context__ = error
    return outer


def in_group(error):
    """One of a task group's."""
    return ExceptionGroup("tasks", [KeyError("another"), ExceptionGroup("inner", [error])])


@pytest.mark.parametrize(
    "layers",
    [
        (),
        (from_cause,),
        (in_context,),
        (in_group,),
        (from_cause, in_context, from_cause),
        (from_cause, in_group, in_context),
    ],
)
def test_a_refusal_is_found_in_whatever_wraps_it(layers):
    """The very object."""
    assert find_budget_error(wrapped_in(*layers)) is REFUSAL


@pytest.mark.parametrize("error", [None, ValueError("other"), from_cause(KeyError("x")), in_group(OSError("x"))])
def test_where_there_is_no_refusal_none_is_found(error):
    """So `if refusal := find_budget_error(error)` reads well."""
    assert find_budget_error(error) is None


def test_errors_that_cause_each_other_are_no_endless_search():
    """Chains can be circles."""
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__context__ = two, one

    assert find_budget_error(one) is None
