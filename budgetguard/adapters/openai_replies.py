"""
OpenAI's replies, read as what was used.

A reply is plain JSON or an SDK object, from OpenAI or from a server that speaks
its protocol. Nothing here raises: what is not understood is "usage unknown", and
unknown is not free.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from typing import Any, TypeAlias

from ..calls import Answer, Usage, read
from ..calls import count as count_of
from .openai_input import text
from .openai_tools import IMAGE_MODEL, SEARCHES, gigabytes

Others: TypeAlias = tuple[tuple[str, Usage], ...]
"""What other models used: (model, usage)."""

_NANO = 1_000_000_000
_MOST_DOLLARS = 9_000_000

_MOST = 10**12
"""Above every count of a real reply; keeps costs within 64 bits."""

_RUNNING = frozenset({"queued", "in_progress"})

_NUMBER = (int, float)

_INPUT_DETAILS = {
    "cached_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "audio_tokens": "input_audio_tokens",
    "image_tokens": "input_image_tokens",
}
_OUTPUT_DETAILS = {
    "reasoning_tokens": "output_reasoning_tokens",
    "audio_tokens": "output_audio_tokens",
    "image_tokens": "output_image_tokens",
}
_DETAILS = {
    "prompt_tokens_details": _INPUT_DETAILS,
    "input_tokens_details": _INPUT_DETAILS,
    "input_token_details": _INPUT_DETAILS,
    "completion_tokens_details": _OUTPUT_DETAILS,
    "output_tokens_details": _OUTPUT_DETAILS,
    "output_token_details": _OUTPUT_DETAILS,
    "cached_tokens_details": {"cached_image_tokens": "cache_image_read_tokens"},
}
_CACHE_HITS = frozenset({"prompt_cache_hit_tokens", "cached_tokens"})
"""What stands beside the totals: at DeepSeek, and of the image tool."""

_READ = (
    "choices",
    "id",
    "incomplete_details",
    "model",
    "output",
    "service_tier",
    "status",
    "tool_usage",
    "tools",
    "usage",
)
"""The fields of a text reply that are read here."""

_EXTRA = frozenset(
    {"web_search_call", "file_search_call", "code_interpreter_call", "shell_call", "image_generation_call"}
)
"""Kinds of output items that may cost something beside the response's tokens."""


def token_usage(usage: Any) -> dict[str, int] | None:
    """
    The counts of a usage object of any token-billed operation; `None` if it has none.

    Chat says `prompt_tokens`, Responses, images and transcriptions `input_tokens`, both with details; DeepSeek
    puts `prompt_cache_hit_tokens` beside them.
    """
    said = usage if type(usage) is dict else _fields(usage)
    asked, given = said.get("prompt_tokens"), said.get("completion_tokens")
    if asked is None and given is None:
        asked, given = said.get("input_tokens"), said.get("output_tokens")
    if type(asked) is int and type(given) is int and 0 <= asked <= _MOST and 0 <= given <= _MOST:
        counts = {"input_tokens": asked, "output_tokens": given}
    elif isinstance(asked, _NUMBER) or isinstance(given, _NUMBER):
        counts = {"input_tokens": _whole(asked), "output_tokens": _whole(given)}
    else:
        return None
    for name, value in said.items():
        if value is not None and name in _DETAILS:
            kinds = _DETAILS[name]
            for detail, number in _fields(value).items():
                if detail in kinds:
                    if number and (number := _whole(number)):
                        counts[kinds[detail]] = number
                elif detail == "cache_write_tokens_details" and number:
                    counts["cache_write_12h_tokens"] = count(number, "ttl_12h_tokens")
        elif value and name in _CACHE_HITS and (number := _whole(value)):
            counts.setdefault("cache_read_tokens", number)
    return counts


def _fields(item: Any, names: Sequence[str] = ()) -> Mapping[str, Any]:
    """All fields of plain JSON or of an SDK object; of another object its own attributes, or those of these names."""
    if type(item) is dict:
        return item
    try:
        fields, extra = item.__dict__, item.__pydantic_extra__
    except AttributeError:
        if names:
            return {name: read(item, name) for name in names}
        fields, extra = getattr(item, "__dict__", None), None
    if type(fields) is not dict:
        return item if isinstance(item, Mapping) else {}
    return {**fields, **extra} if extra and isinstance(extra, dict) else fields


