"""`reconcile`: what it shows, how it ends, and that a discount is written only where somebody said yes."""

from __future__ import annotations

import csv
import io
import json
import tomllib
from typing import Any

import pytest
from typer.testing import CliRunner

from budgetguard import PriceBook
from budgetguard.cli.app import app
from budgetguard.ledger import Entry
from budgetguard.reports.bill.pricing import DAY_MS, day_ms
from budgetguard.stores import open_store
from tests.support.billing import BillServer

KEY = "sk-admin-0123456789abcdef"
DAYS = 5
FIRST = day_ms("2026-10-01")
MILLION = 10**6


def pages(factor: float) -> dict[str, list[Any]]:
    """Some days of a million tokens in and out of gpt-4o-mini, which are 75 cents at our prices."""
    empty = {"data": [], "has_more": False, "next_page": None}
    costs, usage = list[Any](), list[Any]()
    for day in range(DAYS):
        start = (FIRST + day * DAY_MS) // 1000
        amount = {"value": str(round(0.75 * factor, 6)), "currency": "usd"}
        line = {"amount": amount, "line_item": "gpt-4o-mini-2024-07-18, output", "project_id": "proj_a"}
        used = {"model": "gpt-4o-mini-2024-07-18", "input_tokens": MILLION, "output_tokens": MILLION}
        costs.append({"start_time": start, "results": [line]})
        usage.append({"start_time": start, "results": [{**used, "num_model_requests": 1, "service_tier": "default"}]})
    return {
        "/organization/costs": [{**empty, "data": costs}],
        "/organization/usage/completions": [{**empty, "data": usage}],
        "/organization/usage/embeddings": [empty],
    }


@pytest.fixture
def booked(here) -> str:
    """Books with a call on each of these days, at our prices."""
    url = f"sqlite:///{here}/books.db"
    store = open_store(url, namespace="shop")
    usage = {"input_tokens": MILLION, "output_tokens": MILLION}
    store.load(
        entries=[
            Entry(f"call-{day}", 750_000_000, (), FIRST + day * DAY_MS + 5, {}, "openai", "gpt-4o-mini", usage)
            for day in range(DAYS)
        ]
    )
    store.close()
    return url


@pytest.fixture
def run(booked, monkeypatch):
    """Runs the command against a provider that bills at a factor of our prices."""
    monkeypatch.setenv("OPENAI_ADMIN_KEY", KEY)
    monkeypatch.setenv("COLUMNS", "60")

    def run(*words: str, factor: float = 1.0, typed: str = "") -> Any:
        with BillServer(pages(factor)) as served:
            arguments = ["reconcile", "openai", "--month", "2026-10", "--store", booked, "--url", served.url, *words]
            done = CliRunner().invoke(app, arguments, input=typed, catch_exceptions=True)
        assert KEY not in done.output
        return done

    return run


def test_the_same_on_both_sides_ends_with_0(run):
    """A cron job that says nothing is one that found nothing."""
    done = run()

    assert done.exit_code == 0, done.output
    assert "The books and the bill of openai are the same: $3.75." in done.output


def test_a_difference_ends_with_1_and_says_why(run):
    """Of each model, of each day, and in a sentence."""
    done = run("--tolerance", "1%", factor=0.85)

    assert done.exit_code == 1
    for said in ("gpt-4o-mini", "price differs -$0.56", "2026-10-03", "█", "15 %", "[discounts]"):
        assert said in done.output
    assert run("--tolerance", "20%", factor=0.85).exit_code == 0


def test_it_can_be_read_in_60_columns(run, monkeypatch):
    """In half a window, or in the pane beside the editor."""
    from rich.console import Console

    from budgetguard.cli.spending import reconcile as command

    shown = io.StringIO()
    monkeypatch.setattr(command, "console", lambda **_options: Console(file=shown, width=60, highlight=False))
    run("--by", "day,model", factor=0.85)

    lines = shown.getvalue().splitlines()
    assert max(map(len, lines)) <= 60
    assert any("2026-10-01" in line and "gpt-4o-mini" in line and "-$0.112" in line for line in lines)


