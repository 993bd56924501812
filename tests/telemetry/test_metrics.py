"""Metrics: what is counted, by what, and that their rows are few."""

from __future__ import annotations

import pytest

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager, StoreError
from budgetguard.guards.settings import Settings
from budgetguard.telemetry import instruments as rows
from budgetguard.testing import FakeProvider
from tests.support.hearing import Heard, listening

MODEL = "gpt-4o-mini"
HI = [{"role": "user", "content": "hi"}]


def sums(heard: Heard, name: str, by: str) -> dict[str, float]:
    """What a metric comes to, by an attribute."""
    found: dict[str, float] = {}
    for row, point in heard.points(name):
        found[row[by]] = found.get(row[by], 0) + getattr(point, "sum", point)
    return found


@pytest.fixture
def counted():
    """Books of each user's budget, and every client guarded."""
    with BudgetManager("counted", store="memory://", budgets=[Budget("free", 1, per=("user",))]) as made:
        budgetguard.patch(made)
        yield made


@pytest.fixture
def ask(counted: BudgetManager, provider: FakeProvider):
    """Ask, for ann."""
    with budgetguard.budget(user="ann"), provider.client(max_retries=0) as client:
        yield lambda **more: client.chat.completions.create(model=MODEL, messages=HI, **more)


def test_costs_and_tokens_come_to_what_is_on_the_books(heard, ask, counted):
    """Whoever adds up a dashboard comes to the bill."""
    for stream in (False, True, False):
        list(ask(stream=stream, max_tokens=5)) if stream else ask(max_tokens=5)
    entries = list(counted.store.entries())
    cost = sum(entry.cost for entry in entries)
    assert sums(heard, "budgetguard.cost", "gen_ai.request.model") == {MODEL: pytest.approx(cost / 10**9, rel=1e-9)}
    assert sums(heard, "gen_ai.client.token.usage", "gen_ai.token.type") == {
        kind: sum(entry.usage[f"{kind}_tokens"] for entry in entries) for kind in ("input", "output")
    }
    [(_, point)] = heard.points("gen_ai.client.operation.duration")
    assert point.count == 3


def test_what_is_booked_at_the_second_try_is_counted_once(heard, ask, counted, monkeypatch):
    """A store that is away for a moment has a call settled again, and no dollar spent twice."""
    settle, tries = type(counted.store).settle, []

    def fail_first(store, *args):
        tries.append(args)
        if len(tries) == 1:
            raise StoreError("away")
        return settle(store, *args)

    monkeypatch.setattr(type(counted.store), "settle", fail_first)
    ask()
    assert counted.flush()
    [entry] = counted.store.entries()
    assert len(tries) > 1
    assert [cost for _, cost in heard.points("budgetguard.cost")] == [pytest.approx(entry.cost / 10**9)]


def test_refusals_are_counted_by_budget_and_reason(heard, ask):
    """An alert says which budget it is that refuses, and not who was refused."""
    ask()
    with budgetguard.budget(limit=0, user="bob"):
        for _ in range(2):
            with pytest.raises(BudgetExceededError):
                ask()
    assert heard.points("budgetguard.call.refusals") == [
        ({"budgetguard.budget": "scope", "budgetguard.reason": "spent"}, 2)
    ]


def test_what_is_in_flight_is_told_while_it_is(heard, ask):
    """Calls and dollars that are held now, and none of them once they are settled."""
    stream = ask(stream=True, max_tokens=50)
    [(row, calls)] = heard.points("budgetguard.holds")
    [(_, held)] = heard.points("budgetguard.held")
    assert (row["gen_ai.request.model"], calls) == (MODEL, 1)
    assert 0 < held < 0.01
    list(stream)
    assert heard.points("budgetguard.holds") == []


def test_what_the_guard_adds_is_measured_before_and_after(heard, ask):
    """So that who asks whether we are slow can look."""
    ask()
    found = {row["budgetguard.phase"]: point for row, point in heard.points("budgetguard.guard.duration")}
    assert set(found) == {"before", "after"}
    assert all(point.count == 1 and 0 < point.sum < 5 for point in found.values())
    assert found["before"].explicit_bounds[0] < 0.001


def test_a_metric_has_a_bounded_number_of_rows(provider, monkeypatch):
    """Whoever calls may name any model, and tag a call with anything: a server of metrics would drown in rows."""
    monkeypatch.setattr(rows, "MOST_ROWS", 5)
    settings = Settings(telemetry_tags=frozenset({"job"}), unpriced="count")
    with listening() as heard, BudgetManager("many", store="memory://", settings=settings) as manager:
        budgetguard.patch(manager)
        with provider.client() as client:
            for number in range(12):
                with budgetguard.budget(tags={"job": str(number)}):
                    client.chat.completions.create(model=MODEL, messages=HI)
        found = heard.points("budgetguard.cost")
        cost = sum(entry.cost for entry in manager.store.entries())
    assert len(found) <= 6
    assert sum(told for _, told in found) == pytest.approx(cost / 10**9)
    assert any(row["gen_ai.request.model"] == rows.OTHERS for row, _ in found)


def test_metrics_alone_are_told_where_no_traces_are(ask):
    """A program may have a provider of metrics, and none of traces."""
    with listening(traces=False) as heard:
        ask()
        assert len(heard.points("budgetguard.cost")) == 1
        assert heard.spans == []
