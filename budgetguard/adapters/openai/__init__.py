"""
OpenAI's HTTP API, and that of every server which speaks its protocol: the table of its operations.

Paths and names are those of the SDK (openai 3.54, `resources/`). An operation that is not here costs nothing, and
passes through untouched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, Final

from ...calls import Dialect, Endpoint, Host, ReadRequest, Reply
from ..common.bodies import fields, instead_unless, items, whole
from ..common.paths import finder
from . import batches, media, replies, requests, streams
from .jobs import job


def cap_field(endpoint: Endpoint, host: Host) -> str | None:
    """The request's field for an output cap, as a host understands it; `None` if there is none."""
    if endpoint.amend is _amend_chat:
        return host.cap
    name = _CAPS.get(endpoint.name)
    return None if name is not None and host.refuses.get(name) == 0 else name


_CAPPED_ANEW: Final = "max_completion_tokens"
"""What models of the newer kinds call the output cap of a chat: they refuse the older name."""

_CAPS = {
    "completions": "max_tokens",
    "responses": "max_output_tokens",
}


def _ask(copy: dict[str, Any]) -> None:
    """Ask for usage in the stream, unless the caller said something about it."""
    options = copy.get("stream_options")
    if not isinstance(options, Mapping):
        copy["stream_options"] = {"include_usage": True}
    elif not isinstance(options.get("include_usage"), bool):
        copy["stream_options"] = {**options, "include_usage": True}


def _amend_chat(body: Mapping[str, Any], cap: int | None, ask_usage: bool, host: Host) -> dict[str, Any]:
    copy = dict(body)
    extended = bool(copy.get("data_sources"))  # Azure's extension, which knows the older fields only
    if cap is not None and host.cap is not None:
        copy["max_tokens" if extended else host.cap] = cap
    if ask_usage and copy.get("stream") is True and not extended:
        _ask(copy)
    return copy


