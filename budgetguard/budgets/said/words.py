"""
The words that other packages have for what budgets are made of, and ours for each.

A budget that is written as LiteLLM, an agent SDK or a gateway would have it fails anyway, as Python knows no such
argument; here it is told which one is meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from difflib import get_close_matches
from functools import wraps
from inspect import signature
from typing import Any, Final, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])

OTHERS: Final = {
    ("limit", "total_budget", "max_budget"): """
        max_budget max_usd max_budget_usd max_cost max_cost_usd max_spend max_dollars max_amount budget budget_usd
        budget_limit budget_amount amount amount_usd cost cost_limit total_cost_limit cost_cap credit_limit
        limit_usd usd_limit usd dollars spend_limit spending_limit soft_budget hard_limit soft_limit total_limit
        daily_limit monthly_limit daily_budget monthly_budget ceiling cap quota threshold
    """,
    ("limit= with unit='tokens'", "total_budget= with unit='tokens'"): """
        tokens max_tokens token_limit tokens_limit total_tokens_limit max_total_tokens token_budget tpm_limit tpm
    """,
    ("limit= with unit='requests'", "total_budget= with unit='requests'"): """
        requests calls max_requests max_calls request_limit call_limit rate_limit rpm_limit rpm
    """,
    ("limit= with unit='parallel'", "total_budget= with unit='parallel'"): """
        parallel max_parallel max_parallel_requests parallel_requests max_concurrency concurrency max_concurrent
        concurrency_limit
    """,
    ("period", "duration"): """
        budget_duration duration period time_period interval window reset reset_interval reset_period periodic_reset
        refresh renewal frequency
    """,
    ("store",): "store_url url db db_url database database_url redis_url storage backend path dsn uri",
    ("project_name",): "project namespace name app_name",
    ("name",): "budget_name budget_id id key key_alias alias label",
    ("user",): "user_id username end_user customer customer_id subject session_id",
    ("tags",): "tag metadata labels attributes properties",
    ("enforce",): "enforcement mode strict hard soft on_exceeded on_limit action policy",
    ("budgets",): "rules limits budget_config policies",
    ("wait",): "timeout wait_s max_wait",
}
"""Ours, of which a function has one; and what LiteLLM, Pydantic AI, Portkey, Helicone, agent SDKs and others say."""

_NAMES: Final = re.compile(r"(\w+)=")
_WORDS: Final[dict[str, list[str]]] = {}
for _ours, _theirs in OTHERS.items():
    for _word in (*_theirs.split(), *_ours):
        _WORDS.setdefault(_word, []).extend(_ours)


def word_for(word: str, known: Collection[str]) -> str:
    """Which of the known names is meant by another one; "" if that cannot be said."""
    near = get_close_matches(word, known, 1)
    for other in (word,) if near else (word, *get_close_matches(word, _WORDS, 1)):
        for ours in _WORDS.get(other, ()):
            if set(_NAMES.findall(ours) or [ours]) <= set(known):
                return ours
    return near[0] if near else ""


def in_our_words(function: F) -> F:
    """The function; called with an argument that it has not, it raises a `TypeError` that names the one it has."""
    known = [name for name in signature(function).parameters if name != "self"]
    names = frozenset(known)

    @wraps(function)
    def told(*args: Any, **kwargs: Any) -> Any:
        if not names.issuperset(kwargs):
            word = next(name for name in kwargs if name not in names)
            meant = word_for(word, known)
            meant = meant if "=" in meant else meant and f"{meant}="
            say = f"say {meant}" if meant else f"there are {', '.join(known)}"
            called = function.__qualname__.removesuffix(".__init__")
            raise TypeError(f"{called}({word}=...): there is no such argument: {say}")
        return function(*args, **kwargs)

    return cast(F, told)
