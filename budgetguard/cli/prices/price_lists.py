"""`prices update`: fetch a newer list. `prices compare`: where two lists differ, and what only one of them knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...config import load_config
from ...config.forms import PRICE_LIST
from ...errors import ConfigError, StoreError
from ...money import DOLLAR, PICO_PER_NANO, format_nano
from ...prices.kinds import declared_key
from ..common.options import JsonOption, ProjectOption, StoreOption, project
from ..common.show import console, print_json
from ..common.tables import Column, table

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot

    from ...prices.sources.published.compare import PriceGap

_WORDS = "installed, updated, or the path of a list in JSON: LiteLLM's map, genai-prices' data"


def update(
    source: Annotated[
        str | None, typer.Option("--from", metavar="URL", help="Another URL: a mirror's, or LiteLLM's map.")
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", help="The file that keeps it; else that of the settings.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch a newer list of prices, check it, and keep it with its date. One that fails changes nothing.

    Example: budgetguard prices update
    """
    from ...prices.sources.published import choice, kept

    stated = load_config().said.get(PRICE_LIST)
    used = stated.value if stated is not None else choice.INSTALLED
    words = {choice.INSTALLED, choice.UPDATED, choice.UPDATING}
    path = to or (Path(used) if used not in words else kept.default_path())
    found = kept.update(source or choice.default_url(), path, datetime.now(UTC))
    read = used in {choice.UPDATED, choice.UPDATING} if path == kept.default_path() else str(path) == used
    if as_json:
        print_json({"file": str(path), "models": found.models, "from": found.origin, "unread": found.unread or None})
        return
    told = console()
    told.print(f"{path}: {found.models:,} models, from {found.origin}", soft_wrap=True)
    if found.unread:
        told.print(found.unread, soft_wrap=True)
    if not read:
        word = choice.UPDATED if path == kept.default_path() else path.as_posix()
        told.print(
            f'No program reads it yet: write price_list = "{word}" below [settings], or set BUDGETGUARD_PRICE_LIST.',
            soft_wrap=True,
        )
    told.print("Programs read it when they start: start those again that are running.")


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help=f"{_WORDS}.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The other one.")],
    *,
    above: Annotated[float, typer.Option(help="Differences above this many per cent.")] = 1.0,
    store: StoreOption = None,
    name: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Where two lists differ by more than 1 %, and models that were used here and that only one of them knows.

    Example: budgetguard prices compare installed updated --above 5
    """
    from ...prices.sources.published.compare import compare, known_to_one

    if above < 0:
        raise ConfigError(f"--above {above}: write a number of per cent that is not negative, such as 1")
    one, two = _opened(first), _opened(second)
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    compared = compare(one, two, now_ms, Fraction(str(above)) / 100)
    alone = list(known_to_one(_used(store, name), one, two, now_ms))
    lists = {True: first, False: second}
    if as_json:
        print_json(
            {
                "models": compared.models,
                "differences": [_as_json(gap) for gap in compared.gaps],
                "used": [{"provider": p, "model": m, "only": lists[which]} for p, m, which in alone],
            }
        )
        return
    _print_gaps(compared.gaps, first, second)
    differing = len({(gap.provider, gap.model) for gap in compared.gaps})
    told = console()
    told.print(f"{differing:,} of the {compared.models:,} names that both know differ by more than {above:g} %.")
    for provider, model, which in alone:
        told.print(f"{model} ({provider or 'any host'}) was used here, and only {lists[which]} knows its price.")


def _opened(stated: str) -> DataSnapshot:
    """A list by itself: of LiteLLM's map, only what stands there."""
    from ...prices.sources import list as pricelist
    from ...prices.sources.published import choice, kept

    if stated == choice.INSTALLED:
        return pricelist.source()()
    choice.check_list(stated, "list")
    path = kept.default_path() if stated in {choice.UPDATED, choice.UPDATING} else Path(stated)
    return kept.read_list(path, alone=True).snapshot


def _used(store: str | None, name: str | None) -> Iterator[tuple[str | None, str]]:
    """The providers and models of the history; none where there is no store, unless one is named."""
    found: list[tuple[str | None, str]] = []
    with suppress(*() if store or name else (StoreError, ConfigError)), project(store, name) as manager:
        for total in manager.store.totals(["provider", "model"]):
            provider, model = total.group
            if model:
                found.append((provider or None, model))
    return iter(found)


def _print_gaps(gaps: tuple[PriceGap, ...], first: str, second: str) -> None:
    """One line a model, with its largest difference."""
    largest: dict[tuple[str, str], PriceGap] = {}
    for gap in gaps:
        before = largest.setdefault((gap.provider, gap.model), gap)
        if _ratio(gap) > _ratio(before):
            largest[gap.provider, gap.model] = gap
    if largest:
        columns = [Column("provider", drop=2), Column("model"), Column("what", drop=1), Column(first, number=True)]
        columns += [Column(second, number=True), Column("for", drop=3)]
        console().print(table(columns, [_row(gap) for gap in largest.values()]))


def _row(gap: PriceGap) -> list[str]:
    key, _ = declared_key(gap.kind)
    what = f"{key}, of the longest input" if gap.long else key
    scale, per = _per(gap.kind)
    amounts = [format_nano(round(price * scale / PICO_PER_NANO)) for price in (gap.first, gap.second)]
    return [gap.provider, gap.model, what, *amounts, per]


def _as_json(gap: PriceGap) -> dict[str, Any]:
    key, _ = declared_key(gap.kind)
    scale, per = _per(gap.kind)
    amounts = [round(price * scale / PICO_PER_NANO) / DOLLAR for price in (gap.first, gap.second)]
    head = {"provider": gap.provider, "model": gap.model, "kind": key, "long": gap.long, "per": per}
    return {**head, "first": amounts[0], "second": amounts[1]}


def _per(kind: str) -> tuple[int, str]:
    if kind == "input_characters":
        return 1_000_000, "1M characters"
    return (1_000_000, "1M tokens") if kind.endswith("_tokens") else (1, "each")


def _ratio(gap: PriceGap) -> Fraction:
    low, high = sorted((gap.first, gap.second))
    return high / low if low else Fraction(10**9)
