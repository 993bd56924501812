"""The command line: what it prints, what it changes, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
import textwrap

import pytest

from budgetguard import BudgetManager
from budgetguard.cli import main
from budgetguard.cli.common.tables import bar
from budgetguard.ledger import Account, Entry, Hold, new_id
from budgetguard.process.journal_files import JournalFile, line_of
from budgetguard.stores import shown
from budgetguard.stores.sqlite.store import SQLiteStore
from tests.support.commands import exit_code
from tests.support.in_memory import MODEL

PRICE = {MODEL: ("0.15", "0.60")}


pytestmark = pytest.mark.provider(tokens=100, prices=PRICE)


@pytest.fixture
def url(tmp_path, monkeypatch):
    """A store of its own, in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("BUDGETGUARD_")]:
        monkeypatch.delenv(name)
    return f"sqlite:///{tmp_path}/budgets.db"


@pytest.fixture
def manager(url):
    """A project in which ann spent on two models."""
    made = BudgetManager("default", store=url)
    made.create_budget(10, "ann", "monthly")
    for model in (MODEL, "gpt-4o"):
        made.update_cost("ann", {"model": model, "usage": {"prompt_tokens": 1000, "completion_tokens": 500}})
    yield made
    made.close()


def booking(cost):
    """A call's hold and entry."""
    held = Hold(new_id(), (Account("users/ann"),), cost)
    return held, Entry(held.id, cost)


@pytest.fixture
def cli(url, capsys):
    """Runs a command; gives its exit code, what it printed, and what it complained of."""

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            main([*arguments, "--store", url])
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return run


def test_users_shows_what_everyone_has_left(manager, cli):
    """The question that is asked most."""
    code, out, _ = cli("users")

    assert code == 0
    assert [line.split()[:5] for line in out.splitlines() if "ann" in line] == [
        ["ann", "$0.00795", "$0.00", "$10.00", "$9.99"]
    ]


def test_json_is_there_for_programs(manager, cli):
    """Amounts are whole nano-dollars, times are ISO 8601, and nothing else is on stdout."""
    _, out, _ = cli("users", "--json")
    [ann] = json.loads(out)

    assert (ann["user"], ann["spent"], ann["left"], ann["period"]) == ("ann", 7_950_000, 9_992_050_000, "monthly")
    assert ann["resets_at"].endswith("+00:00")


def test_a_budget_is_set_shown_and_removed(cli):
    """The life of one user's budget."""
    assert cli("budget", "set", "zoë", "2.50", "daily", "--timezone", "Asia/Tokyo", "--enforce", "soft")[0] == 0
    _, out, _ = cli("budget", "show", "zoë", "--json")
    shown = json.loads(out)
    assert (shown["limit"], shown["period"], shown["timezone"], shown["enforce"]) == (
        2_500_000_000,
        "daily",
        "Asia/Tokyo",
        "soft",
    )

    assert cli("budget", "rm", "zoë")[0] == 0
    code, out, err = cli("budget", "show", "zoë")
    assert (code, out) == (2, "")
    assert err == "error: user='zoë' has no budget: budgetguard budget set gives one\n"


