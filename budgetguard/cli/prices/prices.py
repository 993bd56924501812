"""
`prices MODEL`: what a model costs, as budgetguard counts it.

`prices set|alias|free` say it (`price_file.py`); `prices update|compare` are about whole lists (`price_lists.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import typer
from typer.core import TyperGroup

from ...budgets.said.checks import require_text
from ...config import load_config
from ...errors import UnpricedModelError
from ...money import DOLLAR, PICO_PER_NANO, format_nano
from ...prices.kinds import TOKEN_KINDS, UNIT_KINDS, declared_key, words
from ...prices.tariffs import Tariff
from ..common.options import JsonOption, PricesOption
from ..common.show import console, print_json
from ..common.tables import Column, table
from .price_file import alias, free, set_
from .price_lists import compare, update

_SHOW = "show"


class ModelOrVerb(TyperGroup):
    """`prices gpt-4o` is `prices show gpt-4o`: whatever is no verb is a model."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Put the verb before a model that stands alone."""
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = [_SHOW, *args]
        return super().parse_args(ctx, args)


prices_app = typer.Typer(
    cls=ModelOrVerb,
    help="What a model costs: prices MODEL. For one that is not known: set, alias, free. Of lists: update, compare.",
    no_args_is_help=True,
)

_PROBE = 1_000
"""Tokens: at prices with up to six decimals of dollars per million, this many cost whole nano-dollars."""
_MOST = 16_000_000
"""No context is longer than this many tokens."""


@dataclass(frozen=True, slots=True)
class Rate:
    """One line of a model's price list."""

    kind: str
    """As a price file calls it: "input", "cache_read", "web_searches"."""
    nano: int
    """Nano-dollars for a million tokens or characters, or for one of what is counted in pieces."""
    per: str
    above: int = 0
    """The input tokens above which it holds."""


def prices(
    model: Annotated[str, typer.Argument(help="A model, such as gpt-4o-mini.")],
    provider: Annotated[str | None, typer.Option(help="Whose price: openai, azure, ...")] = None,
    tier: Annotated[str | None, typer.Option(help="A service tier: flex, priority, batch.")] = None,
    file: PricesOption = None,
    as_json: JsonOption = False,
) -> None:
    """The price list of a model.

    Example: budgetguard prices gpt-4o-mini
    """
    from ...prices.book import PriceBook

    require_text(model, "model")
    book = load_config(prices=file).price_book() or PriceBook()
    quote = book.quote(provider, model, tier)
    tariff = book.tariff(provider, model, tier, quote.until_ms)
    found = list(rates(tariff))
    limits = {"max_output": quote.max_output, "context": quote.context}
    if as_json:
        lines = [{"kind": r.kind, "dollars": r.nano / DOLLAR, "per": r.per, "above": r.above} for r in found]
        head = {"model": tariff.model, "provider": tariff.provider or None, "tier": tier, "free": tariff.free}
        print_json({**head, "prices": lines, **limits})
        return
    print_to = console()
    print_to.print(f"{tariff.model} ({tariff.provider or 'declared'}{f', {tier}' if tier else ''})")
    if tariff.assumed:
        print_to.print(
            "nothing is known of this service tier: its price is assumed, and stands in [tiers] if you say it"
        )
    if tariff.free:
        print_to.print("declared free: its calls pass every budget")
    else:
        rows = [[_name(rate), format_nano(rate.nano), rate.per] for rate in found]
        print_to.print(table([Column("what"), Column("price", number=True), Column("for")], rows))
    for name, limit in limits.items():
        print_to.print(f"{name}: {'not known' if limit is None else f'{limit:,} tokens'}")


prices_app.command(_SHOW)(prices)
prices_app.command("set")(set_)
prices_app.command("alias")(alias)
prices_app.command("free")(free)
prices_app.command("update")(update)
prices_app.command("compare")(compare)


def rates(tariff: Tariff) -> Iterator[Rate]:
    """Every price of a model, the whole before its parts; a part that costs what its whole does is left out."""
    if tariff.free:
        return
    shown: dict[str, int] = {}
    for kind in sorted(TOKEN_KINDS | UNIT_KINDS, key=lambda kind: (kind in UNIT_KINDS, len(words(kind)), kind)):
        pieces = kind in UNIT_KINDS and kind != "input_characters"
        price = _price(tariff, kind, 1 if pieces else _PROBE)
        wholes = [whole for whole in shown if words(whole) < words(kind)]
        if not price or (wholes and price == shown[max(wholes, key=lambda whole: len(words(whole)))]):
            continue
        shown[kind] = price
        name, _ = declared_key(kind)
        per = "each" if pieces else "1M characters" if kind == "input_characters" else "1M tokens"
        scale = 1 if pieces else 1_000_000 // _PROBE
        yield Rate(name, price * scale, per)
        if not pieces:
            step = _step(tariff, kind, price)
            if step is not None:
                start, dearer = step
                yield Rate(name, dearer * scale, per, start)


def _price(tariff: Tariff, kind: str, count: int, context: int = 0) -> int | None:
    """What `count` of a kind add to a call with `context` input tokens; `None` where the kind has no price."""
    nothing = {"input_tokens": context} if context else {}
    usage = {**nothing, kind: count + (context if kind == "input_tokens" else 0)}
    try:
        return tariff.cost(usage) - tariff.cost(nothing)
    except UnpricedModelError:
        return None


def _step(tariff: Tariff, kind: str, base: int) -> tuple[int, int] | None:
    """The input above which a kind costs more, and its price there: the first step, found by bisection."""
    if "input" in words(kind) and kind != "input_tokens":
        return None  # a part of the input moves with it
    last = _at(tariff, kind, _MOST)
    if last is None or last == base:
        return None
    low, high = _PROBE, _MOST
    while high - low > 1:
        middle = (low + high) // 2
        if _at(tariff, kind, middle) == base:
            low = middle
        else:
            high = middle
    dearer = _at(tariff, kind, high)
    return None if dearer is None else (low, dearer)


def _at(tariff: Tariff, kind: str, size: int) -> int | None:
    """What `_PROBE` of a kind cost in a call with `size` input tokens."""
    if kind == "input_tokens":
        pico = tariff.cost({kind: size}) * PICO_PER_NANO
        return round(pico / size * _PROBE / PICO_PER_NANO)
    return _price(tariff, kind, _PROBE, size)


def _name(rate: Rate) -> str:
    return f"{rate.kind}, above {rate.above:,} tokens of input" if rate.above else rate.kind