def _lower(body: Mapping[str, Any], cap: int) -> dict[str, Any]:
    """The output caps that a body states, under whichever name, none above this one."""
    said = {name: whole(body, name) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens")}
    return {name: min(value, cap) for name, value in said.items() if value is not None}


def _amend_completions(body: Mapping[str, Any], cap: int | None, ask_usage: bool, host: Host) -> dict[str, Any]:
    copy = dict(body)
    if cap is not None:
        copy["max_tokens"] = cap
    if ask_usage and copy.get("stream") is True:
        _ask(copy)
    return copy


def _amend_responses(body: Mapping[str, Any], cap: int | None, ask_usage: bool, host: Host) -> dict[str, Any]:
    copy = dict(body)
    if cap is not None:
        copy["max_output_tokens"] = cap
    return copy


_TUNED: Final = "ft:"
"""How the names of models begin that were made for one purpose."""


def _chat_instead(body: Mapping[str, Any], model: str, host: Host) -> dict[str, Any] | None:
    """A chat, but for one that is spoken, asked of a model of one's own, or of several; with its cap as that has it."""
    copy = _instead(body, model, host)
    if copy is not None and host.cap == _CAPPED_ANEW and "max_tokens" in copy:
        copy.setdefault(_CAPPED_ANEW, copy.pop("max_tokens"))
    return copy


def _instead(body: Mapping[str, Any], model: str, host: Host) -> dict[str, Any] | None:
    if str(body.get("model")).startswith(_TUNED):
        return None
    return _KEEPING(body, model, host)


_KEEPING: Final = instead_unless("audio", "models", "fallbacks", "preset", "data_sources")
_CONTINUING: Final = instead_unless("previous_response_id", "conversation", "models", "fallbacks", "preset")
_WRITTEN: Final = frozenset({"reasoning", "item_reference", "compaction"})
"""What an input may have that another model does not read: what its own one wrote, or the server keeps of it."""


def _responses_instead(body: Mapping[str, Any], model: str, host: Host) -> dict[str, Any] | None:
    """A response, but for one that goes on from another one."""
    written = {str(fields(item).get("type")) for item in items(body.get("input"))}
    if written & _WRITTEN or str(body.get("model")).startswith(_TUNED):
        return None
    return _CONTINUING(body, model, host)


CHAT = Endpoint(
    "chat.completions",
    "POST",
    "/chat/completions",
    request=requests.chat,
    answer=replies.chat,
    listener=streams.ChatListener,
    amend=_amend_chat,
    lower=_lower,
    instead=_chat_instead,
)

_TEXT = (
    CHAT,
    replace(
        CHAT, name="agents.completions", path="/agents/completions", request=requests.agent, instead=None
    ),  # Mistral's
    replace(CHAT, path="/chat"),  # Writer's (writer-sdk 3.0)
    Endpoint(
        "completions",
        "POST",
        "/completions",
        request=requests.completions,
        answer=replies.chat,
        listener=streams.ChatListener,
        amend=_amend_completions,
        lower=_lower,
        instead=_instead,
    ),
    Endpoint(
        "responses",
        "POST",
        "/responses",
        request=requests.responses,
        answer=replies.responses,
        listener=streams.ResponsesListener,
        amend=_amend_responses,
        lower=_lower,
        instead=_responses_instead,
    ),
    Endpoint("responses.compact", "POST", "/responses/compact", request=requests.compact, answer=replies.responses),
    Endpoint("responses.input_tokens", "POST", "/responses/input_tokens", request=None, answer=replies.free),
    Endpoint(
        "responses.retrieve",
        "GET",
        "/responses/{id}",
        request=None,
        answer=replies.responses,
        listener=streams.ResponsesListener,
        follows="responses",
    ),
    Endpoint(
        "responses.cancel",
        "POST",
        "/responses/{id}/cancel",
        request=None,
        answer=replies.responses,
        follows="responses",
    ),
    Endpoint("decisions", "POST", "/decisions", request=requests.decisions, answer=replies.decisions),
    Endpoint("embeddings", "POST", "/embeddings", request=requests.embeddings, answer=replies.embeddings),
    Endpoint(
        "moderations",
        "POST",
        "/moderations",
        request=requests.moderations,
        answer=replies.embeddings,
        free_at_home=True,
    ),
)

_PICTURES = partial(streams.MediaListener, replies.images)
_SOUND = partial(streams.MediaListener, replies.transcription)


def _post(name: str, path: str, request: ReadRequest, answer: Reply | None, listener: Any = None) -> Endpoint:
    return Endpoint(name, "POST", path, request=request, answer=answer, listener=listener)


_MEDIA = (
    _post("images.generate", "/images/generations", media.images, replies.images, _PICTURES),
    _post("images.edit", "/images/edits", media.images, replies.images, _PICTURES),
    _post("images.create_variation", "/images/variations", media.images, replies.images),
    _post("audio.speech", "/audio/speech", media.speech, replies.transcription, _SOUND),
    _post("audio.transcriptions", "/audio/transcriptions", media.transcription, replies.transcription, _SOUND),
    _post("audio.translations", "/audio/translations", media.transcription, replies.transcription),
    _post("videos", "/videos", media.video, replies.video),
    _post("videos.edit", "/videos/edits", media.video_change, replies.video),
    _post("videos.extend", "/videos/extensions", media.video_change, replies.video),
    _post("videos.remix", "/videos/{id}/remix", media.video_change, replies.video),
)

_BATCHES = (
    _post("batches", "/batches", batches.create, batches.batch),
    *(
        Endpoint(name, method, path, request=None, answer=batches.batch, items=items, follows="batches")
        for name, method, path, items in (
            ("batches.retrieve", "GET", "/batches/{id}", None),
            ("batches.cancel", "POST", "/batches/{id}/cancel", None),
            ("batches.list", "GET", "/batches", batches.batch_list),
        )
    ),
    Endpoint("files", "POST", "/files", request=None, answer=batches.file, uploads="file"),
    Endpoint("uploads", "POST", "/uploads", request=None, answer=batches.file, uploads="begin"),
    Endpoint("uploads.parts", "POST", "/uploads/{id}/parts", request=None, answer=batches.file, uploads="part"),
    Endpoint(
        "uploads.complete", "POST", "/uploads/{id}/complete", request=None, answer=batches.file, uploads="complete"
    ),
)

_OPAQUE = tuple(
    Endpoint(name, "POST", path, request=job, opaque=True)
    for name, path in (
        ("audio.voices", "/audio/voices"),
        ("containers", "/containers"),
        ("fine_tuning.jobs", "/fine_tuning/jobs"),
        ("fine_tuning.jobs.resume", "/fine_tuning/jobs/{id}/resume"),
        ("fine_tuning.alpha.graders.run", "/fine_tuning/alpha/graders/run"),
        ("evals.runs", "/evals/{id}/runs"),
        ("beta.threads.create_and_run", "/threads/runs"),
        ("beta.threads.runs", "/threads/{id}/runs"),
        ("beta.threads.runs.submit_tool_outputs", "/threads/{id}/runs/{id}/submit_tool_outputs"),
        ("beta.agents.environments", "/agents/environments"),
        ("beta.agents.sessions", "/agents/sessions"),
        ("beta.agents.sessions.events", "/agents/sessions/{id}/events"),
        ("beta.agents.automations", "/agents/automations"),
        ("beta.agents.automations.resume", "/agents/automations/{id}/resume"),
        ("beta.agents.automations.invocations", "/agents/automations/{id}/invocations"),
        ("beta.chatkit.sessions", "/chatkit/sessions"),
        ("beta.realtime.sessions", "/realtime/sessions"),
        ("beta.realtime.transcription_sessions", "/realtime/transcription_sessions"),
        ("realtime.client_secrets", "/realtime/client_secrets"),
        ("realtime.translations.client_secrets", "/realtime/translations/client_secrets"),
        ("realtime.calls", "/realtime/calls"),
        ("realtime.calls.accept", "/realtime/calls/{id}/accept"),
        ("live", "/live/sessions"),
        ("live.accept", "/live/sessions/{id}/accept"),
        ("live.fork", "/live/sessions/{id}/fork"),
    )
)
"""Jobs and sessions: what they cost is seen elsewhere, later, or only in the bill."""

ENDPOINTS: Sequence[Endpoint] = (*_TEXT, *_MEDIA, *_BATCHES, *_OPAQUE)

_HOLDERS = frozenset({"agents", "containers", "skills", "vector_stores"})
"""What has files of its own, which are no requests of a batch."""


def _takes(endpoint: Endpoint, segments: Sequence[str]) -> bool:
    return not endpoint.uploads or _HOLDERS.isdisjoint(segments)


find = finder(ENDPOINTS, _takes)
"""
The endpoint of a request by its method and path, or `None` if it costs nothing.

The path is the SDK's `options.url`: "/chat/completions", with a query ("?beta=true"), below "/v1", Azure's
"/deployments/{name}" or anything else, or an absolute URL.
"""


# What is known to cost nothing, beside the table: keeping files, settings and conversations, and ending what runs.
_ROOTS: Final = frozenset(
    {
        "agents",
        "assistants",
        "batches",
        "chatkit",
        "containers",
        "content_provenance_checks",
        "conversations",
        "evals",
        "files",
        "fine_tuning",
        "live",
        "models",
        "moderations",
        "organization",
        "projects",
        "realtime",
        "responses",
        "skills",
        "threads",
        "uploads",
        "vaults",
        "vector_stores",
        "webhook_endpoints",
    }
)
"""Below these, what costs anything is in the table (openai 3.57, `resources/`)."""

_BESIDE: Final = ("/audio/voice_consents", "/videos/characters", "/chat/completions/")


@lru_cache(maxsize=2_048)
def may_cost(method: str, path: str) -> bool:
    """Whether an operation that is not in the table may cost something all the same."""
    path = path.partition("?")[0].partition("#")[0]
    if method.upper() != "POST" or any(name in path for name in _BESIDE):
        return False
    return _ROOTS.isdisjoint(path.split("/"))


DIALECT: Final = Dialect(find, may_cost, cap_field)
"""As whoever guards calls uses it."""
