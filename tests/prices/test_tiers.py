"""Service tiers: what each costs, what may answer a request that names none, and one that nobody has heard of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import pytest

from budgetguard import BudgetExceededError, PriceBook
from budgetguard.errors import ConfigError
from budgetguard.prices.tiers import leaves_open, tier_name
from tests.support.in_memory import HI, guarded, reply

NOON_MS = 1_795_348_800_000
INPUT = {"input_tokens": 1000}


def cost(prices: PriceBook, tier: str | None, model: str = "gpt-4o", provider: str | None = "openai") -> int:
    """Of 1,000 input tokens."""
    return prices.tariff(provider, model, tier, NOON_MS).cost(INPUT)


# -- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (None, None),
        ("", None),
        (" ", None),
        ("default", None),
        ("Standard", None),
        ("on_demand", None),
        ("ON_DEMAND", None),
        ("on-demand", None),
        ("auto", None),
        ("SERVICE_TIER_UNSPECIFIED", None),
        ("TRAFFIC_TYPE_UNSPECIFIED", None),
        ("SERVICE_TIER_STANDARD", None),
        ("Priority", "priority"),
        ("SERVICE_TIER_PRIORITY", "priority"),
        ("ON_DEMAND_PRIORITY", "priority"),
        ("ON_DEMAND_FLEX", "flex"),
        ("PROVISIONED_THROUGHPUT", "provisioned_throughput"),
        ("reserved", "reserved"),
    ],
)
def test_a_tier_is_known_by_every_spelling(said: str | None, meant: str | None) -> None:
    """OpenAI's, Groq's, Anthropic's, Gemini's and Vertex's."""
    assert tier_name(said) == meant


def test_a_request_leaves_its_tier_open_unless_it_names_one() -> None:
    """ "default" is a tier; "auto" is the absence of one."""
    assert [leaves_open(tier) for tier in (None, "", "auto", "AUTO")] == [True] * 4
    assert [leaves_open(tier) for tier in ("default", "standard_only", "flex", "reserved")] == [False] * 4


# -- what they cost --------------------------------------------------------------------------------------------------


def test_a_declared_multiple_lowers_a_price() -> None:
    """gpt-4-turbo is listed at 10 dollars a million, and has no batch price of its own at Azure."""
    half = PriceBook(tiers={"batch": "0.5"})

    assert cost(PriceBook(), "batch", "gpt-4-turbo", "azure") == 10_000_000
    assert cost(half, "batch", "gpt-4-turbo", "azure") == 5_000_000
    assert cost(half, "Batch", "gpt-4-turbo", "azure") == 5_000_000
    assert cost(half, None, "gpt-4-turbo", "azure") == 10_000_000


def test_a_declared_price_has_tiers_too() -> None:
    """Fees for tools are the same in each."""
    prices = PriceBook(tiers={"batch": "0.5", "turbo": 3}, overrides={"m": {"input": 2, "web_searches": 0.01}})
    usage = {**INPUT, "web_searches": 1}

    found = [prices.tariff(None, "m", tier, NOON_MS).cost(usage) for tier in (None, "batch", "turbo", "flex")]
    assert found == [12_000_000, 11_000_000, 16_000_000, 12_000_000]


def test_the_lists_own_price_for_a_tier_goes_before_a_multiple() -> None:
    """gpt-5 is listed with flex at half of 1.25."""
    assert cost(PriceBook(tiers={"flex": "0.9"}), "flex", "gpt-5") == 625_000


