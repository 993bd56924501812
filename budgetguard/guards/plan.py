"""
Plans: what all calls alike share, compiled once. Pure: the same tags, model and tier at the same time give the same.

A plan says which accounts a call touches, by which terms, and what its model costs. It is void when one of their
periods ends, when a user's terms are learnt or the store's time is, and when a price changes: it is kept with the
cover that it is of (`budgets/accounts.py`), and carries the edition of the prices. On the path of a call a look at
a plan is two functions, and no object is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from ..budgets.accounts import NO_COVER, Cover, Coverage
from ..calls import Call
from ..errors import UnpricedModelError
from ..prices.book import PriceBook, Quote
from ..prices.useful import least_useful
from .costs.sharing import NOTHING_SEEN, Lately
from .settings import Settings

MOST_PLANS = 64
"""Plans kept for callers with the same tags: they use few models, but names come from outside."""


MOST_SEEN = 4_096
"""Models whose answers are remembered."""


@dataclass(frozen=True, slots=True)
class CallPlan:
    """What calls alike touch and cost, while `PriceBook.holds` says so of its edition."""

    cover: Cover
    quote: Quote | None = None
    """The most that the model can cost; `None` if no price of it is known."""
    others: tuple[Quote, ...] = ()
    """The same of the other models that may answer; none where one of them has no price."""
    error: UnpricedModelError | None = field(default=None, compare=False)
    """Why a price is not known, for a budget that has to know it."""
    flat: tuple[int, int, int] | None = None
    """See `Quote.flat`."""
    max_output: int | None = None
    context: int | None = None
    edition: object = field(default=None, compare=False)
    until_ms: int = field(default=0, compare=False)
    """From when on the prices have to be asked again."""

    free: bool = False
    """Whether whatever may answer costs nothing."""
    unpriced: bool = False
    """Whether no price is known of the model asked for, or of one that may answer where the dearest is assumed."""
    watched: bool = False
    """Whether it matters that a call says whose it is: it may cost something, and is not let pass in any case."""
    doubtful: bool = False
    """
    Whether it lacks a tag, or its user a budget, or a budget of it is paused, as far as is known:
    `guards/unscoped/watch.py` looks into it.
    """
    counters: tuple[str, ...] = ()
    """See `Cover.counters`."""

    lately: Lately = field(default=NOTHING_SEEN, compare=False)
    """What such answers took of late."""

    @property
    def assumed(self) -> bool:
        """Whether a price is the dearest of the provider, as that of the model is not known."""
        return self.unpriced and self.quote is not None

    @property
    def unheld(self) -> bool:
        """Whether nothing is held for the call: it costs nothing that is known, and no budget counts anything else."""
        return (self.free or self.quote is None) and not self.cover.units


NO_PLAN = CallPlan(NO_COVER)
"""That of a call for which nothing was looked up yet."""


class Plans:
    """The plans of one guard."""

    def __init__(
        self,
        prices: PriceBook,
        coverage: Coverage,
        *,
        stored: bool,
        settings: Settings | None = None,
        begin: Callable[[], None] | None = None,
    ) -> None:
        self.prices = prices
        self.coverage = coverage
        self._settings = settings or Settings()
        self.assume = self._settings.unpriced == "assume"
        """Whether a model without a price costs what the dearest of its provider does."""
        self._stored = stored
        """Whether there is a store with accounts at all."""
        self._begin = begin
        """Told that calls are made: once, or once by each of the threads that begin together."""
        self._bare: Cover = NO_COVER.with_accounts(())
        self._lately: dict[tuple[str | None, tuple[str, ...]], Lately] = {}

    def find(self, provider: str | None, call: Call, tags: Mapping[str, str]) -> CallPlan:
        """The plan of a call now."""
        cover = self.coverage.cover(tags) if self._stored else self._bare
        key = (provider, call.model, call.tier, call.others)
        plan: CallPlan | None = cover.plans.get(key)
        if plan is not None and self.prices.holds(plan.edition, plan.until_ms):
            return plan
        plan = self.compile(provider, call, cover)
        if plan.error is None:
            if len(cover.plans) >= MOST_PLANS:
                cover.plans.clear()
            cover.plans[key] = plan
        return plan

    def compile(self, provider: str | None, call: Call, cover: Cover) -> CallPlan:
        """The plan of a call that has this cover, worked out anew."""
        if (begin := self._begin) is not None:
            self._begin = None
            begin()
        prices, edition, counters = self.prices, self.prices.edition(), cover.counters(call.model)
        quote: Quote | None = None
        lately = self._seen(provider, (call.model, *call.others))
        try:
            quote = prices.quote(provider, call.model, call.tier)
            others = tuple([prices.quote(provider, model, call.tier) for model in call.others])
        except UnpricedModelError as error:
            bare = CallPlan(cover, quote, counters=counters, lately=lately)
            return self._watch(self.unpriced(bare, provider, call, error))
        until_ms = min(quote.until_ms, *[other.until_ms for other in others]) if others else quote.until_ms
        flat, free = None if others else quote.flat(), quote.free and all(other.free for other in others)
        most, context = quote.max_output, quote.context
        plan = CallPlan(cover, quote, others, None, flat, most, context, edition, until_ms, free, counters=counters)
        return self._watch(replace(plan, lately=lately))

    def _watch(self, plan: CallPlan) -> CallPlan:
        """The plan, with what is asked of its callers."""
        cover, watched = plan.cover, self._settings.unscoped != "allow" and not plan.free
        stranger = self._settings.users == "known" and cover.whose and not cover.own
        doubtful = stranger or cover.paused is not None or (watched and (bool(cover.lacks) or cover.unasked))
        return replace(plan, watched=watched, doubtful=doubtful)

    def unpriced(self, plan: CallPlan, provider: str | None, call: Call, error: UnpricedModelError) -> CallPlan:
        """
        The plan of a call that has no price, as the error says; its quote is that of the model asked for, if that has.

        It is not kept, and has no short way: for each such call it is asked whether a budget has to know.
        """
        quote = plan.quote
        if not self.assume:
            free = quote is not None and quote.free
            return replace(plan, error=error, free=free, unpriced=quote is None)
        own = self.prices.dearest(provider, call.tier)[0] if quote is None else quote
        others = tuple([self.quote(provider, model, call.tier) for model in call.others])
        return replace(plan, quote=own, others=others, error=error, unpriced=True)

    def quote(self, provider: str | None, model: str, tier: str | None, *, sure: bool = False) -> Quote:
        """`PriceBook.quote`, or the dearest where that is assumed. Raises `UnpricedModelError` where it is not."""
        try:
            return self.prices.quote(provider, model, tier, sure=sure)
        except UnpricedModelError:
            if not self.assume:
                raise
        return self.prices.dearest(provider, tier)[0]

    def _seen(self, provider: str | None, models: tuple[str, ...]) -> Lately:
        """What is known of the answers of a model, or of those that may answer in its place."""
        lately = self._lately.get((provider, models))
        if lately is None:
            if len(self._lately) >= MOST_SEEN:
                self._lately.clear()
            lately = self._lately[provider, models] = Lately(max(map(least_useful, models)))
        return lately

    def free(self, model: str, tags: Mapping[str, str]) -> CallPlan:
        """That of a call which costs nothing, whatever its model, and is no request to one."""
        cover = self.coverage.cover(tags) if self._stored else self._bare
        return CallPlan(cover.with_accounts(()), free=True, counters=cover.counters(model))

    def covered_anew(self, plan: CallPlan, model: str, tags: Mapping[str, str]) -> CallPlan:
        """The same price, and the accounts that these tags touch as far as is known now."""
        cover = self.coverage.cover(tags)
        return replace(plan, cover=cover, counters=cover.counters(model))
