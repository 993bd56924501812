"""Calls go on while a view of a long history is made in the same process."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from statistics import median

from budgetguard.server.turns import TURN_S, short_turns
from tests.support import ROOT

SERVED = """
import os, signal, sys
from budgetguard.server.serve import listen_on, run_until_told

async def app(scope, receive, send):
    assert (await receive())["type"] == "lifespan.startup"
    print(sys.getswitchinterval())
    await send({"type": "lifespan.startup.complete"})
    os.kill(os.getpid(), signal.SIGTERM)
    await receive()
    await send({"type": "lifespan.shutdown.complete"})

run_until_told(app, listen_on("127.0.0.1", 0))
print(sys.getswitchinterval())
"""


def waited(seconds: float) -> float:
    """How long a thread that has slept waits for its turn beside one that works, as a rule."""
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            sum(range(1_000))

    worker = threading.Thread(target=work)
    worker.start()
    took, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        begin = time.perf_counter()
        time.sleep(0)  # gives its turn away
        took.append(time.perf_counter() - begin)
    over.set()
    worker.join()
    return median(took)


def test_a_call_waits_for_no_view_as_long_as_python_would_have_it() -> None:
    """A call goes through several threads, and waited five milliseconds for each while a view was made."""
    usual = sys.getswitchinterval()
    with short_turns():
        assert waited(0.3) < usual
    assert sys.getswitchinterval() == usual


def test_a_server_has_short_turns_until_it_ends() -> None:
    """It is the process's own, so a program that only uses the package keeps what it has."""
    ran = subprocess.run([sys.executable, "-c", SERVED], cwd=ROOT, capture_output=True, text=True, timeout=60)
    first, last = ran.stdout.split()
    assert float(first) == TURN_S
    assert float(last) > TURN_S, ran.stderr