def test_a_multiple_may_belong_to_one_provider(tmp_path: Path) -> None:
    """In a price file as in code, whose word counts first."""
    path = tmp_path / "prices.toml"
    path.write_text('[tiers]\nbatch = 0.8\n"*" = 4\n[tiers.azure]\nbatch = 0.5\n')
    from_file, over = PriceBook(path=path), PriceBook(path=path, tiers={"azure": {"batch": "0.25"}})

    assert cost(from_file, "batch", "gpt-4-turbo", "azure") == 5_000_000
    assert cost(from_file, "batch", "grok-3", "x-ai") == 8 * cost(from_file, None, "grok-3", "x-ai") // 10
    assert cost(over, "batch", "gpt-4-turbo", "azure") == 2_500_000
    assert cost(from_file, "warp", "gpt-4-turbo", "azure") == 40_000_000


def test_what_providers_say_of_their_tiers_is_shipped() -> None:
    """Google's flex is half and its priority 1.8; Anthropic's priority is standard, its fast mode twice that."""
    prices = PriceBook()

    def multiple(provider: str, model: str, tier: str) -> float:
        return cost(prices, tier, model, provider) / cost(prices, None, model, provider)

    assert multiple("google", "gemini-2.5-pro", "flex") == 0.5
    assert multiple("google", "gemini-2.5-pro", "priority") == 1.8
    assert multiple("google", "gemini-2.5-pro", "ON_DEMAND_FLEX") == 0.5
    assert multiple("anthropic", "claude-sonnet-5", "priority") == 1
    assert multiple("anthropic", "claude-sonnet-5", "fast") == 2
    assert multiple("groq", "llama-3.3-70b-versatile", "performance") == 1
    assert multiple("groq", "llama-3.3-70b-versatile", "flex") == 1
    assert multiple("openai", "gpt-4-turbo", "flex") == 1
    assert multiple("x-ai", "grok-4.5", "priority") == 2.5


def test_a_tier_that_nobody_declared_is_not_cheaper_and_says_so() -> None:
    """It costs what the dearest common one does."""
    prices = PriceBook()

    assert cost(prices, "reserved") == 2.5 * cost(prices, None)
    assert prices.assumes("openai", "gpt-4o", "gpt-4o-2024-08-06", "reserved")
    assert not any(prices.assumes("openai", "gpt-4o", None, tier) for tier in ("default", "", "priority", "flex"))
    assert not PriceBook(tiers={"reserved": 1}).assumes("openai", "gpt-4o", None, "reserved")
    assert not PriceBook(tiers={"*": 2}).assumes("openai", "gpt-4o", None, "reserved")
    assert cost(PriceBook(tiers={"*": 2}), "reserved") == 2 * cost(prices, None)


def test_a_borrowed_price_is_dearer_in_a_dear_tier_and_no_cheaper_in_a_cheap_one() -> None:
    """The list knows OpenAI's tiers, not Azure's; who knows better can say so."""
    prices = PriceBook()

    assert cost(prices, "priority", "gpt-5", "azure") == 2_500_000
    assert cost(prices, "flex", "gpt-5", "azure") == cost(prices, "batch", "gpt-5", "azure") == 1_250_000
    assert cost(PriceBook(tiers={"azure": {"batch": 0.5}}), "batch", "gpt-5", "azure") == 625_000


@pytest.mark.parametrize("table", [{"batch": 0}, {"batch": "x"}, {"batch": -1}, {"azure": {"batch": None}}])
def test_a_multiple_that_is_none_is_an_error(table: dict[str, Any]) -> None:
    """No tier is free."""
    with pytest.raises(ConfigError, match=r"tiers.*batch"):
        PriceBook(tiers=table)


# -- which may answer ------------------------------------------------------------------------------------------------


def quoted(prices: PriceBook, tier: str | None, model: str = "gpt-5", provider: str | None = "openai") -> int:
    return prices.quote(provider, model, tier).cost(INPUT)


