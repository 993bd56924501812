"""
The JSON of models that only Bedrock has, or has in a form of its own: Llama, Titan, Nova, Mistral, Cohere, pictures.

Such a request is read as its compact JSON, which is a little more than what is billed, never less. Where a model's cap
is, and what it is where none is stated, is in the table: AWS's guide, "Inference request parameters and response
fields" (Llama and Titan write at most 512 tokens unless told otherwise).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from ...calls import NOTHING, Answer, Call, Usage, read
from ..common import written
from ..common.bodies import compact, fields, items, text, whole
from ..common.files import points
from ..common.numbers import number
from .converse import CAP, CONFIG
from .models import maker_of
from .usage import converse_usage, unsaid

BODY = "body"
"""The member that has the model's own JSON."""


class ModelFamily(NamedTuple):
    """Models whose JSON reads alike."""

    cap: tuple[str, ...] = ()
    """The path of the field for an output cap; empty where none is known."""
    default: int | None = None
    """What the model applies where none is stated."""
    output: bool = True
    """Whether it writes text."""


_LLAMA = ModelFamily(("max_gen_len",), 512)
_TITAN = ModelFamily(("textGenerationConfig", "maxTokenCount"), 512)
_PLAIN = ModelFamily(("max_tokens",))
_PROMPTED = ModelFamily(("max_tokens_to_sample",))  # Claude's completions of before
NOVA: Final = ModelFamily((CONFIG, CAP))
_UNKNOWN = ModelFamily()
_NO_TEXT = ModelFamily(output=False)

_PICTURES = ("textToImageParams", "taskType", "text_prompts")
_EMBEDS = ("texts", "embeddingConfig", "embeddingTypes", "embedding_types", "input_type", "singleEmbeddingParams")
_WORDLESS = frozenset({*_PICTURES, *_EMBEDS})
"""Fields of requests whose answers have no text."""

_CARRIED = ("inputImage", "images", "init_image", "image", "conditionImage", "maskImage")
"""Fields that hold pictures in base64."""

_A_PAGE_OF_RANKS = 100
"""Documents of one unit of a search that is ranked (Cohere's rerank, AWS's price list)."""


def family_of(model: str, said: Mapping[str, Any]) -> ModelFamily:
    """The family of a model, by its own JSON first: its name may say nothing."""
    maker = maker_of(model)
    if maker == "stability" or "embed" in model or "rerank" in model or not said.keys().isdisjoint(_WORDLESS):
        return _NO_TEXT
    if maker == "meta" or "max_gen_len" in said:
        return _LLAMA
    if "textGenerationConfig" in said or "titan-text" in model:
        return _TITAN
    if "messages" in said and (maker == "amazon" or CONFIG in said or "schemaVersion" in said):
        return NOVA
    if maker in {"ai21", "cohere", "mistral"} or "max_tokens" in said:
        return _PLAIN
    return _PROMPTED if "max_tokens_to_sample" in said else _UNKNOWN


def request(said: Mapping[str, Any], model: str) -> Call:
    """A request in one of these forms."""
    family = family_of(model, said)
    if family is _NO_TEXT:
        return _no_text(said, model)
    return Call(
        model=model,
        texts=(_json(said),),
        max_output=_stated(said, family.cap),
        default_output=family.default,
        cap=BODY if family.cap else None,
        choices=max(whole(said, "num_generations") or 1, 1),
        unknown_input=points(said),
    )


def capped(said: Mapping[str, Any], model: str, cap: int) -> Mapping[str, Any]:
    """The JSON with an output cap."""
    path = family_of(model, said).cap
    if not path:
        return said
    *outer, last = path
    inner = fields(said.get(outer[0])) if outer else said
    changed = {**inner, last: cap}
    return {**said, outer[0]: changed} if outer else changed


