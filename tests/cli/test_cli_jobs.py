"""`budgetguard jobs`: what goes on in the background is listed, asked for, and settled."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import budgetguard
from budgetguard import BudgetManager
from budgetguard.cli import main
from budgetguard.ledger import new_id
from budgetguard.testing import FakeProvider
from tests.support.batching import HELD, SPENT, THREE, begin, manager
from tests.support.in_memory import MODEL
from tests.support.sdk_shapes import run

RESPONSE = 8 * 150 + 20 * 600
"""In nano-dollars: 8 tokens in, 20 out."""


pytestmark = pytest.mark.provider(prices={MODEL: ("0.15", "0.60")}, tokens=20)


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("BUDGETGUARD_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    return f"sqlite:///{tmp_path}/budgets.db"


@pytest.fixture
def made(url: str) -> Iterator[BudgetManager]:
    ours = manager(url)
    yield ours
    ours.close()


@pytest.fixture
def cli(url: str, made: BudgetManager, capsys: Any) -> Any:
    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["jobs", *arguments, "--store", url, "--project", "batches"])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return call


@pytest.fixture
def begun(provider: FakeProvider, made: BudgetManager) -> tuple[str, str]:
    """A background response and a batch, of a process that has ended."""
    with provider.client() as client, made, budgetguard.budget(user="ann", tags={"team": "search"}):
        response = client.responses.create(model=MODEL, input="hi there", background=True, max_output_tokens=50)
        batch = run(begin(client, THREE), None)
    made.guard.background._charges.clear()
    return response.id, batch


def test_what_is_under_way_is_listed(cli, begun, made):
    """What, of which model, for whom, how much is held, since when and until when."""
    code, out, _ = cli()
    response, batch = begun

    assert code == 0
    [first, second] = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines() if MODEL in line]
    assert first[:4] == [response, "responses", MODEL, "user=ann team=search"]
    assert second[:5] == [batch, "batches", MODEL, "user=ann team=search", "$0.0000484"]
    assert (second[5], second[7]) == ("0 min", "127.0.0.1")


def test_json_is_there_for_programs(cli, begun, made):
    """Amounts are nano-dollars, times are ISO 8601."""
    code, out, _ = cli("--json")
    [_, batch] = json.loads(out)

    assert code == 0
    assert (batch["id"], batch["kind"], batch["held"], batch["state"]) == (begun[1], "batches", HELD, "open")
    assert batch["tags"] == {"user": "ann", "team": "search"}
    assert batch["age_s"] < 60
    [hold] = [hold for hold in made.store.holds() if hold.amount == HELD]
    assert batch["expires_at"][:16] == budgetguard.cli.common.show.iso(hold.expires_ms)[:16]


def test_what_has_ended_is_settled(cli, begun, made, provider, monkeypatch):
    """At what the provider says, under the budgets that it was held on; and only once."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    code, out, _ = cli("--settle", "--base-url", provider.base_url)

    assert (code, out.splitlines()[-1]) == (0, "2 settled.")
    assert made.store.holds() == []
    assert sorted(entry.cost for entry in made.store.entries()) == sorted([RESPONSE, SPENT])
    assert {entry.tags["user"] for entry in made.store.entries()} == {"ann"}
    assert made.get_current_cost("ann") == (RESPONSE + SPENT) / 1e9 == float(provider.billed)
    assert cli("--settle", "--base-url", provider.base_url)[1] == "Nothing is under way in the background.\n"


