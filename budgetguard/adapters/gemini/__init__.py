"""
Google's API of Gemini, and that of Vertex AI, which speak alike: the table of their operations.

An operation is what stands behind the colon of a path's last segment, and the model before it: below any version,
project and location. Names are those of google-genai (3.6, `models.py`). An operation that is not here costs nothing,
and passes through untouched; one that may cost something all the same is said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote, unquote

from ...calls import Dialect, Endpoint, Host
from ..common.bodies import instead_unless, lowering
from . import batches, interactions, replies, requests, streams
from .names import part_of, plain_model, spelt

_CACHED_PATHS = 2_048


def _amended(body: Mapping[str, Any], cap: int | None, ask_usage: bool, host: Host) -> dict[str, Any]:
    """The body with an output cap. A stream brings its usage unasked."""
    amended = dict(body)
    if cap is not None:
        name = spelt(body, requests.CONFIG)
        config = part_of(body, requests.CONFIG)
        amended[name] = {**config, spelt(config, requests.CAP): cap}
    return amended


def _operation(name: str, **readers: Any) -> Endpoint:
    return Endpoint(f"models.{name}", "POST", f"/models/{{id}}:{name}", **readers)


_INSTEAD: Final = instead_unless("cachedContent", "cached_content")

GENERATE: Final = _operation(
    "generateContent",
    request=requests.generate,
    answer=replies.generated,
    amend=_amended,
    lower=lowering(_amended),
    instead=_INSTEAD,
)

_OPERATIONS = (
    GENERATE,
    _operation(
        "streamGenerateContent",
        request=requests.stream,
        answer=replies.generated,
        listener=streams.GenerateListener,
        amend=_amended,
        lower=lowering(_amended),
        instead=_INSTEAD,
    ),
    _operation("embedContent", request=requests.embed, answer=replies.embedded),
    _operation("batchEmbedContents", request=requests.embed, answer=replies.embedded),
    _operation("batchGenerateContent", request=batches.create, answer=batches.batch),
    _operation("predictLongRunning", request=requests.film, answer=replies.begun),
    *(
        _operation(name, request=requests.job, opaque=True)
        for name in ("predict", "asyncBatchEmbedContent", "generateAnswer")
    ),
    *(_operation(name, request=None) for name in ("countTokens", "computeTokens", "fetchPredictOperation")),
)

_PREDICTED = {
    "imagen": _operation("predict (pictures)", request=requests.draw, answer=replies.drawn),
    "embedding": _operation("predict (embeddings)", request=requests.embed, answer=replies.embedded),
}
"""Of Vertex AI's general operation, by what is in the model's name."""

_COLLECTIONS = (
    Endpoint("cachedContents", "POST", "/cachedContents", request=requests.cache, answer=replies.cached),
    *(
        Endpoint(name, "POST", f"/{name}", request=requests.job, opaque=True)
        for name in ("batchPredictionJobs", "tuningJobs", "tunedModels", "reasoningEngines")
    ),
    *(
        Endpoint(
            f"fileSearchStores.{name}", "POST", f"/fileSearchStores/{{id}}:{name}", request=requests.job, opaque=True
        )
        for name in ("importFile", "uploadToFileSearchStore")
    ),
)
"""What is made once, and the jobs, whose cost is seen later, or only in the bill."""

INTERACTIONS: Final = Endpoint(
    "interactions",
    "POST",
    "/interactions",
    request=interactions.create,
    answer=interactions.interaction,
    listener=interactions.InteractionListener,
    amend=interactions.amended,
    lower=lowering(interactions.amended),
    instead=instead_unless("agent", "previousInteractionId", "previous_interaction_id"),
)

_BATCHES = {
    name: Endpoint(
        f"batches.{name}",
        method,
        path,
        request=None,
        answer=batches.batch,
        items=batches.batch_list if name == "list" else None,
        follows="models.batchGenerateContent",
    )
    for name, method, path in (
        ("get", "GET", "/batches/{id}"),
        ("cancel", "POST", "/batches/{id}:cancel"),
        ("list", "GET", "/batches"),
    )
}
"""Looks at batches."""

_LOOKS = {
    method: Endpoint(
        f"interactions.{name}",
        method,
        path,
        request=None,
        answer=interactions.interaction,
        listener=interactions.InteractionListener,
        follows="interactions",
    )
    for name, method, path in (
        ("get", "GET", "/interactions/{id}"),
        ("cancel", "POST", "/interactions/{id}/cancel"),
    )
}
"""At interactions in the background, by their method."""

ENDPOINTS: Sequence[Endpoint] = (
    *_OPERATIONS,
    *_PREDICTED.values(),
    *_COLLECTIONS,
    INTERACTIONS,
    *_LOOKS.values(),
    *_BATCHES.values(),
)

_BY_OPERATION = {endpoint.path.partition(":")[2].lower(): endpoint for endpoint in (*_OPERATIONS, *_COLLECTIONS[-2:])}
_BY_COLLECTION = {endpoint.path[1:].lower(): endpoint for endpoint in (*_COLLECTIONS[:-2], INTERACTIONS)}


@lru_cache(maxsize=_CACHED_PATHS)
def find(method: str, path: str) -> Endpoint | None:
    """The endpoint of a request by its method and path, or `None` if it costs nothing."""
    look = _look(method.upper(), path.partition("?")[0].rstrip("/").split("/")[-3:])
    if look is not None:
        return look
    if method.upper() != "POST":
        return None
    name, _, operation = _last(path).lower().partition(":")
    if not operation:
        return _BY_COLLECTION.get(name)
    if operation == "predict":
        return next((known for word, known in _PREDICTED.items() if word in name), _BY_OPERATION[operation])
    return _BY_OPERATION.get(operation)


def _look(method: str, segments: Sequence[str]) -> Endpoint | None:
    """The look at work in the background that the end of a path is."""
    if segments[-1] == "batches" and method == "GET":
        return _BATCHES["list"]
    if segments[-2:-1] == ["batches"]:
        cancels = segments[-1].endswith(":cancel") and method == "POST"
        return _BATCHES["cancel"] if cancels else _BATCHES["get"] if method == "GET" else None
    if segments[-2:-1] == ["interactions"] and method == "GET":
        return _LOOKS["GET"]
    return _LOOKS["POST"] if segments[0] == "interactions" and segments[-1] == "cancel" else None


_FREE: Final = frozenset(
    {
        "auth_tokens",
        "cancel",
        "credentials",
        "download",
        "environments",
        "files",
        "filesearchstores",
        "permissions",
        "register",
        "transferownership",
        "webhooks",
    }
)
"""Operations, and what is made, that cost nothing by themselves."""


@lru_cache(maxsize=_CACHED_PATHS)
def may_cost(method: str, path: str) -> bool:
    """Whether an operation that is not in the table may cost something all the same."""
    name, _, operation = _last(path).lower().partition(":")
    return method.upper() == "POST" and find(method, path) is None and (operation or name) not in _FREE


@lru_cache(maxsize=_CACHED_PATHS)
def model_in(path: str) -> str | None:
    """The model, or the endpoint of one's own, that a path names; `None` if it names none."""
    name, _, operation = _last(path).partition(":")
    return plain_model(name) if operation else None