def reply(said: Any) -> Answer:
    """A whole reply."""
    counts = _usage(said)
    heard = written.heard_of(iter(texts(said)))
    lacks = () if counts is None else unsaid(counts, heard.pieces > 0)
    return Answer(usage=counts, cut=_is_cut(said), lacks=lacks, heard=heard)


def texts(said: Any) -> Sequence[str]:
    """The texts of a reply, or of a piece of one."""
    found = [read(said, name) for name in ("generation", "outputText", "text", "completion")]
    for name in ("outputs", "results", "generations"):
        parts = read(said, name)
        for part in parts if isinstance(parts, list) else ():
            found += [read(part, "text"), read(part, "outputText")]
    return [each for each in found if isinstance(each, str) and each]


def _usage(said: Any) -> dict[str, int] | None:
    """The counts of a reply in a model's own words."""
    usage = read(said, "usage")
    if usage is not None and (counts := converse_usage(usage)) is not None:
        return counts
    asked = _first(said, "prompt_token_count", "inputTextTokenCount")
    wrote = _first(said, "generation_token_count", "totalOutputTextTokenCount")
    if asked is None and usage is not None:
        asked, wrote = (
            _first(usage, "prompt_tokens", "input_tokens"),
            _first(usage, "completion_tokens", "output_tokens"),
        )
    results = read(said, "results")
    if wrote is None and isinstance(results, list):
        known = [number(read(each, "tokenCount")) for each in results]
        wrote = sum(filter(None, known)) if known and None not in known else None
    if wrote is None and (read(said, "embedding") is not None or read(said, "embeddings") is not None):
        wrote = 0
    if asked is None or min(asked, wrote or 0) < 0:
        return None
    return {"input_tokens": asked, **({} if wrote is None else {"output_tokens": wrote})}


def _first(said: Any, *names: str) -> int | None:
    return next((count for name in names if (count := number(read(said, name))) is not None), None)


def _is_cut(said: Any) -> bool:
    reasons = [read(said, "stop_reason"), read(said, "completionReason"), read(said, "finish_reason")]
    for name in ("results", "outputs", "generations"):
        parts = read(said, name)
        for part in parts if isinstance(parts, list) else ():
            reasons += [read(part, "completionReason"), read(part, "stop_reason"), read(part, "finish_reason")]
    return any(reason in ("length", "LENGTH", "MAX_TOKENS") for reason in reasons)


def _no_text(said: Mapping[str, Any], model: str) -> Call:
    """Pictures that are made, embeddings, and ranks."""
    carried = sum(len(items(said[name])) for name in _CARRIED if name in said)
    documents = items(said.get("documents"))
    fixed: Usage = NOTHING
    left = {name: value for name, value in said.items() if name not in _CARRIED}
    if "rerank" in model or ("query" in said and documents):
        fixed = {"rerank_searches": max(-(-len(documents) // _A_PAGE_OF_RANKS), 1)}
    elif "embed" not in model and said.keys().isdisjoint(_EMBEDS):
        fixed = _pictures(said)
    if fixed:
        return Call(model=model, fixed=fixed, output=False)
    return Call(model=model, texts=(_json(left),), images=carried, output=False, unknown_input=points(left))


def _pictures(said: Mapping[str, Any]) -> Usage:
    """How many pictures of which size are made."""
    config = fields(said.get("imageGenerationConfig"))
    wide, high = whole(config, "width") or 1_024, whole(config, "height") or 1_024
    quality = text(config, "quality") or "standard"
    return {f"images/{quality}/{wide}x{high}": max(whole(config, "numberOfImages") or whole(said, "samples") or 1, 1)}


def _stated(said: Mapping[str, Any], path: tuple[str, ...]) -> int | None:
    """The output cap that the caller states."""
    for name in path[:-1]:
        said = fields(said.get(name))
    return whole(said, path[-1]) if path else None


def _json(said: Mapping[str, Any]) -> str:
    try:
        return compact(said)
    except (TypeError, ValueError, RecursionError):
        return ""
