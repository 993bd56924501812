"""Bills of providers: what their APIs send is read to the last digit, and asked for without giving the key away."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

import pytest

import budgetguard
from budgetguard import BudgetManager
from budgetguard.errors import BillError, ConfigError
from budgetguard.providers.bills.asking import MOST_WAIT_S, TRIES, ask
from budgetguard.providers.bills.known import SOURCES, source_named
from budgetguard.providers.bills.lines import ATTO_PER_NANO, ProviderBill
from budgetguard.providers.bills.openai import fold, model_of
from budgetguard.providers.bills.reading import atto_of
from tests.support.billing import BillServer, Spoilt, recorded

SINCE, UNTIL = 1790812800, 1790812800 + 31 * 86400
"""October 2026."""
KEY = "sk-admin-0123456789abcdef"
KEYS = dict.fromkeys([name for source in SOURCES.values() for name in source.keys], KEY)


def asked_for(provider: str, served: BillServer, **more: Any) -> ProviderBill:
    """The bill of October."""
    return ask(source_named(provider), SINCE, UNTIL, environ=KEYS, url=served.url, **more)


def costs(bill: ProviderBill) -> dict[tuple[str, str, str], int]:
    """Nano-dollars by day, model and item, where they are whole."""
    return {(line.day, line.model, line.item): line.atto // ATTO_PER_NANO for line in bill.lines if line.atto}


# -- what they send ----------------------------------------------------------------------------------------------------


def test_openai_s_line_items_are_read_as_models_tools_and_services_over_all_pages():
    """Costs by model are in the names of line items only, and amounts are texts, numbers, or left out."""
    with BillServer(recorded("openai")) as served:
        bill = asked_for("openai", served)

    assert costs(bill) == {
        ("2026-10-01", "gpt-4o-mini-2024-07-18", "gpt-4o-mini-2024-07-18, input"): 150_000_000,
        ("2026-10-01", "gpt-4o-mini-2024-07-18", "gpt-4o-mini-2024-07-18, output"): 600_000_000,
        ("2026-10-01", "", "web search tool calls"): 20_000_000,
        ("2026-10-03", "gpt-4o-2024-08-06", "gpt-4o-2024-08-06, input"): 250_000_000,
        ("2026-10-03", "", "evals | gpt-4o-mini-2024-07-18, input"): 3_100_000,
        ("2026-10-03", "", "assistants api | file search"): 271_000,
        ("2026-10-03", "", "(no line item)"): 1_000,
        ("2026-10-04", "gpt-image-1", "gpt-image-1 image, output"): 40_000_000,
        ("2026-10-04", "whisper-1", "whisper"): 6_000_000,
        ("2026-10-04", "ft:gpt-4o-mini-2024-07-18", "ft-gpt-4o-mini-2024-07-18, output"): 1_200_000_000,
        ("2026-10-04", "gpt-5.4-2026-03-05", "gpt-5.4-2026-03-05, cached input, long context"): 500_000_000,
    }
    assert {line.project for line in bill.lines} == {"proj_shop", "proj_gone", ""}
    image = next(each for each in bill.used if each.model.startswith("gpt-image"))
    assert image.usage == {
        "input_tokens": 500,
        "cache_read_tokens": 100,
        "input_image_tokens": 400,
        "cache_image_read_tokens": 100,
        "output_tokens": 1000,
        "output_image_tokens": 1000,
    }
    assert [each.tier for each in bill.used if each.calls in {7, 2} and "mini" in each.model] == ["batch", "priority"]


def test_openai_is_asked_by_day_line_item_project_model_and_tier():
    """What is not grouped by comes as null; what is not limited comes a week at a time."""
    with BillServer(recorded("openai")) as served:
        asked_for("openai", served)

    first = served.asked[0]
    assert first.headers["authorization"] == f"Bearer {KEY}"
    assert ("start_time", str(SINCE)) in first.params
    assert ("end_time", str(UNTIL)) in first.params
    assert [value for name, value in first.params if name == "group_by"] == ["line_item", "project_id"]
    usage = next(each for each in served.asked if each.path.endswith("/completions"))
    assert [value for name, value in usage.params if name == "group_by"] == [
        "project_id",
        "model",
        "batch",
        "service_tier",
    ]
    assert [dict(each.params).get("page") for each in served.asked] == [None, "page_AAAA", None, "page_BBBB", None]


def test_anthropic_s_amounts_are_cents_and_its_input_is_put_together():
    """A hundred times too much, or cached input that counts twice, would be an alarm each month."""
    with BillServer(recorded("anthropic")) as served:
        bill = asked_for("anthropic", served)

    assert costs(bill) == {
        ("2026-10-01", "claude-haiku-4-5-20251001", "Claude Haiku 4.5 Usage - Input Tokens"): 1_237_891_200,
        ("2026-10-01", "claude-haiku-4-5-20251001", "Claude Haiku 4.5 Usage - Output Tokens"): 500_000_000,
        ("2026-10-01", "", "Web Search Usage"): 20_000_000,
        ("2026-10-03", "", "Code Execution Usage"): 5_000_000,
        ("2026-10-03", "claude-haiku-4-5-20251001", "Claude Haiku 4.5 Usage - Output Tokens, Batch"): 250_000_000,
    }
    plain, batch, long = bill.used
    assert plain.usage == {
        "input_tokens": 2700,
        "cache_read_tokens": 200,
        "cache_write_tokens": 1500,
        "cache_write_1h_tokens": 1000,
        "output_tokens": 500,
    }
    assert (batch.tier, batch.long, long.tier, long.long) == ("batch", False, "priority", True)
    assert served.asked[0].headers["x-api-key"] == KEY
    assert served.asked[0].headers["anthropic-version"] == "2023-06-01"
    assert ("starting_at", "2026-10-01T00:00:00Z") in served.asked[0].params


def test_openrouter_s_activity_is_read_for_the_time_that_is_asked_for():
    """It sends thirty days whatever is wanted; what was paid elsewhere is not on its bill, and is said."""
    with BillServer(recorded("openrouter")) as served:
        bill = asked_for("openrouter", served)

    assert [(line.day, line.model, line.atto // ATTO_PER_NANO) for line in bill.lines] == [
        ("2026-10-01", "openai/gpt-4.1-2025-04-14", 15_000_000),
        ("2026-10-02", "anthropic/claude-4.5-haiku-20251001", 15_000),
    ]
    assert [(each.calls, each.usage["input_tokens"]) for each in bill.used] == [(5, 50), (1, 10)]
    assert bill.used[1].usage["cache_read_tokens"] == 10
    assert bill.notes == ("Calls with keys of your own cost $0.01 more at their providers, which is on those bills.",)


@pytest.mark.parametrize(
    ("item", "model"),
    [
        ("gpt-4o-mini-2024-07-18, input", "gpt-4o-mini-2024-07-18"),
        ("gpt-audio-mini-2025-12-15 audio, input", "gpt-audio-mini-2025-12-15"),
        ("gpt-5.6-luna, cache writes", "gpt-5.6-luna"),
        ("gpt-live-1, voice session", "gpt-live-1"),
        ("text-embedding-3-small, input", "text-embedding-3-small"),
        ("tts-1", "tts-1"),
        ("web search tool calls", ""),
        ("evals | gpt-4o-mini, input", ""),
        ("storage", ""),
        ("ft-gpt-4o-2024-08-06, training", ""),
        ("", ""),
    ],
)
def test_a_line_item_names_a_model_or_none(item, model):
    """A tool that is taken for a model would be a call that nobody guarded."""
    assert model_of(item) == model


def test_a_fine_tuned_model_has_one_name_on_both_sides():
    """The costs leave out whose it is, and write it with a dash."""
    assert fold("ft:gpt-4o-mini-2024-07-18:acme::x1") == fold("ft-gpt-4o-mini-2024-07-18")


@pytest.mark.parametrize(
    ("value", "places", "nano"),
    [
        ("0.000004500000000000000000000000000000000", 0, 4_500),
        ("0E-6176", 0, 0),
        ("1E-6176", 0, 0),
        (Decimal("0.1"), 0, 100_000_000),
        (7, 0, 7_000_000_000),
        ("123.45", 2, 1_234_500_000),
        ("-1.5", 0, -1_500_000_000),
    ],
)
def test_an_amount_is_exact_however_it_is_written(value, places, nano):
    """A float of dollars is another amount than the one on the bill."""
    assert atto_of(value, places=places) == nano * ATTO_PER_NANO


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1E+999999", "a lot", None, True, [1]])
def test_what_is_no_amount_is_refused(value):
    """A bill that cannot be read must not be taken for one that is smaller."""
    with pytest.raises(BillError, match="amount"):
        atto_of(value)


def test_a_number_on_a_page_keeps_all_of_its_digits():
    """As a float it is another amount, before anybody has added anything up."""
    page = (
        b'{"data": [{"start_time": 1790812800, "results": [{"line_item": "gpt-4o, input", "amount": '
        b'{"value": 12.345678901234567891, "currency": "usd"}}]}], "has_more": false, "next_page": null}'
    )
    with BillServer(recorded("openai"), [Spoilt(200, page)]) as served:
        bill = asked_for("openai", served)

    assert [line.atto for line in bill.lines] == [12_345_678_901_234_567_891]


def test_days_that_nobody_asked_for_are_left_out():
    """The books have no entries of them: they would be calls that went round."""
    with BillServer(recorded("openai")) as served:
        bill = ask(source_named("openai"), SINCE, SINCE + 86_400, environ=KEYS, url=served.url)

    assert {row.day for row in (*bill.lines, *bill.used)} == {"2026-10-01"}


def test_another_currency_is_refused():
    """Euros that are taken for dollars are a discount that nobody gave."""
    with pytest.raises(BillError, match="only dollars"):
        atto_of("1.00", "eur")


NO_PAGES: list[Any] = [
    [],
    {},
    "text",
    {"data": None},
    {"data": [7]},
    {"data": [{"results": [1]}]},
    {"data": [{"start_time": 1790812800, "starting_at": "2026-10-01T00:00:00Z"}]},
    {"data": [{"start_time": 1790812800, "starting_at": "2026-10-01T00:00:00Z", "date": [7], "results": 7}]},
    {"data": [], "has_more": True},
    {"data": [], "has_more": True, "next_page": 2},
    {"data": [], "next_page": {"cursor": "b"}},
]


@pytest.mark.parametrize("page", NO_PAGES)
@pytest.mark.parametrize("provider", sorted(SOURCES))
def test_a_page_that_is_not_as_documented_is_an_error(provider, page):
    """Nothing was read of it: a comparison would say that nothing is on the bill."""
    paths = {path: [page] for path in recorded(provider)}
    with BillServer(paths) as served, pytest.raises(BillError, match="documented"):
        asked_for(provider, served)


@pytest.mark.parametrize("amount", [3.5, "3.5", [3.5], {"value": True}])
def test_a_cost_that_is_written_otherwise_is_not_left_out(amount):
    """A line that is passed over makes the bill smaller than it is."""
    bucket = {"start_time": 1790812800, "results": [{"amount": amount, "line_item": "gpt-4o, input"}]}
    paths = {path: [{"data": [bucket]}] for path in recorded("openai")}
    with BillServer(paths) as served, pytest.raises(BillError, match="documented"):
        asked_for("openai", served)


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_day_that_is_sent_twice_is_not_counted_twice(provider):
    """A proxy that answers each page with the first one, under new cursors, would double what was spent."""
    paths = dict(recorded(provider))
    path, pages = next(iter(paths.items()))
    paths[path] = [{**pages[0], "next_page": "b"}, {**pages[0], "next_page": "c"}, pages[-1]]
    with BillServer(paths) as served, pytest.raises(BillError, match="same day twice"):
        asked_for(provider, served)


# -- how they are asked ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_may_not_see_the_bill_is_told_what_is_needed_and_not_repeated(status, caplog):
    """It is the first thing that goes wrong; what the provider says of a key may have a part of it."""
    caplog.set_level(logging.DEBUG)
    said = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}. Missing scopes: api.usage.read"}})
    with (
        BillServer(recorded("openai"), [Spoilt(status, said.encode(), times=99)]) as served,
        pytest.raises(BillError) as found,
    ):
        asked_for("openai", served)

    assert "OPENAI_ADMIN_KEY" in str(found.value)
    assert "sk-admin-..." in str(found.value)
    assert KEY not in str(found.value) + caplog.text
    assert len(served.asked) == 1, "it makes no sense to try again"


def test_another_refusal_says_why_without_the_key():
    """An argument that the provider does not take is ours to mend, and its text says which."""
    said = json.dumps({"error": {"message": f"limit is too large (asked with {KEY})"}})
    with BillServer(recorded("openai"), [Spoilt(400, said.encode())]) as served, pytest.raises(BillError) as found:
        asked_for("openai", served)

    assert str(found.value) == "openai answered 400: limit is too large (asked with ...)"


def test_the_key_does_not_follow_a_redirect():
    """Whoever can answer for the host once would have the key for good."""
    with BillServer(recorded("openai")) as other:
        away = Spoilt(302, headers={"location": f"{other.url}/organization/costs"})
        with BillServer(recorded("openai"), [away]) as served, pytest.raises(BillError, match="not sent there"):
            asked_for("openai", served)

    assert other.asked == []


@pytest.mark.parametrize(
    "spoilt",
    [
        Spoilt(429, headers={"retry-after": "7"}),
        Spoilt(503, headers={"retry-after": "7"}, times=TRIES - 1),
        Spoilt(529, headers={"retry-after": "7"}),
    ],
)
def test_what_passes_is_tried_again_when_the_provider_says(spoilt):
    """A month has many pages, and they are asked for one after the other."""
    times, waited = spoilt.times, list[float]()
    with BillServer(recorded("openai"), [Spoilt(spoilt.status, headers=spoilt.headers, times=times)]) as served:
        bill = asked_for("openai", served, wait=waited.append)

    assert len(bill.lines) == 12
    assert waited == [7.0] * times


def test_a_wait_has_an_end_and_so_have_tries():
    """A provider that is away must not keep a job of the night until the morning."""
    later = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)
    waited = list[float]()
    spoilt = [Spoilt(429, headers={"retry-after": later}), Spoilt(500, times=99)]
    with BillServer(recorded("openai"), spoilt) as served, pytest.raises(BillError, match="answered 500, 5 times"):
        asked_for("openai", served, wait=waited.append)

    assert waited == [MOST_WAIT_S, 2.0, 4.0, 8.0]


def test_nobody_there_is_said():
    """The host's name is in it, so that a misspelled one is seen."""
    with BillServer({}) as served:
        url = served.url
    with pytest.raises(BillError, match=r"did not answer, 5 times: 127\.0\.0\.1/v1/organization/costs"):
        ask(source_named("openai"), SINCE, UNTIL, environ=KEYS, url=url, wait=lambda _seconds: None)


