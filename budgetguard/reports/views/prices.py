"""Prices in use: the models that were called lately, with what they are taken to cost and where that is from."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from ...errors import UnpricedModelError
from ...ledger import Millis
from ...money import PICO_PER_NANO
from ...prices import PriceBook
from ...prices.kinds import TOKEN_KINDS
from ...prices.sources.shipped import shipped
from ...prices.tariffs import Tariff
from ..cube.blocks import HOUR_MS
from ..cube.cube import Cube
from ..cube.sums import dearest, summed
from ..shown.figures import HistoryRead
from ..shown.lists import PriceShown, PricesShown

_MILLION = 1_000_000


def prices(cube: Cube, book: PriceBook, days: int, now_ms: Millis, read: HistoryRead) -> PricesShown:
    """See `Reports.prices`."""
    end = now_ms // HOUR_MS + 1
    found = dearest(summed(cube, ("provider", "model"), end - days * 24, end).items())
    rows = list[PriceShown]()
    for (provider, model), packed in found:
        figures, tariff = cube.kinds.figures(packed), _tariff(book, provider, model, now_ms)
        rows.append(
            PriceShown(
                provider=provider,
                model=model,
                calls=figures.calls,
                cost=figures.cost,
                unpriced=figures.unpriced,
                priced=tariff is not None,
                rates=() if tariff is None else _rates(tariff),
                source="" if tariff is None else _source(book, provider, model, tariff),
            )
        )
    rows.sort(key=lambda each: (each.priced and not each.unpriced, -each.cost))
    return PricesShown(tuple(rows), days, list_version(), read)


def list_version() -> str:
    """The installed price list and its version."""
    return f"genai-prices {installed('genai-prices')}".rstrip()


def installed(distribution: str) -> str:
    """The version of what is installed; "" for what is not, as in a checkout."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _tariff(book: PriceBook, provider: str, model: str, now_ms: Millis) -> Tariff | None:
    try:
        return book.tariff(provider or None, model, None, now_ms)
    except UnpricedModelError:
        return None


def _source(book: PriceBook, provider: str, model: str, tariff: Tariff) -> str:
    """Who says the price."""
    if book.declares(provider or None, model):
        return "declared"
    host = provider.lower().partition("/")[0] or None
    entry = shipped().entry(host, tariff.model)
    if entry is not None and entry.complete:
        return "shipped with budgetguard"
    return f"{tariff.provider}, {list_version()}"


def _rates(tariff: Tariff) -> tuple[tuple[str, int, int], ...]:
    """Of each kind, from how many input tokens on, what a million of them cost; one, of what is no token."""
    if tariff.free:
        return ()
    found = []
    for kind, start, pico in tariff.rates():
        whole = pico * (_MILLION if kind in TOKEN_KINDS else 1) / PICO_PER_NANO
        found.append((kind, max(start, 0), -(-whole.numerator // whole.denominator)))
    return tuple(found)