def test_a_changed_budget_keeps_the_spend(manager, cli):
    """More room must not mean a fresh start."""
    _, out, _ = cli("budget", "set", "ann", "20", "monthly", "--json")

    assert json.loads(out)["left"] == 19_992_050_000


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("budget", "set", "ann", "plenty"), "total_budget='plenty' is no number"),
        (("budget", "set", "ann", "-1"), "No such option"),
        (("budget", "set", "ann", "1", "hourly"), "is no period"),
        (("budget", "set", "ann", "1", "daily", "--timezone", "Mars/North"), "timezone='Mars/North'"),
        (("budget", "set", "ann", "1", "daily", "--enforce", "maybe"), "enforce='maybe'"),
        (("budget", "rm", "nobody"), "user='nobody' has no budget"),
        (("spend", "--since", "yesterday"), "'yesterday' is no time"),
        (("spend", "--by", ""), "--by=''"),
        (("spend", "--tag", "team"), "write NAME=VALUE"),
        (("import", "missing.json"), "missing.json"),
        (("run", "missing.py", "--budget", "1"), "'missing.py' is no file"),
        (("run", "missing.py"), "--budget is missing"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(manager, cli, arguments, complaint):
    """A traceback tells a user nothing."""
    code, out, err = cli(*arguments)

    assert code == 2
    assert out == ""
    assert complaint in err
    assert "Traceback" not in err


def test_spend_groups_by_anything(manager, cli):
    """Model, day and tags, in any order."""
    _, out, _ = cli("spend", "--by", "model", "--by", "user", "--json")

    assert json.loads(out) == [
        {"model": "gpt-4o", "user": "ann", "cost": 7_500_000, **_tokens(1)},
        {"model": MODEL, "user": "ann", "cost": 450_000, **_tokens(1)},
    ]
    _, out, _ = cli("spend", "--by", "model")
    assert out.splitlines()[-2].split() == ["total", "$0.00795", "100", "%", "2", "2,000", "1,000", "0", "0"]


def test_spend_of_nobody_is_a_row_of_its_own(manager, cli):
    """It passed the users' budgets by: a dash reads as nothing."""
    held, entry = booking(5_000_000)
    manager.store.settle(held, entry)
    shown = {line.split("  ")[0].strip(): line for line in cli("spend")[1].splitlines()}
    assert "$0.005" in shown["(no user)"]
    assert "(no team)" in cli("spend", "--by", "user", "--by", "team", "--chart")[1]


def test_spend_can_be_narrowed(manager, cli):
    """By time, model and tag."""
    assert json.loads(cli("spend", "--model", MODEL, "--json")[1])[0]["cost"] == 450_000
    assert json.loads(cli("spend", "--since", "1h", "--tag", "user=ann", "--json")[1])[0]["calls"] == 2
    assert json.loads(cli("spend", "--until", "2020-01-01", "--json")[1]) == []
    assert "that fits" in cli("spend", "--tag", "user=bob")[1]


def test_spend_as_a_chart_has_bars_in_proportion(manager, cli):
    """The dearest fills the width."""
    _, out, _ = cli("spend", "--by", "model", "--chart")
    bars = [line.split()[1] for line in out.splitlines() if "gpt" in line]

    assert bars == ["█" * 40, "██▍"]
    assert (bar(0, 10), bar(1, 10**9), bar(10, 10)) == ("", "▏", "█" * 40)


def test_a_litellm_file_goes_in_and_comes_out(cli, tmp_path):
    """A user of LiteLLM's BudgetManager moves without losing a cent."""
    record = {"total_budget": 5.0, "current_cost": 0.25, "model_cost": {"gpt-4o": 0.25}}
    (tmp_path / "in.json").write_text(json.dumps({"ann": record}))

    assert cli("import", "in.json")[:2] == (0, "1 user taken over from in.json.\n")
    assert cli("export", "out.json")[:2] == (0, "1 user written to out.json.\n")
    assert json.loads((tmp_path / "out.json").read_text())["ann"]["current_cost"] == 0.25
    assert json.loads(cli("users", "--json")[1])[0]["left"] == 4_750_000_000


def test_the_books_are_checked(manager, cli):
    """`check` adds up, `holds` shows what is under way."""
    assert cli("check")[0] == 0
    assert json.loads(cli("check", "--json")[1]) == []
    assert cli("holds")[1] == "No call is under way.\n"


def test_projects_are_apart(manager, cli):
    """One store, many projects."""
    _, out, _ = cli("users", "--project", "other")

    assert out.startswith("No user of project 'other' has a budget.")


def test_prices_are_shown_with_their_steps(capsys):
    """Long contexts cost more, and the table says from where."""
    exit_code("prices", "gpt-5.4", "--json")
    shown = json.loads(capsys.readouterr().out)
    steps = [(line["dollars"], line["above"]) for line in shown["prices"] if line["kind"] == "input"]

    assert steps == [(2.5, 0), (5.0, 272_000)]  # genai-prices 0.2.3, openai, gpt-5.4
    exit_code("prices", MODEL)
    assert ["input", "$0.15", "1M", "tokens"] in [line.split() for line in capsys.readouterr().out.splitlines()]


def test_prices_come_from_a_price_file_too(capsys, tmp_path):
    """A model of one's own, and one that is free."""
    (tmp_path / "prices.toml").write_text("[models.mine]\ninput = 1\noutput = 2.5\n\n[models.gift]\nfree = true\n")
    for model in ("mine", "gift"):
        exit_code("prices", model, "--prices", str(tmp_path / "prices.toml"))
    out = capsys.readouterr().out

    assert ["output", "$2.50", "1M", "tokens"] in [line.split() for line in out.splitlines()]
    assert "declared free" in out


def test_an_unknown_model_is_an_error_with_the_line_to_add(capsys):
    """Never $0."""
    assert exit_code("prices", "no-such-model") == 2
    assert "budgetguard prices set no-such-model --input" in capsys.readouterr().err


def test_doctor_finds_a_healthy_installation_healthy(manager, cli):
    """Every check passes here."""
    code, out, _ = cli("doctor", "--json")
    found = {finding["check"]: finding["state"] for finding in json.loads(out)}

    assert code == 0
    checks = [
        "python",
        "openai",
        "patch",
        "anthropic",
        "unseen",
        "prices",
        "tokens",
        "store",
        "journal",
        "rules",
        "environment",
        "config",
        "settings",
    ]
    assert found == dict.fromkeys(checks, "ok")


RULES = """
[[budgets]]
name = "free"
limit = 1
per = ["user"]

[[budgets]]
name = "team"
limit = 1
match = { team = "serach*" }

[[budgets]]
name = "large"
limit = 1
match = { model = "gpt-4*" }

[[budgets]]
name = "tenants"
limit = 1
per = ["tenant"]
"""


def test_doctor_names_rules_that_calls_pass_by(manager, cli, tmp_path):
    """A rule that never held looks like one that did: by a typo in it, or a tag that nobody writes."""
    (tmp_path / "budgetguard.toml").write_text(RULES)
    for tags in ({"team": "search"}, {"team": "ads", "user": "ann"}):
        held, entry = booking(5_000_000)
        manager.store.settle(held, entry._replace(tags=tags))
    code, out, _ = cli("doctor", "--json")
    found = [(each["state"], each["text"]) for each in json.loads(out) if each["check"] == "rules"]

    assert code == 0
    assert [text.partition(":")[0] for state, text in found if state == "warn"] == [
        "1 calls of the last 7 days ($0.005) had no tag 'user', so budget 'free' did not count them",
        "budget 'team' matches team='serach*', and there were 'ads', 'search'",
        "budget 'large' matches tag 'model', which no call ever had",
        "budget 'tenants' counts by 'tenant', which no call that it matches ever had",
        "1 calls of the last 7 days ($0.005) had no tag 'user', so the users' own budgets did not count them",
    ]


def test_doctor_says_which_anthropic_is_guarded(manager, cli, monkeypatch):
    """Nobody has to have it; one that lacks what is patched would pass uncounted."""
    from anthropic import __version__, _streaming

    def found() -> tuple[str, str]:
        [finding] = [each for each in json.loads(cli("doctor", "--json")[1]) if each["check"] == "anthropic"]
        return finding["state"], finding["text"]

    assert found() == ("ok", f"{__version__}: its calls and streams can be guarded")
    monkeypatch.delattr(_streaming.Stream, "__stream__")
    assert found() == ("fail", f"{__version__} has no Stream.__stream__: patch() cannot guard it")


def test_doctor_says_how_far_the_store_is_and_what_waits_for_it(manager, cli, tmp_path, monkeypatch):
    """An outage is over when nothing waits any more; what the store itself warns of is shown as well."""
    monkeypatch.setattr(SQLiteStore, "examine", lambda store: ["it may forget"], raising=False)
    kept = JournalFile.make(f"{tmp_path}/budgets.db-unsettled", "default")
    for _ in range(2):
        kept.append(line_of(*booking(3)))
    kept.close()
    code, out, _ = cli("doctor", "--json")
    found = [(finding["check"], finding["state"], finding["text"]) for finding in json.loads(out)]

    assert code == 0
    assert any(check == "store" and "a round trip takes" in text for check, _, text in found)
    assert ("store", "warn", "it may forget") in found
    assert ("journal", "warn", f"{tmp_path}/budgets.db-unsettled: 2 settlements") in [
        (check, state, text.partition(" wait")[0]) for check, state, text in found
    ]


def test_doctor_takes_what_running_programs_may_have_landed_for_nothing_that_waits(manager, cli, tmp_path):
    """The file of a program is shortened now and then, not with every settlement that lands."""
    living = JournalFile.make(f"{tmp_path}/budgets.db-unsettled", "default")
    living.append(line_of(*booking(3)))
    _, out, _ = cli("doctor", "--json")
    [alone] = [finding for finding in json.loads(out) if finding["check"] == "journal"]
    left = JournalFile.make(f"{tmp_path}/budgets.db-unsettled", "default")
    left.append(line_of(*booking(3)))
    left.close()
    _, out, _ = cli("doctor", "--json")
    [both] = [finding for finding in json.loads(out) if finding["check"] == "journal"]
    living.close()

    said = "(1 line is in the files of programs that are running, and lands by itself if it has not)"
    assert alone["state"] == "ok"
    assert alone["text"] == f"{tmp_path}/budgets.db-unsettled: nothing waits for the store {said}"
    assert both["state"] == "warn"
    assert ": 1 settlements wait for the store;" in both["text"]
    assert both["text"].endswith(said)


def test_doctor_names_the_extra_that_is_missing_and_shows_no_password(url, capsys, monkeypatch):
    """A driver is not there by itself, and a terminal is no place for secrets."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for name in [name for name in sys.modules if name.startswith("budgetguard.stores.postgres.")]:
        monkeypatch.delitem(sys.modules, name)
    assert exit_code("doctor", "--store", "postgresql://ann:s3cret@host/shop") == 1
    out = capsys.readouterr().out
    assert "install the extra `postgres`" in out
    assert "s3cret" not in out


def test_doctor_finds_a_broken_store_and_a_mistyped_setting(cli, tmp_path, monkeypatch):
    """What is wrong is said, and the exit code is 1."""
    (tmp_path / "budgets.db").write_bytes(b"no database at all, " * 100)
    monkeypatch.setenv("BUDGETGUARD_STROE", "x")
    monkeypatch.setenv("BUDGETGUARD_TEST_POSTGRES", "of a developer: no mistake")
    code, out, _ = cli("doctor", "--json")
    found = {finding["check"]: finding for finding in json.loads(out)}

    assert code == 1
    assert found["store"]["state"] == "fail"
    assert found["environment"]["text"].startswith("BUDGETGUARD_STROE: no such setting")


def test_doctor_shows_the_settings_in_force(manager, cli, tmp_path, monkeypatch):
    """All of them, and where each was stated; every variable that says something is known."""
    (tmp_path / "budgetguard.toml").write_text('[settings]\nusage_hosts = ["b:1", "a"]\nauto_tier = "default"\n')
    monkeypatch.setenv("BUDGETGUARD_TTL_MS", "5000")
    monkeypatch.setenv("BUDGETGUARD_KEY", "bg-secret")
    code, out, _ = cli("doctor", "--json")
    found = {finding["check"]: finding for finding in json.loads(out)}

    assert (code, found["environment"]["state"]) == (0, "ok")
    told = found["settings"]["text"]
    assert "ttl_ms=5000 (BUDGETGUARD_TTL_MS)" in told
    assert "usage_hosts=['a', 'b:1'] (budgetguard.toml: [settings] usage_hosts)" in told
    assert "auto_tier=['default']" in told
    assert "abandoned=auto," in told
    assert "bg-secret" not in out

    monkeypatch.setenv("BUDGETGUARD_TTL_MS", "soon")
    assert cli("doctor")[0] != 0


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("sqlite:///budgets.db", "sqlite:///budgets.db"),
        ("redis://ann:s3cret@host:6379/0", "redis://host:6379/0"),
        ("redis://:s3cret@host", "redis://host"),
        ("postgresql://ann:s3c/ret@host/shop?sslmode=require", "postgresql://host/shop"),
        ("postgresql://ann@host/shop?password=s3cret&host=%2Frun", "postgresql://host/shop?host=/run"),
        ("postgresql:///shop?host=/run&password=s3c@ret", "postgresql://..."),
        ("redis://:s3c?ret@host/0", "redis://..."),
        ("redis://:s3c#ret@host/0", "redis://..."),
        ("s3cret", "..."),
    ],
)
def test_where_a_store_is_can_be_shown(url, seen):
    """Without the user, the password, and whatever option could be one."""
    assert shown(url) == seen


def test_there_is_nothing_to_migrate_in_a_file(cli, monkeypatch):
    """A file is made with the first write; a store that needs more says what it did."""
    code, out, _ = cli("migrate")
    assert (code, out.endswith("there is nothing to do, now or later.\n")) == (0, True)

    for done, said in (([], "is up to date"), (["made the tables"], ": made the tables")):
        monkeypatch.setattr(SQLiteStore, "migrate", lambda store, done=done: done, raising=False)
        code, out, _ = cli("migrate")
        assert code == 0
        assert said in out


def test_only_an_engine_with_sql_has_some_to_print(capsys):
    """And says which."""
    assert exit_code("sql", "redis") == 2
    assert capsys.readouterr().err == "error: 'redis' has no SQL to print: there is postgres\n"


def test_copy_moves_a_project_to_another_store(manager, cli, tmp_path, capsys, url):
    """Budgets, spend and history, under another name if need be; a second time it finds nothing new."""
    manager.create_budget(5, "bob")
    other = f"sqlite:///{tmp_path}/other.db"
    assert exit_code("copy", url, other, "--to-project", "moved", "--json") == 0
    out, err = capsys.readouterr()
    first = json.loads(out)
    assert err == ""
    assert {name: first[name] for name in ("terms", "new_terms", "entries", "new_entries", "cost", "removed")} == {
        "terms": 2,
        "new_terms": 2,
        "entries": 2,
        "new_entries": 2,
        "cost": 7_950_000,
        "removed": 0,
    }
    assert (first["from"], first["to"]) == (f"{url}, project default", f"{other}, project moved")

    assert exit_code("copy", "sqlite:///budgets.db", other, "--to-project", "moved") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert [line.split() for line in out.splitlines() if "budgets of" in line] == [["budgets", "of", "users", "2", "0"]]
    assert "Both have the same books." in out
    before = [cli(command, "--json")[1] for command in ("users", "check")]
    for command, said in zip(("users", "check"), before, strict=True):
        assert exit_code(command, "--json", "--store", other, "--project", "moved") == 0
        assert capsys.readouterr().out == said


def test_copy_refuses_what_would_lose_money(manager, cli, tmp_path, capsys, url):
    """Calls under way, settlements that wait elsewhere, and books that are not its own."""
    other = f"sqlite:///{tmp_path}/other.db"
    for target, complaint in (
        ("memory://", "memory:// is gone when this command ends"),
        (url, "cannot be copied to itself"),
        ("mongodb://ann:s3cret@host/a", "mongodb:// is no store that budgetguard knows"),
    ):
        assert exit_code("copy", url, target) == 2
        err = capsys.readouterr().err
        assert complaint in err
        assert "s3cret" not in err
    assert exit_code("copy", url, other, "--project", "nobody") == 2
    assert "project nobody holds nothing that could be copied" in capsys.readouterr().err
    held, _ = booking(3)
    manager.store.reserve(held)
    assert exit_code("copy", url, other) == 2
    assert "1 call is under way in sqlite:///" in capsys.readouterr().err
    assert not (tmp_path / "other.db").exists()

    assert exit_code("copy", url, other, "--while-running") == 0
    assert "copy again without --while-running" in capsys.readouterr().out
    manager.store.release(held.id)
    living = JournalFile.make(f"{tmp_path}/budgets.db-unsettled", "default")
    living.append(line_of(*booking(3)))
    assert exit_code("copy", url, other) == 2
    err = capsys.readouterr().err
    assert "a program that is running may still owe" in err
    assert f"its file in {tmp_path}/budgets.db-unsettled has 1 line" in err
    assert exit_code("copy", url, other, "--while-running") == 0
    capsys.readouterr()
    living.close()  # now it is what a dead process left
    assert exit_code("copy", url, other, "--json") == 0
    assert json.loads(capsys.readouterr().out)["new_entries"] == 1


def test_copy_shows_how_far_it_is_on_a_terminal_only(manager, url, tmp_path):
    """A bar with the rate and the time left; a log file gets the result."""
    command = [sys.executable, "-m", "budgetguard.cli", "copy", url]
    code, seen = _in_a_terminal([*command, f"sqlite:///{tmp_path}/a.db"], tmp_path)
    quiet = subprocess.run([*command, f"sqlite:///{tmp_path}/b.db"], capture_output=True, text=True, cwd=tmp_path)

    assert code == quiet.returncode == 0
    assert "history" in seen
    assert "2/2" in seen
    assert quiet.stderr == ""
    assert "history" not in quiet.stdout


def test_the_shell_completes_commands():
    """`budgetguard --install-completion` sets it up; this is what the shell then asks."""
    asked = {"_BUDGETGUARD_COMPLETE": "complete_bash", "COMP_WORDS": "budgetguard do", "COMP_CWORD": "1"}
    command = [sys.executable, "-c", "from budgetguard.cli import main; main()"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **asked})

    assert done.stdout.split() == ["doctor"]


def test_letters_that_the_locale_does_not_have_are_no_name(manager, cli, monkeypatch):
    """The budget would be that of another user, and Ann Müller's calls would pass it by."""
    escaped = "Müller".encode().decode("ascii", "surrogateescape")
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")
    code, _, err = cli("budget", "set", escaped, "0")

    assert code == 2
    assert "set PYTHONUTF8=1" in err
    assert escaped not in manager.get_users()


def test_the_version_is_printed(capsys):
    """For bug reports."""
    assert exit_code("--version") == 0
    assert capsys.readouterr().out.startswith("budgetguard ")


CALLS = """
    import sys
    from openai import OpenAI

    client = OpenAI(max_retries=0)
    for number in range(int(sys.argv[1])):
        client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], max_tokens=100
        )
        print("answered", number, flush=True)
"""


@pytest.fixture
def program(url, provider, tmp_path):
    """Runs a program that knows nothing of budgets, in a process of its own."""

    def run(source, *arguments, before=()):
        (tmp_path / "program.py").write_text(textwrap.dedent(source))
        environment = {**os.environ, "OPENAI_API_KEY": "none", "OPENAI_BASE_URL": provider.base_url}
        command = [sys.executable, "-m", "budgetguard.cli", "run", *before, "program.py", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=60)

    return run


def test_run_keeps_a_program_within_its_budget(program, provider):
    """Three calls of $0.0000612 fit into $0.0002, with what a fourth could cost they do not."""
    done = program(CALLS, "9", "--budget", "0.0002")

    assert done.stdout.splitlines() == ["answered 0", "answered 1", "answered 2"]
    assert done.returncode == 3
    assert "error: max_budget: call projected at" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-2] == f"budgetguard: {provider.billed} of $0.0002 spent"
    assert len(provider.requests) == 3


