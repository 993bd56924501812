"""How a loop looks on a real terminal, in a real notebook and in tqdm's bar; and how it leaves them."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

from budgetguard import track
from budgetguard.testing import FakeProvider
from tests.support import ENVIRONMENT
from tests.support.kernel import Kernel, running_kernel
from tests.support.terminal import Written, in_a_terminal

HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"
CALLS = """
import openai
client = openai.OpenAI(max_retries=0)
def ask():
    client.chat.completions.create(model="gpt-4o-mini", max_tokens=8, messages=[{"role": "user", "content": "hi"}])
"""
SET_UP = """
import sys, time
from budgetguard import track
def drawn():  # wait until the picture was drawn once more
    from budgetguard.scopes.progress.faces import terminal
    seen, until = terminal.PICTURE.drawn, time.monotonic() + 20
    while terminal.PICTURE.drawn < seen + 2 and time.monotonic() < until: time.sleep(0.01)
"""


@pytest.fixture
def script(shared_provider: FakeProvider, tmp_path: Path) -> Callable[..., Written]:
    """Runs a program in a terminal."""

    def run(source: str, **options: Any) -> Written:
        calls = CALLS if "ask()" in source else ""
        (tmp_path / "program.py").write_text(SET_UP + calls + textwrap.dedent(source))
        environment = {**ENVIRONMENT, "OPENAI_API_KEY": "none", "OPENAI_BASE_URL": shared_provider.base_url}
        return in_a_terminal([sys.executable, "program.py"], tmp_path, environment, **options)

    return run


# -- a terminal --------------------------------------------------------------------------------------------------------


def test_a_terminal_shows_two_lines_that_are_drawn_over(script):
    """What is left there in the end is the last of them, below what the program printed."""
    seen = script(
        """
        for row in track(range(4), "classify", limit=0.01):
            ask()
            drawn()
            print("answered", row)
        """,
        width=60,
    )

    assert seen.code == 0
    assert [line for line in seen.lines if line.startswith("answered")] == [f"answered {row}" for row in range(4)]
    assert any(line.startswith("classify: 2 of 4 rows") for line in seen.lines)
    assert any("left, budget suffices" in line for line in seen.lines)
    assert max(map(len, seen.lines)) < 60
    *printed, rows, money = seen.screen
    assert printed == [f"answered {row}" for row in range(4)]
    assert rows.startswith("classify: 4 of 4 rows, in 0:0")
    assert money.startswith("done, $0.0000")
    assert (seen.raw.count(HIDDEN), seen.raw.count(SHOWN)) == (1, 1)


def test_the_programs_own_output_stays_its_own(script):
    """`python work.py > answers.txt` has the answers in it, and nothing else; the terminal has the progress."""
    seen = script("for row in track(range(3)): print('answered', row); drawn()", piped=True)

    assert seen.stdout == "answered 0\nanswered 1\nanswered 2\n"
    assert "answered" not in seen.raw
    rows, _money = seen.screen
    assert rows.startswith("3 of 3 rows")


@pytest.mark.parametrize(
    ("last", "code", "said"),
    [
        ("break", 0, "left at row 1"),
        ("raise RuntimeError('mine')", 1, "left at row 1"),
        ("signal.raise_signal(signal.SIGINT)", 130, "left at row 1"),
        ("ask()", 1, "refused at row 1: scope: call projected at"),
    ],
)
def test_a_terminal_is_left_as_it_was(script, last, code, said):
    """Its cursor is there again, and its last line is the program's, whatever ended the loop."""
    seen = script(
        f"""
        import signal
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for row in track(range(4), limit="0.000001"):
            drawn()
            {last}
        print("after it")
        """
    )

    assert seen.code in {code, -signal.SIGINT if code == 130 else code}
    assert seen.raw.count(HIDDEN) == seen.raw.count(SHOWN) == 1
    after = seen.raw[seen.raw.index(SHOWN) :]
    assert ("after it" in after) == (code == 0)
    assert ("Traceback" in after) == (code in {1, 130})
    assert any(said in line for line in seen.screen)


def test_loops_inside_of_loops_are_one_picture(script):
    """The inner one is below the outer one while it runs, and gone afterwards."""
    seen = script(
        """
        for row in track("ab", "outer"):
            for each in track("cd", "inner"):
                drawn()
        """
    )
    assert any(line.startswith("inner: 1 of 2 rows") for line in seen.lines)
    assert len(seen.screen) == 2, seen.raw
    rows, money = seen.screen
    assert rows.startswith("outer: 2 of 2 rows, in")
    assert money.startswith("done")
    assert (seen.raw.count(HIDDEN), seen.raw.count(SHOWN)) == (1, 1)