def test_json_has_whole_nano_dollars_and_all_parts(run):
    """What a program compares must be what the books and the bill have."""
    found = json.loads(run("--json", factor=0.85).stdout)

    assert found["total"]["books_cost"] == 3_750_000_000
    assert found["total"]["bill_cost"] == 3_187_500_000
    assert found["total"]["reasons"] == {"price differs": -562_500_000}
    assert len(found["days"]) == len(found["cells"]) == DAYS
    assert found["factor"]["discount"] == "0.15"
    assert (found["within"], found["since"]) == (False, "2026-10-01T00:00:00+00:00")


def test_csv_and_markdown_have_the_rows_that_were_asked_for(run):
    """The one goes into a spreadsheet, the other into a ticket."""
    rows = list(csv.DictReader(io.StringIO(run("--csv", "--by", "day", factor=0.85).stdout)))
    first = [rows[0][name] for name in ("day", "books", "difference", "price differs")]
    assert first == ["2026-10-01", "0.75", "-0.1125", "-0.1125"]
    assert len(rows) == DAYS

    page = run("--markdown", factor=0.85).stdout
    assert "| gpt-4o-mini | $3.75 | $3.19 | -$0.562 | price differs -$0.562 |" in page


def written(here: Any) -> Any:
    """The discounts of the price file that was written."""
    return tomllib.loads((here / "prices.toml").read_text())["discounts"]


@pytest.mark.parametrize(("words", "typed"), [(["--yes"], ""), ([], "y\n")])
def test_a_discount_is_written_after_a_yes_and_holds_before_and_after_a_call(run, here, words, typed):
    """What is held at most becomes less as well: else budgets would be full before they are."""
    run("--write-discount", "prices.toml", *words, factor=0.85, typed=typed)

    assert written(here) == {"openai": 0.15}
    usage = {"input_tokens": MILLION, "output_tokens": MILLION}
    plain, less = PriceBook(), PriceBook(path="prices.toml")
    assert less.tariff("openai", "gpt-4o-mini", None, FIRST).cost(usage) == 637_500_000
    most = plain.quote("openai", "gpt-4o-mini").cost(usage)
    assert less.quote("openai", "gpt-4o-mini").cost(usage) == -(-most * 85 // 100)
    assert less.tariff("anthropic", "claude-haiku-4-5", None, FIRST).cost(usage) == 6_000_000_000


@pytest.mark.parametrize("typed", ["n\n", ""])
def test_without_a_yes_nothing_is_written(run, here, typed):
    """Every call becomes cheaper by it: nobody does that by the way."""
    done = run("--write-discount", "prices.toml", factor=0.85, typed=typed)

    assert not (here / "prices.toml").exists()
    assert "openai = 0.15" in done.output


def test_a_discount_that_is_there_is_gone_on_from(run, here):
    """The bill is compared with prices that have it: another 5 % off what is left is not 5 % off the list."""
    (here / "prices.toml").write_text("# ours\n[discounts]\nopenai = 0.1 # since May\n")
    (here / "budgetguard.toml").write_text('prices = "prices.toml"\n')
    done = run("--write-discount", "prices.toml", "--yes", factor=0.855)

    assert written(here) == {"openai": 0.145}
    assert (here / "prices.toml").read_text().startswith("# ours\n")
    assert "takes the place of 0.1" in done.output


def test_no_discount_is_no_line(run, here):
    """Where a factor does not hold on every day, what is written would be made up."""
    from budgetguard.errors import ConfigError

    done = run("--write-discount", "prices.toml", "--yes")
    assert isinstance(done.exception, ConfigError)
    assert not (here / "prices.toml").exists()


@pytest.mark.parametrize(
    "words", [["--tolerance", "much"], ["--tolerance", "150%"], ["--by", "hour"], ["--by", ""], ["--since", "soon"]]
)
def test_an_option_that_cannot_be_used_is_named(run, words):
    """Before the provider is asked for anything."""
    from budgetguard.errors import ConfigError

    done = run(*words)
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception).startswith((words[0], "'soon'"))
