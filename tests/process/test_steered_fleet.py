"""What people change of a budget holds in every process, from the next call on; where calls are leased, in a moment."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from contextlib import closing
from pathlib import Path

import pytest

from budgetguard import BudgetManager
from budgetguard.budgets.steering.audit import changes
from budgetguard.process.outbox import FLUSH_S, HEAR_S
from tests.support import ENVIRONMENT, servers
from tests.support.children import ends, fork
from tests.support.hosting import Hosted
from tests.support.steering import client, many, passes, team

PROCESSES = 4


def call_until_refused(url: str, told: Path) -> None:
    """Call, and write down when each call that passed began, by the clock that all processes share."""
    with closing(BudgetManager("shop", store=url, budgets=team("1000"))) as ours, told.open("w") as file:
        calls = client(ours)
        while True:
            began_s = time.monotonic()
            if not passes(calls):
                return
            file.write(f"{began_s}\n")
            file.flush()


def begun(told: Path) -> list[float]:
    """When the calls began that passed."""
    return [float(line) for line in told.read_text().split()] if told.exists() else []


def wait_for(done: object, within_s: float = 20.0) -> None:
    until_s = time.monotonic() + within_s
    while not done():  # type: ignore[operator]
        assert time.monotonic() < until_s, "it did not come about"
        time.sleep(0.01)


def test_no_call_passes_in_any_process_once_the_command_has_returned(tmp_path):
    """Four programs call as fast as they can, and somebody at a terminal says stop: that is the end of it."""
    url = f"sqlite:///{tmp_path}/budgets.db?reserve_s=20&settle_s=20"  # on a machine that is busy with other things
    files = [tmp_path / f"calls{number}" for number in range(PROCESSES)]
    children = [fork(lambda told=told: call_until_refused(url, told)) for told in files]
    wait_for(lambda: all(len(begun(told)) > 20 for told in files))

    where = ["--store", url, "--project", "shop"]
    wait_for(lambda: "team" in _command("budgets", *where))
    told = _command("budget", "pause", "team/red", "--note", "incident 12", "--by", "ann", *where)
    paused_s = time.monotonic()

    assert ends(*children) == [0] * PROCESSES
    assert "team/red: it is paused" in told
    late = [began_s for file in files for began_s in begun(file) if began_s > paused_s]
    assert late == []
    with closing(BudgetManager("shop", store=url)) as ours:
        [change] = changes(ours.store)
        assert (change.who, change.via, change.what, change.note) == ("ann", "cli", "pause", "incident 12")
        assert ours.store.check() == []


def _command(*words: str) -> str:
    command = [sys.executable, "-m", "budgetguard", *words]
    env = {**os.environ, **ENVIRONMENT, "PYTHONPATH": os.getcwd()}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
    return done.stdout + done.stderr


@pytest.mark.parametrize("engine", ["memory", "sqlite", *servers.NAMES, "http"])
def test_a_steer_holds_in_another_process_over_every_store(engine, tmp_path):
    """The version of the steers goes with each hold, and every store compares it."""
    hosted = Hosted(f"sqlite:///{tmp_path}/budgets.db") if engine == "http" else None
    where = f"sqlite:///{tmp_path}/budgets.db" if engine == "sqlite" else "" if hosted else engine
    if engine in servers.NAMES:
        where = servers.running(engine)
    name = uuid.uuid4().hex
    ours = BudgetManager(
        name, store=hosted.url if hosted else "memory://" if engine == "memory" else where, budgets=team()
    )
    others = ours
    if engine != "memory":
        others = BudgetManager(name, store=hosted.url if hosted else where, budgets=team())
    try:
        calls = client(ours)
        assert passes(calls)
        others.pause("team/red", note="stop")
        assert not passes(calls)
        others.resume("team/red")
        others.top_up("team/red", "0.0012")
        assert many(calls) == 5
        others.reset_budget("team")
        assert many(calls) == 6
        assert [each.what for each in ours.changes()] == ["reset", "top up", "resume", "pause"]
    finally:
        others.close()
        ours.close()
        if hosted:
            hosted.stop()


def test_a_process_that_leases_hears_of_a_pause_in_a_moment(tmp_path):
    """Its calls do not ask the store, so it asks once a second; no slice is asked for that the steer has not seen."""
    url = f"sqlite:///{tmp_path}/budgets.db"
    rules = team("1000", lease=True)
    with closing(BudgetManager("shop", store=url, budgets=rules)) as ours:
        calls = client(ours)
        assert passes(calls)
        assert ours.guard.leases is not None
        assert ours.guard.leases.living()
        with closing(BudgetManager("shop", store=url, budgets=rules)) as others:
            others.pause("team/red")
            paused_s = time.monotonic()
            wait_for(lambda: not passes(calls))
            took_s = time.monotonic() - paused_s
            assert not passes(calls)
            others.resume("team/red")
            wait_for(lambda: passes(calls))
    assert took_s < 10 * (HEAR_S + FLUSH_S)  # on a machine that is busy with other things


def test_a_slice_is_not_given_for_a_limit_that_was_changed(tmp_path):
    """A process that is about to lease for the first time, or again, names the steers that it knows."""
    url = f"sqlite:///{tmp_path}/budgets.db"
    rules = team("1000", lease=True)
    with closing(BudgetManager("shop", store=url, budgets=rules)) as others:
        others.raise_budget("team/red", "0.0015")
    with closing(BudgetManager("shop", store=url, budgets=rules)) as ours:
        assert many(client(ours)) == 2