def test_run_counts_for_a_user_in_a_store(program, provider, cli, url):
    """The user's own budget holds as well, and the spend stays."""
    cli("budget", "set", "ann", "0.0001")
    done = program(CALLS, "9", "--budget", "5", "--user", "ann", "--store", url)

    assert done.stdout.splitlines() == ["answered 0"]
    assert "error: users/ann: call projected" in done.stderr
    assert json.loads(cli("spend", "--json")[1])[0]["cost"] == provider.billed.nano


def test_run_ends_as_the_program_does(program):
    """Exit codes, arguments and tracebacks are the program's own."""
    ended = program("import sys; print(sys.argv, __name__); sys.exit(7)", "--budget", "1", "--", "--budget", "x")
    failed = program("def go(): raise RuntimeError('mine')\ngo()", "--budget", "1")

    assert ended.returncode == 7
    assert ended.stdout == "['program.py', '--budget', 'x'] __main__\n"
    assert failed.returncode == 1
    first = next(line for line in failed.stderr.splitlines() if "File" in line)
    assert first.endswith('program.py", line 2, in <module>')
    assert "RuntimeError: mine" in failed.stderr
    assert failed.stderr.splitlines()[-1] == "budgetguard: $0.00 of $1.00 spent"


def test_run_takes_settings(program):
    """For its own guard, and for managers that the program makes."""
    source = """
        import budgetguard
        from budgetguard.sdks.install import default_guard

        found = default_guard().settings, budgetguard.BudgetManager("other", store="memory://").guard.settings
        print([(each.ttl_ms, sorted(each.usage_hosts)) for each in found])
    """
    hosts = ("--set", "usage_hosts=localhost:8080,a", "--set", "ttl_ms=5000")

    assert program(source, "--budget", "1", *hosts).stdout == f"{[(5000, ['a', 'localhost:8080'])] * 2}\n"
    assert "no setting: there are abandoned" in program(source, "--budget", "1", "--set", "colour=red").stderr
    assert "BUDGETGUARD_TTL_MS = 'x'" in program(source, "--budget", "1", "--set", "ttl_ms=x").stderr
    assert "NAME=VALUE" in program(source, "--budget", "1", "--set", "ttl_ms").stderr


