"""
Which operation of which API a request's path asks for.

A path is taken apart here and put together anew for the upstream, from the table's own words: nothing that a client
writes into one reaches another operation there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote

from ....adapters import anthropic, gemini, openai
from ....adapters.openai.jobs import job
from ....calls import Dialect, Endpoint
from ..config.model import Api

DIALECTS: Final[Mapping[Api, Dialect]] = {
    "openai": openai.DIALECT,
    "anthropic": anthropic.DIALECT,
    "gemini": gemini.DIALECT,
}
"""The APIs that are passed through, as the adapters know them."""

_CACHED: Final = 2_048
_LONGEST: Final = 2_500
"""Letters of the longest path that asks for something: anybody may send another, and it is remembered."""
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,255}")
_OPENAI: Final = re.compile(r"(?:/openai)?(?:/deployments/(?P<deployment>[^/]+)|/v1)?(?P<rest>/.+)")
_ANTHROPIC: Final = re.compile(r"(?:/anthropic)?/v1(?P<rest>/(?:messages|complete)(?:/.*)?)")
_GEMINI: Final = re.compile(
    r"(?:/gemini|/google)?/(?:v1|v1beta|v1alpha|v1beta1)/models/(?P<model>[^:]+):(?P<operation>[A-Za-z]+)"
)
_GEMINI_SERVED: Final = frozenset(
    {"generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents"}
)
_NAME: Final = re.compile(r"[^\x00-\x20\x7f?#%\\]{1,256}")


class ModelOperation(NamedTuple):
    """An operation, as a path names it."""

    api: Api
    endpoint: Endpoint
    path: str
    """Below the base URL of an upstream; `{model}` stands for the model, where it is in the path."""
    model: str | None = None
    """The model, where the path names it."""
    kind: str = ""
    """Of an operation whose cost cannot be read from its reply, what a key has to be allowed: "files", "batches"."""
    beside: str | None = None
    """What of OpenAI's API it is beside chat, as a provider's row calls it; `None` for chat, and any other API."""


SERVED: Final[Mapping[str, str]] = {
    "chat.completions": "chat",
    "completions": "completions",
    "responses": "responses",
    "responses.compact": "responses",
    "responses.input_tokens": "responses",
    "embeddings": "embeddings",
    "moderations": "moderations",
    "images.generate": "images",
    "images.edit": "images",
    "images.create_variation": "images",
    "audio.speech": "audio",
    "audio.transcriptions": "audio",
    "audio.translations": "audio",
}
"""The operations of OpenAI's API whose answers say what they cost, and what a provider's row calls them."""

_CLAUDE: Final = frozenset({"messages", "messages.count_tokens"})


def _exact(endpoints: Mapping[str, Endpoint], path: str, method: str) -> Endpoint | None:
    found = endpoints.get(path)
    return found if found is not None and found.method == method else None


_BY_PATH = {
    each.path: each
    for each in openai.ENDPOINTS
    if each.name in SERVED and "{" not in each.path and each.path != "/chat"
}
_CLAUDE_BY_PATH = {each.path: each for each in anthropic.ENDPOINTS if each.name in _CLAUDE}
_OPAQUE_ROOTS: Final = frozenset(
    {
        "assistants",
        "audio",
        "batches",
        "containers",
        "conversations",
        "evals",
        "files",
        "fine_tuning",
        "realtime",
        "responses",
        "threads",
        "uploads",
        "vector_stores",
        "videos",
    }
)
"""What else OpenAI's API has: passed on, uncounted, for keys that are allowed it by name."""


def asked_by(method: str, path: str) -> ModelOperation | None:
    """What a path asks for; `None` if that is nothing that is passed on."""
    return known_by(method, path) if len(path) <= _LONGEST else None


@lru_cache(_CACHED)
def known_by(method: str, path: str) -> ModelOperation | None:
    """The same of a path that is not too long, remembered."""
    google = _GEMINI.fullmatch(path)
    if google is not None:
        return _gemini(method, google)
    claude = _ANTHROPIC.fullmatch(path)
    if claude is not None:
        endpoint = _exact(_CLAUDE_BY_PATH, claude["rest"], method)
        if endpoint is not None:
            return ModelOperation("anthropic", endpoint, endpoint.path)
        return _opaque("anthropic", method, claude["rest"], "messages.batches")
    plain = _OPENAI.fullmatch(path)
    if plain is None:
        return None
    endpoint = _exact(_BY_PATH, plain["rest"], method)
    if endpoint is not None:
        model = None if plain["deployment"] is None else unquote(plain["deployment"])
        served = SERVED[endpoint.name]
        beside = None if served == "chat" else served
        return ModelOperation("openai", endpoint, endpoint.path, model, beside=beside)
    root = plain["rest"].split("/")[1]
    return _opaque("openai", method, plain["rest"], root) if root in _OPAQUE_ROOTS else None


def _gemini(method: str, match: re.Match[str]) -> ModelOperation | None:
    operation, model = match["operation"], unquote(match["model"])
    if method != "POST" or operation not in _GEMINI_SERVED or _NAME.fullmatch(model) is None or ".." in model:
        return None
    endpoint = gemini.find("POST", f"/models/x:{operation}")
    if endpoint is None or endpoint.opaque:
        return None
    return ModelOperation("gemini", endpoint, f"/models/{{model}}:{operation}", model)


def _opaque(api: Api, method: str, rest: str, kind: str) -> ModelOperation | None:
    segments = rest[1:].split("/")
    if len(segments) > 8 or not all(_ID.fullmatch(segment) and ".." not in segment for segment in segments):
        return None
    endpoint = Endpoint(kind, method, rest, request=job, opaque=True)
    return ModelOperation(api, endpoint, rest, kind=kind)
