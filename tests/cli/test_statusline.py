"""`statusline`: one line for a prompt, which never keeps it waiting and never breaks it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from budgetguard import Budget
from budgetguard.budgets.steering.declared import declare
from budgetguard.budgets.users import Users
from budgetguard.cli import main
from budgetguard.stores.sqlite.store import SQLiteStore
from tests.support import ENVIRONMENT
from tests.support.watched import COMMAND, book, refuse, screen

PromptRun = Callable[..., tuple[int, str, str]]
ALL, FREE = Budget("all", 2, "monthly"), Budget("free", 1, "daily", per=("user",))


@pytest.fixture
def prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> PromptRun:
    """Runs the command in a directory of its own; its exit code, what it printed, and what it complained of."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["statusline", *arguments])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


@pytest.fixture
def project(tmp_path: Path) -> Iterator[SQLiteStore]:
    """Two rules, and a user's own budget; ann and bob spent, and bob was refused twice."""
    store = SQLiteStore(tmp_path / "budgetguard.db", namespace="shop", durable=False)
    declare(store, [ALL, FREE])
    now_ms = store.now_ms()
    own = Users(store).put("bob", Budget("users", 10, "monthly", per=("user",)))
    for user, cost in (("ann", 1_240_000_000), ("bob", 280_000_000)):
        accounts = [ALL.account({}, now_ms), FREE.account({"user": user}, now_ms)]
        keys = [each.key for each in accounts if each is not None] + [own.account(now_ms).key] * (user == "bob")
        book(store, f"of {user}", cost=cost, accounts=tuple(keys), tags={"user": user})
    refuse(store, user="bob", times=2)
    yield store
    store.close()


def test_one_line_says_what_was_spent_what_is_left_and_what_was_refused(
    project: SQLiteStore, prompt: PromptRun
) -> None:
    """The three things that one wants to see without asking."""
    assert prompt() == (0, "shop $1.52 today · all $1.52 of $2.00 (76 %) · 2 refused\n", "")


def test_a_user_has_a_line_of_their_own(project: SQLiteStore, prompt: PromptRun) -> None:
    """Theirs is the fullest of the budgets that are for them."""
    assert prompt("--user", "ann")[1] == "shop $1.24 today · free/ann $1.24 of $1.00 (124 %)\n"
    assert prompt("--user", "bob")[1] == "shop $0.28 today · free/bob $0.28 of $1.00 (28 %) · 2 refused\n"
    assert "users/bob $0.28 of $10.00" in prompt("--user", "bob", "--budget", "users")[1]
    assert prompt("--user", "nobody")[1] == "shop $0.00 today · free/nobody $0.00 of $1.00 (0 %)\n"


def test_a_budget_is_found_by_its_name(project: SQLiteStore, prompt: PromptRun) -> None:
    """The fullest subject of it, where it is for each."""
    assert "free/ann $1.24 of $1.00" in prompt("--budget", "free")[1]
    assert "all $1.52 of $2.00" in prompt("--budget", "all", "--user", "ann")[1]
    code, out, err = prompt("--budget", "fre")
    assert (code, out) == (2, "")
    assert "no budget with a limit is called so here" in err


def test_a_format_names_fields(project: SQLiteStore, prompt: PromptRun) -> None:
    """Everybody's prompt is their own."""
    text = "{project}|{spent_today}|{spent_month}|{budget}|{spent}|{held}|{left}|{limit}|{percent}|{bar}|{refused}|{{}}"
    assert prompt("--format", text)[1] == ("shop|$1.52|$1.52|all|$1.52|$0.00|$0.48|$2.00|76 %|████████░░|2|{}\n")


@pytest.mark.parametrize("text", ["{spend}", "{left.real}", "{left!r}", "{left:>9}", "{}", "{0}"])
def test_an_unknown_field_is_an_error_that_names_the_fields(project: SQLiteStore, prompt: PromptRun, text: str) -> None:
    """An empty place in a prompt would be looked for in the wrong file."""
    code, out, err = prompt("--quiet", "--format", text)
    assert (code, out) == (2, "")
    assert "the fields are {project}, {user}, {spent_today}, {spent_month}" in err


def test_a_format_that_is_none_is_an_error(project: SQLiteStore, prompt: PromptRun) -> None:
    """A single brace is what one mistypes."""
    assert "write {{ for a brace" in prompt("--format", "{left")[2]


def test_a_missing_store_is_an_error_and_nothing_at_all_with_quiet(prompt: PromptRun, tmp_path: Path) -> None:
    """A prompt in a directory without a project stays as it is, and no file is made there."""
    code, out, err = prompt()
    assert (code, out) == (2, "")
    assert "is not there" in err
    assert prompt("--quiet", "--check") == (0, "", "")
    (tmp_path / "budgetguard.db").write_text("no database" * 100)
    assert prompt("--quiet") == (0, "", "")
    assert [each.name for each in tmp_path.iterdir()] == ["budgetguard.db"]


def test_check_says_by_the_exit_code_that_a_budget_is_spent(project: SQLiteStore, prompt: PromptRun) -> None:
    """A script stops before it is refused."""
    assert prompt("--check")[0] == 0
    assert prompt("--check", "--user", "ann")[0] == 3
    assert prompt("--user", "ann")[0] == 0
    main_ends(["budget", "pause", "all"])
    assert prompt("--check")[0] == 3


