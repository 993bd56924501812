"""
The README, typed in order by somebody new in an empty directory: its commands see its programs, and stop them.

The commands that the reference begins with are typed after them.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from budgetguard.server.gateway.config.resolve import Configuration
from budgetguard.testing import FakeProvider
from tests.support import ROOT
from tests.support.commands import exit_code
from tests.support.gateway import ServedGateway

README = (ROOT / "README.md").read_text("utf-8")
COMMANDS_PAGE = (ROOT / "docs/reference/commands.md").read_text("utf-8")
PROGRAM = "\n".join(map(textwrap.dedent, re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)))
COMMANDS = [
    shlex.split(line.removeprefix("$ budgetguard "), comments=True)
    for line in dict.fromkeys([*README.splitlines(), *COMMANDS_PAGE.splitlines()])
    if line.startswith("$ budgetguard ") and "--install-completion" not in line  # it changes the shell's own files
]
CALLS = """
from openai import OpenAI
print(OpenAI().responses.create(model="gpt-4o-mini", input="hi").output_text)
"""


GATEWAY = "http://localhost:4000"


@pytest.fixture
def gateway(provider: FakeProvider) -> Iterator[str]:
    """`make gateway`, at another port."""
    with ServedGateway(Configuration.demo(provider.root_url)) as served:
        yield served.url


@pytest.fixture
def typed(provider: FakeProvider, here, monkeypatch):
    """Runs Python in the directory, in a process of its own, with the provider where the environment names one."""
    for name, url in (("OPENAI", provider.base_url), ("ANTHROPIC", provider.root_url)):
        monkeypatch.setenv(f"{name}_BASE_URL", url)
        monkeypatch.setenv(f"{name}_API_KEY", "none")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, *arguments]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=False)

    return run


def opens(*arguments: str) -> None:
    """Start a page as its command does, open the address that it says, and end it as by Ctrl-C."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as page:
        assert page.stdout is not None
        address = re.search(r"http://127.0.0.1:\S+", page.stdout.readline())
        assert address is not None
        try:
            with urllib.request.urlopen(address[0], timeout=60) as answer:
                assert answer.status == 200
            page.send_signal(signal.SIGINT)
            assert page.wait(60) in {0, 130, -signal.SIGINT}
        finally:
            page.kill()


def test_the_readme_typed_in_order_works(typed, provider, gateway, here, capsys):
    """Its commands show what its program spent, with no option beside those that it names, and each of them runs."""
    assert GATEWAY in PROGRAM
    (here / "readme.py").write_text(PROGRAM.replace(GATEWAY, gateway))
    (here / "script.py").write_text(CALLS)
    done = typed("readme.py")
    assert done.returncode == 0, done.stderr

    def command(*arguments: str) -> Any:
        capsys.readouterr()
        assert exit_code(*arguments, "--json") == 0
        return json.loads(capsys.readouterr().out)

    spent = re.search(r"^(\S+) of 10.0$", done.stdout, re.MULTILINE)
    assert spent is not None
    [ann] = command("users")
    assert ann["spent"] >= float(spent[1]) > 0
    assert ann["spent"] in [each["cost"] for each in command("spend")]
    assert {each["budget"]: each["spent"] for each in command("budgets")}.items() >= {"free": ann["spent"]}.items()

    assert ["budget", "set", "ann", "10", "monthly"] in COMMANDS
    assert len(COMMANDS) > 12
    for words in COMMANDS:
        if words[0] == "run":
            ran = typed("-m", "budgetguard.cli", *words)
            assert ran.returncode == 0, ran.stderr
        elif words == ["ui"]:
            opens("-m", "budgetguard.cli", "ui", "--no-browser", "--port", "0")
        else:
            assert exit_code(*[word.replace("redis://host", "sqlite:///other.db") for word in words]) == 0, words
    assert command("users")[0]["period"] == "monthly"

    asked = len(provider.requests)
    assert exit_code("budget", "set", "ann", "0") == 0
    stopped = typed("readme.py")
    assert stopped.returncode == 1
    assert "BudgetExceededError: users/ann" in stopped.stderr
    assert len(provider.requests) == asked