def test_a_request_that_names_no_tier_is_held_at_what_its_project_may_be_set_to() -> None:
    """OpenAI's projects and Azure's deployments have that setting; the models that have a priority price obey it."""
    prices = PriceBook()

    assert quoted(prices, None) == quoted(prices, "auto") == 2_500_000
    assert quoted(prices, None, provider="openai/eu") == 2_750_000
    assert quoted(prices, None, provider="azure") == 2_500_000
    assert quoted(prices, "default") == quoted(prices, "flex") == 1_250_000
    assert quoted(prices, None, "gpt-4-turbo") == 10_000_000
    assert quoted(prices, None, provider=None) == 1_250_000
    assert quoted(prices, None, "gemini-2.5-pro", "google") == 1_250_000


@pytest.mark.parametrize("none", [(), "default", ["standard"]])
def test_who_knows_that_a_project_has_no_such_setting_says_so(none: Any) -> None:
    """Then calls are held at the standard price."""
    prices = PriceBook(auto_tier=none)

    assert quoted(prices, None) == quoted(prices, "auto") == 1_250_000
    prices.meet("openai", "gpt-5", "priority")
    assert quoted(prices, None) == 1_250_000


def test_a_named_auto_tier_holds_at_every_host() -> None:
    """What `auto` means is set where only the provider sees it."""
    prices = PriceBook(auto_tier="priority")

    assert quoted(prices, None, provider=None) == quoted(prices, "auto", provider=None) == 2_500_000
    assert quoted(prices, "default", provider=None) == 1_250_000
    with pytest.raises(ConfigError, match=r"auto_tier='warp'.*default.*priority"):
        PriceBook(auto_tier="warp")


def test_a_flex_call_may_be_answered_in_the_standard_tier() -> None:
    """So it is held at that."""
    assert quoted(PriceBook(), "flex") == 1_250_000
    assert quoted(PriceBook(tiers={"flex": "0.5"}), "flex", "gpt-4-turbo") == 10_000_000


def test_a_tier_that_was_met_is_held_from_then_on() -> None:
    """At hosts of which nobody knows that they have the setting, and for prices of one's own."""
    prices = PriceBook(overrides={"m": {"input": 2}})
    assert quoted(prices, None, "m", None) == 2_000_000

    prices.meet(None, "m", "priority")

    assert quoted(prices, None, "m", None) == 5_000_000
    assert quoted(prices, "default", "m", None) == 2_000_000
    assert quoted(prices, None, "m", "openai") == 2_000_000


# -- whole calls -----------------------------------------------------------------------------------------------------


def exhaust(client: openai.OpenAI, **request: Any) -> None:
    """Call until the budget refuses."""
    for _ in range(100):
        client.chat.completions.create(messages=HI, **request)


@pytest.mark.parametrize(
    ("tier", "expected", "flagged"),
    [
        ("reserved", 750_000, True),  # 2.5 x (100 x 1 + 20 x 10)
        ("Warp", 750_000, True),
        ("scale", 300_000, False),
        ("PROVISIONED_THROUGHPUT", 300_000, False),
        ("flex", 300_000, False),
        ("", 300_000, False),
        (None, 300_000, False),
        (3, 300_000, False),
        ("default", 300_000, False),
        ("priority", 750_000, False),
    ],
)
def test_an_answer_in_any_tier_is_priced_by_its_usage(tier: Any, expected: int, flagged: bool) -> None:
    """The hold was 0.04 dollars; a tier of which nothing is known is marked."""
    prices = PriceBook(overrides={"m": {"input": 1, "output": 10, "max_output": 4000}})
    said = lambda body: reply("m", 20, service_tier=tier)  # noqa: E731
    client, manager = guarded(said, 5, prices, "https://gateway.example.com/v1")

    client.chat.completions.create(model="m", messages=HI)

    [entry] = manager.store.entries()
    assert (entry.cost, "tier" in entry.flags) == (expected, flagged)