def _whole(value: Any) -> int:
    return min(max(value, 0), _MOST) if type(value) is int else count({"": value}, "")


def count(item: Any, name: str) -> int:
    """A count, within what a reply can mean."""
    return min(count_of(item, name), _MOST)


def stated_cost(usage: Any) -> int | None:
    """
    The cost that a provider states, in nano-dollars, rounded up.

    OpenRouter: `usage.cost`, and with a key of one's own (`is_byok`) the upstream provider's bill on top of it.
    A LiteLLM proxy: `usage.cost`.
    """
    said = _fields(usage)
    cost = _nano(said.get("cost"))
    if cost is None or said.get("is_byok") is False:
        return cost
    return cost + (_nano(read(said.get("cost_details"), "upstream_inference_cost")) or 0)


def chat(reply: Any) -> Answer:
    """A chat completion, or a legacy completion. A model that searches does so once a call, for a fee."""
    said = _fields(reply, _READ)
    usage = _fields(said.get("usage"))
    model = text(said, "model")
    counts = token_usage(usage)
    if counts is not None and model is not None and SEARCHES in model:
        counts["web_searches"] = 1
    cut = False
    choices = said.get("choices")
    for choice in choices if type(choices) is list else _list(choices):
        if read(choice, "finish_reason") == "length":
            cut = True
    return Answer(
        model=model,
        usage=counts,
        tier=text(said, "service_tier"),
        cost=stated_cost(usage) if "cost" in usage else None,
        id=text(said, "id"),
        cut=cut,
    )


def embeddings(reply: Any) -> Answer:
    """An embedding reply: input tokens only."""
    usage = read(reply, "usage")
    return Answer(model=_text(reply, "model"), usage=token_usage(usage), cost=stated_cost(usage))


def decisions(reply: Any) -> Answer:
    """A decision."""
    usage = read(reply, "usage")
    return Answer(model=_text(reply, "model"), usage=token_usage(usage), cost=stated_cost(usage), id=_text(reply, "id"))


def responses(reply: Any) -> Answer:
    """
    A response, finished or not, with the fees of its hosted tools.

    A background response that failed with nothing to show and no usage was not billed; one that was cancelled
    may have been.
    """
    said = _fields(reply, _READ)
    usage = _fields(said.get("usage"))
    counts = token_usage(usage)
    status = text(said, "status")
    unfinished = said.get("incomplete_details")
    also: Others = ()
    if counts is not None and _has_extras(said):
        counts.update(_fees(said))
        also = _pictures(said)
    return Answer(
        model=text(said, "model"),
        usage=counts,
        tier=text(said, "service_tier"),
        cost=stated_cost(usage) if "cost" in usage else None,
        id=text(said, "id"),
        final=status not in _RUNNING,
        free=counts is None and status == "failed" and not said.get("output"),
        cut=unfinished is not None and read(unfinished, "reason") == "max_output_tokens",
        also=also,
    )


def images(reply: Any) -> Answer:
    """Pictures. The reply does not say of which model; DALL-E's has no usage."""
    counts = token_usage(read(reply, "usage"))
    if counts is None:
        return Answer()
    return Answer(usage=image_counts(counts), cost=stated_cost(read(reply, "usage")), also=svg(reply))


def transcription(reply: Any) -> Answer:
    """A transcript or a translation: tokens or seconds. As plain text or subtitles it has neither."""
    usage = read(reply, "usage")
    counts = token_usage(usage)
    if counts is None:
        seconds = count(usage, "seconds") or count(reply, "duration")
        counts = {"input_audio_seconds": seconds} if seconds else None
    return Answer(usage=counts, cost=stated_cost(usage))


def video(reply: Any) -> Answer:
    """A film that was ordered: its length and size are its price, whether it is made already or not."""
    seconds, size = read(reply, "seconds"), _text(reply, "size")
    length = int(seconds) if isinstance(seconds, str) and re.fullmatch("[0-9]{1,5}", seconds) else 0
    length = length or count(reply, "seconds")
    usage = {f"video_seconds/{size}": length} if size is not None and length else None
    return Answer(model=_text(reply, "model"), usage=usage, id=_text(reply, "id"))