def located(body: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """A body with the model that its path names."""
    model = model_in(path) or (plain_model(body.get("model")) if "model" in body else None)
    return body if model is None else {**body, "model": model}


_MODEL_IN_PATH: Final = re.compile(r"(/models/)[^/:?#]+(:[A-Za-z]+(?:[?#].*)?)\Z")


def relocated(url: str, model: str) -> str | None:
    """A path, or a URL, with another model; `None` for a tuned one, or an endpoint of one's own."""
    if model_in(url) is None:
        return url
    moved, times = _MODEL_IN_PATH.subn(rf"\g<1>{quote(model, safe='@')}\g<2>", url)
    return moved if times else None


_TIER = "x-gemini-service-tier"
_TIERS = frozenset({"standard", "flex", "priority"})


def told(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the headers of a reply say, as the reply itself would: the tier that it was served in."""
    tier = next((value for name, value in headers.items() if name.lower() == _TIER), None)
    return {"serviceTier": tier.lower()} if isinstance(tier, str) and tier.lower() in _TIERS else {}


def _last(path: str) -> str:
    """The last segment of a path or an absolute URL, as servers read it."""
    return unquote(path.partition("?")[0].partition("#")[0]).rstrip("/").rpartition("/")[2]


def cap_field(endpoint: Endpoint, host: Host) -> str | None:
    """The request's field that an output cap is in, as far as the host takes it."""
    name = interactions.CONFIG if endpoint is INTERACTIONS else requests.CONFIG
    return None if endpoint.amend is None or name in host.refuses else name


DIALECT: Final = Dialect(find, may_cost, cap_field, requests.headed, located, relocated)
"""As whoever guards calls uses it."""
