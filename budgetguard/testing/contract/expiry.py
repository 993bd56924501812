"""Holds that nobody ends, and those that are renewed because their calls live."""

from __future__ import annotations

import pytest

from ...ledger import Account, Admitted, Balance, Conflict, Ended, Entry, Hold, Refusal, Settled, Store, new_id
from ..clock import StoppedClock
from .base import ACCOUNT, TTL_S, StoreTests, balance, entry, hold


class ExpiryContract(StoreTests):
    """Holds that nobody ends, and those that are renewed because their calls live."""

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