def test_run_waits_for_the_programs_threads(program, provider):
    """What a thread spends after the last line is spent too."""
    source = f"""
        import threading, time

        def late():
            time.sleep(0.2)
            exec({textwrap.dedent(CALLS)!r})

        threading.Thread(target=late).start()
    """
    done = program(source, "2", "--budget", "1")

    assert done.stderr.splitlines()[-2] == f"budgetguard: {provider.billed} of $1.00 spent"


def test_run_waits_for_the_work_of_a_pool_and_not_for_its_workers(program, provider):
    """Many leave one open: the interpreter ends its workers, which wait for work until then; here that was for ever."""
    source = f"""
        import sys, time
        from concurrent.futures import ThreadPoolExecutor

        def late():
            time.sleep(0.2)
            exec({textwrap.dedent(CALLS)!r})

        sys.kept = ThreadPoolExecutor(2)
        sys.kept.submit(time.sleep, 0)
        sys.kept.submit(late)
        sys.kept.submit(late)
    """
    done = program(source, "1", "--budget", "1")

    assert len(provider.requests) == 2
    assert done.stderr.splitlines()[-2] == f"budgetguard: {provider.billed} of $1.00 spent"


def test_the_demo_shows_a_refusal_and_keeps_the_spend(tmp_path):
    """It is the first thing that a newcomer runs, and the second time must be no disappointment."""
    first = subprocess.run(DEMO, capture_output=True, text=True, cwd=tmp_path)
    code, second = _in_a_terminal(DEMO, tmp_path)

    assert (first.returncode, first.stderr) == (0, "")
    assert "bob's refusal, before anything was sent" in first.stdout
    assert "budgetguard.BudgetExceededError: users/bob/" in first.stdout
    assert "\x1b" not in first.stdout
    assert "Kept from earlier runs" not in first.stdout
    assert code == 0
    assert "Kept from earlier runs: ann $0.0" in second
    assert "bob's refusal" in second
    assert second.count("begins again") < second.count("\x1b[1A"), "the table was drawn over itself"


def test_the_demo_with_a_real_model_says_what_it_needs(url, capsys, monkeypatch):
    """The weights are a large download, so they are an extra."""
    monkeypatch.setitem(sys.modules, "xllamacpp", None)

    assert exit_code("demo", "--llm") == 2
    assert capsys.readouterr().err == (
        "error: --llm needs xllamacpp: install the extra `llm`, as in budgetguard-llm[llm]\n"
    )


DEMO = [sys.executable, "-m", "budgetguard.cli", "demo"]


def _in_a_terminal(command, cwd):
    """Run a command that believes it has a terminal; its exit code and everything it wrote."""
    reader, writer = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(command, stdout=writer, stderr=writer, cwd=cwd, env=environment)
    os.close(writer)
    written = []
    with open(reader, "rb", buffering=0) as terminal, contextlib.suppress(OSError):  # how Linux says end of file
        while piece := terminal.read(65536):
            written.append(piece)
    return process.wait(timeout=60), b"".join(written).decode()


def _tokens(calls):
    return {"calls": calls, "input_tokens": 1000 * calls, "output_tokens": 500 * calls, "estimated": 0, "cut": 0}
