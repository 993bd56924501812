"""
Declared prices: those that stand in a price file, are given in code, or are shipped.

A price file is TOML:

    list = "updated"             # where all other prices come from (docs/prices.md); a path begins where this lies

    [models."my-model"]          # a name, or a pattern: * and ? match as in file names; exact names come first
    input = 0.15                 # dollars per million tokens: a number, or text where every digit counts
    output = "0.60"
    cache_read = 0.075           # also cache_write, cache_write_1h, input_audio, output_audio, input_image, ...
    web_searches = 0.01          # everything that is not tokens or characters: dollars each
    max_output = 16384           # the most tokens of one answer
    context = 128000             # the most tokens of input
    provider = "azure"           # only there; without it, everywhere
    name = "my-model"            # where the heading is to be another, as two entries cannot have one

    [models."gemma*"]
    free = true                  # such calls pass every budget

    [deployments]                # other names of a model, such as Azure's
    "my-gpt4o-deployment" = "gpt-4o"

    [discounts]                  # negotiated: 12 % off the list at this provider
    openai = 0.12

    [tiers]                      # service tiers the list has no price for: multiples of the standard price
    turbo = 3
    "*" = 2.5                    # every tier without a line of its own

    [tiers.azure]                # what is so at one provider
    batch = 0.5

An entry that says what input or output costs replaces the list's, in every tier and at every time; one with only
other prices, fees or limits adds to it. Discounts are taken off the list, not off declared prices. A model may have its
prices in LiteLLM's words, too (`input_cost_per_token`, dollars for one token), and a whole file may be LiteLLM's map.

Every defect is a `ConfigError` that names the place and what to write there.

Records about prices are named tuples: five frozen dataclasses would take longer to
make than all the rest of the import.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ...errors import ConfigError
from ..kinds import FAMILIES, TOKEN_KINDS, UNIT_KINDS
from ..tariffs import MILLION, PICO, Prices, flat
from ..tiers import ANY, Multiples, tier_name
from .odd import oddity
from .published.choice import check_list
from .published.litellm import MappedPrice, read_price, speaks

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_PLAIN_KEYS = frozenset(kind.removesuffix("_tokens") for kind in TOKEN_KINDS) | UNIT_KINDS
_MAIN = frozenset({"input_tokens", "output_tokens"})
_ENTRY_KEYS = frozenset({"name", "provider", "free", "alias_of", "max_output", "context"})
_SMALLEST, _LARGEST = -18, 9
"""Powers of ten between which a price or a factor makes sense."""

_SECTIONS = ("models", "deployments", "discounts", "tiers")
_LIST = "list"


class PriceEntry(NamedTuple):
    """What is declared for the models whose name matches."""

    name: str
    """In lower case; `*` and `?` match as in file names."""
    provider: str | None = None
    """Only calls to this provider; `None`: to any."""
    prices: Prices = _NOTHING
    free: bool = False
    alias_of: str | None = None
    max_output: int | None = None
    context: int | None = None
    tiers: Mapping[str, Prices] = _NOTHING
    """Prices in service tiers, where each is stated, as LiteLLM's words can."""

    @property
    def exact(self) -> bool:
        """Whether the name has no wild card."""
        return not any(sign in self.name for sign in "*?[")

    @property
    def complete(self) -> bool:
        """Whether the entry replaces what else is known: it says what input or output costs, or that it is free."""
        return self.free or not _MAIN.isdisjoint(self.prices)

    def matches(self, provider: str | None, name: str) -> bool:
        """Whether the entry speaks of the model `name` (in lower case) at the provider."""
        if self.provider is not None and self.provider != provider:
            return False
        return self.name == name or (not self.exact and fnmatchcase(name, self.name))


class Declarations(NamedTuple):
    """Everything that one price file says."""

    entries: tuple[PriceEntry, ...] = ()
    """Exact names first, then patterns, each in the order of the file."""
    discounts: Mapping[str, Fraction] = _NOTHING
    """By provider, the part of the price that is left: 0.88 for a discount of 0.12."""
    tiers: Multiples = MappingProxyType({})
    """The multiples of the standard price, where the list has none for a service tier."""
    price_list: str | None = None
    """Which list stands behind these; `None`: it is not said."""


