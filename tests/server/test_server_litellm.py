"""LiteLLM's two endpoints: budgets are taken as given, and spend is merged by what each writer added."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from budgetguard.budgets.rules import user_rule
from budgetguard.errors import StoreError
from budgetguard.server.api.litellm.merge import LATE_MS, Known, Seen, carried, change
from budgetguard.testing.clock import StoppedClock
from tests.support import ROOT
from tests.support.hosting import Hosted

DAY_S = 86_400
RECORD = {"total_budget": 10, "duration": 28, "created_at": 1.79e9, "last_updated_at": 1.79e9}


@pytest.fixture
def server(url: str, clock: StoppedClock) -> Iterator[Hosted]:
    hosted = Hosted(url, clock=clock)
    yield hosted
    hosted.stop()


def get(server: Hosted) -> dict[str, Any]:
    status, body = server.post("/get_budget", {"project_name": "shop"})
    assert status == 200
    return body


def read(server: Hosted) -> dict[str, Any]:
    return get(server)["data"]


def write(server: Hosted, users: dict[str, Any]) -> None:
    status, body = server.post("/set_budget", {"project_name": "shop", "user_dict": users})
    assert (status, body) == (200, {"status": "success"})


def spend(record: dict[str, Any], dollars: float, model: str = "gpt-4o") -> None:
    """As LiteLLM's `update_cost` does."""
    record["current_cost"] = dollars + record.get("current_cost", 0)
    costs = record.setdefault("model_cost", {})
    costs[model] = dollars + costs.get(model, 0)


def plain(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != "budgetguard"}


def spent(server: Hosted, user: str = "ann") -> float:
    return round(read(server)[user].get("current_cost", 0), 9)


def test_a_project_without_records_says_so(server: Hosted) -> None:
    """LiteLLM's client begins with no users then."""
    assert get(server) == {"status": "error"}


def test_what_is_written_is_read(server: Hosted) -> None:
    """Budgets, durations, costs; beside them only the mark."""
    ann = {**RECORD, "current_cost": 0.5, "model_cost": {"gpt-4o": 0.3, "gpt-4": 0.2}}
    write(server, {"ann": ann, "bob": {"total_budget": 0.25}})
    found = read(server)
    assert plain(found["ann"]) == {**ann, "last_updated_at": found["ann"]["last_updated_at"]}
    assert plain(found["bob"]) == {"total_budget": 0.25}
    assert set(found["ann"]["budgetguard"]) == {"read", "period", "spent"}


def test_spend_of_two_writers_adds_up(server: Hosted) -> None:
    """Each sends its whole copy, in which the other's spend is missing."""
    write(server, {"ann": {**RECORD, "current_cost": 1.0, "model_cost": {"gpt-4o": 1.0}}})
    one, two = read(server), read(server)
    spend(one["ann"], 0.25)
    write(server, one)
    spend(two["ann"], 0.5, "gpt-4")
    write(server, two)
    spend(one["ann"], 0.125)
    write(server, one)
    assert spent(server) == 1.875
    assert read(server)["ann"]["model_cost"] == {"gpt-4o": 1.375, "gpt-4": 0.5}


def test_what_is_settled_meanwhile_is_not_lost(server: Hosted) -> None:
    """By clients of the native API."""
    write(server, {"ann": dict(RECORD)})
    mine = read(server)
    users = server.app.projects.open("shop").users
    users.book(users.get("ann"), 3_000_000_000, model="gpt-4", usage={})
    spend(mine["ann"], 0.5)
    write(server, mine)
    assert spent(server) == 3.5


def test_a_repeated_write_adds_nothing(server: Hosted) -> None:
    """The client saves the whole after every call, and a proxy may repeat it."""
    write(server, {"ann": dict(RECORD)})
    mine = read(server)
    spend(mine["ann"], 0.5)
    for _ in range(3):
        write(server, mine)
    assert spent(server) == 0.5


def test_writes_that_overtake_each_other_count_once(server: Hosted) -> None:
    """LiteLLM's client saves in a thread for each call."""
    write(server, {"ann": dict(RECORD)})
    mine = read(server)
    spend(mine["ann"], 0.5)
    first = json.loads(json.dumps(mine))
    spend(mine["ann"], 0.25)
    write(server, mine)
    write(server, first)
    assert spent(server) == 0.75
    spend(mine["ann"], 0.125)
    write(server, mine)
    assert spent(server) == 0.875


