"""Small files that versions before wrote or read, and what was kept of these versions: none of them has to run."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from budgetguard import Budget, BudgetManager, PriceBook
from budgetguard.config import load_config
from budgetguard.server.gateway.config.file import load
from budgetguard.stores.sqlite.store import SQLiteStore
from budgetguard.testing import StoppedClock
from tests.support import ROOT
from tests.support.kept import KEPT, VERSIONS
from tests.support.upgrading import COST, on_books

NOON_MS = 1_798_804_800_000
VOCABULARIES = {"cl100k_base.xz", "o200k_base.xz"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="a source distribution has no versions before in it")
def test_what_is_kept_of_a_version_is_its_wheel_to_the_byte(version: str) -> None:
    """Else a test would meet a program that nobody ever had. Vocabularies, which are large, are those of today."""
    with tarfile.open(KEPT / f"{version}.tar.xz") as archive:
        there = {
            each.name.removeprefix("./"): hashlib.sha256(file.read()).digest()
            for each in archive.getmembers()
            if (file := archive.extractfile(each)) is not None
        }
        [record] = [each for each in archive.getnames() if each.endswith(".dist-info/RECORD")]
        found = archive.extractfile(record)
        assert found is not None
        listed = {
            name: base64.urlsafe_b64decode(f"{said.removeprefix('sha256=')}=")
            for name, said, _ in csv.reader(found.read().decode().splitlines())
            if said
        }
    today = {path.name: hashlib.sha256(path.read_bytes()).digest() for path in vocabularies()}
    left = {Path(name).name: digest for name, digest in listed.items() if name not in there}
    assert left == today
    assert {name: digest for name, digest in listed.items() if name in there} == {
        name: digest for name, digest in there.items() if name in listed
    }
    assert {name.rpartition("/")[2] for name in there.keys() - listed.keys()} == {"RECORD"}


def vocabularies() -> list[Path]:
    """Those of this version."""
    found = [path for path in (ROOT / "budgetguard").rglob("*.xz") if path.name in VOCABULARIES]
    assert len(found) == 2
    return found


@pytest.fixture(params=VERSIONS)
def kept(request: pytest.FixtureRequest) -> Path:
    """The small files of a version."""
    return KEPT / str(request.param)


@pytest.fixture
def then(kept: Path) -> dict[str, Any]:
    """What its program saw of the file, and when; numbers as JSON has them."""
    seen: dict[str, Any] = json.loads((kept / "seen.json").read_text())
    return seen


@pytest.fixture
def stands(then: dict[str, Any]) -> StoppedClock:
    """The time of that."""
    return StoppedClock(then.pop("now_ms") / 1000)


@pytest.fixture
def books(kept: Path, path: Path) -> Path:
    """The file of a process that was killed, made again."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript((kept / "books.sql").read_text())
        connection.execute("PRAGMA journal_mode=WAL")
    return path


def test_a_file_of_before_reads_as_its_program_read_it(books: Path, then: dict[str, Any], stands: StoppedClock) -> None:
    """Whatever Python runs here, also once its program does not run; but for the slice that came afterwards."""
    with closing(SQLiteStore(books, namespace="shop", clock=stands)) as store:
        seen = on_books(store)
    [(team, (_, slice_))] = [(key, both) for key, both in seen["balances"].items() if key.startswith("team//")]
    assert slice_ > 0
    seen["balances"][team][1] = 0
    [lease] = [hold for hold in seen["holds"] if "lease" in hold[5]]
    seen["holds"].remove(lease)
    assert seen == then


def test_the_journal_of_before_lands_on_its_books(
    kept: Path, books: Path, then: dict[str, Any], stands: StoppedClock
) -> None:
    """Three calls that were answered and not yet on the books when their process was killed, and its slice."""
    waiting = Path(f"{books}-unsettled")
    waiting.mkdir(mode=0o700)
    (waiting / "1.jsonl").write_bytes((kept / "unsettled.jsonl").read_bytes())
    with BudgetManager("shop", store=f"sqlite:///{books}", clock=stands) as now:
        assert now.flush(20)
        after = on_books(now.store)
    landed = [entry for entry in after["entries"] if entry not in then["entries"]]
    assert [(entry[1], entry[4], entry[7]) for entry in landed] == [
        (COST, {"team": "search"}, {"input_tokens": 7, "output_tokens": 1})
    ] * 3
    [team] = [both for key, both in after["balances"].items() if key.startswith("team//")]
    assert team == [4 * COST, 0]
    assert after["holds"] == then["holds"]
    assert after["differences"] == 0
    assert not waiting.exists() or [path for path in waiting.iterdir() if path.stat().st_size] == []