def test_a_terminal_that_knows_no_codes_has_lines(tmp_path):
    """An editor's terminal, say."""
    source = "from budgetguard import track\nfor _ in track('abc', 'letters'): pass"
    command = [sys.executable, "-c", f"import os; os.environ['TERM'] = 'dumb'\n{source}"]
    seen = in_a_terminal(command, tmp_path, ENVIRONMENT)

    assert "\x1b" not in seen.raw
    assert seen.lines == ["letters: 3 of 3 rows (100 %), $0.00 spent, in 0:00: done"]


def test_a_pipe_has_lines(tmp_path):
    """A log of CI: nothing but a line at the end of a short loop, and nothing at all on stdout."""
    source = "from budgetguard import track\nfor _ in track('abc', 'letters'): pass"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, env=ENVIRONMENT, cwd=tmp_path)

    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "letters: 3 of 3 rows (100 %), $0.00 spent, in 0:00: done\n"


# -- tqdm --------------------------------------------------------------------------------------------------------------


def test_tqdm_has_the_money_behind_its_bar(capsys):
    """For who has bars of tqdm's everywhere."""
    for _ in track(range(7), "classify", limit=1, progress="tqdm"):
        pass
    seen = capsys.readouterr()

    assert seen.out == ""
    assert "classify: 100%" in seen.err
    assert "7/7" in seen.err
    assert "$0.00 spent, $1.00 left, done" in seen.err


def test_rows_that_are_tqdms_bar_show_the_money_in_it(capsys):
    """There is no second bar; the one that is there counts by itself."""
    bar = tqdm(range(7), desc="mine")
    rows, until_s = track(bar, limit=1), time.monotonic() + 20
    for _ in rows:
        while not bar.postfix and time.monotonic() < until_s:
            time.sleep(0.01)
    seen = capsys.readouterr().err

    assert rows.total == 7
    assert "mine: 100%" in seen
    assert "$0.00 spent, $1.00 left" in seen
    assert "of 7 rows" not in seen


# -- a notebook --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory, shared_provider: FakeProvider) -> Iterator[Kernel]:
    """A notebook in which a loop can be run."""
    with running_kernel(shared_provider, tmp_path_factory.mktemp("nb")) as started:
        assert started.run(SET_UP + CALLS).error is None
        yield started


def test_a_notebook_has_one_bar_that_is_replaced(kernel):
    """Below the cell, as HTML, without any widgets; and nothing of it in what the cell printed."""
    shown = kernel.run("for row in track(range(3), 'a & b', limit=1):\n  ask()\n  time.sleep(0.7)\nprint('over')")

    assert shown.error is None
    assert shown.printed == "over\n"
    assert len(shown.displayed) == 1
    assert len(shown.updated) >= 2
    last = shown.updated[-1]
    assert "a &amp; b: 3 of 3 rows, in 0:0" in last["text/html"]
    assert "width:100.0%" in last["text/html"]
    assert last["text/plain"].startswith("a & b: 3 of 3 rows (100 %), $0.0000")


def test_a_refusal_in_a_notebook_ends_its_bar(kernel):
    """The bar says so, the cell shows the error, and the next cell has no scope of it."""
    shown = kernel.run("for row in track(range(3), limit='0.000001'):\n  ask()")
    after = kernel.run("from budgetguard.guards.scope import current\ncurrent.get()")

    assert shown.error == "BudgetExceededError"
    assert "refused at row 1: scope: call projected at" in [*shown.displayed, *shown.updated][-1]["text/html"]
    assert (after.error, after.displayed) == (None, [])


def test_an_async_loop_runs_in_a_cell_that_awaits(kernel):
    """`async for` at the top of a cell."""
    shown = kernel.run(
        "async def rows():\n  for each in 'ab': yield each\n"
        "async for row in track(rows(), 'later', limit=1): ask()\nprint('over')"
    )

    assert (shown.error, shown.printed) == (None, "over\n")
    assert "later: 2 rows" in [*shown.displayed, *shown.updated][-1]["text/html"]


def test_a_bar_of_a_loop_with_a_budget_that_falls_short_says_so(kernel):
    """While it can be helped yet."""
    shown = kernel.run("for row in track(range(9), limit='0.00003'):\n  ask()\n  time.sleep(0.7)\n  if row: break")

    assert shown.error is None
    assert any("budget reaches row" in each["text/html"] for each in shown.updated)