def test_a_write_that_is_overtaken_while_it_is_merged_counts_once(
    server: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The newer dict is booked, and before that is noted, the older one comes by and is noted.

    0.5 and then 0.25 were spent, so 0.75: what the older one finds on the books is not news when the newer goes on.
    """
    write(server, {"ann": dict(RECORD)})
    mine = read(server)
    spend(mine["ann"], 0.5)
    older = json.loads(json.dumps(mine))
    spend(mine["ann"], 0.25)
    store = server.app.projects.open("shop").store
    put, late = store.put_terms, [older]

    def overtaken(key: str, *args: Any, **more: Any) -> Any:
        if key.startswith("litellm/") and late:
            write(server, late.pop())
        return put(key, *args, **more)

    monkeypatch.setattr(store, "put_terms", overtaken)
    write(server, mine)
    assert late == []
    assert spent(server) == 0.75
    spend(mine["ann"], 0.125)
    write(server, older)
    write(server, mine)
    assert spent(server) == 0.875


def test_a_write_that_was_half_done_is_completed_by_the_next(server: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that dies between booking the spend and noting that it did: the next write books only the rest."""
    write(server, {"ann": dict(RECORD)})
    mine = read(server)
    spend(mine["ann"], 0.5)
    store = server.app.projects.open("shop").store
    put = store.put_terms

    def fail(key: str, *args: Any, **more: Any) -> Any:
        if key.startswith("litellm/"):
            raise StoreError("died")
        return put(key, *args, **more)

    monkeypatch.setattr(store, "put_terms", fail)
    assert server.post("/set_budget", {"project_name": "shop", "user_dict": mine})[0] == 503
    assert spent(server) == 0.5
    monkeypatch.setattr(store, "put_terms", put)
    spend(mine["ann"], 0.25)
    write(server, mine)
    write(server, mine)
    assert spent(server) == 0.75


def test_what_floats_add_to_a_sum_is_not_booked(server: Hosted) -> None:
    """Six cents, added up one by one, are 0.060000000000000005 dollars; a tenth of a nano-dollar more is one more."""
    added = sum([0.01] * 6)
    assert added > 0.06
    write(server, {"ann": {**RECORD, "current_cost": added, "model_cost": {"gpt-4o-mini": added}}})
    assert spent(server) == 0.06
    write(server, {"bob": {**RECORD, "current_cost": 0.0600000001, "model_cost": {"gpt-4o-mini": 0.0600000001}}})
    write(server, {"eve": {**RECORD, "current_cost": 0.0600000011, "model_cost": {"gpt-4o-mini": 0.0600000011}}})
    assert [spent(server, name) for name in ("bob", "eve")] == [0.060000001, 0.060000002]


def test_many_writers_at_once_lose_nothing(server: Hosted) -> None:
    """Each with a copy of its own."""
    write(server, {"ann": dict(RECORD), "bob": dict(RECORD)})

    def work() -> None:
        mine = read(server)
        for _ in range(8):
            spend(mine["ann"], 0.01)
            write(server, mine)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert spent(server) == 0.48
    assert spent(server, "bob") == 0


def test_budgets_are_taken_as_given(server: Hosted) -> None:
    """The limit that was written last holds; what LiteLLM does not know of stays."""
    write(server, {"ann": dict(RECORD)})
    users = server.app.projects.open("shop").users
    users.put("ann", user_rule(10, "monthly", enforce="soft"))
    mine = read(server)
    mine["ann"]["total_budget"] = 20
    write(server, mine)
    own = users.get("ann")
    assert (own.rule.limit, own.rule.period.name, own.rule.enforce) == (20_000_000_000, "monthly", "soft")


def test_a_user_who_is_missing_is_kept(server: Hosted) -> None:
    """Somebody else may have added them since the writer read."""
    write(server, {"ann": dict(RECORD)})
    mine = read(server)
    write(server, {"bob": dict(RECORD)})
    write(server, mine)
    assert set(read(server)) == {"ann", "bob"}


def test_creating_a_user_again_does_not_wipe_the_spend(server: Hosted) -> None:
    """As LiteLLM's `create_budget` would."""
    write(server, {"ann": dict(RECORD)})
    mine = read(server)
    spend(mine["ann"], 0.5)
    write(server, mine)
    mine["ann"] = {**RECORD, "total_budget": 5, "created_at": 1.8e9}
    write(server, mine)
    spend(mine["ann"], 0.25)
    write(server, mine)
    assert spent(server) == 0.75
    assert read(server)["ann"]["total_budget"] == 5


def test_a_reset_takes_what_its_writer_knew(server: Hosted) -> None:
    """What others settled since then stays."""
    write(server, {"ann": {**RECORD, "current_cost": 4.0, "model_cost": {"gpt-4o": 4.0}}})
    one, two = read(server), read(server)
    spend(two["ann"], 0.5)
    write(server, two)
    one["ann"] |= {"current_cost": 0, "model_cost": {}}
    write(server, one)
    assert spent(server) == 0.5
    spend(one["ann"], 0.25)
    write(server, one)
    spend(two["ann"], 0.125)
    write(server, two)
    assert spent(server) == 0.875


def test_two_writers_that_reset_reset_once(server: Hosted) -> None:
    """Each runs LiteLLM's daily job on its own copy."""
    write(server, {"ann": {**RECORD, "current_cost": 4.0, "model_cost": {"gpt-4o": 4.0}}})
    one, two = read(server), read(server)
    for mine in (one, two):
        mine["ann"] |= {"current_cost": 0, "model_cost": {}}
        spend(mine["ann"], 0.25)
        write(server, mine)
    assert spent(server) == 0.5


def test_a_period_begins_again_for_those_who_hold_records(server: Hosted, clock: StoppedClock) -> None:
    """No job is needed: only what was added after the end of the period counts in the new one."""
    write(server, {"ann": {**RECORD, "current_cost": 4.0, "model_cost": {"gpt-4o": 4.0}}})
    mine, theirs = read(server), read(server)
    clock.advance(40 * DAY_S)
    found = read(server)["ann"]
    assert (found["current_cost"], found["model_cost"]) == (0, {})
    assert found["last_updated_at"] > RECORD["last_updated_at"]
    spend(mine["ann"], 0.5)
    write(server, mine)
    theirs["ann"] |= {"current_cost": 0, "model_cost": {}}
    spend(theirs["ann"], 0.25)
    write(server, theirs)
    assert spent(server) == 0.75


def test_a_budget_without_a_limit_is_a_number(server: Hosted) -> None:
    """LiteLLM's client compares with it."""
    server.app.projects.open("shop").users.put("ann", user_rule(None, None))
    mine = read(server)
    assert mine["ann"]["total_budget"] > 1e300
    write(server, mine)
    assert server.app.projects.open("shop").users.get("ann").rule.limit is None


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"total_budget": -1},
        {"total_budget": "ten"},
        {"total_budget": 1, "duration": "monthly"},
        {"total_budget": 1, "current_cost": -5},
        {"total_budget": 1, "model_cost": [1]},
        {"total_budget": 1, "created_at": "yesterday"},
    ],
)
def test_a_record_that_cannot_be_used_changes_nothing(server: Hosted, record: dict[str, Any]) -> None:
    """Also not the users before it."""
    status, body = server.post("/set_budget", {"project_name": "shop", "user_dict": {"ann": RECORD, "bob": record}})
    assert status == 400
    assert "user_dict['bob']" in body["error"]["message"]
    assert get(server) == {"status": "error"}


