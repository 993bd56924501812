"""
What Mistral's API has beside OpenAI's: conversations with models and agents, and the reading of documents.

Paths and names are those of its SDK (mistralai 3.7). Chats, code completions, agents' completions, embeddings and sound
are OpenAI's dialect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ...calls import Dialect, Endpoint, Host
from ..common.bodies import lowering
from ..common.paths import finder
from . import replies, requests


def cap_field(endpoint: Endpoint, host: Host) -> str | None:
    """The request's field for an output cap; `None` if there is none."""
    return "max_tokens" if endpoint.amend is not None else None


def _amend(body: Mapping[str, Any], cap: int | None, ask_usage: bool, host: Host) -> dict[str, Any]:
    """The cap stands among the other arguments of the completion."""
    copy = dict(body)
    if cap is not None:
        copy["completion_args"] = {**requests.arguments(body), "max_tokens": cap}
    return copy


def _conversation(name: str, path: str, *, stored: bool) -> Endpoint:
    return Endpoint(
        name,
        "POST",
        path,
        request=requests.conversation_more if stored else requests.conversation,
        answer=replies.conversation,
        listener=replies.ConversationListener,
        amend=_amend,
        lower=lowering(_amend),
    )


find = finder(
    (
        _conversation("beta.conversations", "/conversations", stored=False),
        _conversation("beta.conversations.append", "/conversations/{id}", stored=True),
        _conversation("beta.conversations.restart", "/conversations/{id}/restart", stored=True),
        Endpoint("ocr", "POST", "/ocr", request=requests.pages, answer=replies.pages),
        Endpoint("batch.jobs", "POST", "/batch/jobs", request=requests.job, opaque=True),
    )
)
"""The endpoint of a request by its method and path, or `None` if it is not one of these."""


_ROOTS: Final = frozenset(
    {"agents", "client", "connectors", "conversations", "libraries", "observability", "prompts", "voices", "workflows"}
)
"""Below these, what costs anything is in the table (mistralai 3.7)."""


def may_cost(method: str, path: str) -> bool:
    """Whether an operation that is not in the table may cost something all the same."""
    return method == "POST" and _ROOTS.isdisjoint(path.split("/"))


DIALECT: Final = Dialect(find, may_cost, cap_field)
"""As whoever guards calls uses it."""
