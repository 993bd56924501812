"""
OpenAI's replies, read as what was used.

A reply is plain JSON or an SDK object, from OpenAI or from a server that speaks
its protocol. Nothing here raises: what is not understood is "usage unknown", and
unknown is not free.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from ...calls import Answer, Heard, Usage, read
from ..common import written
from ..common.bodies import text
from ..common.numbers import COSTS, fields, number_of, stated_cost
from .input.tools import IMAGE_MODEL, SEARCHES, gigabytes
from .usage import TEXT_TOTALS, media_usage, token_usage

Others: TypeAlias = tuple[tuple[str, Usage], ...]
"""What other models used: (model, usage)."""

_RUNNING = frozenset({"queued", "in_progress"})

_READ = (
    "base_resp",
    "choices",
    "error",
    "errors",
    "id",
    "incomplete_details",
    "model",
    "object",
    "output",
    "service_tier",
    "status",
    "success",
    "tool_usage",
    "tools",
    "type",
    "usage",
    "x_groq",
)
"""The fields of a text reply that are read here."""

_FINISH = ("finish_reason",)

_EXTRA = frozenset(
    {"web_search_call", "file_search_call", "code_interpreter_call", "shell_call", "image_generation_call"}
)
"""Kinds of output items that may cost something beside the response's tokens."""


NO_HEARD = Heard()

_RESEARCH = "sonar-deep-research"
_RESEARCH_OUTPUT = {"citation_tokens": "output_citation_tokens", "reasoning_tokens": "output_reasoning_tokens"}
"""
What Perplexity bills this model for beside its completion, whose count has none of it; and searches (its price list,
docs.perplexity.ai, "Pricing"). Of its other models these fields say nothing that is billed.
"""


def chat(reply: Any) -> Answer:
    """A chat completion, or a legacy completion. A model that searches does so once a call, for a fee."""
    said = fields(reply, _READ)
    usage = fields(said.get("usage"))
    model = said.get("model")
    if type(model) is not str or not model:
        model = text(said, "model")
    choices = said.get("choices")
    choices = choices if type(choices) is list else _list(choices)
    counts = token_usage(usage)
    cut = False
    for choice in choices:
        if fields(choice, _FINISH).get("finish_reason") == "length":
            cut = True
    if counts is None and (elsewhere := usage_beside(said, choices)) is not None:
        usage = fields(elsewhere)
        counts = token_usage(usage)
    if counts is not None and model is not None and (SEARCHES in model or _RESEARCH in model):
        _add_searches(model, usage, counts)
    cost, fee = (None, 0) if COSTS.isdisjoint(usage) else stated_cost(usage)
    free = cost is None and not counts and not choices and is_error(said)
    tier, id_ = said.get("service_tier"), said.get("id")
    lacks: Sequence[str] = ()
    heard = NO_HEARD
    if counts is not None and not ((counts.get("output_tokens") and "input_tokens" in counts) or cost or free):
        heard = written.heard_of(_texts(choices))
        lacks = unsaid(counts, heard.pieces > 0)
    return Answer(
        model=model,
        usage=counts,
        tier=None if tier is None else text(said, "service_tier"),
        cost=cost,
        id=id_ if type(id_) is str and id_ else text(said, "id"),
        free=free,
        cut=cut,
        fee=fee,
        lacks=lacks,
        heard=heard,
    )


def usage_beside(said: Any, choices: Sequence[Any]) -> Any:
    """The usage that stands elsewhere than others have it: Groq's in `x_groq`, Moonshot's in the last choice."""
    for place in (read(said, "x_groq"), *choices):
        usage = read(place, "usage")
        if usage is not None:
            return usage
    return None


def unsaid(counts: Usage, wrote: bool) -> Sequence[str]:
    """What a usage lacks of its two totals. No output is no count of it where something was written."""
    return tuple(kind for kind in TEXT_TOTALS if kind not in counts or (wrote and not counts[kind]))


def is_error(said: Any) -> bool:
    """
    Whether a reply, or an event, is an error that came with status 200.

    As OpenRouter, vLLM, Anthropic, Z.ai, Cloudflare and MiniMax write it.
    """
    if read(said, "error") or read(said, "errors") or read(said, "success") is False:
        return True
    return (
        "error" in (read(said, "object"), read(said, "type")) or number_of(read(said, "base_resp"), "status_code") > 0
    )


def _add_searches(model: str, usage: Mapping[str, Any], counts: dict[str, int]) -> None:
    if SEARCHES in model:
        counts["web_searches"] = 1
        return
    for name, kind in _RESEARCH_OUTPUT.items():
        if number := number_of(usage, name):
            counts[kind] = number
            counts["output_tokens"] = counts.get("output_tokens", 0) + number
    if number := number_of(usage, "num_search_queries"):
        counts["web_searches"] = number