def free(reply: Any) -> Answer:
    """A reply of an operation that costs nothing."""
    return Answer(usage={}, free=True)


def _has_extras(said: Mapping[str, Any]) -> bool:
    """Whether a response may have cost something beside its tokens."""
    if "tool_usage" in said and said["tool_usage"] is not None:
        return True
    for item in _list(said.get("output")):
        kind = read(item, "type")
        if isinstance(kind, str) and kind in _EXTRA:
            return True
    return False


def _fees(reply: Any) -> dict[str, int]:
    """
    The tools' units, which `usage` does not have.

    `tool_usage.web_search.num_requests` is what is billed. Where it is missing, the searches among the output's
    items are counted: opening a page or finding text in it costs nothing.
    """
    output = _list(read(reply, "output"))
    kinds = [read(item, "type") for item in output]
    billed = read(read(reply, "tool_usage"), "web_search")
    searches = (
        count(billed, "num_requests")
        if billed is not None
        else sum(kind == "web_search_call" and _is_search(item) for kind, item in zip(kinds, output, strict=True))
    )
    fees = {"web_searches": searches, "storage_searches": kinds.count("file_search_call")}
    fees |= _containers(reply, output, kinds)
    return {kind: number for kind, number in fees.items() if number}


def _is_search(item: Any) -> bool:
    action = read(item, "action")
    kind = read(action, "type")
    return kind is None or kind == "search"


def _containers(reply: Any, output: Sequence[Any], kinds: Sequence[Any]) -> dict[str, int]:
    """Containers that the tools started, by their GB; one that the caller made was paid for when it was made."""
    used: set[str] = set()
    for kind, item in zip(kinds, output, strict=True):
        holder = (
            item if kind == "code_interpreter_call" else read(item, "environment") if kind == "shell_call" else None
        )
        if holder is not None and isinstance(name := read(holder, "container_id"), str):
            used.add(name)
    memory = 1
    for tool in _list(read(reply, "tools")) if used else ():
        container = read(tool, "container") or read(tool, "environment")
        name = container if isinstance(container, str) else read(container, "container_id")
        used -= {name} if isinstance(name, str) else set()
        limit = read(container, "memory_limit")
        memory = max(memory, gigabytes({"memory_limit": limit}))
    return {"code_executions": len(used) * memory}


def _pictures(reply: Any) -> Others:
    """What the image tool's own model used."""
    made = token_usage(read(read(reply, "tool_usage"), "image_gen"))
    also: list[tuple[str, Usage]] = []
    if made and (made["input_tokens"] or made["output_tokens"]):
        also.append((_image_model(reply), image_counts(made)))
    for item in _list(read(reply, "output")):
        if read(item, "type") == "image_generation_call":
            also += svg(item)
    return tuple(also)


def _image_model(reply: Any) -> str:
    for tool in _list(read(reply, "tools")):
        if read(tool, "type") == "image_generation":
            return _text(tool, "model") or IMAGE_MODEL
    return IMAGE_MODEL


def image_counts(counts: dict[str, int]) -> dict[str, int]:
    """Counts of an image model: output of which no details are given is all picture."""
    counts.setdefault("output_image_tokens", counts["output_tokens"])
    return counts


def svg(item: Any) -> Others:
    """What the model that writes an SVG used, apart from the image model."""
    usage = read(item, "svg_usage")
    counts = token_usage(usage)
    model = _text(usage, "model")
    if counts is None or model is None:
        return ()
    if reasoning := count(usage, "reasoning_tokens"):
        counts["output_reasoning_tokens"] = reasoning
    return ((model, counts),)


def _text(item: Any, name: str) -> str | None:
    value = read(item, name)
    return value if isinstance(value, str) and value else None


def _list(value: Any) -> Sequence[Any]:
    return value if type(value) is list or isinstance(value, tuple | list) else ()


def _nano(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    if not 0 <= value <= _MOST_DOLLARS:  # nor NaN
        return None
    return int((Decimal(str(value)) * _NANO).to_integral_value(ROUND_CEILING))
