"""Budgets in dollars, tokens and requests, in one ledger; and the balances that outcomes carry."""

from __future__ import annotations

from typing import Any

import pytest

from ....errors import AmountError
from ....ledger import (
    Account,
    Admitted,
    Balance,
    Carried,
    Conflict,
    Ended,
    Entry,
    Hold,
    Refusal,
    Settled,
    Store,
    Wanted,
    key_in,
    new_id,
)
from ....money import MAX_AMOUNT
from ...clock import StoppedClock
from ..base import TTL_S, StoreTests, balance, entry, hold

DOLLARS = Account("team/2027-01", limit=100)
TOKENS = Account(key_in("tokens", "tokens/2027-01-01"), limit=1_000)
REQUESTS = Account(key_in("requests", "calls/29x60000"), limit=3)
ALL = (DOLLARS, TOKENS, REQUESTS)


def call(amount: int, tokens: int, *accounts: Account, **fields: Any) -> Hold:
    """A hold that says its tokens, on an account of each unit unless others are named."""
    return hold(amount, *(accounts or ALL), **{"units": {"tokens": Wanted(tokens)}, **fields})


def used(held: Hold, cost: int, tokens: int, **fields: Any) -> Entry:
    """Its entry."""
    return entry(held, cost, units={"tokens": tokens}, **fields)


def standing(store: Store) -> list[tuple[int, int]]:
    """What the three accounts have settled and held."""
    return [balance(store, account.key) for account in ALL]


def balances(*taken: tuple[int, int]) -> tuple[Balance, ...]:
    """Balances of the three accounts, in their order."""
    return tuple([Balance(account.key, *each) for account, each in zip(ALL, taken, strict=True)])