def test_the_users_that_before_wrote_for_litellm_are_taken_over(kept: Path) -> None:
    """A `user_cost.json` of that version has their limits and what they spent."""
    with BudgetManager("shop", store="memory://") as now:
        assert now.import_litellm(str(kept / "user_cost.json")) == 2
        assert (now.get_total_budget("ann"), now.get_current_cost("ann")) == (1.25, 2 * COST / 1e9)
        assert now.get_total_budget("bob") == 0.00000001


def test_a_settings_file_of_0_2_0_says_what_it_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key that a program of then knew: budgets, prices, and what a guard assumes."""
    for name in ("budgetguard.toml", "prices.toml"):
        (tmp_path / name).write_bytes((KEPT / "0.2.0" / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    said = load_config({})
    assert (said.url, said.project, said.prices) == (
        "sqlite:///budgets.db",
        "shop",
        Path("prices.toml"),
    )
    assert said.budgets == (
        Budget("free", 0.20, "daily", per=("user",), timezone="Europe/Berlin", in_flight=50),
        Budget("team", 500, "monthly", match={"team": "search*"}, lease=True),
        Budget("week", 5, "rolling 7d", enforce="soft", on_expire="charge"),
    )
    settings = said.settings()
    assert (settings.abandoned, settings.usage_hosts) == ("observed", frozenset({"localhost:8080"}))
    assert (settings.on_store_error, settings.allowance, settings.journal) == ("open", 2.0, "waiting")
    assert (settings.ttl_ms, settings.output_guess, settings.context_guess) == (900_000, 8_192, 1_050_000)


def test_a_price_file_of_0_2_0_prices_as_it_did() -> None:
    """Models, free ones, deployments, discounts and tiers: a million tokens, worked out by hand from what it says."""
    book, million = PriceBook.load(KEPT / "0.2.0" / "prices.toml"), {"input_tokens": 1_000_000}

    def nano(provider: str | None, model: str, tier: str | None = None) -> int:
        return book.tariff(provider, model, tier, NOON_MS).cost(million)

    assert nano(None, "my-model") == 150_000_000
    assert nano(None, "my-model", "turbo") == 3 * 150_000_000
    assert nano("azure", "my-model", "batch") == 75_000_000
    assert nano(None, "gemma3") == 0
    assert nano("openai", "my-gpt4o-deployment") == 2_200_000_000  # gpt-4o, less 12 %
    assert book.tariff(None, "my-model", None, NOON_MS).cost({"web_searches": 2}) == 20_000_000


def test_a_gateway_file_of_before_is_read(tmp_path: Path) -> None:
    """Its upstreams, models, aliases and prices; a gateway that is upgraded starts with the file that it had."""
    secret = tmp_path / "anthropic"
    secret.write_text("sk-ant-of-a-test")
    file = tmp_path / "gateway.toml"
    text = (KEPT / "gateway" / "gateway.toml").read_text()
    file.write_text(text.replace("/run/secrets/anthropic", str(secret)))
    read = load(file, {"OPENAI_API_KEY": "sk-of-a-test", "AZURE_API_KEY": "az-of-a-test"})
    assert list(read.upstreams) == ["openai", "claude", "azure-eu", "local"]
    assert [each.name for each in read.entries] == ["gpt-4o*", "fast", "own/*"]
    assert dict(read.aliases) == {"best": "claude-opus-4-5"}
    assert read.options.wait_s == 2.0
    assert [(rule.name, rule.limit) for rule in read.options.budgets] == [("house", 500_000_000_000)]
    assert read.prices.tariff(None, "my-deployment", None, NOON_MS).cost({"input_tokens": 1_000}) == 150_000
