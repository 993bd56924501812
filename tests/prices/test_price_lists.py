"""Where prices come from: a list that is fetched and kept, renewed by a process that lives long, and compared."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from budgetguard import BudgetManager, ConfigError, PriceBook
from budgetguard.config import load_config
from budgetguard.prices.sources import list as pricelist
from budgetguard.prices.sources.published import choice, kept
from budgetguard.prices.sources.published.choice import RenewedList
from tests.support import ROOT
from tests.support.commands import exit_code

MAP = (ROOT / "tests/recordings/litellm_prices.json").read_bytes()
NOW = 1_795_953_600_000
USAGE = {"input_tokens": 1000}


class Publisher(ThreadingHTTPServer):
    """Publishes a list on loopback, and counts who asks for it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Asked)
        self.body, self.status = b"", 200
        self.asked = threading.Semaphore(0)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/prices.json"


class Asked(BaseHTTPRequestHandler):
    """One who asks."""

    def do_GET(self) -> None:
        """What is published."""
        server = self.server
        assert isinstance(server, Publisher)
        self.send_response(server.status)
        self.send_header("content-length", str(len(server.body)))
        self.end_headers()
        self.wfile.write(server.body)
        server.asked.release()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    """A server that runs."""
    with Publisher() as server:
        running = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        running.start()
        yield server
        server.shutdown()
        running.join()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's data directory, which is empty; the path of the kept list in it."""
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    return kept.default_path()


@cache
def installed() -> list[dict[str, Any]]:
    """The installed list as genai-prices publishes it, each model at its price of input."""
    providers = []
    for provider in pricelist.source()().providers:
        models = []
        for model in provider.models:
            listed = pricelist.Listed(provider.id, model)
            said = {} if pricelist.without_price(listed) else pricelist.prices(listed, NOW)
            price = float(said["input_tokens"][0][1]) / 1e6 if "input_tokens" in said else 1
            models.append({"id": model.id, "match": {"equals": model.id.lower()}, "prices": {"input_mtok": price}})
        head = {"id": provider.id, "name": provider.name, "api_pattern": provider.api_pattern}
        providers.append({**head, "models": models})
    return providers


def newer(**prices: float | str) -> bytes:
    """The same, but for these prices of OpenAI's."""
    changed = []
    for provider in installed():
        models = [
            {**model, "prices": {"input_mtok": prices[model["id"]]}} if model["id"] in prices else model
            for model in provider["models"]
        ]
        changed.append({**provider, "models": models} if provider["id"] == "openai" else provider)
    return json.dumps(changed).encode()


def cost(book: PriceBook, model: str = "gpt-4o") -> int:
    return book.tariff("openai", model, None, NOW).cost(USAGE)


def cost_of(renewed: RenewedList) -> int:
    """By the list that a new process begins with, before it has asked anybody."""
    book = PriceBook()
    book._source = lambda: renewed._snapshot
    return cost(book)


def test_an_update_is_kept_with_its_date_and_used(home: Path, here: Path, publisher: Publisher, capsys: Any) -> None:
    """A price that rose is on the books from the day that somebody asks for it, without a release of anything."""
    publisher.body = newer(**{"gpt-4o": 5.0})
    assert exit_code("prices", "update", "--from", publisher.url) == 0
    assert 'write price_list = "updated" below [settings]' in capsys.readouterr().out

    read = kept.read_list(home)
    assert read.fetched is not None
    assert datetime.now(UTC) - read.fetched < timedelta(minutes=5)
    assert read.origin == publisher.url
    assert cost(PriceBook(price_list="updated")) == 5_000_000
    assert cost(PriceBook()) == 2_500_000
    (here / "budgetguard.toml").write_text('[settings]\nprice_list = "updated"\n')
    book = load_config().price_book()
    assert book is not None
    assert cost(book) == 5_000_000


def bad_lists() -> dict[str, bytes]:
    """What may come instead of a newer list."""
    whole = json.loads(newer())
    return {
        "is 2.5 meant": newer(**{"gpt-4o": 2.5e-6}),
        "the installed list": json.dumps(whole[:3]).encode(),
        "is not JSON": json.dumps(whole).encode()[:5000],
        "no price list": b"{}",
        "cannot be read": b'[{"id": "openai"}]',
        "it is free now, and was not": newer(**{"gpt-4o": 0}),
        "recursion": b"[" * 100_000,
        "input_mtok is no price": newer(**{"gpt-4o": "1e-999999999"}),
        "is 1 meant": dated(1, 1e-6),
        "unterminated": json.dumps([{**whole[0], "api_pattern": "("}, *whole[1:]]).encode(),
    }


def dated(*prices: float) -> bytes:
    """The same, with one more model of OpenAI's whose price changed at a time."""
    stated: list[dict[str, Any]] = [{"prices": {"input_mtok": price}} for price in prices]
    stated[-1]["constraint"] = {"start_date": "2026-01-01"}
    model = {"id": "dated", "match": {"equals": "dated"}, "prices": stated}
    providers = [
        {**provider, "models": [*provider["models"], *([model] if provider["id"] == "openai" else [])]}
        for provider in installed()
    ]
    return json.dumps(providers).encode()


