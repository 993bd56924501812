"""
Which HTTP requests ask a model, by their path, and by their host or their body: a row for each family of paths.

At the hosts of providers a path is enough. Elsewhere (this machine, a gateway, anybody's web application) the body has
to have what such a request has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from ...adapters.anthropic import DIALECT as ANTHROPIC
from ...adapters.cohere import DIALECT as COHERE
from ...adapters.gemini import DIALECT as GEMINI
from ...adapters.mistral import DIALECT as MISTRAL
from ...adapters.ollama import DIALECT as OLLAMA
from ...adapters.openai import DIALECT as OPENAI
from ...calls import Dialect, Endpoint
from ...prices.hosts import host_of
from ...prices.sources.names import is_own
from ..asides import is_aside
from ..built.requests import Content
from ..places import Place

_MIXED: Final = (
    ".amazonaws.com",
    ".api.aws",
    ".azuredatabricks.net",
    ".cloudflare.com",
    ".databricks.com",
    ".googleapis.com",
)
"""Domains where models are a small part of what is served."""


@lru_cache(maxsize=1_024)
def _is_provider(host: str) -> bool:
    return host_of(host).known and not host.endswith(_MIXED)


class PathFamily(NamedTuple):
    """One API, as its requests are told from others."""

    dialect: Dialect
    home: Callable[[str], object]
    """Whether every operation of it is its own at a host."""
    elsewhere: Mapping[str, Sequence[str]]
    """The fields that a request has at other hosts, by the path of its operation."""

    def takes(self, endpoint: Endpoint, given: Any, content: Content) -> bool:
        """Whether a request for one of its operations is one."""
        host = given.url.host
        if self.home(host):
            return True
        if is_aside(endpoint):
            return "/v1/" in given.url.path and (endpoint.follows == "responses" or is_own(host))
        names = self.elsewhere.get(endpoint.path)
        return names is not None and (content.has(names) or (content.unreadable and _is_said(endpoint, given.headers)))


def _is_said(endpoint: Endpoint, headers: Mapping[str, str]) -> bool:
    """
    Whether a request whose body cannot be read asks a model by all else that it says.

    Mail and chat services have `/messages` of their own, and take forms and texts there.
    """
    if endpoint.path == "/messages":
        return "anthropic-version" in headers
    return endpoint.path == "/chat/completions" and "json" in headers.get("content-type", "json")


FAMILIES: Final = (
    PathFamily(
        COHERE,
        re.compile(r"api\.cohere\.(com|ai)\Z").match,
        {
            "/v2/chat": ("model", "messages"),
            "/v1/chat": ("model", "message"),
            "/v1/embed": ("model", "texts"),
            "/v2/embed": ("model", "input_type"),
            "/v1/rerank": ("model", "query", "documents"),
            "/v2/rerank": ("model", "query", "documents"),
        },
    ),
    PathFamily(
        OLLAMA,
        re.compile(r"(.*\.)?ollama\.com\Z").match,
        {
            "/api/chat": ("model", "messages"),
            "/api/generate": ("model", "prompt"),
            "/api/embed": ("model", "input"),
            "/api/embeddings": ("model", "prompt"),
        },
    ),
    PathFamily(
        ANTHROPIC,
        re.compile(r"api\.anthropic\.com\Z").match,
        {"/messages": ("model", "messages", "max_tokens"), "/messages/batches": ("requests",)},
    ),
    PathFamily(
        GEMINI,
        re.compile(r"(generativelanguage|([a-z0-9-]+-)?aiplatform)\.googleapis\.com\Z").match,
        {
            "/models/{id}:generateContent": ("contents",),
            "/models/{id}:streamGenerateContent": ("contents",),
            "/models/{id}:embedContent": ("content",),
            "/models/{id}:batchEmbedContents": ("requests",),
            "/interactions": ("model", "input"),
        },
    ),
    PathFamily(MISTRAL, re.compile(r"api\.mistral\.ai\Z").match, {}),
    PathFamily(
        OPENAI,
        _is_provider,
        {
            "/chat/completions": ("messages",),
            "/completions": ("model", "prompt"),
            "/responses": ("model", "input"),
            "/embeddings": ("model", "input"),
            "/images/generations": ("model", "prompt"),
            "/images/edits": ("model", "prompt"),
            "/audio/speech": ("model", "input"),
            "/audio/transcriptions": ("model", "file"),
            "/audio/translations": ("model", "file"),
        },
    ),
)
"""In this order: a path may be one of several."""


@lru_cache(maxsize=4_096)
def candidates(method: str, path: str) -> Sequence[tuple[PathFamily, Endpoint]]:
    """The operations that a request may ask for, by its path."""
    found = ((family, family.dialect.find(method, path)) for family in FAMILIES)
    return tuple((family, endpoint) for family, endpoint in found if endpoint is not None)


def operation(
    found: Sequence[tuple[PathFamily, Endpoint]], given: Any, content: Content
) -> tuple[Dialect, Endpoint] | None:
    """The one of these operations that a request asks for, if it costs something or tells of what does."""
    for family, endpoint in found:
        if family.takes(endpoint, given, content):
            free = endpoint.free_at_home and host_of(given.url.host).openai
            return None if free or not (endpoint.request or is_aside(endpoint)) else (family.dialect, endpoint)
    return None


def seller_of(dialect: Dialect, host: str, model: object) -> str | None:
    """
    Whose prices count, where the host does not say it: a model that Ollama runs on a machine of one's own is its own.

    A name without a domain is in a network of one's own; a "-cloud" model is passed on to where it is billed.
    """
    if dialect is not OLLAMA or not isinstance(model, str) or model.endswith("cloud"):
        return None
    return "ollama" if "." not in host or is_own(host) else None


def routed(place: Place, model: object) -> tuple[Place, str | None]:
    """
    Where a router sends a request, as its own path would say it, and the model's name there.

    Hugging Face's takes the provider behind the model ("org/model:groq"), else in the path.
    """
    if place.name != "router.huggingface.co" or not isinstance(model, str) or not place.path.startswith("/v1/"):
        return place, None
    name, colon, provider = model.partition(":")
    return (place._replace(path=f"/{provider}/"), name) if colon else (place, None)


@lru_cache(maxsize=1_024)
def may_cost(method: str, host: str, path: str) -> bool:
    """Whether a request that is in no table is to a provider, and may cost something all the same."""
    here = [family for family in FAMILIES if family.home(host)] if method == "POST" else ()
    return bool(here) and all(family.dialect.may_cost(method, path) for family in here)
