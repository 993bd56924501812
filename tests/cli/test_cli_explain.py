"""`explain`, `projects`, `prune` and budgets as CSV, from the command line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from budgetguard import Budget, BudgetManager
from budgetguard.budgets.steering.declared import declare
from budgetguard.cli import main
from tests.support.commands import in_a_terminal

RULES = (
    Budget("free", 0.01, "daily", per=("user",)),
    Budget("team", 5, "monthly", match={"team": "search*"}, per=("team",)),
)


@pytest.fixture
def told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command on books of two declared rules and a user; its exit code, what it printed and complained of."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("BUDGETGUARD_")]:
        monkeypatch.delenv(name)
    where = f"sqlite:///{tmp_path}/budgets.db"
    manager = BudgetManager("shop", store=where)
    declare(manager.store, RULES)
    manager.create_budget(1, "ann", "monthly")
    manager.close()

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main([*arguments, "--store", where, "--project", "shop"])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


def test_explain_tells_what_a_call_would_be_told(told: Callable[..., tuple[int, str, str]]) -> None:
    """Exit code 0: it passes; 3: a budget says no; each budget is a row."""
    code, out, _ = told("explain", "--user", "ann", "--model", "gpt-4o-mini", "--input", "2000", "--output", "500")
    assert code == 0
    assert out.startswith("passes\ngpt-4o-mini of openai: 2,000 tokens in, 500 out, projected at $0.00")
    assert [line.split()[0] for line in out.splitlines() if line.split()[-1:] == ["yes"]] == ["free/ann", "users/ann"]
    assert "1 other is not touched: --all says why." in out

    code, out, _ = told("explain", "--user", "ann", "--model", "gpt-4o", "--input", "20000", "--output", "500", "--all")
    assert code == 3
    assert out.startswith("refused: free/ann/")
    assert "free/ann: $0.055 needed, $0.01 left" in out
    assert "not touched: team: it is for team=search*, and the call has no tag 'team'" in out


def test_explain_is_there_for_programs(told: Callable[..., tuple[int, str, str]]) -> None:
    """Whole nano-dollars, times as ISO 8601, and the same exit code."""
    _, out, _ = told("explain", "--user", "ann", "--tag", "team=search", "--json")
    found = json.loads(out)

    assert found["fits"] is True
    assert [(each["budget"], each["subject"], each["limit"]) for each in found["budgets"]] == [
        ("free", "ann", 10_000_000), ("team", "search", 5_000_000_000), ("users", "ann", 1_000_000_000)
    ]  # fmt: skip
    assert all(each["resets_at"].endswith("+00:00") for each in found["budgets"])


def test_explain_reads_what_a_call_sends(told: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """A prompt that is there is counted as the guard counts it."""
    Path(tmp_path, "prompt.txt").write_text("Why is the sky blue? " * 200)
    code, out, _ = told("explain", "--model", "gpt-4o-mini", "--file", "prompt.txt", "--output", "10", "--json")
    assert code == 0
    assert 200 < json.loads(out)["projected"]["input_tokens"] < 5_000

    assert told("explain", "--model", "gpt-4o-mini", "--file", "missing.txt")[0] == 2


def test_an_explanation_can_be_read_at_60_columns(told: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """What is left of it: whose budget, how much is left, and yes or no."""
    asked = ("--user", "ann", "--model", "gpt-4o", "--input", "20000", "--output", "500")
    code, out = in_a_terminal(
        "explain", *asked, "--store", f"sqlite:///{tmp_path}/budgets.db", "--project", "shop", cwd=tmp_path
    )

    assert code == 3
    assert max(map(len, out.splitlines())) <= 60
    [row] = [line.split() for line in out.splitlines() if line.split()[:1] == ["free/ann"]]
    assert (row[-1], "$0.01" in row) == ("NO", True)
