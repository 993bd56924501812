"""
Anthropic's HTTP API, and that of every server which speaks its protocol: the table of its operations.

Paths and names are those of the SDK (anthropic 2.14, `resources/`). Clients for Claude on Bedrock, Vertex AI and
Foundry ask for the same operations: they rewrite the path when the request goes out. An operation that is not here
costs nothing, and passes through untouched.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from ...calls import Dialect, Endpoint, Host
from ..common.bodies import instead_unless
from ..common.paths import finder
from . import batches, replies, requests, streams

MESSAGES: Final = Endpoint(
    "messages",
    "POST",
    "/messages",
    request=requests.messages,
    answer=replies.message,
    listener=streams.MessageListener,
    lower=requests.lower,
    instead=instead_unless("container", "fallbacks"),
)

_BATCHES = (
    Endpoint("messages.batches", "POST", "/messages/batches", request=batches.create, answer=batches.batch),
    *(
        Endpoint(
            f"messages.batches.{name}",
            method,
            path,
            request=None,
            answer=batches.batch,
            listener=batches.ResultsListener if name == "results" else None,
            lines=name == "results",
            items=batches.batch_list if name == "list" else None,
            follows="messages.batches",
        )
        for name, method, path in (
            ("retrieve", "GET", "/messages/batches/{id}"),
            ("cancel", "POST", "/messages/batches/{id}/cancel"),
            ("list", "GET", "/messages/batches"),
            ("results", "GET", "/messages/batches/{id}/results"),
        )
    ),
)

_OPAQUE = tuple(
    Endpoint(name, "POST", path, request=requests.job, opaque=True)
    for name, path in (
        ("completions", "/complete"),
        ("beta.sessions", "/sessions"),
        ("beta.sessions.events", "/sessions/{id}/events"),
        ("beta.deployments", "/deployments"),
        ("beta.deployments.run", "/deployments/{id}/run"),
        ("beta.deployments.unpause", "/deployments/{id}/unpause"),
        ("beta.dreams", "/dreams"),
    )
)
"""Agents that work by themselves, the old completions: what they cost is seen later, or only in the bill."""

ENDPOINTS: Sequence[Endpoint] = (
    MESSAGES,
    Endpoint("messages.count_tokens", "POST", "/messages/count_tokens", request=None),
    *_BATCHES,
    *_OPAQUE,
)

find = finder(ENDPOINTS)
"""The endpoint of a request by its method and path, or `None` if it costs nothing."""

_ROOTS: Final = frozenset(
    {
        "agents",
        "compliance",
        "deployment_runs",
        "deployments",
        "dreams",
        "environments",
        "files",
        "memory_stores",
        "messages",
        "models",
        "oauth",
        "organizations",
        "sessions",
        "skills",
        "tunnels",
        "user_profiles",
        "vaults",
    }
)
"""Below these, what costs anything is in the table (anthropic 2.14, `resources/`)."""


@lru_cache(maxsize=2_048)
def may_cost(method: str, path: str) -> bool:
    """Whether an operation that is not in the table may cost something all the same."""
    return method.upper() == "POST" and _ROOTS.isdisjoint(path.partition("?")[0].partition("#")[0].split("/"))


def cap_field(endpoint: Endpoint, host: Host) -> str | None:
    """Nowhere is there a cap for us to add: a request for a message states its own, which may be lowered."""
    return None


DIALECT: Final = Dialect(find, may_cost, cap_field, requests.headed)
"""As whoever guards calls uses it."""
