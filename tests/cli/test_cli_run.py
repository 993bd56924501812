"""`run`: what a program spends is kept by its name, once, and shown while it runs without disturbing it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from budgetguard import ConfigError
from budgetguard.cli.programs.running import RunProgress, Showing, progress_of
from budgetguard.money import format_nano
from budgetguard.process.state import PROCESS
from budgetguard.testing import FakeProvider
from tests.support import ENVIRONMENT
from tests.support.commands import exit_code
from tests.support.terminal import in_a_terminal

CALL = """
import os, httpx
URL, KEY = os.environ["OPENAI_BASE_URL"] + "/chat/completions", {"Authorization": "Bearer none"}
ASK = dict(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], max_tokens=100)
def ask():
    assert httpx.post(URL, json=ASK, headers=KEY, timeout=60).status_code == 200
"""
PRICE = {"gpt-4o-mini": ("0.15", "0.60")}
pytestmark = pytest.mark.provider(tokens=100, prices=PRICE)
KEPT = "budgetguard: kept in sqlite:///budgetguard.db; budgetguard spend --by run"


@pytest.fixture
def environment(provider: FakeProvider) -> dict[str, str]:
    """Of a program that asks the provider."""
    return {**ENVIRONMENT, "OPENAI_API_KEY": "none", "OPENAI_BASE_URL": provider.base_url}


@pytest.fixture
def ran(environment: dict[str, str], here: Path) -> Callable[..., Any]:
    """Runs a program under a budget, in an empty directory."""

    def run(source: str, *arguments: str, name: str = "evaluate.py") -> subprocess.CompletedProcess[str]:
        (here / (name if "." in name else "other.py")).write_text(CALL + textwrap.dedent(source))
        command = [sys.executable, "-m", "budgetguard.cli", "run", "--budget", "1", *arguments, name]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=here, timeout=120)

    return run


@pytest.fixture
def spent(capsys: pytest.CaptureFixture[str], here: Path) -> Callable[[], dict[str, int]]:
    """What is kept, by the names of programs."""

    def read() -> dict[str, int]:
        assert exit_code("spend", "--by", "run", "--json") == 0
        return {row["run"]: row["cost"] for row in json.loads(capsys.readouterr().out)}

    return read


def test_what_a_program_spends_is_kept_by_its_name(ran, spent, provider):
    """With no manager and no store named: in the default one, where `spend` and `log` look by themselves."""
    done = ran("ask(); ask()")

    assert done.returncode == 0
    assert done.stderr.splitlines() == [f"budgetguard: {provider.billed} of $1.00 spent", KEPT]
    assert spent() == {"evaluate.py": provider.billed.nano}


def test_threads_scopes_and_children_of_a_program_have_its_name(ran, spent, provider):
    """Wherever in the program a call is made: no part of it may be missing from the sum."""
    done = ran(
        """
        import multiprocessing, threading, budgetguard

        if __name__ == "__main__":
            thread = threading.Thread(target=ask)
            thread.start()
            thread.join()
            with budgetguard.budget(user="ann", tags={"step": "two"}):
                ask()
            child = multiprocessing.get_context("spawn").Process(target=ask)
            child.start()
            child.join()
        """
    )

    assert done.returncode == 0, done.stderr
    assert len(provider.requests) == 3
    assert spent() == {"evaluate.py": provider.billed.nano}


def test_a_program_with_a_manager_of_its_own_books_there_once(ran, spent, provider):
    """And not here, too: the sum of both stores is what was billed."""
    source = """
        import budgetguard
        manager = budgetguard.BudgetManager("default", store="sqlite:///{file}")
        budgetguard.patch(manager)
        ask()
    """
    elsewhere = ran(textwrap.dedent(source.format(file="own.db")))
    assert KEPT not in elsewhere.stderr
    assert not Path("budgetguard.db").exists()

    same = ran(textwrap.dedent(source.format(file="budgetguard.db")))
    assert KEPT in same.stderr
    assert spent() == {"evaluate.py": provider.billed.nano // 2}


def test_nothing_is_kept_where_nobody_wants_it(ran, provider, here):
    """`--no-store`: no file, and no word of one."""
    done = ran("ask()", "--no-store")

    assert done.stderr.splitlines() == [f"budgetguard: {provider.billed} of $1.00 spent"]
    assert sorted(path.name for path in here.iterdir()) == ["evaluate.py"]
    both = ran("", "--no-store", "--store", "sqlite:///a.db")
    assert both.returncode == 2
    assert both.stderr.startswith("error: --no-store, --store sqlite:///a.db: one says")


def test_a_program_that_spends_nothing_leaves_no_file(ran, here):
    """There is nothing to keep."""
    assert ran("print('over')").stderr.splitlines() == ["budgetguard: $0.00 of $1.00 spent"]
    assert not (here / "budgetguard.db").exists()


def test_where_nothing_can_be_kept_that_is_said_and_the_run_goes_on(environment, provider, tmp_path):
    """Its limit is the process's own, and holds."""
    (tmp_path / "evaluate.py").write_text(CALL + "while True: ask()")
    command = [sys.executable, "-m", "budgetguard.cli", "run", "--budget", "0.0002", str(tmp_path / "evaluate.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/proc", timeout=120)
    lines = done.stderr.splitlines()

    assert done.returncode == 3
    assert lines[0].startswith("budgetguard: what it spends is not kept: /proc/budgetguard.db cannot be made (")
    assert lines[1].startswith("error: max_budget: call projected at")
    assert lines[2:] == [f"budgetguard: {provider.billed} of $0.0002 spent"]
    assert len(provider.requests) == 3


def test_a_store_that_is_named_is_named_in_the_end(ran, provider):
    """What is to be typed finds it."""
    done = ran("ask()", "--store", "sqlite:///mine.db", "--project", "evals")

    assert done.stderr.splitlines()[-1] == (
        "budgetguard: kept in sqlite:///mine.db; budgetguard spend --by run --store sqlite:///mine.db --project evals"
    )


# -- what is shown while it runs ---------------------------------------------------------------------------------------


SLOWLY = """
import time
for number in range(3):
    ask()
    print("answered", number, flush=True)
    time.sleep(1.1)
"""


def test_a_run_shows_what_it_spends_on_its_terminal(environment, tmp_path, provider):
    """In the title, and a line at each mark; the program's own lines stay whole, and the title is given back."""
    (tmp_path / "slowly.py").write_text(CALL + SLOWLY)
    command = [sys.executable, "-m", "budgetguard.cli", "run", "--budget", "0.000225", "slowly.py"]
    seen = in_a_terminal(command, tmp_path, environment)
    titles = [piece.partition("\x07")[0] for piece in seen.raw.split("\x1b]2;")[1:]]

    assert seen.code == 0
    assert [line for line in seen.lines if line.startswith("answered")] == [f"answered {n}" for n in range(3)]
    assert titles[0].startswith("budgetguard: $0.00")
    assert titles[-1].startswith("budgetguard: $0.000")
    assert (seen.raw.count("\x1b[22;2t"), seen.raw.count("\x1b[23;2t")) == (1, 1)
    shown = [line for line in seen.lines if line.startswith("budgetguard: ") and "left" in line]
    assert 1 <= len(shown) <= 2
    assert seen.lines[-2] == f"budgetguard: {provider.billed} of $0.000225 spent"


def test_a_forked_child_leaves_the_title_to_its_parent(environment, tmp_path, provider):
    """It ends by itself, and its end is none of the run: the window would lose what it says."""
    (tmp_path / "forks.py").write_text(
        CALL
        + textwrap.dedent(
            """
            import os, time
            ask()
            time.sleep(1.3)
            if (child := os.fork()) == 0:
                raise SystemExit(0)
            os.waitpid(child, 0)
            print("the parent goes on", flush=True)
            """
        )
    )
    command = [sys.executable, "-m", "budgetguard.cli", "run", "--budget", "1", "forks.py"]
    seen = in_a_terminal(command, tmp_path, environment)

    assert seen.code == 0
    before, _, after = seen.raw.partition("the parent goes on")
    assert (before.count("\x1b[22;2t"), before.count("\x1b[23;2t"), after.count("\x1b[23;2t")) == (1, 0, 1)


def test_lines_are_shown_where_there_is_no_terminal_if_they_are_asked_for(ran):
    """A log has the end alone (see above); with `--progress lines`, and so often, the way there."""
    lines = ran(SLOWLY, "--progress", "lines", "--every", "1").stderr.splitlines()

    assert len(lines) > 3
    assert all(line.startswith("budgetguard: $0.00") for line in lines[:-1])
    assert "of $1.00 spent (< 1 %), $1.00 left" in lines[-3]


def test_quiet_is_quiet(ran):
    """Scripts that call it may want nothing but the program's own words."""
    done = ran("print('over')\nask()", "--quiet")

    assert (done.returncode, done.stdout, done.stderr) == (0, "over\n", "")


def test_a_program_that_draws_on_the_screen_is_not_written_into(environment, tmp_path):
    """Its picture would be torn; the title is not in it. stdin is the program's own."""
    (tmp_path / "screen.py").write_text(
        CALL
        + textwrap.dedent(
            """
            import curses, time
            name = input()
            ask()
            time.sleep(2.5)
            print("bye", name)
            """
        )
    )
    command = [sys.executable, "-m", "budgetguard.cli", "run", "--budget", "0.00007", "screen.py"]
    seen = in_a_terminal(command, tmp_path, environment, typed="ann\n")

    assert seen.code == 0
    assert "bye ann" in seen.lines
    assert [line for line in seen.lines if "left" in line] == []
    assert "$0.000061 of $0.00007 spent" in seen.raw.split("\x1b]2;")[-1]


def test_what_a_program_leaves_to_its_end_is_counted_and_said(ran, spent, provider):
    """A thread of a thread, a function for the end of the process, a stream that nobody reads: each of them spends."""
    done = ran(
        """
        import atexit, openai, pickle, threading, time

        class Mine:
            pass

        def late():
            time.sleep(0.3)
            threading.Thread(target=later).start()

        def later():
            time.sleep(0.3)
            pickle.dumps(Mine())  # found in __main__
            ask()

        atexit.register(ask)
        threading.Thread(target=late).start()
        left = openai.OpenAI().chat.completions.create(**ASK, stream=True)
        next(iter(left))
        """
    )
    said, where = done.stderr.splitlines()

    assert (done.returncode, where) == (0, KEPT)
    assert len(provider.requests) == 3
    assert said == f"budgetguard: {format_nano(spent()['evaluate.py'])} of $1.00 spent"


def test_a_program_finds_itself_as_without_us(ran, environment, here):
    """Its file wherever it goes, its arguments, where modules are looked for, its hook for errors."""
    source = """
        import os, sys
        sys.excepthook = lambda kind, error, frames: print("hooked", error, frames.tb_lineno > 1)
        os.chdir("/")
        print(__file__, sys.argv, sys.path[0], __name__, __package__, sys.modules["__main__"].ask is ask)
        raise ValueError("boom")
    """
    ours = ran(source)
    theirs = subprocess.run(
        [sys.executable, "evaluate.py"], capture_output=True, text=True, env=environment, cwd=here, timeout=60
    )
    assert (ours.stdout, ours.returncode) == (theirs.stdout, theirs.returncode)
    assert "hooked boom True" in ours.stdout

    missing = ran("", "--module", name="absent")
    assert (missing.returncode, missing.stderr.splitlines()[0]) == (
        2,
        "error: --module absent: there is no such module, or it is a package without a __main__",
    )
    (here / "package").mkdir()
    (here / "package" / "__init__.py").touch()
    (here / "package" / "__main__.py").write_text("import sys; print(sys.argv, sys.path[0], __name__, __package__)")
    words = ["run", "--quiet", "--budget", "1", "--module", "package", "--", "-x"]
    both = [
        subprocess.run([sys.executable, "-m", *each], capture_output=True, text=True, env=environment, cwd=here).stdout
        for each in (["budgetguard.cli", *words], ["package", "-x"])
    ]
    assert both[0] == both[1] != ""


@pytest.mark.parametrize("end", ["sys.stderr.close()", "sys.stderr = None", "os.close(2)"])
def test_a_program_may_do_with_its_stderr_as_it_likes(ran, provider, end):
    """Its exit code is its own all the same; and the sum is said where it was to be said, and not on stdout."""
    done = ran(f"import sys; ask(); {end}")

    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines() == [f"budgetguard: {provider.billed} of $1.00 spent", KEPT]


def test_where_a_program_goes_changes_nothing_of_its_end(ran, provider):
    """A file of settings that lies there is none of the run's: neither read, nor a reason to fail."""
    done = ran("ask(); os.mkdir('sub'); os.chdir('sub'); open('budgetguard.toml', 'w').write('[[[no'); ask()")

    assert (done.returncode, len(provider.requests)) == (0, 2)
    assert done.stderr.splitlines()[-1] == KEPT


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_the_sum_is_said_once_by_the_process_that_began(ran, spent, provider):
    """A child that ends as a process of its own counts there, and says nothing."""
    done = ran("child = os.fork(); ask()\nif child: os.waitpid(child, 0)")

    assert done.stderr.splitlines() == [f"budgetguard: {provider.billed} of $1.00 spent", KEPT]
    assert spent() == {"evaluate.py": provider.billed.nano}
    assert len(provider.requests) == 2


class Screen:
    """What is written to a descriptor of ours."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
        self.path = path
        self.stream = path.open("w")
        monkeypatch.setattr(sys, "stderr", self.stream)

    def read(self) -> list[str]:
        return self.path.read_text().splitlines()


def test_each_mark_is_passed_once(monkeypatch, tmp_path):
    """Half, four fifths, nineteen twentieths: a line each, however often it is looked."""
    import budgetguard

    budgetguard.max_budget = 1.0
    screen, spent = Screen(monkeypatch, tmp_path / "screen"), iter([0.1, 0.5, 0.51, 0.79, 0.96, 0.99])
    shows = RunProgress(PROCESS, Showing(marks=True, asked=True), clock=lambda: 0.0)
    monkeypatch.setattr(shows._errands, "put", lambda thing: True)
    with shows, screen.stream:
        for part in spent:
            monkeypatch.setattr(type(PROCESS), "spent", int(part * 1e9))
            shows.rest(False)
    monkeypatch.undo()

    assert [line.partition(" of")[0] for line in screen.read()] == ["budgetguard: $0.50", "budgetguard: $0.96"]


@pytest.mark.parametrize(("kind", "every"), [("bar", 10.0), ("auto", 0.0)])
def test_what_cannot_be_shown_is_said(kind, every):
    """Before the program runs."""
    with pytest.raises(ConfigError, match=r"--progress bar: use auto|--every 0: a number"):
        progress_of(kind, every)
