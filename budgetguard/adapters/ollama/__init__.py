"""
Ollama's own API: chats, completions and embeddings, by a server on this machine mostly.

Its streams are lines of JSON, and an answer is one unless the request says otherwise. What it serves of OpenAI's API is
that dialect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ...calls import Dialect, Endpoint, Host
from ..common.bodies import instead_unless, lowering
from ..common.paths import finder
from . import replies, requests


def cap_field(endpoint: Endpoint, host: Host) -> str | None:
    """The request's field for an output cap; `None` if there is none."""
    return "num_predict" if endpoint.amend is not None else None


def _amend(body: Mapping[str, Any], cap: int | None, ask_usage: bool, host: Host) -> dict[str, Any]:
    """The cap stands among the options."""
    copy = dict(body)
    if cap is not None:
        copy["options"] = {**requests.options(body), "num_predict": cap}
    return copy


_TEXT = (("chat", "/api/chat", requests.chat), ("generate", "/api/generate", requests.generate))

find = finder(
    (
        *(
            Endpoint(
                name,
                "POST",
                path,
                request=request,
                answer=replies.answer,
                listener=replies.LinesListener,
                amend=_amend,
                lower=lowering(_amend),
                instead=instead_unless("context"),  # the tokens of an earlier answer, as its model counts them
            )
            for name, path, request in _TEXT
        ),
        Endpoint("embed", "POST", "/api/embed", request=requests.embed, answer=replies.embedding),
        Endpoint("embeddings", "POST", "/api/embeddings", request=requests.embed, answer=replies.embedding),
    )
)
"""The endpoint of a request by its method and path, or `None` if it costs nothing: models are pulled and shown."""


def may_cost(method: str, path: str) -> bool:
    """Whether an operation that is not in the table may cost something all the same: searches on the web do."""
    return method == "POST" and path.startswith("/api/web_")


DIALECT: Final = Dialect(find, may_cost, cap_field)
"""As whoever guards calls uses it."""