def main_ends(arguments: list[str]) -> None:
    """A command that succeeds."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert not end.value.code


def test_colours_are_those_of_the_place(project: SQLiteStore, prompt: PromptRun, tmp_path: Path) -> None:
    """A pipe gets none, a terminal its own, tmux the ones that it reads."""
    assert "\x1b" not in prompt()[1]
    assert "(\x1b[32m76 %\x1b[0m)" in prompt("--color", "always")[1]
    assert "(#[fg=red]124 %#[default])" in prompt("--tmux", "--user", "ann")[1]
    assert "#[" not in prompt("--tmux", "--color", "never")[1]
    assert "--color 'blue'" in prompt("--color", "blue")[2]
    with screen(["statusline"], tmp_path) as terminal:
        assert "\x1b[32m76 %" in terminal.until(lambda text: "refused" in text)


def test_a_locale_without_dots_breaks_no_prompt(project: SQLiteStore, tmp_path: Path) -> None:
    """A server that knows ASCII only has prompts, too."""
    environment = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*COMMAND, "statusline"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "shop $1.52 today ? all $1.52 of $2.00 (76 %) ? 2 refused\n")


def test_a_name_cannot_command_the_terminal(project: SQLiteStore, prompt: PromptRun) -> None:
    """Nor the status bar that shows it."""
    assert not {"\x1b", "\x07"} & set(prompt("--user", "\x1b[2J\x07", "--format", "{user} {budget}")[1])
    assert prompt("--tmux", "--user", "#(reboot)", "--format", "{user}")[1] == "##(reboot)\n"


def test_without_a_budget_there_is_what_was_spent(prompt: PromptRun, tmp_path: Path) -> None:
    """The first day has none."""
    store = SQLiteStore(tmp_path / "budgetguard.db", namespace="new", durable=False)
    book(store, "call", cost=5_000_000)
    assert prompt() == (0, "new $0.005 today\n", "")
    assert prompt("--format", "[{left}{bar}{percent}{budget}]")[1] == "[]\n"
    store.close()


def test_users_budgets_are_shown_where_none_is_for_all(prompt: PromptRun, tmp_path: Path) -> None:
    """Who has only users' budgets sees the fullest of them."""
    store = SQLiteStore(tmp_path / "budgetguard.db", namespace="new", durable=False)
    for user, cost in (("ann", 1_000_000_000), ("bob", 4_000_000_000)):
        own = Users(store).put(user, Budget("users", 5, "monthly", per=("user",)))
        book(store, user, cost=cost, accounts=(own.account(store.now_ms()).key,), tags={"user": user})
    assert prompt()[1] == "new $5.00 today · users/bob $4.00 of $5.00 (80 %)\n"
    store.close()


def test_a_prompt_does_not_wait_for_thousands_of_users(
    prompt: PromptRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of so many, one is named, or none is told."""
    store = SQLiteStore(tmp_path / "budgetguard.db", namespace="new", durable=False)
    for user in ("ann", "bob", "eve"):
        own = Users(store).put(user, Budget("users", 5, "monthly", per=("user",)))
        book(store, user, cost=1_000_000_000, accounts=(own.account(store.now_ms()).key,), tags={"user": user})
    monkeypatch.setattr("budgetguard.cli.live.statusline.MOST_USERS", 2)
    assert prompt()[1] == "new $3.00 today\n"
    assert prompt("--user", "eve")[1] == "new $1.00 today · users/eve $1.00 of $5.00 (20 %)\n"
    store.close()


def test_it_imports_neither_tables_nor_the_other_commands(project: SQLiteStore, tmp_path: Path) -> None:
    """It runs before each prompt: what it does not need costs everybody a tenth of a second, all day."""
    program = (
        "import sys; from budgetguard.cli import main\n"
        "try: main(['statusline'])\n"
        "except SystemExit: print([name for name in ('budgetguard.cli.app', 'rich', 'rich.console', 'openai', 'httpx', "
        "'asyncio', 'budgetguard.manager', 'budgetguard.reports.cube', 'http.client') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[1:] == ["[]"], done.stderr


def test_it_is_a_command_like_the_others(project: SQLiteStore, tmp_path: Path) -> None:
    """Whoever asks for help finds it, and its own help has an example."""
    shown = [
        subprocess.run([*COMMAND, *said], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
        for said in (["--help"], ["statusline", "--help"])
    ]
    assert "statusline" in shown[0].stdout
    assert "Usage: budgetguard statusline" in shown[1].stdout
    assert "Example: budgetguard statusline" in shown[1].stdout


def test_a_budget_is_near_its_limit_where_other_views_say_so(project: SQLiteStore, prompt: PromptRun) -> None:
    """From the first part on at which somebody is told; a prompt that stays green would say otherwise."""
    named = ("--budget", "all", "--color", "always", "--format", "{percent}")
    assert prompt(*named)[1] == "\x1b[32m76 %\x1b[0m\n"
    declare(project, [Budget("all", 2, "monthly", warn_at=0.7), FREE])
    assert prompt(*named)[1] == "\x1b[33m76 %\x1b[0m\n"
