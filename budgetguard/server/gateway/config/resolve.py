"""
Where a model is asked for: by its own table, as an alias, by a glob, as "upstream/model", or by its name alone.

The spelling that answers is one: a budget on "gpt-4o" is passed by "openai/gpt-4o", too, and "GPT-4O" is nobody's name.
Names come from outside: they are short, and what is remembered of them is bounded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from typing import Final, Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from ....guards.settings import Settings
from ....prices.book import PriceBook
from ....providers.table import by_prefix
from .model import Api, GatewayOptions, Route, Target, Upstream
from .models import LONGEST, ModelEntry, usable
from .upstreams import APIS, of_environment

Reason: TypeAlias = Literal["unknown", "dialect", "name"]
"""Why there is no route: nobody has the model, who has it does not speak the API, or it cannot be a name."""

_MANY = 4_096
_NEAR, _OFFERED = 3, 12
"""How many names a sentence has, and of how many these are chosen."""
_COMPARED = 64
"""Characters of the longest name that is compared with others: it takes 10 ms, in which nobody is answered."""
_COMPARING_S, _COMPARING = 0.25, 0.05
"""How long that may take at once, and which part of all time: many wrong names are not worth it."""
_SPEAKS: Final[Mapping[Api, str]] = {"openai": "OpenAI's API", "anthropic": "Anthropic's API", "gemini": "Gemini's API"}


class NoRoute(NamedTuple):
    """Why a model is not asked for anywhere."""

    reason: Reason
    said: str
    near: tuple[str, ...] = ()
    """Names that may be meant."""

    def sentence(self, allows: Callable[[str], bool] = bool) -> str:
        """What is said to whoever asked: no name that is not allowed is in it."""
        near = [each for each in self.near if allows(each)][:_NEAR]
        return f"{self.said}. Did you mean {' or '.join(map(repr, near))}?" if near else self.said


class ModelCard(NamedTuple):
    """A model that can be asked for, as lists of models have it."""

    id: str
    owner: str
    """The upstream; "" where a model has several."""
    apis: frozenset[Api]


class Configuration:
    """
    What an operator decided, read and checked. Nothing of it changes; a changed file is another one.

    `entries` are the models with a table, `aliases` other names; `passed_over` says what of the environment was not
    used, and why. `since_s` is when it was made, for lists of models.
    """

    def __init__(
        self,
        upstreams: Iterable[Upstream],
        entries: Iterable[ModelEntry] = (),
        aliases: Mapping[str, str] | None = None,
        *,
        options: GatewayOptions | None = None,
        settings: Settings | None = None,
        prices: PriceBook | None = None,
        passed_over: tuple[str, ...] = (),
        since_s: int = 0,
    ) -> None:
        self.prices = PriceBook() if prices is None else prices
        self.upstreams = {each.name: _sold(each, self.prices) for each in upstreams}
        self.options = GatewayOptions() if options is None else options
        self.settings = Settings() if settings is None else settings
        self.aliases = dict(aliases or {})
        self.passed_over = passed_over
        self.since_s = since_s
        self.entries = tuple(_placed(each, self.upstreams) for each in entries)
        self._named = {each.name: each for each in self.entries if not each.glob}
        self._globs = sorted((each for each in self.entries if each.glob), key=lambda each: each.width)
        self._known: tuple[object, tuple[ModelCard, ...]] | None = None
        self._routes: dict[tuple[str, Api | None, str | None], Route | NoRoute] = {}
        self._compared_at_s, self._spare_s = 0.0, 0.0
        """When names were compared last, and how long that may take yet."""

    @classmethod
    def of_environment(cls, environ: Mapping[str, str]) -> Configuration:
        """An upstream for every provider whose key is set; what is set in vain is in `passed_over`."""
        found = list(of_environment(environ))
        upstreams = [each for each in found if isinstance(each, Upstream)]
        return cls(upstreams, passed_over=tuple(each for each in found if isinstance(each, str)))

    @classmethod
    def demo(cls, base_url: str) -> Configuration:
        """The three providers whose APIs one server speaks, such as `FakeProvider.root_url`; no key is sent."""
        root = base_url.rstrip("/").removesuffix("/v1")
        upstreams = [
            Upstream("openai", "openai", "openai", {"openai": f"{root}/v1"}),
            Upstream("anthropic", "anthropic", "anthropic", {"anthropic": f"{root}/v1", "openai": f"{root}/v1"}),
            Upstream("gemini", "gemini", "google", {"gemini": f"{root}/v1beta", "openai": f"{root}/v1"}),
        ]
        return cls(upstreams)

    def route(self, model: str, api: Api | None = None, beside: str | None = None) -> Route | NoRoute:
        """
        Where a model is asked for by an API, by its operation `beside` chat ("embeddings") if it is another one.

        Without an API, every upstream counts. A price is not looked for: whoever reserves says what has none.
        """
        key = (model, api, beside)
        found = self._routes.get(key)
        if found is None:
            found = self._route(model, api, beside)
            if len(self._routes) >= _MANY:
                self._routes.clear()
            if len(model) <= LONGEST:
                self._routes[key] = found
        return found

    def models(self) -> tuple[ModelCard, ...]:
        """Every model that can be asked for by a name."""
        edition = self.prices.edition()
        if self._known is None or self._known[0] is not edition:
            cards = {card.id: card for card in reversed(list(self._cards()))}
            edition = self.prices.edition()  # it may have been read just now
            self._known = (edition, tuple(reversed(cards.values())))
        return self._known[1]

    def entry(self, model: str) -> ModelEntry | None:
        """The table that speaks of a model: the one of its name, else the most specific glob."""
        found = self._named.get(model)
        return found or next((each for each in self._globs if each.fits(model)), None)

    def _route(self, asked: str, api: Api | None, beside: str | None) -> Route | NoRoute:
        if not usable(asked):
            return NoRoute("name", "the model's name is empty, too long, or has characters that cannot be seen")
        model = self.aliases.get(asked, asked)
        found = self._found(model, api, beside)
        entry = self.entry(model)
        if entry is None or isinstance(found, NoRoute):
            return found
        below = [self._found(self.aliases.get(name, name), api, beside) for name in entry.fallbacks]
        return replace(found, fallbacks=tuple(each for each in below if isinstance(each, Route)))

    def _found(self, model: str, api: Api | None, beside: str | None) -> Route | NoRoute:
        """The route of a name that is no alias, without fallbacks."""
        entry = self.entry(model)
        if entry is None:
            return self._unlisted(model, api, beside)
        targets = [each for each in entry.targets if _speaks(each.upstream, api, beside)]
        if not targets:
            return NoRoute("dialect", _unspoken(model, [each.upstream for each in entry.targets], api, beside))
        for each in targets if entry.glob else ():
            name = entry.sent(each, model)
            if (spelt := _spelling(self.prices, each.upstream, name)) != name:
                return NoRoute("unknown", f"no model is called {model!r}", (model[: -len(name)] + spelt,))
        named = entry.sent(targets[0], model) if entry.glob else model
        return Route(
            named,
            tuple(each._replace(model=_sent(entry, each, model, api)) for each in targets),
            strategy=entry.strategy,
            over_budget=entry.over_budget,
            degrade_at=entry.degrade_at,
            attempts=entry.attempts,
            deadline_s=entry.deadline_s,
            retry_unknown=entry.retry_unknown,
        )

    def _unlisted(self, model: str, api: Api | None, beside: str | None) -> Route | NoRoute:
        """The route of a model without a table: "upstream/model", "provider/model", or a name that one sells."""
        if not self.options.unlisted:
            return self._unknown(model)
        places, name = self._places(model)
        if not places:
            return self._unknown(model)
        place = next((each for each in places if _speaks(each, api, beside)), None)
        if place is None:
            return NoRoute("dialect", _unspoken(model, places, api, beside))
        spelt = _spelling(self.prices, place, name)
        if spelt != name:
            return NoRoute("unknown", f"no model is called {model!r}", (model[: -len(name)] + spelt,))
        return Route(name, (Target(place, _prefixed(place, name, api)),))

    def _places(self, model: str) -> tuple[list[Upstream], str]:
        """Who may be meant by a name without a table, and the model's name there."""
        prefix, slash, rest = model.partition("/")
        if slash and rest and (named := self._at(prefix)):
            return named, rest
        return [each for each in self.upstreams.values() if _sells(self.prices, each, model)], model

    def _at(self, prefix: str) -> list[Upstream]:
        """The upstreams that stand before a slash: the one of this name, else those of the provider."""
        if prefix in self.upstreams:
            return [self.upstreams[prefix]]
        row = by_prefix().get(prefix.lower())
        return [each for each in self.upstreams.values() if row is not None and each.provider == row.name]

    def _unknown(self, model: str) -> NoRoute:
        told = f"no model is called {model!r}: GET /v1/models lists those that there are"
        return NoRoute("unknown", told, self._near(model))

    def _near(self, model: str) -> tuple[str, ...]:
        """Names that are nearly this one; none for a long one, nor while that took too much of the time."""
        begin_s = time.monotonic()
        self._spare_s = min(_COMPARING_S, self._spare_s + (begin_s - self._compared_at_s) * _COMPARING)
        self._compared_at_s = begin_s
        if self._spare_s <= 0 or len(model) > _COMPARED:
            return ()
        near = get_close_matches(model, [card.id for card in self.models()], _OFFERED, 0.7)
        self._spare_s -= time.monotonic() - begin_s
        return tuple(near)

    def _cards(self) -> Iterator[ModelCard]:
        for entry in self.entries:
            if not entry.glob:
                yield _card(entry.name, [each.upstream for each in entry.targets])
        for alias, model in self.aliases.items():
            known = self.entry(model)
            yield _card(alias, [each.upstream for each in known.targets] if known else self._places(model)[0][:1])
        for entry in self._globs:
            for target in entry.targets:
                for name in filter(None, map(partial(entry.asked, target), _names(self.prices, target.upstream))):
                    if self.entry(name) is entry:
                        yield _card(name, [each.upstream for each in entry.targets])
        taken = set[str]()
        for upstream in self.upstreams.values() if self.options.unlisted else ():
            for name in dict.fromkeys(_names(self.prices, upstream)):
                bare = "/" not in name and name not in taken and name not in self.aliases and self.entry(name) is None
                yield _card(name if bare else f"{upstream.name}/{name}", [upstream])
                taken.add(name)


