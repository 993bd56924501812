"""Reading an answer that the caller holds: an SDK object, a plain dict, or another library's own kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..adapters import openai as adapter
from ..calls import Answer, read
from ..errors import ConfigError

_PATHS = {"response": "/responses", "text_completion": "/completions", "list": "/embeddings"}


def read_answer(answer: Any) -> Answer:
    """What an answer says of its cost; raises `ConfigError` for what is no answer at all."""
    if not isinstance(answer, Mapping) and not hasattr(answer, "__dict__"):
        raise ConfigError(f"completion_obj={answer!r}: an answer of the SDK, or its dict, is needed")
    kind = read(answer, "object")
    endpoint = adapter.find("post", _PATHS.get(kind, "/chat/completions"))
    assert endpoint is not None
    assert endpoint.answer is not None
    return endpoint.answer(answer)
