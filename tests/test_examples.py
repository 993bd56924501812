"""
What is written down runs: every example, and every Python block of the README and the docs.

The blocks of a page run in order in one namespace, in an empty directory, with a provider on loopback where the
environment names OpenAI.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"^(?P<indent> *)```python\n(?P<text>.*?)^(?P=indent)```$(?:\n\n```text\n(?P<shown>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
FENCE = re.compile(r"^ *(```.*|~~~.*)$", re.MULTILINE)
FENCES = {f"```{name}" for name in ("python", "console", "text", "toml", "json", "yaml", "ini", "nginx", "sql", "")}
"""Of blocks; the last is the end of one. Another spelling of Python would not be run."""
OTHERS = [ROOT / name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md")]
"""Pages without a program."""

EXPECTED = {
    "max_budget.py": [
        "after the first call: $0.00081",
        "the second was refused: max_budget: call projected at $0.00084, $0.00069 of $0.0015 available",
        "after the stream: $0.00168",
    ],
    "per_user.py": ["answered: ", "answered: ", "Sorry - no budget!", "{'1234': {'total_budget': 0.001, "],
    "providers.py": [
        "after gpt-4o-mini $0.00000",
        "after anthropic/claude-haiku-4-5 $0.0000",
        "after groq/llama-3.3-70b-versatile $0.0000",
        "refused: scope: call projected at $0.05",
        "DeepSeek needs a key: set DEEPSEEK_API_KEY, or pass api_key=",
    ],
    "update_cost.py": ["0.00075", "0.0015", "0.00213", "{'gpt-4': 0.00213}"],
    "manager.py": [
        "create_budget      {'total_budget': 10.0}",
        "is_valid_user      True False",
        "projected_cost     0.00027",
        "get_current_cost   0.036",
        "reset_cost         {'user': {'total_budget': 10.0, 'current_cost': 0.0, 'model_cost': {}}}",
        "KeyError: no budget was created for user 'nobody': call create_budget first",
        "ValueError: duration='fortnightly' is no period",
    ],
    "durations.py": [
        "31 Jan {'ann': 0.03, 'kenji': 0.03, 'rosa': 0.03}",
        "01 Feb {'ann': 0.0, 'kenji': 0.03, 'rosa': 0.03}",
        "02 Feb {'ann': 0.0, 'kenji': 0.03, 'rosa': 0.0}",
        "01 Mar {'ann': 0.0, 'kenji': 0.0, 'rosa': 0.0}",
    ],
    "budgeted.py": ["refused: scope: call projected at ", "ann 0.00075", "bob 0.0015"],
    "scopes.py": [
        "the job spent $0.00075 and has $0.00925",
        "the step was refused: scope: call projected at ",
        "the step spent $0.00075 and the job $0.0015",
        "five at once spent $0.00375",
        "ann has $0.99925 left today",
    ],
    "patch.py": [
        "before: answered",
        "limited: refused - and a new client: refused",
        "unpatched: answered",
        "patched again: refused",
        "one guarded client: refused - the others: answered",
    ],
    "threads.py": [
        "in a context: shop 0.0, blog 0.00075",
        "in a thread: shop 0.00075, blog 0.00075",
        "the batch spent $0.00225",
        "in a pool: shop 0.00075, blog 0.003",
    ],
    "realtime.py": [
        "one answer: $0.00",
        "and one that the server began: $0.00",
        "the next piece of sound was refused: scope: call projected at ",
    ],
    "claude.py": [
        "plain: $0.0002",
        "streamed: $0.0002",
        "in a batch, at half: $0.0001",
        "a stated cap that does not fit is refused: all: call projected at ",
        "a cache of a middleware's own costs nothing: $0.00",
    ],
    "gemini.py": [
        "a question, a function and its answer: $0.00",
        "and a stream: $0.00",
        "refused: scope: call projected at $0.00",
    ],
    "bedrock.py": [
        "Converse: money is a promise",
        "streamed: money is a promise",
        "InvokeModel: money is a promise",
        "spent: $0.0001",
        "refused before anything was sent: all: call projected at ",
    ],
    "through_litellm.py": [
        "plain: 1 calls, $0.000006",
        "streamed, another provider's: 2 calls, $0.000055",
        "mocked: 2 calls, $0.000055",
        "refused: scope: call projected at ",
    ],
    "by_hand.py": [
        "by hand: $0.00006",
        "and as a stream: $0.00012",
        "a model on this machine is free: $0.00012",
        "a model without a price is refused: no price is known for model 'command-of-mine' at this host",
        "no room: scope: call projected at $0.00",
    ],
    "litellm_file.py": [
        "2 users",
        "2 users again, and nothing twice",
        "{'ann': {'total_budget': 10.0, 'duration': 28, ",
    ],
}
"""The beginnings of lines that each example prints, in this order."""

LITELLMS = ("-W", "ignore:unclosed event loop", "-W", "ignore:Item")
"""Warnings of its own, which LiteLLM leaves to its callers."""


def run(arguments, directory, *, text=None):
    """What a Python program prints, run in a directory as a user would, with no key and no settings around it."""
    hidden = ("OPENAI_", "ANTHROPIC_", "GOOGLE_", "GEMINI_", "BUDGETGUARD_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    done = subprocess.run(
        [sys.executable, "-W", "error", *LITELLMS, *arguments],
        cwd=directory,
        env={**environ, "PYTHONPATH": str(ROOT)},
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs_as_it_is_written_and_prints_what_it_says(example, tmp_path):
    """From any directory, alone."""
    lines = iter(run([str(example)], tmp_path).splitlines())

    for expected in EXPECTED[example.name]:
        assert any(line.startswith(expected) for line in lines), f"{expected!r} was not printed, or not in this order"


def test_the_second_run_of_an_example_shows_that_the_spend_was_kept(tmp_path):
    """The default store is a file."""
    example = str(ROOT / "examples" / "per_user.py")
    assert "answered" in run([example], tmp_path)
    second = run([example], tmp_path)

    assert "answered" not in second
    assert "Sorry - no budget!" in second


def test_every_example_is_checked_and_listed():
    """A new one is not forgotten."""
    listed = (ROOT / "examples" / "README.md").read_text()

    assert {path.name for path in EXAMPLES} == set(EXPECTED)
    assert all(f"({path.name})" in listed for path in EXAMPLES)


def blocks_of(page):
    """The Python blocks of a page, the number of lines above each, and what a page of `start/` says that it prints."""
    text = page.read_text("utf-8")
    told = page.parent.name == "start"
    return [
        (text.count("\n", 0, found.start("text")), textwrap.dedent(found["text"]), found["shown"] if told else None)
        for found in BLOCK.finditer(text)
    ]


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if "```python" in page.read_text("utf-8")],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_every_python_block_of_a_page_runs(page, tmp_path):
    """In the order of the page, as a reader would type them; it prints what a page of `start/` says."""
    blocks = blocks_of(page)
    assert len(blocks) == len(re.findall(r"^ *```python", page.read_text("utf-8"), re.MULTILINE))

    run(["-m", "tests.support.page_runner"], tmp_path, text=json.dumps([str(page.relative_to(ROOT)), blocks]))


def test_no_program_of_a_page_is_left_out():
    """A block of another name, and a page elsewhere, would be run by nobody."""
    fences = {(path.name, fence) for path in [*PAGES, *OTHERS] for fence in FENCE.findall(path.read_text("utf-8"))}
    assert {each for each in fences if each[1] not in FENCES} == set()
    assert [path.name for path in OTHERS if "```python" in path.read_text("utf-8")] == []
    assert set(ROOT.glob("*.md")) <= {*PAGES, *OTHERS}