def test_what_still_runs_stays(cli, begun, made, provider, monkeypatch):
    """The next time, perhaps."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("OPENAI_BASE_URL", provider.base_url)
    provider.plan = provider.plan.__class__(polls=1)
    with provider.client() as client, made, budgetguard.budget(user="ann"):
        run(begin(client, THREE), None)

    code, out, _ = cli("--settle", "--json")
    assert (code, [job["state"] for job in json.loads(out)]) == (0, ["settled", "settled", "running"])
    assert [job["cost"] for job in json.loads(out)] == [RESPONSE, SPENT, None]
    assert len(made.store.holds()) == 1


def test_without_a_key_it_says_which(cli, begun, provider):
    """The provider is asked as the SDK asks."""
    code, out, err = cli("--settle", "--base-url", provider.base_url)

    assert (code, out) == (2, "")
    assert err == "error: --settle asks the provider: set OPENAI_API_KEY to its key\n"


def test_a_key_that_is_refused_ends_it(cli, begun, provider, monkeypatch):
    """And is not shown."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    provider.fail_next(401, 401)
    code, out, err = cli("--settle", "--base-url", provider.base_url)

    assert (code, out) == (2, "")
    assert "127.0.0.1 refuses the key: set OPENAI_API_KEY" in err
    assert "secret" not in err


def test_jobs_at_another_host_are_not_asked_for_here(cli, begun, provider, monkeypatch):
    """Their ids would mean nothing there, or something else."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    asked = len(provider.requests)
    code, out, _ = cli("--settle", "--base-url", provider.base_url.replace("127.0.0.1", "localhost"))

    assert code == 0
    assert out.count("it was sent to 127.0.0.1: name that by --base-url.") == 2
    assert len(provider.requests) == asked


def test_what_the_provider_does_not_know_is_said(cli, made, begun, provider, monkeypatch):
    """A response that was deleted, a key of another project: the hold stands until it is booked."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with FakeProvider() as other:
        code, out, _ = cli("--settle", "--base-url", other.base_url)

    assert code == 1
    assert out.count("127.0.0.1 does not know it (any more), or not with this key; what it holds is booked") == 2
    assert len(made.store.holds()) == 2


def test_batches_of_anthropics_are_settled_by_their_results(cli, made, provider, monkeypatch):
    """Which only their results show; no key of OpenAI's is needed for them."""
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    params = {"model": "claude-opus-4-8", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
    with provider.anthropic() as client, made, budgetguard.budget(user="ann"):
        budgetguard.guard(client).messages.batches.create(requests=[{"custom_id": "1", "params": params}])
    made.guard.background._charges.clear()

    assert cli("--settle")[2] == "error: --settle asks the provider: set ANTHROPIC_API_KEY to its key\n"
    monkeypatch.setenv("ANTHROPIC_API_KEY", "none")
    assert "name that by ANTHROPIC_BASE_URL" in cli("--settle")[1]
    monkeypatch.setenv("ANTHROPIC_BASE_URL", provider.root_url)
    provider.fail_next(401)
    assert "set ANTHROPIC_API_KEY to one of the project" in cli("--settle")[2]
    code, out, _ = cli("--settle")
    assert (code, out.splitlines()[-1]) == (0, "1 settled.")
    [entry] = made.store.entries()
    assert entry.cost == entry.usage["input_tokens"] * 2_500 + 20 * 12_500  # half of $5 and $25 a million
    assert made.store.holds() == []


def test_what_others_wrote_into_the_store_is_passed_over(cli, begun, made, caplog):
    """A hosted store takes what spenders write."""
    made.store.put_terms("batches/batch_x", "garbage")
    made.store.put_terms("responses/resp_x", '{"some": "thing"}')

    code, out, _ = cli("--json")
    assert (code, len(json.loads(out))) == (0, 2)
    assert caplog.text.count("that budgetguard did not write") == 2


def test_jobs_of_an_older_version_are_listed_too(cli, made):
    """They do not say where they were sent, nor for how long they hold."""
    old = {"hold": new_id(), "endpoint": "responses", "provider": "openai", "model": "o3", "amount": 7}
    made.store.put_terms("responses/resp_1", json.dumps({**old, "accounts": [], "held": True, "tags": {}}))
    [job] = json.loads(cli("--json")[1])

    assert (job["id"], job["host"], job["model"]) == ("resp_1", "", "o3")
    assert job["expires_at"] is not None