def test_pages_that_go_round_have_an_end():
    """A cursor that comes back would be asked for all night."""
    page = {"data": [], "has_more": True, "next_page": "again"}
    paths = {path: [page, page] for path in recorded("openai")}
    with BillServer(paths) as served, pytest.raises(BillError, match="no end"):
        asked_for("openai", served)


@pytest.mark.parametrize(
    ("environ", "url", "says"),
    [
        ({}, None, "OPENAI_ADMIN_KEY is not set"),
        ({"OPENAI_API_KEY": "sk-1"}, None, "OPENAI_ADMIN_KEY is not set"),
        ({"OPENAI_ADMIN_KEY": "sk\n1"}, None, "is no key"),
        ({"OPENAI_ADMIN_KEY": "sk 1"}, None, "is no key"),
        (KEYS, "http://bills.example.com/v1", "in the clear"),
        (KEYS, "https://user:word@bills.example.com/v1", "without a user"),
        (KEYS, "file:///etc/passwd", "in the clear"),
    ],
)
def test_without_a_safe_way_nothing_is_asked(environ, url, says):
    """The key of an organization can do more than read: it is sent over TLS, and only where somebody meant it to go."""
    with pytest.raises(ConfigError, match=says) as found:
        ask(source_named("openai"), SINCE, UNTIL, environ=environ, url=url)

    assert "sk 1" not in str(found.value)


def test_asking_is_no_call_of_a_model(tmp_path, caplog):
    """In a guarded process the bill is asked for as everything is: it holds nothing, and nobody is warned of it."""
    manager = BudgetManager("shop", store=f"sqlite:///{tmp_path}/books.db", budgets=[])
    budgetguard.patch(manager)
    for provider in SOURCES:
        with BillServer(recorded(provider)) as served:
            asked_for(provider, served)

    assert list(manager.store.entries()) == []
    assert [record.message for record in caplog.records if record.name == "budgetguard"] == []
    manager.close()
