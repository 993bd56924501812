"""How models on a bill are called here, and what tokens of theirs cost at our prices."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache

from ...calls import Usage
from ...errors import UnpricedModelError
from ...ledger import Millis
from ...money import Nano
from ...prices import PriceBook
from ...prices.kinds import TOOL_KINDS
from ...prices.sources.names import family
from ...prices.tariffs import Tariff

DAY_MS = 24 * 3600 * 1000
_LONGEST = 10**9
"""Input tokens of a call with a long context: above every step that a price has."""


def day_ms(day: str) -> Millis:
    """When a day of UTC begins."""
    return round(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000)


def day_at(at_ms: Millis) -> str:
    """The day of UTC that a moment is in."""
    return _day(at_ms // DAY_MS)


@cache
def _day(number: int) -> str:
    return f"{datetime.fromtimestamp(number * DAY_MS // 1000, UTC):%Y-%m-%d}"


class BillPrices:
    """Our prices, as a bill is compared with them."""

    def __init__(self, book: PriceBook, provider: str, fold: Callable[[str], str], today: str) -> None:
        self._book = book
        self._provider = provider
        self._fold = fold
        self._today = today
        self._tariff = cache(self._found)
        self.name = cache(self._name)

    def listed(self, provider: str, model: str, day: str, usage: Usage, *, long: bool = False) -> Nano | None:
        """What tokens cost on a day, with what belongs to the provider's place; `None` where no price is known."""
        tariff = self._tariff(provider or self._provider, model, day)
        if tariff is None:
            return None
        tokens = {kind: count for kind, count in usage.items() if kind not in TOOL_KINDS}
        try:
            return tariff.cost(tokens, longest=_LONGEST if long else 0) if tokens else 0
        except UnpricedModelError:
            return None

    def tools(self, provider: str, model: str, day: str, usage: Usage) -> Nano:
        """What tools cost in a call; 0 where no price is known."""
        used = {kind: count for kind, count in usage.items() if kind in TOOL_KINDS and count > 0}
        tariff = self._tariff(provider or self._provider, model, day) if used else None
        try:
            return tariff.cost(used) if tariff is not None else 0
        except UnpricedModelError:
            return 0

    def sold(self, model: str) -> bool:
        """Whether a model is this provider's, of which nobody says whose it is."""
        return self._book.sells(self._provider, model) is not None

    def _name(self, model: str) -> str:
        """The one name of a model, however it is dated on one of the sides."""
        name = self._fold(model.strip().lower())
        tariff = self._tariff(self._provider, name, self._today)
        if tariff is None:
            return family(name) or name
        listed = tariff.model
        return family(listed) or listed if self._book.declares(self._provider, name) else listed

    def _found(self, provider: str, model: str, day: str) -> Tariff | None:
        try:
            return self._book.tariff(provider, model, None, day_ms(day) + DAY_MS // 2)
        except UnpricedModelError:
            return None