def test_a_failed_update_changes_nothing(home: Path, publisher: Publisher, capsys: Any) -> None:
    """Half a list, another page or prices a millionth of themselves must not stand where prices stood."""
    publisher.body = newer(**{"gpt-4o": 5.0})
    assert exit_code("prices", "update", "--from", publisher.url) == 0
    before = home.read_bytes()
    for why, body in bad_lists().items():
        publisher.body = body
        assert exit_code("prices", "update", "--from", publisher.url) == 2
        assert why in capsys.readouterr().err
    publisher.status = 503
    assert exit_code("prices", "update", "--from", publisher.url) == 2
    assert "could not be fetched" in capsys.readouterr().err
    assert home.read_bytes() == before
    assert [path.name for path in home.parent.iterdir()] == [home.name]


def test_a_list_that_does_not_end_is_not_waited_for(
    home: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """A server that sends a byte now and then, or a film, would hold up a cron job, or fill the memory."""
    publisher.body = newer()
    for name, most in (("MOST_BYTES", 1000), ("WHOLE_S", -1)):
        with monkeypatch.context() as patched:
            patched.setattr(kept, name, most)
            assert exit_code("prices", "update", "--from", publisher.url) == 2
        assert "the one before is kept" in capsys.readouterr().err
    assert not home.exists()


def test_an_update_may_be_litellms_map_and_in_another_file(here: Path, publisher: Publisher, capsys: Any) -> None:
    """It is a list as any other; what of it cannot be read is said."""
    publisher.body = MAP
    (here / "budgetguard.toml").write_text('[settings]\nprice_list = "map.json"\n')
    assert exit_code("prices", "update", "--from", publisher.url, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert Path(said["file"]).resolve() == (here / "map.json").resolve()
    assert "no price that can be read" in said["unread"]
    book = load_config().price_book()
    assert book is not None
    assert book.tariff("mistral", "mistral-large-3", None, NOW).cost(USAGE) == 500_000


def test_a_list_that_was_never_fetched_is_refused_with_the_command(home: Path) -> None:
    """Before the first call; falling back to the installed one in silence would be what nobody asked for."""
    assert not home.exists()
    with pytest.raises(ConfigError, match="budgetguard prices update fetches it"):
        PriceBook(price_list="updated").quote("openai", "gpt-4o")


def test_a_kept_list_that_nobody_renews_is_told(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The cron job of it may have been dead for a month."""
    for days, told in ((29, 0), (31, 1)):
        fetched = (datetime.now(UTC) - timedelta(days=days)).isoformat()
        said = {"budgetguard_fetched": fetched, "from": "", "list": json.loads(newer())}
        (here / "kept.json").write_text(json.dumps(said))
        caplog.clear()
        cost(PriceBook(price_list="kept.json"))
        assert [record.getMessage().count("days old") for record in caplog.records] == [1] * told


def test_a_process_renews_the_list_when_it_is_a_day_old(home: Path, publisher: Publisher) -> None:
    """And reads what another process has fetched; the compiled prices go with the list that they are from."""
    publisher.body = newer(**{"gpt-4o": 5.0})
    ahead = [timedelta(0)]
    renewed = RenewedList(home, publisher.url, lambda: datetime.now(UTC) + ahead[0])
    book = PriceBook()
    book._source = lambda: renewed._snapshot
    assert cost(book) == 2_500_000

    renewed.look()
    assert cost(book) == 5_000_000
    assert cost_of(RenewedList(home, publisher.url)) == 5_000_000
    publisher.body = newer(**{"gpt-4o": 6.0})
    renewed.look()
    assert cost(book) == 5_000_000
    ahead[0] = timedelta(days=1, minutes=1)
    renewed.look()
    assert cost(book) == 6_000_000


def test_what_fails_is_said_once_and_the_list_before_holds(
    home: Path, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    """A network that is down for a weekend must neither fill a log nor stop a program."""
    publisher.status = 500
    renewed = RenewedList(home, publisher.url)
    before = renewed._snapshot
    with caplog.at_level(logging.WARNING, "budgetguard"):
        for _ in range(3):
            renewed.look()
    [record] = caplog.records
    assert "prices are not renewed, those before hold" in record.getMessage()
    assert renewed._snapshot is before


def test_the_network_is_asked_by_a_thread_and_only_where_that_is_switched_on(
    home: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No call waits for it; a forked child, which has no thread of its parent's, starts its own."""
    monkeypatch.setattr(choice, "default_url", lambda: publisher.url)
    publisher.status = 500
    for stated in (None, "installed"):
        cost(PriceBook(price_list=stated))
    book = PriceBook(price_list="updating")
    assert cost(book) == 2_500_000
    assert publisher.asked.acquire(timeout=30)
    assert {thread.name for thread in threading.enumerate()} >= {"budgetguard-prices"}
    if hasattr(os, "fork"):
        child = os.fork()
        if child == 0:
            try:
                cost(book)
                threading.Event().wait(30)
            finally:
                os._exit(1)
        assert publisher.asked.acquire(timeout=30)
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_nothing_is_imported_by_the_thread_that_asks_the_network(tmp_path: Path) -> None:
    """A child that is forked while a thread imports has half of the module, and no SDK works in it."""
    program = (
        "import sys, threading, pathlib\n"
        "from budgetguard.prices.sources.published.choice import RenewedList\n"
        "threading.Thread.start = lambda thread: print('httpcore2' in sys.modules)\n"
        f"RenewedList(pathlib.Path({str(tmp_path / 'list.json')!r}), 'http://127.0.0.1:1/')()\n"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "True\n"


def test_two_lists_are_compared(here: Path, publisher: Publisher, capsys: Any) -> None:
    """Where they differ somebody has to look which one the bill agrees with."""
    whole = json.loads(newer(**{"gpt-4o": 2.6, "gpt-4o-mini": 0.1511, "gpt-4.1": 3.0}))
    (here / "newer.json").write_text(json.dumps([each for each in whole if each["id"] == "openai"]))
    assert exit_code("prices", "compare", "installed", "newer.json", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["models"] > 90
    found = {gap["model"]: gap for gap in said["differences"] if gap["provider"] == "openai" and not gap["long"]}
    assert found["gpt-4o"]["first"] == 2.5
    assert found["gpt-4o"]["second"] == 2.6
    assert found["gpt-4.1"]["kind"] == "input"
    assert "gpt-4o-mini" not in found

    assert exit_code("prices", "compare", "installed", "newer.json", "--above", "10") == 0
    told = capsys.readouterr().out
    assert "gpt-4.1" in told
    assert "gpt-4o " not in told
    assert "differ by more than 10 %" in told


def test_models_of_the_history_that_only_one_list_knows_are_named(here: Path, capsys: Any) -> None:
    """Who changes the list would find them refused, or priced in another way, with the next call."""
    (here / "map.json").write_bytes(MAP)
    with BudgetManager("shop", store="sqlite:///budgets.db", prices={"mine": {"input": 1, "output": 1}}) as manager:
        manager.create_budget(1, "ann")
        for model in ("mistral/mistral-small-latest", "gpt-4o", "mine"):
            manager.update_cost("ann", model=model, input_text="hi", output_text="ho")
    assert exit_code("prices", "compare", "installed", "map.json", "--store", "sqlite:///budgets.db", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["used"] == [{"provider": None, "model": "mistral/mistral-small-latest", "only": "installed"}]


def test_concurrent_declarations_lose_nothing(here: Path, capsys: Any) -> None:
    """Two terminals, or a script of many lines: each read the file as it was, and wrote it without the other's line."""

    def declare(number: int) -> int:
        return exit_code("prices", "set", f"mine-{number}", "--input", "1", "--output", "2")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(declare, range(12))) == [0] * 12
    book = PriceBook(path=here / "prices.toml")
    assert [cost(book, f"mine-{number}") for number in range(12)] == [1_000_000] * 12
    assert [path.name for path in here.iterdir()] == ["prices.toml"]


def test_a_model_is_set_from_litellms_map(here: Path, capsys: Any) -> None:
    """Its prices as they stand there, steps and tiers among them, without the rest of the map."""
    (here / "map.json").write_bytes(MAP)
    assert exit_code("prices", "set", "gpt-6-astra", "--from", "map.json") == 0
    book = PriceBook(path=here / "prices.toml")
    assert book.tariff("openai", "gpt-6-astra", None, NOW).cost({"input_tokens": 272_001}) == 272_001 * 20_000
    assert book.tariff("openai", "gpt-6-astra", "flex", NOW).cost(USAGE) == 5_000_000
    search = json.loads(MAP)["gpt-6-astra"]["search_context_cost_per_query"]
    searched = book.tariff("openai", "gpt-6-astra", None, NOW).cost({"web_searches": 1})
    assert searched == round(max(search.values()) * 1e9)
    assert exit_code("prices", "set", "dashscope/qwen-flash", "--from", "map.json") == 0
    steps = PriceBook(path=here / "prices.toml").tariff("dashscope", "dashscope/qwen-flash", None, NOW)
    assert steps.cost({"input_tokens": 300_000}) == 300_000 * 250
    assert exit_code("prices", "set", "gpt-6-astra", "--from", "map.json", "--input", "1") == 2
    assert exit_code("prices", "set", "nothing", "--from", "map.json") == 2
    assert "no price for 'nothing'" in capsys.readouterr().err


def test_a_list_is_never_written_into(here: Path, capsys: Any) -> None:
    """What is configured may be LiteLLM's map: a line of one's own belongs beside it."""
    (here / "map.json").write_bytes(MAP)
    (here / "budgetguard.toml").write_text('prices = "map.json"\n')
    assert exit_code("prices", "set", "mine", "--input", "1", "--output", "1") == 2
    assert 'with list = "' in capsys.readouterr().err
    assert (here / "map.json").read_bytes() == MAP
