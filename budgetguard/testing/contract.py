"""
The contract of a store: what `budgetguard.ledger.Store` promises, as tests that every store passes unchanged.

    class TestMyStore(StoreContract):
        def make_store(self, clock):
            return MyStore(..., clock=clock)          # empty

        def same_store(self, clock):
            return MyStore(..., clock=clock)          # another client of the books that make_store opened

They know nothing of a store's insides. After each test the books must add up (`check()`).
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from ..errors import AmountError, ConfigError, StoreError
from ..ledger import (
    KEEP_ENDED_MS,
    Account,
    Admitted,
    Balance,
    Carried,
    Conflict,
    Ended,
    Entry,
    Hold,
    Query,
    Refusal,
    Settled,
    Stale,
    Store,
    Terms,
    Total,
    new_id,
)
from ..money import MAX_AMOUNT
from .clock import StoppedClock

TTL_S = 60
ACCOUNT = Account("team/2027-01", limit=100)


def hold(amount: int, *accounts: Account, **fields: Any) -> Hold:
    """A hold with an id of its own, on `ACCOUNT` unless others are named."""
    return Hold(new_id(), accounts or (ACCOUNT,), amount, **{"ttl_ms": TTL_S * 1000, **fields})


def entry(held: Hold, cost: int, **fields: Any) -> Entry:
    """The entry of a hold."""
    return Entry(held.id, cost, **fields)


def balance(store: Store, key: str = ACCOUNT.key) -> tuple[int, int]:
    """What an account has settled and held."""
    found = store.balances([key])[0]
    assert found.key == key
    return found.settled, found.held


class StoreContract:
    """Subclass it, with `make_store`, and pytest runs the contract against your store."""

    def make_store(self, clock: StoppedClock) -> Store:
        """An empty store that reads this clock."""
        raise NotImplementedError("return an empty store with this clock")

    def same_store(self, clock: StoppedClock) -> Store:
        """Another client of the store that `make_store` made last; a store of one process has none."""
        pytest.skip("this store has one client")

    @pytest.fixture
    def clock(self) -> StoppedClock:
        """The store's clock."""
        return StoppedClock()

    @pytest.fixture
    def store(self, clock: StoppedClock) -> Iterator[Store]:
        """The store under test, whose books add up at the end of every test."""
        store = self.make_store(clock)
        yield store
        assert store.check() == []
        store.close()

    # The twelve promises, in order.

    def test_p1_no_hold_is_admitted_beyond_a_hard_limit(self, store: Store) -> None:
        """Under any interleaving: a hundred dollars are a hundred dollars, and all of them can be used."""
        account = Account("crowd", limit=1000)
        answers = together(8, lambda _: [store.reserve(hold(3, account)) for _ in range(100)])
        admitted = [answer for answer in answers if isinstance(answer, Admitted)]
        assert len(admitted) == 333
        assert balance(store, "crowd") == (0, 999)

    def test_p2_the_books_are_the_sums_of_holds_and_entries(self, store: Store) -> None:
        """At every instant between operations."""
        first, second, third = hold(10), hold(20), hold(30)
        for held in (first, second, third):
            store.reserve(held)
        store.settle(first, entry(first, 7))
        store.release(second.id)
        assert balance(store) == (7, 30)
        assert [item.id for item in store.holds()] == [third.id]
        assert store.check() == []

    def test_p3_a_hold_is_placed_on_all_accounts_or_on_none(self, store: Store) -> None:
        """A refusal by the last account leaves nothing on the first."""
        roomy, tight = Account("a", limit=100), Account("b", limit=5)
        refusal = store.reserve(hold(10, roomy, tight))
        assert refusal == Refusal(tight, Balance("b"), busy=False)
        assert store.balances(["a", "b"]) == [Balance("a"), Balance("b")]
        assert list(store.accounts()) == []
        assert store.reserve(hold(5, roomy, tight)) == Admitted(5)
        assert store.balances(["a", "b"]) == [Balance("a", held=5), Balance("b", held=5)]

    def test_p4_what_was_settled_is_there_for_another_client(self, store: Store, clock: StoppedClock) -> None:
        """Once settle has returned, the amount stands, whoever asks, and after the store was closed."""
        held = hold(10)
        store.reserve(held)
        store.settle(held, entry(held, 8))
        store.close()
        other = self.same_store(clock)
        assert balance(other) == (8, 0)
        assert [item.cost for item in other.entries()] == [8]
        other.close()

    def test_p5_every_operation_may_be_repeated(self, store: Store) -> None:
        """After a lost reply the caller asks again, and counts once."""
        held, given_back = hold(10), hold(20)
        assert store.reserve(held) == store.reserve(held) == Admitted(10)
        assert store.settle(held, entry(held, 7)) == store.settle(held, entry(held, 7))
        store.reserve(given_back)
        store.release(given_back.id)
        store.release(given_back.id)
        assert balance(store) == (7, 0)
        assert len(list(store.entries())) == 1

    def test_p5_many_clients_that_settle_one_hold_settle_it_once(self, store: Store) -> None:
        """Also when the repetitions are simultaneous."""
        held = hold(10)
        store.reserve(held)
        answers = together(8, lambda _: [store.settle(held, entry(held, 9))])
        assert all(isinstance(answer, Settled) and not answer.late for answer in answers)
        assert balance(store) == (9, 0)

    def test_p5_settling_at_another_cost_is_a_conflict(self, store: Store) -> None:
        """The first stands: an overwrite would hide a bug that bills twice."""
        held = hold(10)
        store.reserve(held)
        store.settle(held, entry(held, 7))
        assert store.settle(held, entry(held, 8)) == Conflict(7)
        assert balance(store) == (7, 0)

    def test_p5_a_hold_that_has_ended_cannot_be_placed_again(self, store: Store, clock: StoppedClock) -> None:
        """Whichever way it ended."""
        settled, released, expired = hold(1), hold(2), hold(3)
        for held in (settled, released, expired):
            store.reserve(held)
        store.settle(settled, entry(settled, 1))
        store.release(released.id)
        clock.advance(TTL_S)
        assert [store.reserve(held) for held in (settled, released, expired)] == [Ended()] * 3
        assert balance(store) == (1, 0)

    def test_p5_a_release_may_overtake_its_reserve(self, store: Store, clock: StoppedClock) -> None:
        """The reserve of a caller that was cancelled must not hold money for nobody; a day later it is forgotten."""
        held = hold(10)
        store.release(held.id)
        assert store.reserve(held) == Ended()
        assert balance(store) == (0, 0)
        clock.advance(KEEP_ENDED_MS / 1000)
        assert isinstance(store.reserve(held), Admitted)

    @pytest.mark.parametrize("how", ["released", "expired", "never seen"])
    def test_p6_a_late_settle_is_recorded_in_full(self, store: Store, clock: StoppedClock, how: str) -> None:
        """What was spent was spent, above the limit if need be; the next reserve is refused."""
        held = hold(60, tags={"user": "ann"})
        if how != "never seen":
            store.reserve(held)
        if how == "released":
            store.release(held.id)
        if how == "expired":
            clock.advance(TTL_S)
        settled = store.settle(held, entry(held, 250, flags=frozenset({"estimated"})))
        assert settled == Settled(250, late=True)
        assert settled == store.settle(held, entry(held, 250))
        assert next(store.entries()).flags == {"estimated", "late"}
        assert store.reserve(hold(1)) == Refusal(ACCOUNT, Balance(ACCOUNT.key, 250), busy=False)
        store.release(held.id)
        assert store.reserve(held) == Ended()
        assert balance(store) == (250, 0)

    @pytest.mark.parametrize("released", [False, True])
    def test_p6_an_account_that_a_late_settle_makes_has_its_end(self, store: Store, released: bool) -> None:
        """Or it would stay for ever; an account is as its first settle or reserve says."""
        daily = Account("daily", limit=100, end_ms=store.now_ms() + 1_000)
        held = hold(1, daily)
        if released:
            store.release(held.id)
        for late in (held, hold(1, Account("daily"))):
            store.settle(late, entry(late, 5))
            assert list(store.carried()) == [Carried("daily", daily.end_ms)]

    def test_p6_a_direct_booking_is_not_late(self, store: Store) -> None:
        """A cost that was booked by hand never had a hold."""
        booked = hold(0)
        settled = store.settle(booked, entry(booked, 5, flags=frozenset({"manual"})))
        assert settled == Settled(5, late=False)
        assert next(store.entries()).flags == {"manual"}

    def test_p7_an_expired_hold_stops_counting(self, store: Store, clock: StoppedClock) -> None:
        """At its ttl, to the millisecond, with nobody there to clean up: a dead process blocks no one for ever."""
        assert isinstance(store.reserve(hold(100)), Admitted)
        clock.advance(TTL_S - 0.001)
        refusal = store.reserve(hold(1))
        assert isinstance(refusal, Refusal)
        assert refusal.busy
        clock.advance(0.001)
        assert balance(store) == (0, 0)
        assert store.holds() == []
        assert store.reserve(hold(100)) == Admitted(100)

    def test_p7_a_reserve_reaps_as_much_as_it_needs(self, store: Store, clock: StoppedClock) -> None:
        """A crowd of dead holds is no reason for a refusal."""
        for _ in range(100):
            store.reserve(hold(1))
        clock.advance(TTL_S)
        assert isinstance(store.reserve(hold(100)), Admitted)
        assert balance(store) == (0, 100)

    def test_p7_a_hold_may_be_charged_when_it_expires(self, store: Store, clock: StoppedClock) -> None:
        """For those who would rather pay for a dead process than overspend; the truth may come late."""
        held = hold(40, on_expire="charge", tags={"user": "ann"}, model="gpt-4o", provider="openai")
        store.reserve(held)
        placed = store.now_ms()
        clock.advance(TTL_S + 5)
        assert balance(store) == (40, 0)
        store.reserve(hold(1))
        assert list(store.entries()) == [
            Entry(
                held.id,
                40,
                (ACCOUNT.key,),
                placed + TTL_S * 1000,
                {"user": "ann"},
                "openai",
                "gpt-4o",
                {},
                frozenset({"expired"}),
            )
        ]
        assert store.reserve(held) == Ended()
        assert store.settle(held, entry(held, 25)) == Settled(25, late=True)
        assert [(item.cost, item.flags) for item in store.entries()] == [(25, frozenset({"late"}))]
        assert store.settle(held, entry(held, 26)) == Conflict(25)

    def test_p7_a_release_takes_back_the_charge_of_an_expired_hold(self, store: Store, clock: StoppedClock) -> None:
        """The call did not happen after all, so it cost nothing."""
        held = hold(40, on_expire="charge")
        store.reserve(held)
        clock.advance(TTL_S)
        store.release(held.id)
        assert balance(store) == (0, 0)
        assert list(store.entries()) == []
        assert store.reserve(held) == Ended()

    def test_p7_a_renewed_hold_counts_on(self, store: Store, clock: StoppedClock) -> None:
        """The process lives, and so does its call; when it dies, the hold ends a ttl after it was last renewed."""
        kept, left = hold(60), hold(20)
        store.reserve(kept)
        store.reserve(left)
        clock.advance(TTL_S - 0.001)
        assert store.renew([kept]) == [True]
        clock.advance(0.001)
        assert balance(store) == (0, 60)
        assert [item.id for item in store.holds()] == [kept.id]
        assert isinstance(store.reserve(hold(41)), Refusal)
        assert store.reserve(kept) == Admitted(60)
        clock.advance(TTL_S - 0.002)
        assert balance(store) == (0, 60)
        clock.advance(0.001)
        assert balance(store) == (0, 0)
        assert store.reserve(hold(100)) == Admitted(100)

    def test_p7_renewing_never_makes_a_hold_shorter(self, store: Store, clock: StoppedClock) -> None:
        """Also where the clock has stepped back meanwhile, or less is asked for than there is."""
        held = hold(60)
        store.reserve(held)
        ends = store.holds()[0].expires_ms
        assert store.renew([held._replace(ttl_ms=1)]) == [True]
        clock.advance(-10)
        assert store.renew([held, held]) == [True, True]
        assert [item.expires_ms for item in store.holds()] == [ends]

    @pytest.mark.parametrize("reaped", [False, True])
    @pytest.mark.parametrize("on_expire", ["release", "charge"])
    def test_p7_an_expired_hold_whose_call_lives_counts_again(
        self, store: Store, clock: StoppedClock, reaped: bool, on_expire: str
    ) -> None:
        """The ledger tells what is, above the limit if others have taken the room; and the call is not late."""
        held, other = hold(60, on_expire=on_expire, tags={"user": "ann"}), hold(1, Account("other"))
        store.reserve(held)
        clock.advance(TTL_S + 5)
        if reaped:
            store.reserve(other)
        charged = 60 if on_expire == "charge" else 0
        assert balance(store) == (charged, 0)
        taken = store.reserve(hold(90))
        assert isinstance(taken, Refusal if charged else Admitted)
        assert store.renew([held, held]) == [True, True]
        assert balance(store) == (0, 60 if charged else 150)
        assert list(store.entries()) == []
        assert store.holds()[-1].tags == {"user": "ann"} or store.holds()[0].tags == {"user": "ann"}
        assert isinstance(store.reserve(hold(41)), Refusal)
        assert store.settle(held, entry(held, 50)) == Settled(50)
        assert balance(store) == (50, 0 if charged else 90)

    def test_p7_a_hold_that_was_cut_is_renewed_at_what_was_admitted(self, store: Store, clock: StoppedClock) -> None:
        """What its settlements have taken from a lease is not held again."""
        lease = hold(80, on_expire="charge")
        store.reserve(lease)
        call = Hold(new_id(), (), 30, leases=(lease.id,))
        store.settle(call, Entry(call.id, 30, (ACCOUNT.key,)))
        assert balance(store) == (30, 50)
        assert store.renew([lease]) == [True]
        assert balance(store) == (30, 50)
        clock.advance(TTL_S)
        assert balance(store) == (80, 0)
        store.reserve(hold(1, Account("other")))
        assert store.renew([lease]) == [True]
        assert balance(store) == (30, 50)

    @pytest.mark.parametrize("how", ["settled", "released", "expired, then released", "settled late"])
    def test_p5_a_hold_that_has_ended_is_not_renewed(self, store: Store, clock: StoppedClock, how: str) -> None:
        """A renewal that the end of the call overtook changes nothing."""
        held = hold(60)
        store.reserve(held)
        if how in {"expired, then released", "settled late"}:
            clock.advance(TTL_S)
        if how.startswith("settled"):
            store.settle(held, entry(held, 7))
        else:
            store.release(held.id)
        before = balance(store)
        assert store.renew([held]) == [False]
        assert balance(store) == before
        assert store.holds() == []

    def test_a_hold_that_was_never_seen_is_placed_by_its_renewal(self, store: Store) -> None:
        """As on a server that was promoted and had not heard of it; on accounts that are made with their ends."""
        end_ms = store.now_ms() + 5_000
        held = hold(60, Account("new", limit=10, start_ms=0, end_ms=end_ms), Account("new", limit=10), ACCOUNT)
        assert store.renew([held]) == [True]
        assert store.renew([]) == []
        assert store.balances(["new", ACCOUNT.key]) == [Balance("new", 0, 60), Balance(ACCOUNT.key, 0, 60)]
        assert [(item.key, item.end_ms) for item in store.carried()] == [("new", end_ms), (ACCOUNT.key, None)]
        assert store.reserve(held) == Admitted(60)
        store.release(held.id)
        assert store.balances(["new"]) == [Balance("new")]

    def test_p8_the_stores_clock_decides_the_period(self, store: Store, clock: StoppedClock) -> None:
        """A caller with a wrong clock is told the time, and nothing is held."""
        now = store.now_ms()
        assert now == round(clock() * 1000)
        this = Account("day/1", limit=100, start_ms=now - 10, end_ms=now + 10)
        assert store.reserve(hold(1, Account("day/2", limit=100, start_ms=now + 10))) == Stale(now)
        assert store.reserve(hold(1, Account("day/0", limit=100, end_ms=now))) == Stale(now)
        held = hold(10, this)
        assert isinstance(store.reserve(held), Admitted)
        clock.advance(1)
        assert store.reserve(held) == Admitted(10)
        store.settle(held, entry(held, 9))
        assert [(item.key, item.settled) for item in store.accounts()] == [("day/1", 9)]

    def test_p9_a_reserve_answers_in_time(self, store: Store) -> None:
        """Also the slowest of many callers at once."""
        slowest = together(8, lambda _: [_seconds(lambda: store.reserve(hold(1))) for _ in range(20)])
        assert max(slowest) < 1.0

    def test_p10_a_closed_store_opens_again(self, store: Store) -> None:
        """A store that was shut down, or lost its connection, needs no new object."""
        store.reserve(hold(10))
        store.close()
        store.close()
        assert balance(store) == (0, 10)

    def test_p11_two_clients_see_one_ledger(self, store: Store, clock: StoppedClock) -> None:
        """What one holds, the other cannot spend."""
        other = self.same_store(clock)
        held = hold(70)
        store.reserve(held)
        assert isinstance(other.reserve(hold(31)), Refusal)
        assert isinstance(other.settle(held, entry(held, 50)), Settled)
        assert isinstance(store.settle(held, entry(held, 51)), Conflict)
        assert isinstance(store.reserve(hold(50)), Admitted)
        assert balance(store) == balance(other) == (50, 50)
        other.close()

    def test_p12_nobody_starves(self, store: Store) -> None:
        """Everyone in a crowd of threads gets through, again and again."""
        end = time.monotonic() + 0.4
        done = [0] * 4

        def work(place: int) -> list[None]:
            while time.monotonic() < end:
                held = hold(1, Account("busy"))
                store.reserve(held)
                store.release(held.id)
                done[place] += 1
            return []

        together(4, work)
        assert min(done) > max(done) / 20

    # What each operation does at its edges.

    def test_a_hold_may_take_the_last_nano_dollar(self, store: Store) -> None:
        """The limit is what may be spent, so reaching it is allowed."""
        assert store.reserve(hold(100)) == Admitted(100)
        assert isinstance(store.reserve(hold(0)), Admitted)
        assert isinstance(store.reserve(hold(1)), Refusal)

    def test_a_refusal_is_busy_if_only_holds_are_in_the_way(self, store: Store) -> None:
        """It may pass in a moment; one for lack of money does not."""
        first = hold(60)
        store.reserve(first)
        assert store.reserve(hold(41)) == Refusal(ACCOUNT, Balance(ACCOUNT.key, held=60), busy=True)
        assert store.reserve(hold(101)) == Refusal(ACCOUNT, Balance(ACCOUNT.key, held=60), busy=False)
        store.settle(first, entry(first, 60))
        assert store.reserve(hold(41)) == Refusal(ACCOUNT, Balance(ACCOUNT.key, 60), busy=False)

    def test_a_soft_limit_lets_the_crossing_call_through(self, store: Store) -> None:
        """Whole, and only that one."""
        soft = Account("soft", limit=100, enforce="soft")
        crossing = hold(500, soft)
        assert isinstance(store.reserve(hold(99, soft)), Admitted)
        assert store.reserve(crossing) == Admitted(500)
        assert store.reserve(hold(0, soft)) == Refusal(soft, Balance("soft", held=599), busy=True)
        store.settle(crossing, entry(crossing, 100))
        assert store.reserve(hold(0, soft)) == Refusal(soft, Balance("soft", 100, 99), busy=False)

    def test_an_observed_or_unlimited_account_refuses_nothing(self, store: Store) -> None:
        """It counts."""
        accounts = Account("watched", limit=1, enforce="observe"), Account("free")
        assert store.reserve(hold(50, *accounts)) == Admitted(50)
        assert store.reserve(hold(50, accounts[1])) == Admitted(50)
        assert balance(store, "free") == (0, 100)

    def test_an_elastic_hold_takes_what_there_is(self, store: Store) -> None:
        """From its wish down to its least; below that it is refused."""
        assert isinstance(store.reserve(hold(70)), Admitted)
        elastic = hold(50, least=10)
        assert store.reserve(elastic) == Admitted(30)
        assert store.reserve(elastic) == Admitted(30)
        assert {item.id: item.amount for item in store.holds()}[elastic.id] == 30
        store.settle(elastic, entry(elastic, 25))
        assert store.reserve(hold(50, least=6)) == Refusal(ACCOUNT, Balance(ACCOUNT.key, 25, 70), busy=True)

    def test_elastic_holds_share_the_room(self, store: Store) -> None:
        """Many calls in flight do not lock each other out; a share too small to be useful is not cut further."""
        shared, other = Account("shared", limit=100, share=5), Account("other", limit=1000)
        assert store.reserve(hold(90, other, shared, least=1)) == Admitted(20)
        assert store.reserve(hold(90, shared, least=1, useful=30)) == Admitted(30)
        assert store.reserve(hold(5, shared, least=1)) == Admitted(5)

    def test_a_rolling_period_counts_its_earlier_accounts(self, store: Store) -> None:
        """Their settled and held money takes room, and shows in the balance."""
        old = hold(30, Account("roll/1", limit=100))
        store.reserve(old)
        store.settle(old, entry(old, 30))
        store.reserve(hold(20, Account("roll/2", limit=100)))
        now = Account("roll/3", limit=100, window=("roll/1", "roll/2", "roll/0"))
        refusal = store.reserve(hold(51, now))
        assert refusal == Refusal(now, Balance("roll/3", 30, 20), busy=True)
        last = hold(50, now)
        assert store.reserve(last) == Admitted(50)
        assert balance(store, "roll/3") == (0, 50)
        assert store.settle(last, entry(last, 45)) == Settled(45)

    def test_an_account_named_twice_is_charged_once(self, store: Store) -> None:
        """Two rules may lead to one account."""
        held = hold(10, ACCOUNT, Account(ACCOUNT.key, limit=50))
        assert isinstance(store.reserve(held), Admitted)
        assert balance(store) == (0, 10)
        store.settle(held, entry(held, 9))
        assert balance(store) == (9, 0)

    def test_an_entry_may_name_more_accounts(self, store: Store) -> None:
        """They count what is settled, once, and refuse nothing; the entry lists them before the hold's."""
        held = hold(10)
        store.reserve(held)
        said = entry(held, 9, accounts=("models/gpt-4o", ACCOUNT.key))
        assert store.settle(held, said) == store.settle(held, said)
        assert list(store.accounts()) == [Balance("models/gpt-4o", 9), Balance(ACCOUNT.key, 9)]
        assert next(store.entries()).accounts == ("models/gpt-4o", ACCOUNT.key)

    def test_a_hold_ends_on_the_accounts_it_was_placed_on(self, store: Store) -> None:
        """Whatever the one who settles it believes."""
        held = hold(10)
        store.reserve(held)
        store.settle(Hold(held.id, (Account("elsewhere"),), 10), entry(held, 9))
        assert balance(store) == (9, 0)
        assert balance(store, "elsewhere") == (0, 0)
        assert next(store.entries()).accounts == (ACCOUNT.key,)

    @pytest.mark.parametrize("amount", [-1, 10**16])
    def test_an_absurd_amount_is_an_error(self, store: Store, amount: int) -> None:
        """A negative hold would make room, and a huge one cannot be kept exact."""
        held = hold(1)
        with pytest.raises(StoreError, match="cannot be booked"):
            store.reserve(hold(amount))
        with pytest.raises(StoreError, match="cannot be booked"):
            store.settle(held, entry(held, amount))
        assert balance(store) == (0, 0)

    def test_an_account_has_an_end_to_what_it_can_count(self, store: Store) -> None:
        """After five hundred absurd costs the next is an error, and the books still add up."""
        ids = [new_id() for _ in range(512)]
        store.settle_many([(Hold(id_, (ACCOUNT,), 0), Entry(id_, MAX_AMOUNT)) for id_ in ids])

        def settle_more() -> None:
            for _ in range(600):
                call = Hold(new_id(), (ACCOUNT,), 0)
                store.settle(call, Entry(call.id, MAX_AMOUNT))

        with pytest.raises(AmountError):
            settle_more()
        settled, held = balance(store)
        assert 512 * MAX_AMOUNT <= settled < 2**63
        assert held == 0
        assert isinstance(store.reserve(hold(1)), Refusal)

    def test_a_release_of_a_settled_hold_changes_nothing(self, store: Store) -> None:
        """Money wins."""
        held = hold(10)
        store.reserve(held)
        store.settle(held, entry(held, 9))
        store.release(held.id)
        assert balance(store) == (9, 0)
        assert len(list(store.entries())) == 1

    def test_the_clock_may_step_back(self, store: Store, clock: StoppedClock) -> None:
        """What has ended stays ended, and what is open only lasts longer."""
        held, later = hold(60), hold(100)
        store.reserve(held)
        clock.advance(TTL_S)
        assert isinstance(store.reserve(later), Admitted)
        clock.advance(-2 * TTL_S)
        assert store.reserve(held) == Ended()
        assert balance(store) == (0, 100)
        clock.advance(3 * TTL_S)
        assert balance(store) == (0, 0)

    def test_terms_have_versions_that_only_grow(self, store: Store) -> None:
        """Also over a removal, so that nobody takes old terms for new ones."""
        assert store.terms("ann") is None
        assert store.put_terms("ann", "10 a month", expected=0) == Terms("ann", 1, "10 a month")
        assert store.put_terms("ann", "never seen", expected=0) is None
        assert store.put_terms("ann", None) == store.terms("ann") == Terms("ann", 2, None)
        assert list(store.all_terms()) == []
        assert store.put_terms("ann", "5 a day", expected=2) == Terms("ann", 3, "5 a day")
        store.put_terms("bob", "1 a day")
        store.put_terms("an", "2 a day")
        assert [terms.key for terms in store.all_terms()] == ["an", "ann", "bob"]
        assert [terms.key for terms in store.all_terms("ann")] == ["ann"]

    def test_a_hold_computed_from_old_terms_is_stale(self, store: Store) -> None:
        """The answer brings the new ones, so that the second try passes."""
        ann = Terms("ann", 1, "10 a month")
        store.put_terms("ann", ann.body)
        assert store.reserve(hold(1, terms=(("ann", 0), ("bob", 0)))) == Stale(store.now_ms(), (ann,))
        assert isinstance(store.reserve(hold(1, terms=(("ann", 1), ("bob", 0)))), Admitted)
        store.put_terms("ann", None)
        assert store.reserve(hold(1, terms=(("ann", 1),))) == Stale(store.now_ms(), (Terms("ann", 2, None),))
        assert store.reserve(hold(1, terms=(("bob", 3),))) == Stale(store.now_ms(), (Terms("bob", 0, None),))

    def test_a_repeated_reserve_is_not_stale(self, store: Store, clock: StoppedClock) -> None:
        """It was admitted; what changed since then does not count."""
        held = hold(10, Account("day", limit=50, end_ms=store.now_ms() + 10), terms=(("ann", 0),))
        store.reserve(held)
        store.put_terms("ann", "0 a day")
        clock.advance(1)
        assert store.reserve(held) == Admitted(10)

    def test_open_holds_say_for_whom(self, store: Store, clock: StoppedClock) -> None:
        """What blocks a budget must be visible; the oldest comes first."""
        first = hold(10, tags={"user": "ann"}, provider="openai", model="gpt-4o")
        store.reserve(first)
        placed = store.now_ms()
        clock.advance(1)
        store.reserve(hold(5))
        found = store.holds()
        assert [item.amount for item in found] == [10, 5]
        assert found[0].id == first.id
        assert found[0].accounts == (ACCOUNT.key,)
        assert (found[0].placed_ms, found[0].expires_ms) == (placed, placed + TTL_S * 1000)
        assert (found[0].tags, found[0].provider, found[0].model) == ({"user": "ann"}, "openai", "gpt-4o")

    def test_accounts_are_listed_by_key(self, store: Store) -> None:
        """With a prefix, only its own; a prefix is plain text."""
        for key in ("b", "a%", "a", "ab", "a_", "é", "Z"):
            store.reserve(hold(1, Account(key)))
        assert [item.key for item in store.accounts()] == ["Z", "a", "a%", "a_", "ab", "b", "é"]
        assert [item.key for item in store.accounts("a")] == ["a", "a%", "a_", "ab"]
        assert list(store.accounts("a%")) == [Balance("a%", held=1)]

    def test_lists_by_key_go_on_behind_a_key(self, store: Store) -> None:
        """A page costs as much as it has rows, wherever it begins; a key need not be there any more."""
        keys = ["A", "a", "ab", "b", "é"]
        for key in keys:
            store.reserve(hold(1, Account(key)))
            store.put_terms(key, "x")
        for after in (*keys, "", "aa", "z", "ö"):
            behind = [key for key in keys if key > after]
            assert [item.key for item in store.accounts(after=after)] == behind
            assert [item.key for item in store.carried(after=after)] == behind
            assert [item.key for item in store.all_terms(after=after)] == behind
            with_a = [key for key in behind if key.startswith("a")]
            assert [item.key for item in store.accounts("a", after=after)] == with_a
            assert [item.key for item in store.all_terms("a", after=after)] == with_a

    @pytest.mark.parametrize("word", ["ann", "Ünï", "名前", "\udcff", "a\0b", 'a"b\\', "$.x", "", "🙂", "a,':b\n"])
    def test_any_text_may_name_things(self, store: Store, word: str) -> None:
        """Users choose their names; lone surrogates come from file names and bad input."""
        account = Account(f"users/{word}/2027", limit=50)
        held = hold(10, account, tags={"user": word, word + "x": word}, provider=word, model=word, on_expire="charge")
        store.put_terms(word, word)
        assert isinstance(store.reserve(held), Admitted)
        assert store.holds()[0].tags == held.tags
        store.settle(held, entry(held, 9, tags=held.tags, provider=word, model=word, usage={word: 3}))
        found = list(store.entries(Query(tags={word + "x": word}, model=word)))
        assert [(item.accounts, item.tags, item.model) for item in found] == [((account.key,), held.tags, word)]
        assert found[0].usage == {word: 3}
        assert store.totals([word + "x", "model"]) == [Total((word, word), 9, 1, 0, 0, 0)]
        assert store.totals([word + "y"]) == [Total(("",), 9, 1, 0, 0, 0)]
        assert list(store.entries(Query(tags={"user": word + "."}))) == []
        assert list(store.accounts(f"users/{word}")) == [Balance(account.key, 9)]
        assert list(store.all_terms(word)) == [Terms(word, 1, word)]

    # Many at once, and leases.

    def test_many_settlements_are_answered_as_one_by_one(self, store: Store) -> None:
        """In their order, repetitions and conflicts among them included."""
        first, second = hold(10), hold(20)
        store.reserve(first)
        said = [
            (first, entry(first, 7)),
            (second, entry(second, 9)),
            (first, entry(first, 7)),
            (first, entry(first, 8)),
        ]
        answers = [Settled(7), Settled(9, late=True), Settled(7), Conflict(7)]
        assert store.settle_many(said) == answers
        assert store.settle_many(said[:3]) == answers[:3]
        assert store.settle_many([]) == []
        assert balance(store) == (16, 0)
        assert len(list(store.entries())) == 2

    def test_a_settlement_makes_its_lease_smaller_once(self, store: Store) -> None:
        """A call that was paid out of a hold of its process: what is settled is no longer held, and nothing more."""
        lease = hold(50, on_expire="charge")
        store.reserve(lease)
        calls = [Hold(new_id(), (), 0, leases=(lease.id,)) for _ in range(3)]
        said = [
            (call, entry(call, cost, accounts=(ACCOUNT.key,))) for call, cost in zip(calls, (7, 0, 20), strict=True)
        ]
        assert store.settle_many(said) == store.settle_many(said) == [Settled(7), Settled(0), Settled(20)]
        assert balance(store) == (27, 23)
        assert [(item.id, item.amount) for item in store.holds()] == [(lease.id, 23)]
        assert [item.accounts for item in store.entries()] == [(ACCOUNT.key,)] * 3
        assert store.reserve(lease) == Admitted(23)
        above = Hold(new_id(), (), 0, leases=(lease.id, "never seen"))
        assert store.settle(above, entry(above, 30, accounts=(ACCOUNT.key,))) == Settled(30)
        assert balance(store) == (57, 0)
        store.release(lease.id)
        assert balance(store) == (57, 0)

    def test_a_settlement_takes_from_every_lease_and_from_its_own_hold(self, store: Store) -> None:
        """One account may be leased and another not; a lease gives what was never drawn back."""
        one, two, own = Account("one", limit=100), Account("two", limit=100), Account("own", limit=100)
        first, second = hold(50, one), hold(40, two)
        call = hold(30, own, leases=(first.id, second.id))
        for held in (first, second, call):
            store.reserve(held)
        store.settle(call, entry(call, 10, accounts=("one", "two")))
        assert store.balances(["one", "two", "own"]) == [
            Balance("one", 10, 40),
            Balance("two", 10, 30),
            Balance("own", 10, 0),
        ]
        store.release(first.id)
        assert store.balances(["one"]) == [Balance("one", 10, 0)]
        late = hold(5, own, leases=(first.id,))
        store.settle(late, entry(late, 5, accounts=("one",)))
        assert store.balances(["one"]) == [Balance("one", 15, 0)]

    def test_an_expired_lease_is_spent_until_its_calls_are_known(self, store: Store, clock: StoppedClock) -> None:
        """What was charged for it becomes less with each of them, and the rest is given back with a release."""
        lease = hold(50, on_expire="charge")
        store.reserve(lease)
        clock.advance(TTL_S)
        assert balance(store) == (50, 0)
        call = Hold(new_id(), (), 0, leases=(lease.id,))
        for _ in range(2):
            assert store.settle(call, entry(call, 20, accounts=(ACCOUNT.key,))) == Settled(20)
            assert balance(store) == (50, 0)
        assert sorted((item.cost, sorted(item.flags)) for item in store.entries()) == [(20, []), (30, ["expired"])]
        store.release(lease.id)
        assert balance(store) == (20, 0)

    # Rows of other books.

    def test_rows_are_loaded_as_they_are(self, store: Store) -> None:
        """Times, flags and versions of other books are not ours to change; a repetition changes nothing."""
        flags = frozenset({"late", "estimated"})
        first = Entry(new_id(), 7, ("a", "b"), 1_000, {"user": "ann"}, "openai", "gpt-4o", {"input_tokens": 12}, flags)
        second = Entry(new_id(), 9, ("b",), 1_000, flags=frozenset({"expired"}))
        accounts = [Carried("a", 5_000), Carried("b", None, 30), Carried("c", 6_000, 2)]
        terms = [Terms("ann", 4, "10 a month"), Terms("bob", 2, None)]
        for _ in range(2):
            store.load(terms=terms, accounts=accounts, entries=[first, second])
            assert list(store.entries()) == [first, second]
            assert list(store.accounts()) == [Balance("a", 7), Balance("b", 46), Balance("c", 2)]
            assert list(store.carried()) == accounts
            assert [store.terms("ann"), store.terms("bob")] == terms
            assert store.check() == []
        assert list(store.entries(Query(after=first.hold_id))) == [second]
        assert store.totals(["user"]) == [Total(("",), 9, 1, 0, 0, 0), Total(("ann",), 7, 1, 12, 0, 1)]
        store.load()

    def test_loaded_rows_are_books_like_any_other(self, store: Store) -> None:
        """What was spent elsewhere takes room here, no call is booked twice, and history is pruned as ever."""
        held = hold(50, ACCOUNT)
        store.load(terms=[Terms("ann", 4, "x")], entries=[Entry(held.id, 90, (ACCOUNT.key,), 1_000)])
        assert store.reserve(hold(11)) == Refusal(ACCOUNT, Balance(ACCOUNT.key, 90), busy=False)
        assert store.reserve(held) == Ended()
        assert store.settle(held, entry(held, 90)) == Settled(90)
        assert store.settle(held, entry(held, 91)) == Conflict(90)
        assert store.put_terms("ann", "y", expected=4) == Terms("ann", 5, "y")
        assert store.prune(1_001) == 1
        assert list(store.carried()) == [Carried(ACCOUNT.key, None, 90)]
        assert balance(store) == (90, 0)

    def test_rows_that_are_there_stay(self, store: Store) -> None:
        """A copy that is repeated must not undo what was done since."""
        held = hold(10)
        store.reserve(held)
        store.settle(held, entry(held, 7))
        [there] = store.entries()
        store.put_terms("ann", "new")
        store.put_terms("ann", "newer")
        store.load(terms=[Terms("ann", 2, "other")], entries=[there._replace(cost=8, at_ms=1_000)])
        assert list(store.entries()) == [there]
        assert store.terms("ann") == Terms("ann", 2, "newer")
        assert balance(store) == (7, 0)

    def test_an_accounts_end_and_pruned_sum_become_what_is_loaded(self, store: Store) -> None:
        """They may have changed since they were last copied; entries made the account without either."""
        store.load(entries=[Entry(new_id(), 7, ("a",), 1_000)])
        assert list(store.carried()) == [Carried("a")]
        for account in (Carried("a", 5_000, 30), Carried("a", 6_000, 20), Carried("a", None, 0)):
            store.load(accounts=[account])
            assert list(store.carried()) == [account]
            assert list(store.accounts()) == [Balance("a", 7 + account.pruned)]
            assert store.check() == []

    def test_a_loaded_entry_replaces_the_charge_of_an_expired_hold(self, store: Store, clock: StoppedClock) -> None:
        """The other books learnt what the call did cost, or that less of a lease was lost."""
        held = hold(40, on_expire="charge")
        store.reserve(held)
        clock.advance(TTL_S)
        less = Entry(held.id, 30, (ACCOUNT.key,), 1_000, flags=frozenset({"expired"}))
        truth = Entry(held.id, 25, ("b", ACCOUNT.key), 2_000, flags=frozenset({"late"}))
        for loaded, balances in ((less, (0, 30)), (truth, (25, 25)), (less, (25, 25))):
            store.load(entries=[loaded])
            assert [balance.settled for balance in store.balances(["b", ACCOUNT.key])] == list(balances)
            assert store.check() == []
        assert list(store.entries()) == [truth]

    @pytest.mark.parametrize("ended", [False, True])
    def test_a_loaded_entry_ends_its_hold(self, store: Store, ended: bool) -> None:
        """Money wins, as when it is settled."""
        held = hold(40)
        store.reserve(held)
        if ended:
            store.release(held.id)
        store.load(entries=[Entry(held.id, 25, (ACCOUNT.key,), 1_000)])
        assert balance(store) == (25, 0)
        assert store.holds() == []
        assert store.reserve(held) == Ended()

    @pytest.mark.parametrize(
        ("cost", "at_ms", "pruned"),
        [(10**16, 1_000, 5), (-1, 1_000, 5), (7, -1, 5), (7, 253_402_300_800_000, 5), (7, 1_000, -1)],
    )
    def test_rows_are_loaded_all_or_none(self, store: Store, cost: int, at_ms: int, pruned: int) -> None:
        """An error in one leaves nothing of the others, so that a copy knows how far it got."""
        good, absurd = Entry(new_id(), 7, ("a",), 1_000), Entry(new_id(), cost, ("a",), at_ms)
        with pytest.raises(StoreError, match="cannot be booked"):
            store.load(terms=[Terms("ann", 1, "x")], accounts=[Carried("b", None, pruned)], entries=[good, absurd])
        assert [list(store.entries()), list(store.carried()), list(store.all_terms())] == [[], [], []]

    # The history.

    def test_an_entry_is_kept_as_it_was_given(self, store: Store) -> None:
        """The store adds the time and the accounts."""
        held = hold(10, ACCOUNT, Account("b"))
        store.reserve(held)
        given = entry(held, 9, tags={"user": "ann"}, provider="openai", model="gpt-4o", usage={"input_tokens": 12})
        store.settle(held, given)
        assert list(store.entries()) == [
            Entry(
                held.id,
                9,
                (ACCOUNT.key, "b"),
                store.now_ms(),
                {"user": "ann"},
                "openai",
                "gpt-4o",
                {"input_tokens": 12},
            )
        ]

    def test_entries_are_found_by_time_tag_and_model(self, store: Store, clock: StoppedClock) -> None:
        """All that match every field that is set."""
        start = self._three_calls(store, clock)
        for query, costs in (
            (Query(), [1, 2, 4]),
            (Query(since_ms=start + 1000), [2, 4]),
            (Query(until_ms=start + 1000), [1]),
            (Query(model="b"), [2, 4]),
            (Query(model="b", limit=1), [2]),
            (Query(limit=0), []),
            (Query(tags={"user": "ann"}), [1, 4]),
            (Query(tags={"user": "ann", "feature": "x"}), [4]),
        ):
            assert [item.cost for item in store.entries(query)] == costs

    def test_entries_come_in_pages(self, store: Store, clock: StoppedClock) -> None:
        """The last id of a page leads to the next; among equal times, ids decide."""
        self._three_calls(store, clock)
        for _ in range(4):
            held = hold(0)
            store.settle(held, entry(held, 8))
        everything = list(store.entries())
        assert everything == sorted(everything, key=lambda item: (item.at_ms, item.hold_id))
        pages, after = [], None
        while page := list(store.entries(Query(after=after, limit=2))):
            pages += page
            after = page[-1].hold_id
        assert pages == everything
        with pytest.raises(ConfigError, match="after"):
            store.entries(Query(after="nobody"))

    def test_totals_add_up_what_a_query_finds(self, store: Store, clock: StoppedClock) -> None:
        """By model, provider, day or any tag; "" where an entry has none."""
        self._three_calls(store, clock)
        assert store.totals(["model"]) == [Total(("a",), 1, 1, 10, 0, 1), Total(("b",), 6, 2, 10, 5, 0)]
        assert store.totals(["feature", "user"]) == [
            Total(("", "ann"), 1, 1, 10, 0, 1),
            Total(("", "bob"), 2, 1, 10, 5, 0),
            Total(("x", "ann"), 4, 1, 0, 0, 0),
        ]
        assert store.totals(["day"]) == [Total(("2027-01-01",), 3, 2, 20, 5, 1), Total(("2027-01-02",), 4, 1, 0, 0, 0)]
        assert store.totals([], Query(tags={"user": "ann"})) == [Total((), 5, 2, 10, 0, 1)]
        assert store.totals(["provider"], Query(limit=2)) == [Total(("p",), 3, 2, 20, 5, 1)]
        assert store.totals([], Query(model="c")) == []

    def test_sums_of_what_calls_used_do_not_overflow(self, store: Store) -> None:
        """However much a provider says that it was: the calls are booked, and reports go on."""
        most = 2**63 - 1
        for number in range(3):
            used = {"input_tokens": most, "output_tokens": -most if number else 5}
            booked = Entry(new_id(), 1, ("a",), usage=used, flags=frozenset({"manual"}))
            store.settle(Hold(booked.hold_id, (), 0), booked)
        [total] = store.totals([])
        assert (total.calls, total.input_tokens, total.output_tokens) == (3, 3 * most, 5 - 2 * most)

    def test_a_lease_that_is_used_up_expires_without_a_charge(self, store: Store, clock: StoppedClock) -> None:
        """Nothing is left to be charged; a settlement of it that comes late is booked where it says."""
        lease = hold(100, on_expire="charge")
        store.reserve(lease)
        call = hold(0)._replace(accounts=(), leases=(lease.id,))
        store.settle(call, entry(call, 100)._replace(accounts=(ACCOUNT.key,)))
        clock.advance(TTL_S)
        store.reserve(hold(1, Account("b")))
        assert [found.hold_id for found in store.entries()] == [call.id]
        store.settle(lease._replace(accounts=(ACCOUNT, Account("d"))), entry(lease, 30))
        assert [found.settled for found in store.balances([ACCOUNT.key, "d"])] == [130, 30]

    def test_pruning_deletes_history_and_keeps_the_books(self, store: Store, clock: StoppedClock) -> None:
        """An account without an end keeps its sum; one whose period is over goes with its last entry."""
        end = store.now_ms() + 5000
        over, lasting = Account("over", limit=100, end_ms=end), Account("lasting", limit=100)
        first, second = hold(10, over, lasting), hold(10, over, lasting)
        for held in (first, second):
            store.reserve(held)
        store.settle(first, entry(first, 7))
        clock.advance(10)
        store.settle(second, entry(second, 8))
        assert store.prune(end) == 1
        assert list(store.accounts()) == [Balance("lasting", 15), Balance("over", 15)]
        assert store.check() == []
        assert store.prune(store.now_ms() + 1) == 1
        assert list(store.accounts()) == [Balance("lasting", 15)]
        assert list(store.entries()) == []
        assert isinstance(store.reserve(hold(86, lasting)), Refusal)

    def test_pruning_leaves_an_account_with_an_open_hold(self, store: Store, clock: StoppedClock) -> None:
        """A hold settles in the period in which it was reserved."""
        held = hold(10, Account("over", limit=100, end_ms=store.now_ms() + 1))
        store.reserve(held)
        clock.advance(1)
        assert store.prune(store.now_ms()) == 0
        assert balance(store, "over") == (0, 10)
        store.settle(held, entry(held, 9))
        assert balance(store, "over") == (9, 0)

    def test_a_bucket_of_a_rolling_period_is_kept_while_it_counts(self, store: Store, clock: StoppedClock) -> None:
        """It is over when the last bucket is that has it in its window; what users spend on a model, likewise."""
        start = store.now_ms()
        buckets = [
            Account(
                f"r/{n}",
                100,
                start_ms=start + n * 1000,
                end_ms=start + n * 1000 + 1000,
                window=(f"r/{n - 2}", f"r/{n - 1}"),
            )
            for n in range(4)
        ]
        spent = hold(60, buckets[0])
        store.reserve(spent)
        store.settle(spent, entry(spent, 60)._replace(accounts=("models/r/0/a",)))
        for n in (1, 2):
            clock.advance(1)
            store.prune(store.now_ms())
            assert isinstance(store.reserve(hold(41, buckets[n])), Refusal), n
            assert store.balances(["models/r/0/a"])[0].settled == 60
        clock.advance(1)
        store.prune(store.now_ms())
        assert list(store.accounts()) == []
        assert store.reserve(hold(100, buckets[3])) == Admitted(100)

    def test_a_late_settlement_makes_a_bucket_that_is_kept(self, store: Store, clock: StoppedClock) -> None:
        """Also where the account was not there."""
        start = store.now_ms()
        bucket = Account("r/0", 100, start_ms=start, end_ms=start + 1000, window=("r/-1",))
        spent = hold(60, bucket)
        store.release(spent.id)
        clock.advance(1)
        store.settle(spent, entry(spent, 60))
        store.prune(store.now_ms() + 1)
        assert balance(store, "r/0") == (60, 0)

    def _three_calls(self, store: Store, clock: StoppedClock) -> int:
        """Calls that cost 1, 2 and 4, a second and a day apart; the time of the first."""
        start = store.now_ms()
        said: list[tuple[int, str, Mapping[str, str], Mapping[str, int], set[str]]] = [
            (1, "a", {"user": "ann"}, {"input_tokens": 10}, {"estimated"}),
            (2, "b", {"user": "bob"}, {"input_tokens": 10, "output_tokens": 5}, {"cut"}),
            (4, "b", {"user": "ann", "feature": "x"}, {}, set()),
        ]
        for place, (cost, model, tags, usage, flags) in enumerate(said):
            held = hold(5)
            store.reserve(held)
            given = Entry(held.id, cost, (), 0, tags, "p", model, usage, frozenset(flags))
            store.settle(held, given)
            clock.advance(1 if place == 0 else 86_400)
        return start


def together(threads: int, work: Callable[[int], list[Any]]) -> list[Any]:
    """All that threads return which start `work(place)` at one moment; re-raises what one of them raised."""
    barrier = threading.Barrier(threads)
    found: list[Any] = []
    errors: list[BaseException] = []

    def run(place: int) -> None:
        barrier.wait()
        try:
            found.extend(work(place))
        except BaseException as error:
            errors.append(error)

    running = [threading.Thread(target=run, args=(place,)) for place in range(threads)]
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # or each thread would do all its work in one turn
    try:
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    finally:
        sys.setswitchinterval(usual)
    if errors:
        raise errors[0]
    return found


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