class UnitsContract(StoreTests):
    """Every account is held, charged and read in its own unit."""

    def test_one_reserve_holds_dollars_tokens_and_requests(self, store: Store) -> None:
        """Each account in its own unit, in one step; and so it is settled."""
        held = call(40, 700)
        assert store.reserve(held) == Admitted(40, {"tokens": 700, "requests": 1})
        assert standing(store) == [(0, 40), (0, 700), (0, 1)]
        assert [(item.amount, item.units) for item in store.holds()] == [(40, {"tokens": 700, "requests": 1})]
        assert store.settle(held, used(held, 25, 520)) == Settled(25)
        assert standing(store) == [(25, 0), (520, 0), (1, 0)]
        [found] = store.entries()
        assert (found.cost, found.units) == (25, {"tokens": 520})
        assert store.check() == []

    def test_what_a_hold_says_of_units_that_no_account_counts_is_not_held(self, store: Store) -> None:
        """Its entry tells it all the same."""
        held = call(40, 700, DOLLARS)
        assert store.reserve(held) == Admitted(40)
        store.settle(held, used(held, 25, 520))
        assert next(store.entries()).units == {"tokens": 520}
        assert [item.key for item in store.accounts()] == [DOLLARS.key]

    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_a_refusal_by_any_unit_holds_nothing_anywhere(self, store: Store, place: int) -> None:
        """And it has the balance of the account that had no room, in its unit."""
        full = [call(100, 0, DOLLARS), call(0, 1_000, TOKENS), call(0, 0, REQUESTS, units={"requests": Wanted(3)})]
        store.reserve(full[place])
        taken = [100, 1_000, 3][place]
        refusal = store.reserve(call(1, 1))
        assert refusal == Refusal(ALL[place], Balance(ALL[place].key, 0, taken), busy=True)
        assert standing(store) == [(0, taken if place == each else 0) for each in range(3)]
        store.settle(full[place], entry(full[place], 0, units={"tokens": 0, "requests": 0}))
        assert isinstance(store.reserve(call(1, 1)), Admitted)

    def test_sixty_calls_are_sixty_requests(self, store: Store) -> None:
        """A call is one request, held and settled, whatever it costs and where nothing is said of it."""
        for _ in range(3):
            held = hold(0, REQUESTS)
            assert store.reserve(held) == Admitted(0, {"requests": 1})
            store.settle(held, entry(held, 0))
        assert store.reserve(hold(0, REQUESTS)) == Refusal(REQUESTS, Balance(REQUESTS.key, 3), busy=False)

    def test_a_released_call_gives_every_unit_back(self, store: Store) -> None:
        """It did not happen."""
        held = call(40, 700)
        store.reserve(held)
        store.release(held.id)
        assert standing(store) == [(0, 0)] * 3

    def test_elastic_tokens_take_what_there_is(self, store: Store) -> None:
        """A call without a cap is cut to the tokens that fit, whatever dollars there are; and the other way round."""
        store.reserve(call(0, 400, TOKENS))
        held = call(50, 0, least=10, units={"tokens": Wanted(5_000, 100)})
        assert store.reserve(held) == Admitted(50, {"tokens": 600, "requests": 1})
        assert store.reserve(held) == Admitted(50, {"tokens": 600, "requests": 1})
        assert standing(store) == [(0, 50), (0, 1_000), (0, 1)]
        more = call(50, 0, least=10, units={"tokens": Wanted(5_000, 100)})
        assert store.reserve(more) == Refusal(TOKENS, Balance(TOKENS.key, 0, 1_000), busy=True)
        cut = call(500, 0, DOLLARS, least=10, units={"tokens": Wanted(5_000, 100)})
        assert store.reserve(cut) == Admitted(50)

    def test_elastic_tokens_share_the_room(self, store: Store) -> None:
        """By the share of the account that counts them, and not below what is useful."""
        shared = Account(TOKENS.key, 1_000, share=5)
        elastic = {"tokens": Wanted(900, 1)}
        assert store.reserve(call(7, 0, shared, units=elastic)) == Admitted(7, {"tokens": 200})
        useful = {"tokens": Wanted(900, 1, 300)}
        assert store.reserve(call(7, 0, shared, units=useful)) == Admitted(7, {"tokens": 300})

    @pytest.mark.parametrize("on_expire", ["release", "charge"])
    def test_an_expired_hold_ends_in_every_unit(self, store: Store, clock: StoppedClock, on_expire: str) -> None:
        """Given back, or booked at what it held, until the truth is known."""
        held = call(40, 700, on_expire=on_expire)
        store.reserve(held)
        clock.advance(TTL_S)
        charged = [(40, 0), (700, 0), (1, 0)] if on_expire == "charge" else [(0, 0)] * 3
        assert standing(store) == charged
        store.reserve(hold(0, Account("other")))
        assert standing(store) == charged
        if on_expire == "charge":
            assert [(item.cost, item.units) for item in store.entries()] == [(40, {"tokens": 700})]
        assert store.settle(held, used(held, 25, 520)) == Settled(25, late=True)
        assert standing(store) == [(25, 0), (520, 0), (1, 0)]
        assert [(item.cost, item.units) for item in store.entries()] == [(25, {"tokens": 520})]

    def test_a_charge_is_taken_back_in_every_unit(self, store: Store, clock: StoppedClock) -> None:
        """The call did not happen after all."""
        held = call(40, 700, on_expire="charge")
        store.reserve(held)
        clock.advance(TTL_S)
        store.reserve(hold(0, Account("other")))
        store.release(held.id)
        assert standing(store) == [(0, 0)] * 3

    def test_a_hold_of_tokens_alone_is_charged_when_it_expires(self, store: Store, clock: StoppedClock) -> None:
        """Though it holds no dollars."""
        held = call(0, 700, TOKENS, on_expire="charge")
        store.reserve(held)
        clock.advance(TTL_S)
        store.reserve(hold(0, Account("other")))
        assert balance(store, TOKENS.key) == (700, 0)
        assert len(list(store.entries())) == 1

    @pytest.mark.parametrize("on_expire", ["release", "charge"])
    @pytest.mark.parametrize("reaped", [False, True])
    def test_a_renewal_holds_every_unit_again(
        self, store: Store, clock: StoppedClock, on_expire: str, reaped: bool
    ) -> None:
        """What had expired counts again, at what was admitted; a hold that was never seen is placed so."""
        held = call(40, 0, on_expire=on_expire, units={"tokens": Wanted(5_000, 100)})
        admitted = store.reserve(held)
        assert isinstance(admitted, Admitted)
        clock.advance(TTL_S)
        if reaped:
            store.reserve(hold(0, Account("other")))
        kept = held.admitted(admitted)
        assert store.renew([kept]) == [True]
        assert standing(store) == [(0, 40), (0, 1_000), (0, 1)]
        assert store.reserve(held) == admitted
        assert store.renew([call(5, 10)]) == [True]
        assert standing(store) == [(0, 45), (0, 1_010), (0, 2)]

    def test_a_late_settle_books_every_unit(self, store: Store) -> None:
        """Also of a call that no store ever held, above the limits if need be; the entry names more by their keys."""
        held = call(40, 700)
        more = ("models/ann/gpt", key_in("tokens", "leased"), key_in("requests", "leased"))
        assert store.settle(held, used(held, 250, 5_200, accounts=more)) == Settled(250, late=True)
        assert standing(store) == [(250, 0), (5_200, 0), (1, 0)]
        assert [item.settled for item in store.balances(more)] == [250, 5_200, 1]
        assert store.check() == []

    def test_settling_at_other_tokens_is_a_conflict(self, store: Store) -> None:
        """The first stands; one request is what nothing said means."""
        held = call(40, 700)
        store.reserve(held)
        store.settle(held, used(held, 25, 520))
        assert store.settle(held, used(held, 25, 520)) == Settled(25)
        assert store.settle(held, entry(held, 25, units={"tokens": 520, "requests": 1})) == Settled(25)
        assert store.settle(held, used(held, 25, 521)) == Conflict(25, {"tokens": 520})
        assert store.settle(held, used(held, 26, 520)) == Conflict(25, {"tokens": 520})
        assert store.reserve(held) == Ended()
        assert standing(store) == [(25, 0), (520, 0), (1, 0)]

    def test_a_lease_becomes_smaller_in_the_units_it_has(self, store: Store, clock: StoppedClock) -> None:
        """A slice of tokens by the tokens used, one of requests by one; a slice of dollars has neither to give."""
        sizes = {"tokens": Wanted(600), "requests": Wanted(3)}
        leases = [hold(50, account, on_expire="charge", units=sizes) for account in ALL]
        for lease in leases:
            store.reserve(lease)
        assert standing(store) == [(0, 50), (0, 600), (0, 3)]
        ids, keys = tuple([lease.id for lease in leases]), tuple([account.key for account in ALL])
        first, second, last = [Hold(new_id(), (), 0, leases=ids) for _ in range(3)]
        store.settle(first, used(first, 20, 150, accounts=keys))
        assert standing(store) == [(20, 30), (150, 450), (1, 2)]
        held = {item.id: (item.amount, item.units) for item in store.holds()}
        assert [held[key] for key in ids] == [(30, {}), (30, {"tokens": 450}), (30, {"requests": 2})]
        clock.advance(TTL_S)
        assert standing(store) == [(50, 0), (600, 0), (3, 0)]
        store.settle(second, used(second, 20, 150, accounts=keys))
        assert standing(store) == [(50, 0), (600, 0), (3, 0)]
        store.settle(last, used(last, 40, 700, accounts=keys))
        assert standing(store) == [(80, 0), (1_000, 0), (3, 0)]
        for lease in leases:
            store.release(lease.id)
        assert standing(store) == [(80, 0), (1_000, 0), (3, 0)]

    def test_a_rolling_period_counts_its_own_unit(self, store: Store) -> None:
        """The window's keys end as the account's does."""
        old = Account(key_in("requests", "roll/1"), limit=3)
        for _ in range(2):
            held = hold(0, old)
            store.reserve(held)
            store.settle(held, entry(held, 0))
        now = Account(key_in("requests", "roll/2"), limit=3, window=(old.key, key_in("requests", "roll/0")))
        answer = store.reserve(hold(0, now))
        assert isinstance(answer, Admitted)
        assert answer.balances == (Balance(now.key, 2, 1),)
        assert store.reserve(hold(0, now)) == Refusal(now, Balance(now.key, 2, 1), busy=True)

    def test_outcomes_carry_the_balances_of_what_the_caller_named(self, store: Store) -> None:
        """As the books stand after it: nobody has to ask for what is left."""
        held, other = call(40, 700), call(10, 100)
        admitted = store.reserve(held)
        assert isinstance(admitted, Admitted)
        assert admitted.balances == balances((0, 40), (0, 700), (0, 1))
        more = store.reserve(other)
        assert isinstance(more, Admitted)
        assert more.balances == balances((0, 50), (0, 800), (0, 2))
        again = store.reserve(held)
        assert isinstance(again, Admitted)
        assert again.balances == more.balances
        said = used(held, 25, 520, accounts=("models/ann/gpt", "models/ann/gpt"))
        for _ in range(2):
            settled = store.settle(held, said)
            assert isinstance(settled, Settled)
            beside = (Balance("models/ann/gpt", 25),) * 2
            assert settled.balances == (*balances((25, 10), (520, 100), (1, 1)), *beside)
        [one] = store.settle_many([(other, used(other, 10, 100))])
        assert isinstance(one, Settled)
        assert one.balances == balances((35, 0), (620, 0), (2, 0))

    def test_balances_of_outcomes_have_a_place_for_each_account(self, store: Store) -> None:
        """Also for one that is named twice, and for one that the hold was not placed on."""
        twice = Account(DOLLARS.key, limit=50)
        held = hold(10, DOLLARS, twice)
        answer = store.reserve(held)
        assert isinstance(answer, Admitted)
        assert answer.balances == (Balance(DOLLARS.key, 0, 10),) * 2
        elsewhere = held._replace(accounts=(Account("elsewhere"), DOLLARS))
        settled = store.settle(elsewhere, entry(held, 9))
        assert isinstance(settled, Settled)
        assert settled.balances == (Balance("elsewhere"), Balance(DOLLARS.key, 9))

    def test_rows_are_loaded_pruned_and_carried_in_their_units(self, store: Store) -> None:
        """A copy of the books, and what is left of them when history was deleted."""
        keys = tuple([account.key for account in ALL])
        first = Entry(new_id(), 7, keys, 1_000, units={"tokens": 300})
        lost = Entry(new_id(), 9, keys[1:], 2_000, flags=frozenset({"expired"}), units={"tokens": 50, "requests": 2})
        store.load(accounts=[Carried(keys[1], None, 20)], entries=[first, lost])
        assert list(store.entries()) == [first, lost]
        assert standing(store) == [(7, 0), (370, 0), (3, 0)]
        drawn = Hold(new_id(), (), 0, leases=(lost.hold_id,))
        store.settle(drawn, used(drawn, 2, 30, accounts=keys[1:]))
        assert standing(store) == [(7, 0), (370, 0), (3, 0)]
        assert store.prune(1_001) == 1
        assert standing(store) == [(7, 0), (370, 0), (3, 0)]
        assert [(item.key, item.pruned) for item in store.carried()] == [(keys[2], 1), (keys[0], 7), (keys[1], 320)]
        assert store.check() == []

    def test_an_account_of_which_an_open_hold_has_nothing_is_not_pruned(
        self, store: Store, clock: StoppedClock
    ) -> None:
        """Its period is over, and the call that names it is not."""
        end_ms = store.now_ms() + 1_000
        over = Account(TOKENS.key, 1_000, end_ms=end_ms)
        held = call(40, 0, DOLLARS, over)
        assert store.reserve(held) == Admitted(40, {"tokens": 0})
        clock.advance(2)
        assert store.prune(end_ms) == 0
        assert [item.key for item in store.accounts()] == [DOLLARS.key, TOKENS.key]
        store.release(held.id)
        store.prune(end_ms)
        assert [item.key for item in store.accounts()] == [DOLLARS.key]

    def test_tokens_that_are_counted_must_be_said(self, store: Store) -> None:
        """Unknown is never free."""
        for ask in (store.reserve, lambda held: store.renew([held])):
            with pytest.raises(AmountError, match="how many tokens"):
                ask(hold(1, TOKENS))
        assert list(store.accounts()) == []

    @pytest.mark.parametrize("amount", [-1, MAX_AMOUNT + 1])
    @pytest.mark.parametrize("unit", ["tokens", "requests"])
    def test_an_absurd_amount_of_any_unit_is_an_error(self, store: Store, unit: str, amount: int) -> None:
        """As one of dollars is."""
        account, plain = (TOKENS if unit == "tokens" else REQUESTS), hold(1)
        with pytest.raises(AmountError, match="cannot be booked"):
            store.reserve(hold(1, account, units={unit: Wanted(amount)}))
        with pytest.raises(AmountError, match="cannot be booked"):
            store.settle(plain, entry(plain, 1, units={unit: amount}))
        assert list(store.accounts()) == []
