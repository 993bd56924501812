"""What was spent by any field and time is what the entries add up to, in every engine and zone, to the millisecond."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from budgetguard.errors import ConfigError
from budgetguard.ledger import Entry, Store, Total
from budgetguard.reports.reports import Reports
from budgetguard.reports.shown.money import ExploreQuery
from budgetguard.reports.spent import SpentQuery, added, spent
from budgetguard.stores import open_store
from budgetguard.testing import StoppedClock
from tests.support import servers
from tests.support.history import DAY_MS, all_entries, at, brute, entry, field_of, passing

NOW = at("2027-11-30T12:00")


def history() -> list[Entry]:
    """Calls around two changes of the clock, the end of a year, and anywhere between."""
    chance = random.Random(3)
    edges = [at(text) for text in ("2027-03-28T00:00", "2027-03-28T01:00", "2027-10-31T00:30", "2027-10-31T01:30")]
    edges += [at("2026-12-31T23:00") - 1, at("2026-12-31T23:00"), at("2027-01-04T00:00") - 1]
    moments = edges + [NOW - round(chance.random() ** 3 * 400 * DAY_MS) for _ in range(80)]
    return [
        entry(
            f"call-{number:03}",
            moment,
            chance.randrange(10**12),
            tags={"user": chance.choice(["ann", "bob", ""]), "team": chance.choice(["red", "=1+1"])},
            model=chance.choice(["gpt-4o", "o3"]),
            provider=chance.choice(["openai", "azure"]),
            usage={"input_tokens": chance.randrange(10**6), "output_tokens": 7},
            flags=frozenset(chance.choice([{"estimated"}, {"cut"}, set()])),
        )
        for number, moment in enumerate(moments)
    ]


@pytest.fixture(params=["memory", "sqlite", "valkey", "redis", "postgres"])
def books(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """The history in each engine."""
    local = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/spent.db"}
    url = local.get(request.param) or servers.running(request.param)
    made = open_store(url, namespace=uuid.uuid4().hex, clock=StoppedClock(NOW / 1000))
    made.load(entries=history())
    yield made
    made.close()


def six(total: Total) -> tuple[int, ...]:
    """All that a sum says."""
    return total.cost, total.calls, total.input_tokens, total.output_tokens, total.estimated, total.cut


def by_hand(entries: list[Entry], by: tuple[str, ...], zone: str) -> dict[tuple[str, ...], tuple[int, ...]]:
    """The sums one entry after the other."""
    found = brute(entries, lambda each: tuple([field_of(each, name, zone) for name in by]))
    return {
        names: (it.cost, it.calls, it.input_tokens, it.output_tokens, it.estimated, it.cut)
        for names, it in found.items()
    }


@pytest.mark.parametrize("kind", ["hour", "day", "week", "month"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York"])
def test_every_engine_adds_up_by_every_time_in_every_zone(books: Store, kind: str, zone: str) -> None:
    """Whoever is billed by the month of another zone than UTC's pays for the right calls."""
    since_ms, until_ms = at("2026-12-31T23:00") - 1, at("2027-11-29T10:17") + 123
    inside = [each for each in all_entries(books) if since_ms <= each.at_ms < until_ms]
    for by in ((kind,), ("user", kind, "model")):
        found = spent(books, SpentQuery(by, since_ms, until_ms, zone))
        assert {total.group: six(total) for total in found} == by_hand(inside, by, zone)
    assert six(added(found))[:2] == (sum(each.cost for each in inside), len(inside))


def test_filters_go_together(books: Store) -> None:
    """A provider is no filter of a store's, and is one here."""
    asked = SpentQuery(("week", "team"), tags={"user": "ann"}, model="o3", provider="azure")
    only = {"user": ("ann",), "model": ("o3",), "provider": ("azure",)}
    kept = passing(all_entries(books), only)

    assert {total.group: six(total) for total in spent(books, asked)} == by_hand(kept, ("week", "team"), "UTC")
    assert {total.group: six(total) for total in spent(books, replace(asked, by=("day",)))} == by_hand(
        kept, ("day",), "UTC"
    )


def test_the_store_and_the_reports_say_the_same() -> None:
    """Two ways to one number: the page and the command may not differ."""
    clock = StoppedClock(NOW / 1000)
    books = open_store("memory://", clock=clock)
    books.load(entries=history())
    reports = Reports(books, clock=clock)
    reports.refresh()
    for by in (("hour",), ("week", "user"), ("month", "model")):
        page = reports.explore(ExploreQuery(by, zone="Europe/Berlin", top=100)).groups
        assert {each.names: each.figures.cost for each in page} == {
            total.group: total.cost for total in spent(books, SpentQuery(by, zone="Europe/Berlin"))
        }


def test_a_zone_that_is_a_part_of_an_hour_off_has_its_own_days_and_hours() -> None:
    """A day in Kolkata begins at half past six in the evening of UTC."""
    books = open_store("memory://", clock=StoppedClock(NOW / 1000))
    moments = [at("2027-05-01T18:30") - 1, at("2027-05-01T18:30"), at("2027-05-01T19:29")]
    books.load(entries=[entry(f"c{cost}", moment, cost) for cost, moment in zip((1, 2, 4), moments, strict=True)])

    found = spent(books, SpentQuery(("day",), zone="Asia/Kolkata"))
    assert [(each.group, each.cost) for each in found] == [(("2027-05-01",), 1), (("2027-05-02",), 6)]
    found = spent(books, SpentQuery(("hour",), zone="Asia/Kolkata"))
    assert [each.group[0] for each in found] == ["2027-05-01 23:00+0530", "2027-05-02 00:00+0530"]


def test_no_call_is_counted_twice_where_a_clock_moves_by_half_an_hour() -> None:
    """Lord Howe Island's does: the hours around it overlap in its own time."""
    zone = ZoneInfo("Australia/Lord_Howe")
    moved = datetime(2027, 4, 4, 1, 0, tzinfo=zone)
    moments = [round((moved + timedelta(minutes=step)).timestamp() * 1000) for step in range(0, 240, 10)]
    moments = sorted({*moments, *[moment + 1_800_000 for moment in moments]})
    books = open_store("memory://", clock=StoppedClock(NOW / 1000))
    books.load(entries=[entry(f"c{number}", moment, 1) for number, moment in enumerate(moments)])

    found = spent(books, SpentQuery(("hour",), zone="Australia/Lord_Howe"))
    local = [datetime.fromtimestamp(moment / 1000, zone) for moment in moments]
    assert added(found).calls == len(moments)
    assert [total.group[0] for total in found] == list(dict.fromkeys([f"{at:%Y-%m-%d %H}:00{at:%z}" for at in local]))


def test_what_cannot_be_answered_is_refused_in_words() -> None:
    """Two times in one table, and a zone that nobody knows."""
    books = open_store("memory://")
    for by, zone in ((("day", "month"), "UTC"), (("user", "user"), "UTC"), (("user",), "Mars/North")):
        with pytest.raises(ConfigError, match=r"by=|Mars/North"):
            spent(books, SpentQuery(by, zone=zone))
