"""A new or a local model is one line, wherever prices are given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import budgetguard
from budgetguard import BudgetExceededError, BudgetManager, ConfigError, PriceBook, UnpricedModelError
from budgetguard.guards.guard import Guard
from budgetguard.sdks.install import default_guard
from budgetguard.testing import FakeProvider

MODELS = {"mine": {"input": 1, "output": 2}}
TEXT = "[models.mine]\ninput = 1\noutput = 2\n"


def book(tmp_path: Path, form: str) -> Any:
    """The same prices, as they may be given."""
    (tmp_path / "own.toml").write_text(TEXT)
    forms = {"models": MODELS, "path": tmp_path / "own.toml", "text": str(tmp_path / "own.toml")}
    return forms.get(form, PriceBook(overrides=MODELS))


def patched(prices: Any) -> Guard:
    budgetguard.patch(prices=prices)
    return default_guard()


TAKERS: dict[str, Callable[[Any], Guard]] = {
    "Guard": lambda prices: Guard(prices=prices),
    "BudgetManager": lambda prices: BudgetManager("shop", store="memory://", prices=prices).guard,
    "patch": patched,
}


@pytest.mark.parametrize("form", ["models", "path", "text", "book"])
@pytest.mark.parametrize("taker", TAKERS)
def test_prices_are_taken_in_every_form(taker: str, form: str, tmp_path: Path) -> None:
    """One line, whatever is at hand."""
    guard = TAKERS[taker](book(tmp_path, form))
    assert guard.prices.tariff(None, "mine", None, 0).cost({"input_tokens": 1_000, "output_tokens": 1_000}) == 3_000_000


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("prices", [5, "no-such-file.toml", {"mine": 3}, {"mine": {"inputs": 1}}])
def test_what_is_no_price_is_refused_at_once(taker: str, prices: Any) -> None:
    """Before a call, and not with it."""
    with pytest.raises(ConfigError):
        TAKERS[taker](prices)


def test_models_that_are_given_stand_over_the_configured_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more model must not take the others away; a file or a book is all there is."""
    monkeypatch.setenv("BUDGETGUARD_PRICES", str(book(tmp_path, "path")))
    monkeypatch.setenv("BUDGETGUARD_AUTO_TIER", "default")
    for taker in (TAKERS["BudgetManager"], TAKERS["patch"]):
        guard = taker({"another": {"input": 3, "output": 4}})
        assert guard.prices.quote(None, "mine").model == "mine"
        assert guard.prices.quote(None, "another").model == "another"
        with pytest.raises(UnpricedModelError):
            taker(PriceBook()).prices.quote(None, "mine")


@pytest.mark.provider(tokens=20)
def test_a_patched_process_counts_by_the_prices_that_it_was_given(provider: FakeProvider) -> None:
    """A script with a limit and a local model has all it needs in two lines; the cell may be run again."""
    budgetguard.max_budget = 0.00003
    with provider.client(max_retries=0) as client:
        for _ in range(2):
            budgetguard.patch(prices={"gemma*": {"free": True}, "mine": {"input": 1, "output": 1}})
            client.chat.completions.create(model="gemma3:1b", messages=[{"role": "user", "content": "hi"}])
        with pytest.raises(BudgetExceededError):
            client.chat.completions.create(
                model="mine", messages=[{"role": "user", "content": "hi"}], max_completion_tokens=50
            )

    assert len(provider.requests) == 2


def test_prices_beside_a_manager_are_refused() -> None:
    """It has its own: one of the two would be forgotten, without a word."""
    manager = BudgetManager("shop", store="memory://")
    with pytest.raises(ConfigError, match=r"BudgetManager\(\.\.\., prices="):
        budgetguard.patch(manager, prices=MODELS)
    budgetguard.patch(manager)
    with pytest.raises(ConfigError, match="the manager has prices"):
        budgetguard.patch(prices=MODELS)
    assert default_guard() is manager.guard