def test_a_slash_at_the_end_of_api_base_is_no_matter(server: Hosted) -> None:
    """LiteLLM's client makes two of it."""
    assert server.post("//get_budget", {"project_name": "shop"}) == (200, {"status": "error"})


# The rules, as functions.

BASE = Known("r1", "users/ann/2027-01", {"m": 100})
SEEN = Seen.first(BASE, 0)


@pytest.fixture
def other(tmp_path: Path, clock: StoppedClock) -> Iterator[Hosted]:
    """Another server on the file of the first; of one in memory there is none."""
    hosted = Hosted(f"sqlite:///{tmp_path}/budgets.db", clock=clock)
    yield hosted
    hosted.stop()


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("changed", [None, "period", "reset"])
def test_spend_is_booked_whichever_server_hears_of_it(server: Hosted, other: Hosted, changed: str | None) -> None:
    """Also by one that has just been started, or that saw the budget as it was before another changed it."""
    write(server, {"ann": {"total_budget": 10}})
    if changed == "period":
        users = read(other)
        users["ann"] |= {"duration": 1, "created_at": 1.79e9, "last_updated_at": 1.79e9}
        write(other, users)
    elif changed == "reset":
        users = read(server)
        spend(users["ann"], 1.0)
        write(server, users)
        users = read(other)
        users["ann"] |= {"current_cost": 0, "model_cost": {}}
        write(other, users)
    answering, asked = (other, server) if changed is None else (server, other)
    users = read(answering)
    spend(users["ann"], 4.0)
    write(answering, users)
    assert spent(asked) == 4.0
    assert answering.ask("GET", "/v1/budgets/ann")[1]["spent"] == 4.0


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_spend_on_a_budget_of_the_native_api_is_booked(server: Hosted) -> None:
    """Nobody has asked for this user before."""
    assert server.ask("POST", "/v1/budgets", {"user": "bob", "limit": 10})[0] == 201
    users = read(server)
    spend(users["bob"], 4.0)
    write(server, users)
    assert spent(server, "bob") == 4.0