def _texts(choices: Sequence[Any]) -> Iterator[str]:
    for choice in choices:
        message = read(choice, "message")
        yield from written.message(choice if message is None else message)


def embeddings(reply: Any) -> Answer:
    """An embedding reply: input tokens only, which the total is where nothing else is said."""
    usage = read(reply, "usage")
    counts = token_usage(usage)
    lacks: Sequence[str] = ()
    if counts is not None:
        sent = counts.pop("input_tokens", 0) + counts.pop("output_tokens", 0) + counts.pop("total_tokens", 0)
        counts["output_tokens"] = 0
        if sent:
            counts["input_tokens"] = sent
        else:  # LM Studio says 0, whatever it embedded
            lacks = ("input_tokens",)
    return _short(reply, counts, lacks)


def decisions(reply: Any) -> Answer:
    """A decision."""
    counts = token_usage(read(reply, "usage"))
    return _short(reply, counts, () if counts is None else unsaid(counts, wrote=False))


def _short(reply: Any, counts: dict[str, int] | None, lacks: Sequence[str]) -> Answer:
    cost, fee = stated_cost(read(reply, "usage"))
    free = cost is None and is_error(reply) and not any((counts or {}).values())
    name = _text(reply, "id")
    left = () if free else lacks
    return Answer(model=_text(reply, "model"), usage=counts, cost=cost, id=name, free=free, fee=fee, lacks=left)


def responses(reply: Any) -> Answer:
    """
    A response, finished or not, with the fees of its hosted tools.

    A background response that failed with nothing to show and no usage was not billed, nor was an error in the place
    of a response; one that was cancelled may have been.
    """
    said = fields(reply, _READ)
    usage = fields(said.get("usage"))
    counts = token_usage(usage)
    status = text(said, "status")
    unfinished = said.get("incomplete_details")
    also: Others = ()
    cost, fee = stated_cost(usage)
    lacks: Sequence[str] = ()
    heard = NO_HEARD
    if counts is not None:
        if not ((counts.get("output_tokens") and "input_tokens" in counts) or cost):
            heard = written.heard_of(written.output(said.get("output")))
            lacks = unsaid(counts, heard.pieces > 0)
        if _has_extras(said):
            counts.update(_fees(said))
            also = _pictures(said)
    failed = status == "failed" or (status is None and is_error(said))
    return Answer(
        model=text(said, "model"),
        usage=counts,
        tier=text(said, "service_tier"),
        cost=cost,
        id=text(said, "id"),
        final=status not in _RUNNING,
        free=counts is None and cost is None and failed and not said.get("output"),
        cut=unfinished is not None and read(unfinished, "reason") == "max_output_tokens",
        also=also,
        fee=fee,
        lacks=lacks,
        heard=heard,
    )


def images(reply: Any) -> Answer:
    """Pictures. The reply does not say of which model; DALL-E's has no usage."""
    usage = read(reply, "usage")
    counts = media_usage(usage)
    cost, fee = stated_cost(usage)
    if counts is None:
        return Answer(cost=cost, fee=fee, free=cost is None and is_error(reply) and not read(reply, "data"))
    return Answer(usage=image_counts(counts), cost=cost, fee=fee, also=svg(reply))


def transcription(reply: Any) -> Answer:
    """A transcript or a translation: tokens or seconds. As plain text or subtitles it has neither."""
    usage = read(reply, "usage")
    spoken = number_of(usage, "prompt_audio_seconds")  # Mistral's: the bill, whatever its tokens
    counts = None if spoken else media_usage(usage)
    if counts is None:
        seconds = spoken or number_of(usage, "seconds") or number_of(reply, "duration")
        counts = {"input_audio_seconds": seconds} if seconds else None
    cost, fee = stated_cost(usage)
    free = counts is None and cost is None and is_error(reply) and read(reply, "text") is None
    return Answer(usage=counts, cost=cost, fee=fee, free=free)


def video(reply: Any) -> Answer:
    """A film that was ordered: its length and size are its price, whether it is made already or not."""
    seconds, size = read(reply, "seconds"), _text(reply, "size")
    length = int(seconds) if isinstance(seconds, str) and re.fullmatch("[0-9]{1,5}", seconds) else 0
    length = length or number_of(reply, "seconds")
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
        number_of(billed, "num_requests")
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
    made = media_usage(read(read(reply, "tool_usage"), "image_gen"))
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
    counts = media_usage(usage)
    model = _text(usage, "model")
    if counts is None or model is None:
        return ()
    return ((model, counts),)


def _text(item: Any, name: str) -> str | None:
    value = read(item, name)
    return value if isinstance(value, str) and value else None


def _list(value: Any) -> Sequence[Any]:
    return value if type(value) is list or isinstance(value, tuple | list) else ()
