"""
LiteLLM's map of prices (`model_prices_and_context_window.json`), read as it is.

Its prices are dollars for one of a thing, named by long words (`input_cost_per_token_above_200k_tokens_batches`); its
models have the name that LiteLLM calls them by. Nothing in here is taken to be free: a price of 0 stands there for one
that nobody looked up as well, so it is not read, and neither is a price of something that we do not count. How many
were not read is said by whoever loads the map.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from types import MappingProxyType
from typing import Any, NamedTuple

from ...tariffs import BASE, PICO, Prices, PriceSteps
from ..odd import likely

_KEY = re.compile(r"(.+?)(?:_above_(\d{1,9})k_tokens)?(?:_(batches|flex|priority|ultrafast|balanced|decisions))?")

_TOKENS = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "output_cost_per_reasoning_token": "output_reasoning",
    "citation_cost_per_token": "output_citation",
    "cache_read_input_token_cost": "cache_read",
    "input_cost_per_token_cache_hit": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "cache_creation_input_token_cost_above_12hr": "cache_write_12h",
    "cache_creation_input_audio_token_cost": "cache_audio_write",
    **{f"cache_read_input_{mode}_token_cost": f"cache_{mode}_read" for mode in ("audio", "image")},
    **{f"{way}_cost_per_{mode}_token": f"{way}_{mode}" for way in ("input", "output") for mode in ("audio", "image")},
    **{f"{way}_cost_per_video_token": f"{way}_video" for way in ("input", "output")},
}
_EACH = {
    **{key: f"{name}_tokens" for key, name in _TOKENS.items()},
    "input_cost_per_character": "input_characters",
    "input_cost_per_text_message": "input_text_messages",
    "input_cost_per_audio_per_second": "input_audio_seconds",
    "input_cost_per_request": "requests",
    "output_cost_per_image": "images/any",
    "output_cost_per_video_per_second": "video_seconds/any",
    "ocr_cost_per_page": "input_document_pages",
    "annotation_cost_per_page": "input_annotated_document_pages",
    "code_interpreter_cost_per_session": "code_executions",
    "google_maps_grounding_cost_per_query": "map_searches",
}
"""By the name of a price, the kind of usage that it is for one of."""

_OF_MODE = {
    ("input_cost_per_second", "audio_transcription"): "input_audio_seconds",
    ("input_cost_per_second", "realtime"): "input_audio_seconds",
    ("output_cost_per_second", "audio_speech"): "output_audio_seconds",
    ("output_cost_per_second", "video_generation"): "video_seconds/any",
    ("input_cost_per_query", "rerank"): "rerank_searches",
    ("input_cost_per_query", "search"): "requests",
}
"""What a price is for, where that depends on what the model does."""

_SIZED = re.compile(r"(output_cost_per_(?:image|second))_([0-9.]+[a-zA-Z]+)")
_SIZES = {"output_cost_per_image": "images", "output_cost_per_second": "video_seconds"}

_TIERS = {"batches": "batch"}
_WRITTEN = frozenset({"chat", "completion", "responses", "realtime"})
"""Modes in which neither the input nor the output costs nothing."""

_MAIN = frozenset({"input_tokens", "output_tokens"})
_BESIDE = re.compile(r"dbu_cost|multiplier|off_peak_pricing|explicit_cache|fedramp|search_free|prompt_cache")
"""What says nothing that a bill needs: the same in another currency, what is cheaper at night, surcharges by place."""

_PRICED = re.compile(r"cost|pric")

_MOST_TOKENS = 10**9
"""What a model reads and writes is less: above it, a number is a slip."""

SELLERS = {
    "azure_ai": "azure",
    "azure_text": "azure",
    "bedrock_converse": "aws",
    "bedrock_mantle": "aws",
    "bedrock": "aws",
    "codestral": "mistral",
    "cohere_chat": "cohere",
    "fireworks_ai": "fireworks",
    "fireworks_ai-embedding-models": "fireworks",
    "gemini": "google",
    "github_copilot": "github-copilot",
    "meta_llama": "meta",
    "moonshot": "moonshotai",
    "text-completion-codestral": "mistral",
    "text-completion-openai": "openai",
    "together_ai": "together",
    "voyage": "voyageai",
    "xai": "x-ai",
}
"""LiteLLM's names of those who sell models, as the price list has them; all of Vertex is Google's."""

_PICTURE = re.compile(r"(?:([a-z]+)/)?(\d+)-x-(\d+)/(?:\d+-steps/)?(.+)")


_NOTHING: Mapping[str, Any] = MappingProxyType({})


class MappedPrice(NamedTuple):
    """What one entry of the map says, in our kinds."""

    prices: Prices = _NOTHING
    tiers: Mapping[str, Prices] = _NOTHING
    """Prices in service tiers, by the tier's plain name."""
    max_output: int | None = None
    context: int | None = None
    unread: tuple[str, ...] = ()
    """The names of prices that were not read."""


