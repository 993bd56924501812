"""
Cohere's own API, in both of its versions: chats, embeddings, searches among documents.

Paths are those of its SDK (cohere 7.3). What is billed is said apart from what was read (`billed_units`). What it
serves of OpenAI's API (`/compatibility/v1`) is that dialect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ...calls import Dialect, Endpoint, Host, ReadRequest
from ..common.bodies import instead_unless, lowering
from ..common.paths import finder
from . import replies, requests


def cap_field(endpoint: Endpoint, host: Host) -> str | None:
    """The request's field for an output cap; `None` if there is none."""
    return "max_tokens" if endpoint.amend is not None and host.refuses.get("max_tokens") != 0 else None


def _amend(body: Mapping[str, Any], cap: int | None, ask_usage: bool, host: Host) -> dict[str, Any]:
    return dict(body) if cap is None else {**body, "max_tokens": cap}


def _text(name: str, path: str, request: ReadRequest) -> Endpoint:
    return Endpoint(
        name,
        "POST",
        path,
        request=request,
        answer=replies.answer,
        listener=replies.EventsListener,
        amend=_amend,
        lower=lowering(_amend),
        instead=instead_unless("conversation_id"),
    )


find = finder(
    (
        _text("v2.chat", "/v2/chat", requests.chat),
        _text("chat", "/v1/chat", requests.chat_before),
        _text("generate", "/v1/generate", requests.generate),
        *(
            Endpoint(f"{version}.{name}", "POST", f"/{version}/{name}", request=request, answer=answer)
            for version in ("v1", "v2")
            for name, request, answer in (
                ("embed", requests.embed, replies.embedding),
                ("rerank", requests.rerank, replies.searches),
            )
        ),
        *(
            Endpoint(name, "POST", path, request=requests.job, opaque=True)
            for name, path in (
                ("classify", "/v1/classify"),
                ("summarize", "/v1/summarize"),
                ("v2.parse", "/v2/parse"),
                ("v2.batches", "/v2/batches"),
                ("embed_jobs", "/v1/embed-jobs"),
                ("finetuning", "/v1/finetuning/finetuned-models"),
            )
        ),
    )
)
"""The endpoint of a request by its method and path, or `None` if it costs nothing."""

_ROOTS: Final = frozenset(
    {"check-api-key", "connectors", "datasets", "detokenize", "embed-jobs", "finetuning", "models", "tokenize"}
)
"""Below these, what costs anything is in the table (cohere 7.3)."""


def may_cost(method: str, path: str) -> bool:
    """Whether an operation that is not in the table may cost something all the same."""
    return method == "POST" and _ROOTS.isdisjoint(path.split("/"))


DIALECT: Final = Dialect(find, may_cost, cap_field)
"""As whoever guards calls uses it."""
