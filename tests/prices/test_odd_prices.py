"""Prices that nobody can mean: dollars per token or per thousand, where dollars per million are asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from budgetguard import ConfigError, PriceBook
from budgetguard.prices.sources import list as pricelist
from budgetguard.prices.sources.odd import oddity
from tests.support.commands import exit_code


@pytest.mark.parametrize(
    ("stated", "meant"),
    [
        ({"input": 0.00000015, "output": 0.0000006}, "input = 0.00000015 .* is 0.15 meant"),
        ({"input": 0.15, "output": 0.0000006}, "output = 0.0000006 .* is 0.6 meant"),
        ({"input": 0.15, "output": 0.0006}, "output = 0.0006 .* is 0.6 meant"),
        ({"input": 0.0025, "output": 10}, "input = 0.0025 .* is 2.5 meant"),
        ({"input": 2.5, "output": 10, "cache_read": 0.00125}, "cache_read = 0.00125 .* is 1.25 meant"),
        ({"input": 2_500_000, "output": 10_000_000}, "input = 2500000 .* is 2.5 meant"),
    ],
)
def test_a_thousandth_is_refused_with_what_is_meant(stated: dict[str, float], meant: str) -> None:
    """A budget over such prices lets a thousand times its limit pass, and nobody is told."""
    with pytest.raises(ConfigError, match=f"'mine'.*{meant}"):
        PriceBook(overrides={"mine": stated})
    with pytest.raises(ConfigError, match=meant):
        PriceBook().add("mine", **stated)


@pytest.mark.parametrize(
    "stated",
    [
        {"input": 0.0011, "output": 0.0011},
        {"input": 600, "output": 600},
        {"input": 0.6, "output": 0.6, "output_audio": 200},
        {"input": 0.435, "cache_read": 0.0018, "output": 0.87},
        {"input": 0, "output": 0.5},
        {"input": 0.2, "output": 0},
        {"free": True},
        {"requests": 0.01},
    ],
)
def test_what_may_be_is_taken(stated: dict[str, Any]) -> None:
    """Cheap models, dear ones and input at nothing are there: only what is really odd is in the way."""
    PriceBook(overrides={"mine": stated})


def test_no_price_of_the_installed_list_is_odd() -> None:
    """The bounds are drawn around it; a list that breaks them is a mistake, or moves them."""
    snapshot = pricelist.source()()
    now = int(datetime(2026, 11, 29, tzinfo=UTC).timestamp() * 1000)
    listed = [pricelist.Listed(each.id, model) for each in snapshot.providers for model in each.models]
    priced = [each for each in listed if not pricelist.without_price(each)]
    assert len(priced) > 2_000
    assert [(each.provider, each.id, odd) for each in priced if (odd := oddity(pricelist.prices(each, now)))] == []


def test_a_known_model_at_a_thousandth_of_its_list_price_is_refused() -> None:
    """Both prices per thousand agree with each other: only the list tells."""
    book = PriceBook(overrides={"gpt-4o": {"input": "0.0025", "output": "0.01"}})
    with pytest.raises(ConfigError, match=r"'gpt-4o': input = 0.0025 .* is 2.5 meant"):
        book.quote("openai", "gpt-4o")
    PriceBook(overrides={"gpt-4o": {"input": "0.025", "output": "0.1"}}).quote("openai", "gpt-4o")
    PriceBook(overrides={"our-own": {"input": "0.0025", "output": "0.01"}}).quote("openai", "our-own")


def test_the_command_line_refuses_it_too_and_writes_nothing(here, capsys) -> None:
    """It is there that such prices are typed."""
    assert exit_code("prices", "set", "gpt-4o", "--input", "0.0025", "--output", "0.01") != 0
    assert "is 2.5 meant?" in capsys.readouterr().err
    assert not (here / "prices.toml").exists()
