"""Reranking: what it can cost at most, and what its replies say that it did."""

from __future__ import annotations

from typing import Any

import pytest

from budgetguard.adapters.rerank import RERANK
from budgetguard.calls import UNKNOWN_HOST, Answer, Call

COHERE: dict[str, Any] = {
    "id": "07734bd2-2473-4f07-94e1-0d9f0e6843cf",
    "results": [{"index": 0, "relevance_score": 0.9}],
    "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 2}},
}
"""As in Cohere's API reference, "Rerank"."""


def asked(body: dict[str, Any]) -> Call:
    assert RERANK.request is not None
    return RERANK.request(body, (), UNKNOWN_HOST)


def answered(reply: Any) -> Answer:
    assert RERANK.answer is not None
    return RERANK.answer(reply)


@pytest.mark.parametrize(
    ("reply", "usage"),
    [
        (COHERE, {"rerank_searches": 2}),
        ({"model": "jina-reranker-v2", "usage": {"total_tokens": 815}}, {"input_tokens": 815}),
        ({"meta": {"billed_units": {"total_tokens": 7}, "tokens": {"input_tokens": 7}}}, {"input_tokens": 7}),
        ({"results": []}, None),
        ("nonsense", None),
    ],
)
def test_a_reply_says_by_what_it_is_billed(reply: Any, usage: Any) -> None:
    """By the search, or by the token; what says neither is unknown."""
    assert answered(reply).usage == usage


@pytest.mark.parametrize(("documents", "searches"), [(["a"], 1), (["a"] * 100, 1), (["a"] * 101, 2), (["a" * 600], 1)])
def test_many_documents_are_many_searches(documents: list[str], searches: int) -> None:
    """A search has a hundred documents."""
    assert asked({"model": "rerank-v3.5", "query": "b", "documents": documents}).fixed == {"rerank_searches": searches}


def test_long_documents_count_for_several() -> None:
    """Cohere cuts what is longer than 500 tokens, the query with it, into pieces."""
    call = asked({"model": "rerank-v3.5", "query": "b", "documents": [{"title": "c", "text": "a" * 60_000}] * 10})
    assert call.fixed["rerank_searches"] >= 10
    assert not call.output


def test_other_models_are_billed_by_the_token() -> None:
    """Jina's, Voyage's, Together's: each document is read with the query."""
    call = asked({"model": "rerank-2.5", "query": "b", "documents": [{"title": "c", "text": "a" * 60_000}] * 10})
    assert call.fixed == {}
    assert sum(map(len, call.texts)) > 600_000


def test_what_is_no_request_is_read_as_none() -> None:
    """A reader never raises: the API will refuse it."""
    assert asked({"documents": 7}).texts == []
