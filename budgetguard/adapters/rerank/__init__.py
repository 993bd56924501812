"""
Reranking, as Cohere, Jina, Voyage, Together and proxies serve it: documents in the order in which they answer a query.

It is billed by the search (Cohere: a query over a hundred documents, a long one counts for several) or by the input
token. The reply says which: in `meta.billed_units`, or as a `usage`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ...calls import UNKNOWN_HOST, Answer, Call, Endpoint, Host
from ..common.bodies import fields, text
from ..common.numbers import fields as said_by
from ..common.numbers import number_of

_BY_SEARCH: Final = re.compile(r"(^|[./])rerank-(v[1-4]|english|multilingual)")
"""The names of Cohere's models that are billed by the search, wherever they are served; others are by the token."""

_DOCUMENTS_A_SEARCH = 100
_BYTES_A_DOCUMENT = 500
"""A document longer than 500 tokens counts for several (docs.cohere.com, "How does Cohere's pricing work?"): a token is
a byte at least."""

_FRAME = 16
"""Tokens around each document, at most."""


def _request(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    body = fields(body)
    model = text(body, "model") or ""
    query, documents = text(body, "query") or "", [_words(each) for each in _listed(body.get("documents"))]
    if _BY_SEARCH.search(model.lower()):
        parts = sum(-(-(len(each) + len(query)) * 4 // _BYTES_A_DOCUMENT) for each in documents)
        searches = max(-(-parts // _DOCUMENTS_A_SEARCH), 1)
        return Call(model, fixed={"rerank_searches": searches}, output=False, user=text(body, "user"))
    return Call(
        model,
        texts=[query] * len(documents) + documents,  # each document is read with the query
        overhead=_FRAME * len(documents),
        output=False,
        user=text(body, "user"),
    )


def _answer(reply: Any) -> Answer:
    said = said_by(reply, ("meta", "usage", "model", "id"))
    meta = said_by(said.get("meta"))
    billed, tokens, usage = said_by(meta.get("billed_units")), said_by(meta.get("tokens")), said_by(said.get("usage"))
    counts = {}
    if searches := number_of(billed, "search_units"):
        counts["rerank_searches"] = searches
    elif read := max(
        number_of(billed, "total_tokens"),
        number_of(billed, "input_tokens"),
        number_of(tokens, "input_tokens"),
        number_of(usage, "total_tokens"),
    ):
        counts["input_tokens"] = read
    model = said.get("model")
    return Answer(model=model if isinstance(model, str) and model else None, usage=counts or None)


def _listed(documents: Any) -> Sequence[Any]:
    return documents if isinstance(documents, list | tuple) else ()


def _words(document: Any) -> str:
    if isinstance(document, Mapping):
        return "\n".join(str(value) for value in document.values())
    return str(document)


RERANK: Final = Endpoint("rerank", "POST", "/rerank", request=_request, answer=_answer)
"""The one operation."""
