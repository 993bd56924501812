"""
OpenAI's operations whose cost their reply never shows: jobs over uploaded files, runs of stored assistants and
agents, sessions that a browser or a telephone holds.

Their requests are read as far as they say anything: which model, for whom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...calls import UNKNOWN_HOST, Call, Host
from ..common.bodies import fields, text
from .requests import user

_HOLDERS = ("session", "agent", "data_source", "grader")


def job(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """Any of them. The model is the body's own, or that of the session, agent, run or grader that it describes."""
    body = fields(body)
    inner = [fields(body.get(name)) for name in _HOLDERS]
    models = (text(part, "model") for part in (body, *inner))
    users = (user(part) for part in (body, *inner))
    return Call(
        model=next((model for model in models if model), ""),
        unknown_input=True,
        stream=body.get("stream") is True,
        user=next((name for name in users if name), None),
    )
