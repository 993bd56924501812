"""Where nobody has configured OpenTelemetry, nothing of it is imported, and nothing is done."""

from __future__ import annotations

import subprocess
import sys

from opentelemetry import trace

from budgetguard.telemetry.telemetry import API
from tests.support import ENVIRONMENT
from tests.support.plain_calls import entered_while_kept, guarded, sync_client

QUIET = """
import sys
from tests.support.plain_calls import guarded, sync_client
client = sync_client()
with guarded("memory://") as manager:
    for stream in (False, False):
        client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], user="ann")
print(len(list(manager.store.entries())))
print([name for name in sys.modules if name.startswith("opentelemetry") or "telemetry.traced" in name])
"""


def test_nothing_of_it_is_imported():
    """A program without it has a package less to load, and none of its bugs."""
    done = subprocess.run([sys.executable, "-c", QUIET], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["2", "[]"]


def test_a_call_enters_none_of_it_where_only_its_api_is_imported():
    """Libraries import the API for themselves (FastAPI, Mistral's SDK), and the SDK (redis): nobody listens yet."""
    assert API in sys.modules
    assert trace is sys.modules[API]
    client = sync_client()
    with guarded("memory://"):

        def ask() -> object:
            return client.chat.completions.create(
                model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], user="ann"
            )

        for _ in range(3):
            ask()
        assert [each for each in entered_while_kept(ask) if each.startswith("/telemetry")] == []


def test_a_library_need_not_have_it():
    """It is an extra: whoever has not installed it imports all of ours."""
    program = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "import budgetguard, budgetguard.cli, budgetguard.server.gateway.app\n"
        "from budgetguard.telemetry.telemetry import Telemetry\n"
        "print(Telemetry().tags)"
    )
    done = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "()"