def test_growth_is_what_was_added() -> None:
    """By model."""
    assert change(SEEN, BASE.period, {"m": 150, "n": 5}).added == {"m": 50, "n": 5}
    assert change(SEEN, "users/ann/2027-02", {"m": 150}).added == {"m": 50}


def test_a_sum_of_floats_is_no_reset() -> None:
    """A nano-dollar less is a rounding."""
    found = change(SEEN, BASE.period, {"m": 99})
    assert (found.added, found.reset, found.begun) == ({}, False, False)


def test_less_than_was_merged_a_while_ago_is_a_reset() -> None:
    """Less than what has just been merged is a request that was overtaken."""
    now = SEEN.merged(Known("r1", BASE.period, {"m": 300}), begun=False)
    assert change(now, BASE.period, {"m": 200}).added == {}
    assert change(now, BASE.period, {"m": 50}).reset
    later = now.turned(LATE_MS).turned(2 * LATE_MS)
    assert later.older == {"m": 300}
    found = change(later, BASE.period, {"m": 200})
    assert (found.reset, found.added) == (True, {"m": 200})
    assert now.turned(5 * LATE_MS).older == {"m": 300}


def test_what_others_settled_is_carried() -> None:
    """Over a reset."""
    assert carried({"m": 130, "n": 7}, BASE) == {"m": 30, "n": 7}


# LiteLLM's own client.

PROGRAM = """
import json, sys, time
import litellm
from litellm import BudgetManager

def manager():
    return BudgetManager(project_name="shop", client_type="hosted", api_base=sys.argv[1])

first = manager()
assert first.get_users() == []
first.create_budget(total_budget=10, user="ann", duration="monthly")
time.sleep(0.3)
assert first.save_data() == {"status": "success"}
one, two = manager(), manager()
assert one.get_users() == ["ann"] and one.get_total_budget("ann") == 10
expected = 0.0
for each in (one, two, one, first, two):
    before = each.get_current_cost("ann")
    each.update_cost(user="ann", model="gpt-4", input_text="how are you", output_text="fine " * 50)
    expected += each.get_current_cost("ann") - before
for each in (one, two, first):
    each.save_data()
time.sleep(0.5)
last = manager()
print(json.dumps([expected, last.get_current_cost("ann"), last.get_model_cost("ann")]))
one.update_budget_all_users()
"""


def test_litellms_own_client_works_against_this_server(server: Hosted) -> None:
    """A pinned release, in an environment of its own: three copies of it, whose spend adds up."""
    python = ROOT / ".cache/litellm-hosted/bin/python"
    if not python.exists():
        pytest.skip("`make test` installs LiteLLM in an environment of its own")
    done = subprocess.run([python, "-c", PROGRAM, server.url], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    expected, found, models = json.loads(done.stdout.splitlines()[-1])
    assert found == pytest.approx(expected, abs=1e-8)
    assert list(models) == ["gpt-4"]
