"""Jupyter: scopes over cells, in the real kernel as a notebook talks to it, and in IPython's own shell."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from budgetguard.guards.scope import current
from budgetguard.testing import FakeProvider
from tests.support.kernel import Kernel, running_kernel

SET_UP = """
import asyncio, threading, openai, budgetguard
from budgetguard.guards.scope import current
client, later = openai.OpenAI(max_retries=0), openai.AsyncOpenAI(max_retries=0)
ASK = dict(model="gpt-4o-mini", max_tokens=8, messages=[{"role": "user", "content": "hi there"}])
def ask(): client.chat.completions.create(**ASK)
async def ask_later(): await later.chat.completions.create(**ASK)
def limits(): return [] if current.get() is None else [each.account.limit for each in current.get().tallies]
"""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, shared_provider: FakeProvider) -> Iterator[Kernel]:
    with running_kernel(shared_provider, tmp_path_factory.mktemp("nb")) as kernel:
        assert kernel.run(f"%load_ext budgetguard\n{SET_UP}").error is None
        yield kernel


@pytest.fixture
def kernel(started: Kernel) -> Iterator[Kernel]:
    """A notebook without a budget."""
    yield started
    started.run("%budget off")


def test_a_notebook_s_budget_holds_in_every_cell_after_it(kernel):
    """Cells, cells that await, tasks that a cell leaves behind: a context each, and one budget."""
    shown = kernel.run("%budget 5 --user ann --tag feature=search\nlimits()")
    assert shown.value == "[5000000000]"
    assert "user='ann', feature='search'" in shown.displayed[0]["text/plain"]
    assert kernel.run("ask()\nlimits()").value == "[5000000000]"
    assert kernel.run("await ask_later()\nlimits()").value == "[5000000000]"
    assert kernel.run("await asyncio.gather(*[ask_later() for _ in range(3)])\nlimits()").value == "[5000000000]"
    assert kernel.run("left = asyncio.ensure_future(ask_later())").error is None
    assert kernel.run("await left\ncurrent.get().tags['user']").value == "'ann'"
    per_call = kernel.run("current.get().tallies[0].settled").value
    assert int(per_call) % 6 == 0
    assert int(per_call) > 0


def test_a_new_budget_takes_the_place_of_the_one_before(kernel):
    """Whoever raises it means so; also from a cell that awaits, whose context is another."""
    kernel.run("%budget 1")
    kernel.run("await asyncio.sleep(0)\n%budget 2")
    assert kernel.run("limits()").value == "[2000000000]"
    assert kernel.run("await asyncio.sleep(0)\nlimits()").value == "[2000000000]"
    kernel.run("await asyncio.sleep(0)\n%budget off")
    assert kernel.run("limits()").value == "[]"
    assert kernel.run("await asyncio.sleep(0)\nlimits()").value == "[]"


def test_a_cell_has_a_budget_inside_the_notebook_s(kernel):
    """It ends with the cell, whatever becomes of it, and what was spent is shown."""
    kernel.run("%budget 5")
    shown = kernel.run("%%budget 0.50 --tag step=two\nprint(limits())\nask()")
    assert shown.printed == "[5000000000, 500000000]\n"
    assert "of $0.50 left" in shown.displayed[-1]["text/plain"]
    assert "<table>" in shown.displayed[-1]["text/html"]
    shown = kernel.run("%%budget 0.50\nawait ask_later()\nprint(limits())")
    assert shown.printed == "[5000000000, 500000000]\n"
    assert "of $0.50 left" in shown.displayed[-1]["text/plain"]
    assert kernel.run("%%budget 0.50\n1 / 0").error == "ZeroDivisionError"
    assert kernel.run("limits()").value == "[5000000000]"


def test_a_cell_that_runs_others_keeps_its_budget(kernel):
    """Some magics run their cell as one."""
    shown = kernel.run("%%budget 0.50\nget_ipython().run_cell('pass')\nprint(limits())")
    assert shown.printed == "[500000000]\n"
    assert kernel.run("limits()").value == "[]"


def test_a_refusal_is_a_line_and_a_bar(kernel, shared_provider):
    """Forty lines of a traceback through an SDK tell nobody that the money is spent."""
    before = len(shared_provider.requests)
    for code in ("ask()", "await ask_later()"):
        shown = kernel.run(f"%%budget 0.000001\n{code}")
        assert shown.error == "BudgetExceededError"
        assert len(shown.traceback) == 2
        assert shown.traceback[0].startswith("BudgetExceededError: scope: call projected at ")
        assert shown.traceback[1] == "[░░░░░░░░░░░░░░░░░░░░] scope: $0.00 spent, $0.000001 of $0.000001 left"
    assert len(shared_provider.requests) == before
    assert "create(" in "".join(kernel.run("%tb").traceback)


# -- IPython's own shell --------------------------------------------------------------------------------------------


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    made = InteractiveShell.instance()
    made.run_line_magic("load_ext", "budgetguard.middleware.notebook")
    yield made
    made.run_line_magic("unload_ext", "budgetguard.middleware.notebook")
    InteractiveShell.clear_instance()
    assert current.get() is None


def test_ipython_has_it_too(shell, capsys):
    """Also loops that it runs itself for a cell that awaits."""
    shell.run_cell("from budgetguard.guards.scope import current")
    shell.run_cell("%budget 5")
    shell.run_cell("import asyncio; await asyncio.sleep(0); print(len(current.get().tallies))")
    shell.run_cell("%%budget 1\nprint(len(current.get().tallies))")
    shell.run_cell("print(len(current.get().tallies))")
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if len(line) == 1] == ["1", "2", "1"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("budget", "%budget 5 gives it one"),
        ("budget many", "limit='many' is no number"),
        ("budget 5 --tag feature", "--tag NAME=VALUE"),
        ("budget 5 --colour red", "unrecognized arguments"),
        ("budget 5 --user 'ann", "No closing quotation"),
    ],
)
def test_a_mistyped_budget_says_what_to_type(shell, line, said):
    """And opens none."""
    with pytest.raises(UsageError, match=said):
        shell.run_line_magic(*line.partition(" ")[::2])
    assert current.get() is None


def test_a_user_may_be_quoted(shell):
    """With its quotes it would be the name of somebody else, who has no budget."""
    shell.run_line_magic("budget", """5 --user "Ann Smith" --tag 'team=web search'""")
    shell.run_cell("from budgetguard.guards.scope import current; tags = dict(current.get().tags)")

    assert shell.user_ns["tags"] == {"user": "Ann Smith", "team": "web search"}


def test_what_was_loaded_can_be_unloaded(shell):
    """The shell is as it was."""
    shell.run_cell("%budget 5")
    shell.run_line_magic("unload_ext", "budgetguard.middleware.notebook")
    assert current.get() is None
    assert not shell.run_cell("%budget 5").success
    shell.run_line_magic("load_ext", "budgetguard.middleware.notebook")