class MappedModel(NamedTuple):
    """One model of the map, as one provider sells it."""

    provider: str
    name: str
    price: MappedPrice


class PriceMap(NamedTuple):
    """All that was read of a map."""

    models: tuple[MappedModel, ...]
    unpriced: tuple[str, ...]
    """Models without any price that can be read."""
    partly: tuple[str, ...]
    """Models of which some price was not read."""


def is_map(data: object) -> bool:
    """Whether a JSON document is such a map: names, each with what a model costs."""
    if not isinstance(data, Mapping):
        return False
    return any(isinstance(entry, Mapping) and "litellm_provider" in entry for entry in data.values())


def speaks(key: object) -> bool:
    """Whether a price is named as LiteLLM names it."""
    return isinstance(key, str) and (_kind(key, None) is not None or key == "tiered_pricing")


def read_map(data: Mapping[str, Any]) -> PriceMap:
    """The models of a map, by provider and name; of names for the same, the one that stands first counts."""
    found: dict[tuple[str, str], MappedPrice] = {}
    unpriced, partly = [], []
    for name, entry in sorted(data.items(), key=_first_choice):
        if name in _NO_MODELS or not isinstance(entry, Mapping):
            continue
        target = data.get(str(entry.get("alias_of")), entry)
        provider, model, picture = _placed(name, target)
        price = read_price(target if isinstance(target, Mapping) else {}, picture)
        if not price.prices:
            unpriced.append(name)
            continue
        if price.unread:
            partly.append(name)
        before = found.get((provider, model))
        found[provider, model] = price if before is None else _with_more(before, price)
    models = tuple(MappedModel(*place, price) for place, price in found.items())
    return PriceMap(models, tuple(unpriced), tuple(partly))


_NO_MODELS = frozenset({"sample_spec", "fallback_generalizations"})


def read_price(entry: Mapping[str, Any], picture: str | None = None) -> MappedPrice:
    """What an entry says; `picture` is the size and quality of the only one that it speaks of ("hd/1024x1024")."""
    steps: dict[tuple[str, str], dict[int, Fraction]] = {}
    unread = []
    mode = entry.get("mode")
    for key, value in stated(entry):
        kind, start, tier = _kind(key, mode) or ("", BASE, "")
        kind, price = (f"images/{picture}", _of_picture(key, value, picture)) if picture else (kind, _dollars(value))
        if not kind or price is None or (price == 0 and (kind not in _MAIN or mode in _WRITTEN)):
            unread += [key] if price != 0 else []
            continue
        known = steps.setdefault((tier, kind), {})
        known[start] = max(price * PICO, known.get(start, Fraction(0)))
    prices = {tier: _compiled(steps, tier) for tier in dict.fromkeys(tier for tier, _ in steps)}
    standard = prices.pop("", {})
    if not any(price for each in standard.values() for _, price in each):
        standard = {}
    return MappedPrice(
        standard,
        {tier: _with_steps(each, standard) for tier, each in prices.items() if standard},
        _count(entry.get("max_output_tokens")),
        _count(entry.get("max_input_tokens")),
        tuple(unread),
    )