@pytest.mark.parametrize("base_url", ["https://api.openai.com/v1", "https://eu.api.openai.com/v1"])
def test_a_hard_limit_holds_where_the_project_is_set_to_priority(base_url: str) -> None:
    """Every answer writes all that it may, in the dearer tier."""

    def priority(body: dict[str, Any]) -> dict[str, Any]:
        return reply("gpt-4o-mini-2024-07-18", body["max_completion_tokens"], service_tier="priority")

    client, manager = guarded(priority, 0.01, PriceBook(), base_url)

    with pytest.raises(BudgetExceededError):
        exhaust(client, model="gpt-4o-mini", max_completion_tokens=1000)
    [(_, balance)] = manager.guard.balances({}, None)
    assert 0 < balance.settled <= 10_000_000


@pytest.mark.parametrize(
    ("request_", "limit", "sent"),
    [
        # 1,000 tokens and 9 of input: $0.00100225 in the dear tier, $0.00060135 in the standard one.
        ({"max_completion_tokens": 1_000}, "0.00101", None),
        ({"max_completion_tokens": 1_000}, "0.00061", "default"),
        ({"max_completion_tokens": 1_000, "service_tier": "auto"}, "0.00101", "auto"),
        ({"max_completion_tokens": 1_000, "service_tier": "flex"}, "0.00061", "flex"),
        ({}, "1000", None),
        ({}, "0.001", "default"),
    ],
)
def test_a_call_leaves_a_tier_that_there_is_no_room_for(request_: dict[str, Any], limit: str, sent: str | None) -> None:
    """So that a project in the standard tier, as most are, can use its budget to the end, and one in another fits."""
    bodies: list[dict[str, Any]] = []

    def said(body: dict[str, Any]) -> dict[str, Any]:
        bodies.append(body)
        return reply("gpt-4o-mini", 5, service_tier="default")

    client, _ = guarded(said, limit, PriceBook())
    client.chat.completions.create(model="gpt-4o-mini", messages=HI, **request_)

    assert [body.get("service_tier") for body in bodies] == [sent]


@pytest.mark.parametrize(
    ("request_", "base_url"),
    [
        ({"service_tier": "auto"}, "https://api.openai.com/v1"),  # what a caller states is left as it is
        ({"service_tier": "priority"}, "https://api.openai.com/v1"),
        ({}, "https://corp.openai.azure.com/openai/v1"),  # not known to take the field
    ],
)
def test_where_the_tier_cannot_be_left_the_call_is_refused(request_: dict[str, Any], base_url: str) -> None:
    """There is room for the standard price only."""
    client, _ = guarded(lambda body: reply("gpt-4o-mini", 5), "0.00061", PriceBook(), base_url)

    with pytest.raises(BudgetExceededError):
        client.chat.completions.create(model="gpt-4o-mini", messages=HI, max_completion_tokens=1_000, **request_)


def test_the_cap_of_a_call_that_left_its_tier_is_what_the_standard_price_pays_for() -> None:
    """The room is $0.001: (1,000,000 - 9 x 150) / 600 = 1,664 tokens instead of 997."""
    bodies: list[dict[str, Any]] = []

    def said(body: dict[str, Any]) -> dict[str, Any]:
        bodies.append(body)
        return reply("gpt-4o-mini", 5, service_tier="default")

    client, _ = guarded(said, "0.001", PriceBook(), in_flight=1)
    client.chat.completions.create(model="gpt-4o-mini", messages=HI)

    assert [body["max_completion_tokens"] for body in bodies] == [1664]


def test_at_a_host_without_the_setting_one_answer_is_enough_to_know() -> None:
    """Only the first is above what was held."""

    def priority(body: dict[str, Any]) -> dict[str, Any]:
        return reply("m", body["max_tokens"], service_tier="priority")

    prices = PriceBook(overrides={"m": {"input": 1, "output": 10, "max_output": 4000}})
    client, manager = guarded(priority, 1, prices, "https://gateway.example.com/v1")

    with pytest.raises(BudgetExceededError):
        exhaust(client, model="m", max_tokens=1000)
    [(_, balance)] = manager.guard.balances({}, None)
    assert 900_000_000 < balance.settled <= 1_000_000_000
