"""
Amazon Bedrock: the table of its operations, found by the name that AWS's SDKs give them, or by method and path.

What is read of a request are the members of its operation, as AWS's SDKs take them: those in the path beside those in
the JSON (`members`). An operation that is not here costs nothing, and passes through untouched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from ...calls import Dialect, Endpoint, Host
from ..common.paths import finder
from . import converse, replies
from .families import BODY
from .gates import GATES
from .invoke import Guest, Guests

__all__ = ["Bedrock", "Guest", "bedrock", "members"]

RUNTIME: Final = "bedrock-runtime"

_NAMES: Final = ("Converse", "ConverseStream", "InvokeModel", "InvokeModelWithResponseStream")
_FREE: Final = frozenset({"CountTokens", "GetAsyncInvoke", "ListAsyncInvokes"})


def _instead(body: Mapping[str, Any], model: str, host: Host) -> dict[str, Any]:
    """Bedrock's own JSON is the same for every model; that of `InvokeModel` is each model's own."""
    return {**body, "modelId": model}


_CONVERSES = (
    Endpoint(
        "converse",
        "POST",
        "/{id}/converse",
        request=converse.converse,
        answer=replies.converse,
        amend=converse.capped,
        lower=converse.lower,
        instead=_instead,
    ),
    Endpoint(
        "converse_stream",
        "POST",
        "/{id}/converse-stream",
        request=converse.converse_stream,
        answer=replies.converse,
        listener=replies.ConverseListener,
        amend=converse.capped,
        lower=converse.lower,
        instead=_instead,
    ),
)


class Bedrock(NamedTuple):
    """The API, with the readers of the models' own JSON."""

    dialect: Dialect
    operations: Mapping[str, Mapping[str, Endpoint]]
    """By AWS's names of the service and the operation."""

    def is_unknown(self, service: str, operation: str) -> bool:
        """Whether an operation is one that nobody knows, of a service that has nothing but models."""
        return service == RUNTIME and operation not in self.operations[service] and operation not in _FREE


def bedrock(claude: Guest, chat: Guest) -> Bedrock:
    """Bedrock's API, where Claude's JSON is read by Anthropic's readers and that of other chats by OpenAI's."""
    guests = Guests(claude, chat)
    invoke = Endpoint(
        "invoke_model",
        "POST",
        "/{id}/invoke",
        request=guests.request,
        answer=guests.reply,
        amend=guests.capped,
        lower=guests.lower,
    )
    stream = Endpoint(
        "invoke_model_with_response_stream",
        "POST",
        "/{id}/invoke-with-response-stream",
        request=guests.stream,
        answer=guests.reply,
        listener=guests.listener,
        amend=guests.capped,
        lower=guests.lower,
    )
    named = dict(zip(_NAMES, (*_CONVERSES, invoke, stream), strict=True))
    operations = {**GATES, RUNTIME: {**GATES[RUNTIME], **named}}
    every = [endpoint for service in operations.values() for endpoint in service.values()]
    return Bedrock(Dialect(finder(every, _is_here), _may_cost, cap_field), operations)


def members(path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The members of a request for a model, from its path and its JSON: "/model/{id}/converse"."""
    _, _, below = path.partition("?")[0].partition("/model/")
    model_id, _, operation = below.rpartition("/")
    said = {BODY: body} if operation.startswith("invoke") else body
    return {**said, "modelId": unquote(model_id)}


def cap_field(endpoint: Endpoint, host: Host) -> str | None:
    """The member that has the output cap; `None` where a host refused ours."""
    name = converse.CONFIG if endpoint in _CONVERSES else BODY
    return None if endpoint.amend is None or host.refuses.get(name) == 0 else name


def _is_here(endpoint: Endpoint, segments: Sequence[str]) -> bool:
    return not endpoint.path.startswith("/{id}/") or "model" in segments


def _may_cost(method: str, path: str) -> bool:
    return method.upper() == "POST" and "/model/" in path and not path.endswith("/count-tokens")