def stated(entry: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The prices of an entry by name, tables of them taken apart."""
    for key, value in entry.items():
        if key == "tiered_pricing":
            for row in value if isinstance(value, list) else ():
                start = _start(row)
                if start is None:
                    yield key, None
                    continue
                for name, price in row.items():
                    if name != "range":
                        yield (f"{name}_above_{start}k_tokens" if start else name), price
        elif key == "search_context_cost_per_query" and isinstance(value, Mapping):
            yield key, max(value.values(), key=lambda price: _dollars(price) or 0, default=None)
        elif _PRICED.search(key) and not _BESIDE.search(key):
            yield key, value


def _start(row: object) -> int | None:
    """The thousands of tokens above which a row of a table holds; `None` if it does not say."""
    reach = row.get("range", [0]) if isinstance(row, Mapping) else None
    start = reach[0] if isinstance(reach, list) and reach else None
    return round(start / 1000) if isinstance(start, int | float) and 0 <= start <= _MOST_TOKENS else None


def _kind(key: str, mode: object) -> tuple[str, int, str] | None:
    """What a price is for one of, above how much input, in which tier; `None` if we do not count that."""
    if sized := _SIZED.fullmatch(key):
        return f"{_SIZES[sized[1]]}/{sized[2].lower()}", BASE, ""
    if key == "search_context_cost_per_query":
        return "web_searches", BASE, ""
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    base, start, tier = match.groups()
    kind = _EACH.get(base) or _OF_MODE.get((base, str(mode)))
    if kind is None or (base == "output_cost_per_image" and mode == "realtime"):
        return None
    return kind, int(start) * 1000 if start else BASE, _TIERS.get(tier, tier or "")


def _of_picture(key: str, value: Any, picture: str) -> Fraction | None:
    """What one picture of this size costs: said, or by the pixel, which is rounded there."""
    price = _dollars(value)
    if price is None or key not in {"input_cost_per_pixel", "output_cost_per_pixel", "output_cost_per_image"}:
        return None
    if key == "output_cost_per_image":
        return price
    width, height = map(int, picture.rpartition("/")[2].split("x"))
    return Fraction(round(price * width * height * 10_000), 10_000)


def _compiled(steps: Mapping[tuple[str, str], Mapping[int, Fraction]], tier: str) -> dict[str, PriceSteps]:
    """The prices of one tier; one that is only said for long inputs is not said for short ones."""
    return {
        kind: tuple(sorted(by_start.items()))
        for (own, kind), by_start in steps.items()
        if own == tier and BASE in by_start
    }


def _with_steps(tier: Mapping[str, PriceSteps], standard: Prices) -> Prices:
    """A tier's prices with the steps that only the standard ones have, in the same proportion."""
    whole: dict[str, PriceSteps] = {}
    for kind, steps in tier.items():
        plain, said = standard.get(kind, ()), dict(steps)
        base = plain[0][1] if plain else Fraction(0)
        missing = {start: price / base * said[BASE] for start, price in plain if base and start not in said}
        whole[kind] = tuple(sorted({**missing, **said}.items()))
    return whole


def _with_more(first: MappedPrice, later: MappedPrice) -> MappedPrice:
    """An entry with the pictures of another one for the same model: each size has its own there."""
    more = {kind: steps for kind, steps in later.prices.items() if "/" in kind}
    return first._replace(prices={**more, **first.prices})


def _first_choice(item: tuple[str, Any]) -> bool:
    """Gemini's own API before Vertex, whose names are the same."""
    entry = item[1]
    return isinstance(entry, Mapping) and str(entry.get("litellm_provider")).startswith("vertex_ai")


def _placed(name: str, entry: Any) -> tuple[str, str, str | None]:
    """Who sells a model, its name there, and the one picture that the entry is about."""
    said = str(entry.get("litellm_provider", "")) if isinstance(entry, Mapping) else ""
    seller = "google" if said.startswith("vertex_ai") else SELLERS.get(said, said)
    plain = name.lower()
    prefix, slash, rest = plain.partition("/")
    own = {said, said.partition("-")[0], seller, said.removesuffix("_chat"), said.removesuffix("_converse")}
    if slash and prefix in own:
        plain = rest
    match = _PICTURE.fullmatch(plain)
    if match is None:
        return seller, plain, None
    quality, width, height, model = match.groups()
    return seller, model.removeprefix(f"{said}/"), f"{quality or 'standard'}/{width}x{height}"


def _dollars(value: Any) -> Fraction | None:
    """A price; of a float, the number that was meant: 2.1000000000000002e-06 is 0.0000021."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        number = Decimal(f"{value:.12g}" if isinstance(value, float) else str(value))
    except InvalidOperation:
        return None
    return Fraction(number) if not number or likely(number) else None


def _count(value: Any) -> int | None:
    """A number of tokens, if it is one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= _MOST_TOKENS:
        return None
    return int(value)


def told(names: Iterable[str], most: int = 3) -> str:
    """Some names, and that there are more."""
    names = list(names)
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
