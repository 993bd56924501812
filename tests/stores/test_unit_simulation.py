"""
Everything goes wrong in worlds whose budgets count tokens and requests beside dollars, and the proof that they notice.

`simulation.py` says what is played. A seed that fails here fails again: `World(seed, memory, units=True).run()`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

import budgetguard.guards.charge as charge_module
from budgetguard.calls import Answer
from budgetguard.guards.costs.projection import Projection
from budgetguard.guards.entries import used_by
from budgetguard.ledger import Clock, Entry, Hold, Refusal, Store, Unit, Wanted
from budgetguard.process.leases import Leases
from budgetguard.process.slices import Lease
from budgetguard.stores.memory.store import MemoryStore
from budgetguard.stores.sqlite.store import SQLiteStore
from tests.support.simulation import World


def memory(clock: Clock, directory: Path) -> Store:
    return MemoryStore(clock=clock)


def sqlite(clock: Clock, directory: Path) -> Store:
    return SQLiteStore(directory / "a.db", clock=clock, durable=False, reserve_s=5, settle_s=5)


@pytest.mark.parametrize("leased", [False, True], ids=["plain", "leased"])
@pytest.mark.parametrize("start", range(5000, 5150, 50))
def test_units_keep_the_promises(start, leased):
    """P1 to P8 and P10, of every unit, at every step and in the end."""
    for seed in range(start, start + 50):
        World(seed, memory, leased=leased, units=True).run()


@pytest.mark.parametrize("leased", [False, True], ids=["plain", "leased"])
def test_units_keep_the_promises_on_a_file(leased):
    """The same, on a file."""
    for seed in range(5500, 5515):
        World(seed, sqlite, leased=leased, units=True).run()


@pytest.mark.parametrize("leased", [False, True], ids=["plain", "leased"])
def test_every_unit_runs_out(leased):
    """What is never short is never refused, and so not tested."""
    refused, sent = Counter[Unit](), 0
    for seed in range(5000, 5030):
        world = World(seed, memory, leased=leased, units=True).run()
        sent += sum(record.sent for record in world.records.values())
        refused.update(answer.account.unit for answer in world.heard.values() if isinstance(answer, Refusal))
    assert min(refused[unit] for unit in ("dollars", "tokens", "requests")) >= 10
    assert leased or refused["parallel"] >= 10
    assert sent > 150


# Faults that are put in, and must be found.


class MiscountsUnits(MemoryStore):
    """A store with a fault."""

    careless = True


class HoldsDollarsOnly(MiscountsUnits):
    def reserve(self, hold: Hold) -> Any:
        return super().reserve(
            hold._replace(accounts=tuple([each for each in hold.accounts if each.unit == "dollars"]))
        )


class AdmitsTwiceTheTokens(MiscountsUnits):
    def reserve(self, hold: Hold) -> Any:
        wide = [replace(each, limit=2 * (each.limit or 0)) if each.unit == "tokens" else each for each in hold.accounts]
        return super().reserve(hold._replace(accounts=tuple(wide)))


class CountsNoRequests(MiscountsUnits):
    def settle(self, hold: Hold, entry: Entry) -> Any:
        return super().settle(hold, entry._replace(units={**entry.units, "requests": 0}))


class ChargesTokensInDollars(MiscountsUnits):
    def settle(self, hold: Hold, entry: Entry) -> Any:
        return super().settle(hold, entry._replace(units={**entry.units, "tokens": entry.cost}))


class RenewsDollarsOnly(MiscountsUnits):
    def renew(self, holds: Any) -> list[bool]:
        return super().renew([held._replace(units={"tokens": Wanted(0), "requests": Wanted(0)}) for held in holds])


class SpendsPlaces(MiscountsUnits):
    def settle(self, hold: Hold, entry: Entry) -> Any:
        row = self._books.open.get(hold.id)
        answer = super().settle(hold, entry)
        for account in [] if row is None else row.accounts:
            account.held += account.unit == "parallel"
        return answer


class ExpiresDollarsOnly(MiscountsUnits):
    def __init__(self, *, clock: Clock) -> None:
        super().__init__(clock=clock)
        expire = self._books._expire

        def forgetful(hold_id: str, held: Any, now: int) -> None:
            expire(hold_id, held, now)
            for account in held.accounts:
                account.held += held.amounts[account.unit] if account.unit == "requests" else 0

        self._books._expire = forgetful  # type: ignore[method-assign]


class DrawsDollarsOnly(MiscountsUnits):
    def __init__(self, *, clock: Clock) -> None:
        super().__init__(clock=clock)
        draw = self._books.draw

        def draw_dollars(lease_id: str, used: Mapping[Unit, int], now: int) -> None:
            draw(lease_id, {"dollars": used["dollars"], "tokens": 0, "requests": 0}, now)

        self._books.draw = draw_dollars  # type: ignore[method-assign]


STORES = [
    HoldsDollarsOnly,
    AdmitsTwiceTheTokens,
    CountsNoRequests,
    ChargesTokensInDollars,
    RenewsDollarsOnly,
    SpendsPlaces,
    ExpiresDollarsOnly,
]


def found(make_store: Callable[[Clock, Path], Store], *, leased: bool = False) -> str:
    """What the first run that fails says."""
    for seed in range(5000, 5150):
        try:
            World(seed, make_store, leased=leased, units=True).run()
        except AssertionError as error:
            return str(error).partition("\n")[0]
    return ""


@pytest.mark.parametrize("store", STORES, ids=lambda store: store.__name__)
def test_a_store_that_miscounts_a_unit_is_found(store):
    """Each of these breaks one promise, in one unit only."""
    assert "(P" in found(lambda clock, _: store(clock=clock))


def test_a_store_that_draws_slices_in_dollars_only_is_found():
    """Its books are held against the oracle's after each settlement."""
    assert "(P" in found(lambda clock, _: DrawsDollarsOnly(clock=clock), leased=True)


def says_no_tokens(it: Any, answer: Answer) -> Any:
    return {unit: used for unit, used in used_by(it, answer).items() if unit != "tokens"}


CLIENTS = {
    "caps by dollars only": (Projection, "cap_in", lambda projection, tokens: 10**6),
    "says no tokens": (charge_module.Charge, "used", says_no_tokens),
    "forgets failed requests": (charge_module.Charge, "failed", lambda charge, free, sent=0: fails(charge, free)),
}

fails = charge_module.Charge.failed


@pytest.mark.parametrize("fault", CLIENTS)
def test_a_fault_in_what_a_client_counts_is_found(fault):
    """The guard and the charge are played as they are, so what is wrong in them shows."""
    with patch.object(*CLIENTS[fault]):
        assert "(P" in found(memory)


make_lease, end_call = Lease.__init__, Leases._end


def sized_in_dollars(lease: Lease, *args: Any) -> None:
    make_lease(lease, *args)
    lease.room = max(lease.room, 10_000)


def gives_all_back(leases: Leases, hold_id: str, entry: Entry) -> None:
    end_call(leases, hold_id, entry._replace(units={"requests": 0}))


LEASES = {
    "takes a slice of tokens for one of dollars": (Lease, "__init__", sized_in_dollars),
    "gives tokens and requests back that were used": (Leases, "_end", gives_all_back),
}


@pytest.mark.parametrize("fault", LEASES)
def test_a_fault_of_leases_in_other_units_is_found(fault):
    """Each of these spends what is not there."""
    with patch.object(*LEASES[fault]):
        assert "(P" in found(memory, leased=True)
