"""
What a configuration means, once all names are known: names that lead nowhere, and what is hardly meant.

The first cannot be used. The second can: a model without a price is refused call by call, a weight of 0 is never asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

from ....errors import ConfigError, UnpricedModelError
from ....providers.table import providers
from .model import Route, Target
from .models import ModelEntry
from .resolve import Configuration, NoRoute
from .stanzas import Remark

_ALIKE = 3
"""Names that two globs of one width share, of which a remark tells."""


class Row(NamedTuple):
    """A model of the file, as a table shows it."""

    model: str
    strategy: str
    upstreams: list[str]
    """Each with the name that the model has there."""
    apis: list[str]
    fallbacks: list[str]
    unpriced: list[str]
    """What of it has no price, so that calls are refused."""


def rows(made: Configuration) -> Iterator[Row]:
    """Every model with a table, and every alias."""
    for entry in made.entries:
        apis: list[str] = sorted({api for each in entry.targets for api in each.upstream.bases})
        unpriced = [_place(each, entry) for each in entry.targets if _lacking(made, entry, each)]
        places = [_place(each, entry) for each in entry.targets]
        yield Row(entry.name, entry.strategy, places, apis, list(entry.fallbacks), unpriced)
    for alias, model in made.aliases.items():
        yield Row(alias, "alias", [model], [], [], [])


def remarks(made: Configuration) -> Iterator[Remark]:
    """What is to be said of a configuration as a whole."""
    for alias in made.aliases:
        if isinstance(route := made.route(alias), NoRoute):
            yield Remark(f"[aliases] {alias}", route.sentence())
    for entry in made.entries:
        where = f'[[model]] "{entry.name}"'
        yield from _of_fallbacks(made, entry, where)
        yield from _of_over_budget(made, entry.over_budget, entry.name, f"{where} over_budget")
        for each in entry.targets:
            if lacking := _lacking(made, entry, each):
                yield Remark(f"{where} upstreams", lacking, wrong=False)
    yield from _of_globs(made)
    yield from _of_upstreams(made)
    for rule in made.options.budgets:
        yield from _of_over_budget(made, rule.fallback, "", f'[[budget]] "{rule.name}" fallback')
        if rule.lease and rule.degrade_at is not None:
            told = "what is spent of a budget that is leased is known to nobody call by call: it counts for nothing"
            yield Remark(f'[[budget]] "{rule.name}" degrade_at', told, wrong=False)
    if not made.options.budgets:
        told = "there is none, so only what keys, teams and users have of their own holds: write one for all, too"
        yield Remark("[[budget]]", told, wrong=False)


def _of_fallbacks(made: Configuration, entry: ModelEntry, where: str) -> Iterator[Remark]:
    own = {api for each in entry.targets for api in each.upstream.bases}
    for name in entry.fallbacks:
        route = made.route(name)
        if not isinstance(route, Route):
            yield Remark(f"{where} fallbacks", route.sentence())
            continue
        if own.isdisjoint(api for each in route.targets for api in each.upstream.bases):
            told = f"{name!r} speaks no API that {entry.name!r} speaks: it is never asked in its place"
            yield Remark(f"{where} fallbacks", told, wrong=False)
        other = made.entry(name)
        if other is not None and other is not entry and entry.name in other.fallbacks:
            told = f"{name!r} falls back to {entry.name!r} in turn: a call asks each of them once, and then fails"
            yield Remark(f"{where} fallbacks", told, wrong=False)


def _of_over_budget(made: Configuration, names: tuple[str, ...], asked: str, where: str) -> Iterator[Remark]:
    """Of the models that are asked where a budget has no room: those that cannot answer."""
    for name in names:
        route = made.route(name)
        if not isinstance(route, Route):
            yield Remark(where, route.sentence())
        elif name == asked:
            yield Remark(where, f"{name!r} is the model that there was no room for: leave it out", wrong=False)


def _lacking(made: Configuration, entry: ModelEntry, target: Target) -> str:
    """What is said of a candidate whose calls are refused, as they have no price; "" if they have one."""
    upstream = target.upstream
    model = target.model or upstream.prefix + entry.name
    if upstream.free:
        return ""
    if entry.glob:
        known = () if upstream.prices is None else made.prices.names(upstream.prices)
        listed = any(fnmatchcase(name, target.model or entry.name) for name in known)
        return (
            "" if listed else f"no model that has a price at {upstream.name!r} is called {target.model or entry.name!r}"
        )
    try:
        made.prices.quote(upstream.prices, model)
    except UnpricedModelError:
        free = f"free = true in [[upstream]] {upstream.name!r}"
        lines = f"[prices.models.{_quoted(model)}] with input and output, dollars for a million tokens"
        return f"{model!r} has no price at {upstream.name!r}, so its calls are refused: write {lines}; or {free}"
    except ConfigError as error:
        return str(error)
    return ""


def _of_globs(made: Configuration) -> Iterator[Remark]:
    """Patterns of which none is the more specific, though they share models."""
    globs = [each for each in made.entries if each.glob]
    known = {name for seller in _sellers(made) for name in made.prices.names(seller)} if len(globs) > 1 else set[str]()
    for number, first in enumerate(globs):
        for second in globs[number + 1 :]:
            shared = [name for name in known if first.fits(name) and second.fits(name)]
            if shared and first.width == second.width:
                told = f"{second.name!r} fits {', '.join(sorted(shared)[:_ALIKE])} as well: the one above counts"
                yield Remark(f'[[model]] "{first.name}"', told, wrong=False)


def _of_upstreams(made: Configuration) -> Iterator[Remark]:
    used = {each.upstream.name for entry in made.entries for each in entry.targets}
    for name, upstream in made.upstreams.items():
        where = f'[[upstream]] "{name}"'
        if name not in used and not made.options.unlisted:
            yield Remark(where, "no model names it, and unlisted = false: it is never asked", wrong=False)
        row = providers().get(name)
        if row is not None and upstream.provider not in {"", name}:
            told = f'"{name}/MODEL" is asked here, and not at {row.title}: another name is plainer'
            yield Remark(f"{where} name", told, wrong=False)
        if upstream.provider and providers()[upstream.provider].token:
            told = (
                f"{providers()[upstream.provider].title} takes {providers()[upstream.provider].token.partition(';')[0]}"
            )
            yield Remark(f"{where} key", f"{told}: write a new one to its file, and send SIGHUP", wrong=False)
        unknown = upstream.prices is None and not upstream.free
        if unknown:
            told = "nobody knows whose prices count here: write prices = the provider's name in `budgetguard prices`"
            yield Remark(f"{where} prices", f"{told}, or free = true for a machine of your own", wrong=False)


def _sellers(made: Configuration) -> set[str]:
    return {each.prices for each in made.upstreams.values() if each.prices is not None}


def _place(target: Target, entry: ModelEntry) -> str:
    """A candidate as a table shows it: its upstream, the model's name there, and a weight."""
    model = f"/{target.model}" if target.model and target.model != entry.name else ""
    return target.upstream.name + model + (f" ({target.weight})" if entry.strategy == "weighted" else "")


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