def read_file(path: Path | str) -> Declarations:
    """
    The declarations in a TOML price file; a JSON file is a list of prices.

    Raises `ConfigError`, naming the file and the key, for the first thing in it that cannot be used.
    """
    import tomllib

    where = str(path)
    if where.endswith(".json"):
        check_list(where, "prices")
        return Declarations(price_list=where)
    try:
        table = tomllib.loads(Path(path).read_text("utf-8-sig"))  # editors on Windows put a byte order mark before it
    except FileNotFoundError:
        raise ConfigError(f"{where}: there is no such price file; give the path of a TOML file") from None
    except OSError as error:
        raise ConfigError(f"{where}: the price file cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: the price file is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: the price file is not TOML: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{where!r}: the price file cannot have this path ({error}); check it") from error
    stated = table.get(_LIST)
    if isinstance(stated, str) and stated.endswith(".json"):
        table[_LIST] = str(Path(path).parent / stated)
    return read_table(table, where)


def read_table(table: Mapping[str, object], where: str) -> Declarations:
    """The declarations in a price file's table; raises `ConfigError` as `read_file` does."""
    for key in table:
        if key not in (_LIST, *_SECTIONS):
            raise ConfigError(
                f"{where}: {key!r} is no section{_like(key, _SECTIONS)}; there are {', '.join(_SECTIONS)}"
            )
    stated = _text(table.get(_LIST), f"{where}: list", "'installed', 'updated', 'updating' or a path")
    if stated is not None:
        check_list(stated, f"{where}: list")
    parts = {section: _section(table.get(section, {}), f"{where}: [{section}]") for section in _SECTIONS}
    entries = [read_entry(name, value, f"{where}: [models.{name!r}]") for name, value in parts["models"].items()]
    entries += [
        read_entry(name, {"alias_of": value}, f"{where}: [deployments] {name!r}")
        for name, value in parts["deployments"].items()
    ]
    check_aliases(entries, where)
    return Declarations(
        entries=ordered(entries),
        discounts=read_discounts(parts["discounts"], f"{where}: [discounts]"),
        tiers=read_tiers(parts["tiers"], f"{where}: [tiers]"),
        price_list=stated,
    )


