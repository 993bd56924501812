"""The bill's side: its rows by day and model, what is on it beside models, and whose it is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from ...money import Nano
from ...prices.tiers import tier_name
from ...providers.bills.lines import ATTO_PER_NANO, BillLine, BillUsage, ProviderBill
from .facts import BillSide
from .pricing import BillPrices


def bill_sides(bill: ProviderBill, prices: BillPrices) -> Mapping[tuple[str, str], BillSide]:
    """By day and model; "" is what is no model's."""
    atto, lines = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for line in bill.lines:
        place = (line.day, prices.name(line.model) if line.model else "")
        atto[place] += line.atto
        lines[place] += 1
    used = defaultdict[tuple[str, str], list[BillUsage]](list)
    for each in bill.used:
        if each.model and (each.usage or each.calls):
            used[each.day, prices.name(each.model)].append(each)
    return {
        place: _side(in_nano(atto[place]), lines[place], used.get(place, ()), prices)
        for place in {*atto, *lines, *used}
    }


def _side(cost: Nano, lines: int, used: Iterable[BillUsage], prices: BillPrices) -> BillSide:
    listed, tiered, unlisted = 0, 0, False
    counts, calls = Counter[str](), 0
    for each in used:
        worth = prices.listed("", each.model, each.day, each.usage, long=each.long)
        unlisted = unlisted or worth is None
        listed += worth or 0
        tokens = each.usage.get("input_tokens", 0) + each.usage.get("output_tokens", 0)
        tiered += tokens if tier_name(each.tier) is not None else 0
        counts.update(each.usage)
        calls += each.calls
    known = bool(counts) and not unlisted
    return BillSide(
        cost,
        listed if known else 0,
        0 if known else cost,
        tiered,
        lines,
        calls,
        counts["input_tokens"],
        counts["output_tokens"],
    )


def items_of(lines: Iterable[BillLine]) -> tuple[tuple[str, Nano], ...]:
    """What is on the bill that is no model's, the dearest first."""
    return _dearest((line.item, line.atto) for line in lines if not line.model)


def projects_of(lines: Iterable[BillLine]) -> tuple[tuple[str, Nano], ...]:
    """What each project or workspace is billed, the dearest first; "": the default one, or not said."""
    return _dearest((line.project, line.atto) for line in lines)


def of_projects(bill: ProviderBill, projects: Iterable[str]) -> ProviderBill:
    """The part of a bill that is of these projects or workspaces."""
    wanted = {*projects}
    return ProviderBill(
        tuple([each for each in bill.lines if each.project in wanted]),
        tuple([each for each in bill.used if each.project in wanted]),
        bill.notes,
    )


def in_nano(atto: int) -> Nano:
    """Rounded to the nearest nano-dollar, once for each sum."""
    return (atto + ATTO_PER_NANO // 2) // ATTO_PER_NANO


def _dearest(rows: Iterable[tuple[str, int]]) -> tuple[tuple[str, Nano], ...]:
    sums = Counter[str]()
    for name, atto in rows:
        sums[name] += atto
    found = [(name, in_nano(atto)) for name, atto in sums.items()]
    return tuple(sorted(found, key=lambda row: (-row[1], row[0])))