def _prefixed(upstream: Upstream, name: str, api: Api | None) -> str:
    """What an upstream calls a model; only names in OpenAI's API stand behind a prefix, and none with a slash."""
    return name if "/" in name or api not in {None, "openai"} else upstream.prefix + name


def _sent(entry: ModelEntry, target: Target, model: str, api: Api | None) -> str:
    """What a candidate is asked for."""
    return _prefixed(target.upstream, entry.sent(target, model), api)


def _speaks(upstream: Upstream, api: Api | None, beside: str | None) -> bool:
    if api is not None and api not in upstream.bases:
        return False
    return api not in {None, "openai"} or beside is None or upstream.beside is None or beside in upstream.beside


def _unspoken(asked: str, places: list[Upstream], api: Api | None, beside: str | None) -> str:
    what = _SPEAKS[api or "openai"] + (f" of {beside}" if beside else "")
    those = [other for other in APIS if any(other in each.bases for each in places)]
    others = [_SPEAKS[other] + (" of chat completions" if other == api else "") for other in those]
    return f"no upstream of {asked!r} speaks {what}: it is asked for by {' or '.join(others)}"


def _sold(upstream: Upstream, book: PriceBook) -> Upstream:
    """The upstream with the provider whose prices count: the one stated, else its host's, else its provider's."""
    if upstream.prices is not None:
        return upstream
    row = by_prefix().get(upstream.provider)
    urls = [urlsplit(base) for base in upstream.bases.values()]
    hosts = (book.provider(url.hostname or "", url.path) for url in urls)
    return replace(upstream, prices=next(filter(None, hosts), None) or (None if row is None else row.prices))


def _placed(entry: ModelEntry, upstreams: Mapping[str, Upstream]) -> ModelEntry:
    """The entry with the upstreams of this configuration, which know their prices."""
    return replace(
        entry, targets=tuple(each._replace(upstream=upstreams[each.upstream.name]) for each in entry.targets)
    )


def _sells(book: PriceBook, upstream: Upstream, model: str) -> bool:
    return upstream.prices is not None and book.sells(upstream.prices, model) is not None


def _spelling(book: PriceBook, upstream: Upstream, model: str) -> str:
    """The model's name with the capitals of the price list; as it is, where that does not have it."""
    known = None if upstream.prices is None else book.sells(upstream.prices, model)
    if known is None or not model.lower().startswith(known.lower()):
        return model
    rest = model[len(known) :]
    return known + (rest.lower() if known == known.lower() else rest)


def _names(book: PriceBook, upstream: Upstream) -> Iterator[str]:
    return iter(()) if upstream.prices is None else book.names(upstream.prices)


def _card(name: str, upstreams: list[Upstream]) -> ModelCard:
    owners = {each.name for each in upstreams}
    return ModelCard(
        name, owners.pop() if len(owners) == 1 else "", frozenset(api for each in upstreams for api in each.bases)
    )