def read_entry(name: object, value: object, where: str) -> PriceEntry:
    """One model's entry, from its table; raises `ConfigError`."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: {value!r} is no table; write input = 0.15 and output = 0.60 under it")
    table = dict(value)
    name = table.pop("name", name)
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f"{where}: a model needs a name, or a pattern such as 'gpt-4o*'; it has {name!r}")
    spoken = litellm_price(table, where)
    entry = PriceEntry(
        name=name.strip().lower(),
        provider=_text(
            table.pop("provider", None), f"{where} provider", "a provider's id, such as 'openai'", lower=True
        ),
        free=_flag(table.pop("free", False), f"{where} free"),
        alias_of=_text(table.pop("alias_of", None), f"{where} alias_of", "the name of a model, such as 'gpt-4o'"),
        max_output=_whole(table.pop("max_output", spoken.max_output), f"{where} max_output"),
        context=_whole(table.pop("context", spoken.context), f"{where} context"),
        prices={**spoken.prices, **read_prices(table, where)},
        tiers=spoken.tiers,
    )
    if odd := oddity(entry.prices):
        raise ConfigError(f"{where}: {odd}")
    if entry.free and entry.prices:
        raise ConfigError(f"{where}: it is free, and has prices ({', '.join(table)}); remove one of the two")
    if entry.alias_of and (entry.free or entry.prices):
        raise ConfigError(
            f"{where}: it is an alias of {entry.alias_of!r}, and has a price of its own; remove one of the two"
        )
    if entry.complete and entry.prices and all(steps[0][1] == 0 for steps in entry.prices.values()):
        raise ConfigError(f"{where}: every price is 0; write what it costs, or free = true if it costs nothing")
    if not (entry.free or entry.alias_of or entry.prices or entry.max_output or entry.context):
        raise ConfigError(f"{where}: it says nothing; add input = ... and output = ..., or free = true")
    return entry


def litellm_price(table: dict[str, object], where: str) -> MappedPrice:
    """
    What an entry says in LiteLLM's words, which are taken out of it. Raises `ConfigError` for a price among them that
    cannot be read: of one's own prices, each is meant.
    """
    if not any(map(speaks, table)):
        return MappedPrice()
    said = {key: table.pop(key) for key in [key for key in table if key not in _PLAIN_KEYS | _ENTRY_KEYS]}
    price = read_price({"mode": "embedding", **said})
    if price.unread:
        raise ConfigError(f"{where} {price.unread[0]} = {said[price.unread[0]]!r} cannot be read; leave it out")
    return price


def read_discounts(table: Mapping[str, object], where: str) -> dict[str, Fraction]:
    """What discounts leave of a price, by provider; raises `ConfigError` for one that is not from 0 to 1."""
    left = {}
    for provider, value in table.items():
        wanted = "a part of the price from 0 to 1, such as 0.12 for 12 % off"
        discount = _number(value, f"{where} {provider!r}", wanted)
        if discount > 1:
            raise ConfigError(f"{where} {provider!r} = {value!r} is above 1: write {wanted}")
        left[provider.lower()] = 1 - Fraction(discount)
    return left


def read_multiples(table: Mapping[str, object], where: str) -> dict[str, Fraction]:
    """Multiples of a price by name; raises `ConfigError`."""
    wanted = "a multiple of the standard price, such as 2.5"
    return {name.lower(): Fraction(_number(value, f"{where} {name!r}", wanted)) for name, value in table.items()}


def read_tiers(table: Mapping[str, object], where: str) -> dict[tuple[str, str], Fraction]:
    """Multiples for service tiers, with a table inside for what a provider alone has; raises `ConfigError`."""
    said: dict[tuple[str, str], Fraction] = {}
    for name, value in table.items():
        if isinstance(value, Mapping):
            own = read_tiers(value, f"{where}.{name}")
            said |= {(name.lower(), tier): multiple for (_, tier), multiple in own.items()}
            continue
        [multiple] = read_multiples({name: value}, where).values()
        if not multiple:
            raise ConfigError(f"{where} {name!r} = {value!r}: no tier is free; write a multiple such as 0.5")
        said[ANY, tier_name(name) or name] = multiple
    return said


def read_prices(table: Mapping[str, object], where: str) -> Prices:
    """Prices by the names that a price file has for them; raises `ConfigError`."""
    return {kind_of(key, where): _price(key, price, where) for key, price in table.items()}


def check_aliases(entries: list[PriceEntry], where: str) -> None:
    """Raises `ConfigError` if an alias leads back to itself."""
    names = {entry.name: entry.alias_of.lower() for entry in entries if entry.alias_of}
    for name in names:
        seen = [name]
        while (after := names.get(seen[-1])) is not None:
            if after in seen:
                chain = " -> ".join([*seen, after])
                raise ConfigError(f"{where}: the alias {chain} goes in a circle; let one of them name a model")
            seen.append(after)


def ordered(entries: list[PriceEntry]) -> tuple[PriceEntry, ...]:
    """The entries in the order in which they are asked: exact names first, and those of one provider."""
    return tuple(sorted(entries, key=lambda entry: (not entry.exact, entry.provider is None)))


def kind_of(key: object, where: str) -> str:
    """The kind of usage that a key of a price file gives the price of; raises `ConfigError` for no kind."""
    if isinstance(key, str):
        family, slash, rest = key.partition("/")
        if slash and rest and family in FAMILIES:
            return key
        short = key.removesuffix("_tokens")
        if f"{short}_tokens" in TOKEN_KINDS:
            return f"{short}_tokens"
        if key in UNIT_KINDS:
            return key
    known = sorted(_PLAIN_KEYS | _ENTRY_KEYS)
    raise ConfigError(
        f"{where}: {key!r} is no kind of price{_like(str(key), known)}; the common ones are input, output, cache_read, "
        "cache_write (dollars per million tokens), web_searches, requests (dollars each), free, max_output, context"
    )


def _price(key: str, value: object, where: str) -> Any:
    kind = kind_of(key, where)
    per_million = kind in TOKEN_KINDS or kind == "input_characters"
    unit = "dollars per million, such as 0.15 or '0.15'" if per_million else "dollars each, such as 0.01 or '0.01'"
    return flat(Fraction(_number(value, f"{where} {key}", unit)) * (PICO // MILLION if per_million else PICO))


def _number(value: object, where: str, wanted: str) -> Decimal:
    """A number that is finite and not negative. A float means the number that it prints as."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ConfigError(f"{where} = {value!r} is no number: write {wanted}")
    try:
        number = Decimal(str(value).strip().removeprefix("$"))
    except InvalidOperation:
        raise ConfigError(f"{where} = {value!r} is no number: write {wanted}") from None
    if not number.is_finite():
        raise ConfigError(f"{where} = {value!r} is not finite: write {wanted}")
    if number < 0:
        raise ConfigError(f"{where} = {value!r} is negative: write {wanted}")
    if number and not _SMALLEST <= number.adjusted() <= _LARGEST:
        raise ConfigError(f"{where} = {value!r} is out of all proportion: write {wanted}")
    return number


def _whole(value: object, where: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{where} = {value!r}: write a whole number of tokens, such as 16384")
    return value


def _text(value: object, where: str, wanted: str, *, lower: bool = False) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{where} = {value!r}: write {wanted}")
    return value.strip().lower() if lower else value.strip()


def _flag(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{where} = {value!r}: write true or false")
    return value


def _section(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} is {value!r}: write a table of names")
    return value


def _like(word: str, known: Any) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, list(known), n=1)
    return f" (is {close[0]!r} meant?)" if close else ""
