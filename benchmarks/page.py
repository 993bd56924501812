"""
What a view of the page takes on a long history: a million calls of ten thousand users over ninety days.

    python -m benchmarks.page [--quick] [--file PATH] [--json]

The file is made in a temporary directory, which takes a minute, or it is the one named (made there if there is none).
First how long it takes until all of the history is read: from its entries, once, and from the records of its days, as
every process does that starts afterwards. Then each view, warm: the best of five, in milliseconds of processor time, as
other programs take their part of the clock's.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from budgetguard import Budget
from budgetguard.budgets.users import Users
from budgetguard.ledger import Entry, RecordQuery
from budgetguard.reports.reports import Reports
from budgetguard.reports.shown.budgets import BudgetsQuery
from budgetguard.reports.shown.lists import CallsQuery
from budgetguard.reports.shown.money import ExploreQuery
from budgetguard.stores.sqlite.store import SQLiteStore

from .floors import Floors

MODELS = {
    "gpt-4o": "openai",
    "gpt-4o-mini": "openai",
    "claude-sonnet-4-5": "anthropic",
    "gemini-2.5-flash": "google",
    "o3-mini": "openai",
    "mistral-large-latest": "mistral",
}
FEATURES = ("search", "chat", "summarise", "agent", "batch")
TEAMS = ("red", "blue", "green", "ops")
USERS = 10_000
DAY_MS = 86_400_000
DAYS = 90
PAGE = 20_000
MOST_MS = 300
RULES = (
    Budget("free", 0.2, "daily", per=("user",)),
    Budget("team", 500, "monthly", per=("team",)),
    Budget("all", 1000, "monthly"),
)


@dataclass(frozen=True, slots=True)
class ViewRow:
    """One view."""

    name: str
    ms: float
    floor: str = ""


def entries(calls: int, now_ms: int) -> Iterator[Entry]:
    """A history in which hardly two calls of an hour are alike: the worst case for sums by the hour."""
    chosen = random.Random(1)
    for number in range(calls):
        at_ms = now_ms - DAYS * DAY_MS + DAYS * DAY_MS * number // calls
        user, model = f"user{int(USERS * chosen.random() ** 2)}", chosen.choice(tuple(MODELS))
        tags = {"user": user, "feature": chosen.choice(FEATURES), "team": chosen.choice(TEAMS)}
        usage = {"input_tokens": chosen.randrange(10, 5000), "output_tokens": chosen.randrange(10, 900)}
        flags = frozenset({"estimated"} if number % 50 == 0 else ())
        account = (f"users/{user}/all",)
        cost = chosen.randrange(10**5, 10**7)
        yield Entry(f"{at_ms:013d}-{number:08d}", cost, account, at_ms, tags, MODELS[model], model, usage, flags)


def fill(store: SQLiteStore, calls: int) -> None:
    """Load a history, and give each user a budget of their own."""
    pile = list[Entry]()
    for entry in entries(calls, store.now_ms()):
        pile.append(entry)
        if len(pile) == PAGE:
            store.load(entries=pile)
            pile.clear()
    store.load(entries=pile)
    users = Users(store)
    for number in range(0, USERS, 10):
        users.put(f"user{number}", Budget("users", 5, "monthly", per=("user",)))


def views(reports: Reports) -> dict[str, Callable[[], object]]:
    """What is measured, by name."""
    return {
        "overview by model": reports.overview,
        "overview by user": lambda: reports.overview(by="user"),
        "budgets, all of them": lambda: reports.budgets(BudgetsQuery(), fresh=True),
        "budgets, next page": lambda: reports.budgets(BudgetsQuery(search="user7", offset=50)),
        "a user": lambda: reports.subject("user", "user7"),
        "a team": lambda: reports.subject("team", "red"),
        "explore day, model": lambda: reports.explore(ExploreQuery(("day", "model"))),
        "explore hour, user": lambda: reports.explore(ExploreQuery(("hour", "user"))),
        "explore user, model": lambda: reports.explore(ExploreQuery(("user", "model"))),
        "explore user, feature of a team": lambda: reports.explore(
            ExploreQuery(("user", "feature"), only={"team": ("red",)})
        ),
        "calls": reports.calls,
        "calls of a user, estimated": lambda: reports.calls(
            CallsQuery(tags={"user": "user7"}, flags=frozenset({"estimated"}))
        ),
        "prices": reports.prices,
        "cut answers": reports.cuts,
        "health": reports.health,
    }


def best_ms(view: Callable[[], object], times: int = 5) -> float:
    """The best of some times, in processor time."""
    found = []
    for _ in range(times):
        began = time.process_time()
        view()
        found.append((time.process_time() - began) * 1000)
    return min(found)


def measure(path: Path, calls: int) -> Iterator[ViewRow]:
    """All rows."""
    store = SQLiteStore(path, namespace="shop", durable=False)
    if next(iter(store.entries()), None) is None:
        fill(store, calls)
    kept = next(iter(store.noted(RecordQuery("sum"))), None) is not None
    if not kept:
        yield ViewRow("the whole history, from entries", best_ms(Reports(store, RULES).refresh, 1))
    reports = Reports(store, RULES)
    yield ViewRow("the whole history, from records", best_ms(reports.refresh, 1))
    for name, view in views(reports).items():
        yield ViewRow(name, best_ms(view), f"<= {MOST_MS}")
    yield ViewRow("statement of a month", best_ms(lambda: reports.statement(_last_month(store)), 1))
    yield ViewRow("memory, MB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    store.close()


def _last_month(store: SQLiteStore) -> str:
    day = time.gmtime(store.now_ms() / 1000 - 35 * 86_400)
    return time.strftime("%Y-%m", day)


def main() -> None:
    parser = argparse.ArgumentParser(description="what a view of the page takes on a long history")
    parser.add_argument("--quick", action="store_true", help="a tenth of the history")
    parser.add_argument("--file", type=Path, help="where the history is, or is made")
    parser.add_argument("--json", action="store_true")
    said, floors = parser.parse_args(), Floors()
    with tempfile.TemporaryDirectory() as directory:
        path = said.file or Path(directory) / "history.db"
        rows = list(measure(path, 100_000 if said.quick else 1_000_000))
    if said.json:
        print(json.dumps([asdict(row) for row in rows]))
        return
    for row in rows:
        print(f"{row.name:34} {row.ms:9.1f}  {row.floor:8} {floors.bound(row.ms, row.floor)}")
    floors.leave()


if __name__ == "__main__":
    main()
