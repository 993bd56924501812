"""
The requests of OpenAI's text operations, read as the most that they can use.

Pure functions of the merged JSON body, and of the files of a multipart one. They
never raise: a field of the wrong type counts as absent, for the API will refuse
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...calls import NOTHING, UNKNOWN_HOST, UNREAD, Call, Host
from ..common.bodies import MOST, given, is_body, items, text, whole
from .input.messages import Input
from .input.reasoning import WISHES, reasons, thinks
from .input.tools import ROUTING, added, hosted, is_hosted, others, searches

MODERATION_MODEL = "omni-moderation-latest"
"""The model of moderations where none is named (the SDK's `moderation_create_params.model`)."""

LEAST_RESPONSE_TOKENS = 16
"""The smallest `max_output_tokens` that Responses accepts."""

_CHAT_SCHEMAS = ("tools", "functions", "response_format", "tool_choice", "function_call")
_RARE = ROUTING | WISHES | {*_CHAT_SCHEMAS, "prediction", "documents", "n", "best_of"}
_RESPONSES_SCHEMAS = ("tools", "text", "tool_choice")
_NAMES = ("user", "safety_identifier")
_STORED = frozenset({"previous_response_id", "conversation", "prompt"})


def chat(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`chat.completions.create`, `parse` and `stream`."""
    if type(body) is not dict and not is_body(body):
        return UNREAD
    seen = Input()
    seen.messages(body.get("messages"))
    model = body.get("model")
    if type(model) is not str:
        model = text(body, "model") or ""
    capped = body.get("max_completion_tokens")
    if capped is not None and not (type(capped) is int and 0 <= capped < MOST):
        capped = whole(body, "max_completion_tokens")
    if "max_tokens" in body and (older := whole(body, "max_tokens")) is not None:
        capped = max(capped or 0, older)
    named = body.get("user")
    call = Call(
        model=model,
        texts=seen.texts,
        overhead=seen.overhead,
        images=seen.images,
        fixed={"input_audio_tokens": seen.sound_tokens(host)} if seen.sound_s else NOTHING,
        max_output=capped,
        cap="max_completion_tokens",
        stream="stream" in body and body["stream"] is True,
        tier=text(body, "service_tier") if "service_tier" in body else None,
        user=named if type(named) is str and named else user(body),
        unknown_input=seen.unknown,
        thinks=reasons(model),
    )
    return call if _RARE.isdisjoint(body) and not searches(model) else _rare(call, body, seen)


def agent(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """A chat with a stored agent (Mistral's): its id is asked for as a model is, and has instructions of its own."""
    call = chat(body, files, host)
    return call if call is UNREAD else call._replace(model=text(body, "agent_id") or call.model, unknown_input=True)


def _rare(call: Call, body: Mapping[str, Any], seen: Input) -> Call:
    """The same with what few chats say: tools, schemas, several answers, what the server is to add or to choose."""
    _schemas(seen, body, _CHAT_SCHEMAS)
    predicted = isinstance(body.get("prediction"), Mapping)
    if predicted:
        seen.content(body["prediction"].get("content"))
    seen.content(given(body, "documents"))
    tools = any(is_hosted(tool) for tool in items(given(body, "tools")))
    more, fees = added(body, call.model)
    model, instead = _routed(body, call.model)
    return call._replace(
        model=model,
        overhead=seen.overhead,
        images=seen.images,
        fixed={**call.fixed, **fees} if fees else call.fixed,
        choices=_answers(body),
        # With a predicted output the API accepts no cap.
        cap=None if predicted else call.cap,
        unknown_input=seen.unknown or tools or more,
        thinks=any(thinks(name, body) for name in (model, *instead)),
        others=instead,
    )


def completions(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`completions.create`: one prompt or many, each answered `best_of` times."""
    if not is_body(body):
        return UNREAD
    seen = Input()
    prompts = _prompts(seen, body.get("prompt"))
    seen.text(given(body, "suffix"))
    model = text(body, "model") or ""
    more, fixed = added(body, model)
    model, instead = _routed(body, model)
    return Call(
        model=model,
        texts=seen.texts,
        overhead=seen.overhead,
        fixed=fixed,
        choices=_answers(body) * max(prompts, 1),
        max_output=whole(body, "max_tokens"),
        default_output=host.default_cap,
        cap="max_tokens",
        stream=body.get("stream") is True,
        tier=text(body, "service_tier"),
        user=user(body),
        unknown_input=seen.unknown or more,
        thinks=any(thinks(name, body) for name in (model, *instead)),
        others=instead,
    )


def responses(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`responses.create`, `parse` and `stream`, those of `beta` included."""
    if not is_body(body):
        return UNREAD
    seen = Input()
    seen.content(body.get("input"))
    seen.overhead += ITEM_TOKENS_TO_PRIME
    if "instructions" in body:
        seen.text(body["instructions"])
    _schemas(seen, body, _RESPONSES_SCHEMAS)
    stored = not _STORED.isdisjoint(body) and any(given(body, name) for name in _STORED)
    model = text(body, "model") or ""
    tools, fixed = hosted(body, model, host) if stored or "tools" in body else (None, NOTHING)
    instead: Sequence[str] = ()
    if searches(model) or not ROUTING.isdisjoint(body):
        more, fees = added(body, model)
        seen.unknown = seen.unknown or more
        fixed = {**fixed, **fees}
        model, instead = _routed(body, model)
    if seen.sound_s:
        fixed = {**fixed, "input_audio_tokens": seen.sound_tokens(host)}
    return Call(
        model=model,
        texts=seen.texts,
        overhead=seen.overhead,
        images=seen.images,
        fixed=fixed,
        max_output=whole(body, "max_output_tokens") if "max_output_tokens" in body else None,
        cap="max_output_tokens",
        least_output=LEAST_RESPONSE_TOKENS,
        stream="stream" in body and body["stream"] is True,
        tier=text(body, "service_tier") if "service_tier" in body else None,
        user=user(body),
        background="background" in body and body["background"] is True,
        unknown_input=seen.unknown or stored,
        thinks=thinks(model, body) or any(thinks(name, body) for name in instead),
        tools=tools,
        others=instead,
    )


def compact(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`responses.compact`: reads a conversation, writes its summary; it takes no output cap."""
    if not is_body(body):
        return UNREAD
    seen = Input()
    seen.content(given(body, "input"))
    seen.overhead += ITEM_TOKENS_TO_PRIME
    seen.text(given(body, "instructions"))
    return Call(
        model=text(body, "model") or "",
        texts=seen.texts,
        overhead=seen.overhead,
        images=seen.images,
        tier=text(body, "service_tier"),
        user=user(body),
        unknown_input=seen.unknown or given(body, "previous_response_id") is not None,
    )


def decisions(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`decisions.create`: messages and questions; it takes no output cap."""
    if not is_body(body):
        return UNREAD
    seen = Input()
    seen.content(given(body, "input"))
    seen.overhead += ITEM_TOKENS_TO_PRIME
    for question in items(given(body, "questions")):
        instructions = question.get("instructions") if isinstance(question, Mapping) else None
        if isinstance(question, Mapping) and isinstance(instructions, list | tuple):
            seen.content(instructions)
            seen.json({name: value for name, value in question.items() if name != "instructions"})
        else:
            seen.json(question)
    return Call(
        model=text(body, "model") or "",
        texts=seen.texts,
        overhead=seen.overhead,
        images=seen.images,
        user=user(body),
        unknown_input=seen.unknown,
    )


def embeddings(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`embeddings.create`: texts, or lists of token ids; no output."""
    if not is_body(body):
        return UNREAD
    seen = Input()
    _prompts(seen, body.get("input"))
    return Call(
        model=text(body, "model") or "",
        texts=seen.texts,
        overhead=seen.overhead,
        output=False,
        user=user(body),
        unknown_input=seen.unknown,
    )


def moderations(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`moderations.create`, where it is billed: a text, many, or parts; no output."""
    if not is_body(body):
        return UNREAD
    seen = Input()
    seen.content(given(body, "input"))
    return Call(
        model=text(body, "model") or MODERATION_MODEL,
        texts=seen.texts,
        overhead=seen.overhead,
        images=seen.images,
        output=False,
        user=user(body),
        unknown_input=seen.unknown,
    )


def user(body: Mapping[str, Any]) -> str | None:
    """The end user that a request names: `user`, else `safety_identifier`, else `metadata.user_id`."""
    for name in _NAMES:
        if name in body:
            value = body[name]
            named = value if type(value) is str else text(body, name)
            if named:
                return named
    if "metadata" not in body:
        return None
    metadata = body["metadata"]
    return text(metadata, "user_id") if isinstance(metadata, Mapping) else None


ITEM_TOKENS_TO_PRIME = 16
"""What Responses adds to a bare text: its role, and the answer's."""


def _schemas(seen: Input, body: Mapping[str, Any], names: Sequence[str]) -> None:
    for name in names:
        if name in body and (value := given(body, name)):
            seen.json(value)


def _prompts(seen: Input, prompt: Any) -> int:
    """Take a prompt: a text, a list of texts, of token ids, or of lists of token ids. How many prompts it is."""
    if isinstance(prompt, str):
        seen.texts.append(prompt)
        return 1
    if not isinstance(prompt, list | tuple):
        return 0
    prompts = 0
    ids = 0
    for part in prompt:
        if isinstance(part, str):
            seen.texts.append(part)
            prompts += 1
        elif isinstance(part, list | tuple):
            seen.overhead += len(part)
            prompts += 1
        else:
            ids += 1
    seen.overhead += ids
    return prompts + (1 if ids else 0)


def _answers(body: Mapping[str, Any]) -> int:
    """How many answers to each prompt are billed."""
    return max(whole(body, "n") or 1, whole(body, "best_of") or 1)


def _routed(body: Mapping[str, Any], model: str) -> tuple[str, Sequence[str]]:
    """The model asked for, and others that may answer; where only a list is given, its first is the one asked for."""
    named = others(body)
    return (model, named) if model or not named else (named[0], named[1:])
