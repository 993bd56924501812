"""
The headers that programs which came from LiteLLM read of an answer to a model call.

Pure: what is not known of a call has no header, as a stream's cost is not known when its headers go out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from ....money import DOLLAR, Nano
from .version import LITELLM_VERSION

Headers: TypeAlias = list[tuple[bytes, bytes]]


class CallFacts(NamedTuple):
    """What is known of a call when its headers are sent."""

    call_id: str
    model_id: str = ""
    """The upstream that answered and the model's name there, as `/model/info` has it under `model_info.id`."""
    model: str = ""
    """The model that was asked for."""
    cost: Nano | None = None
    """The true cost; `None` of a stream."""
    key_spend: Nano | None = None
    """What the key had spent in its period, this call included."""
    key_limit: Nano | None = None
    key_rpm: int | None = None
    key_tpm: int | None = None
    retries: int = 0
    """How many requests were sent before the one that was answered."""
    fallbacks: int = 0
    """How many of these were to other models."""


def headers(facts: CallFacts) -> Headers:
    """LiteLLM's headers of these facts."""
    made: list[tuple[bytes, str | None]] = [
        (b"x-litellm-call-id", facts.call_id),
        (b"x-litellm-model-id", facts.model_id or None),
        (b"x-litellm-model-group", facts.model or None),
        (b"x-litellm-version", LITELLM_VERSION),
        (b"x-litellm-response-cost", _if_known(facts.cost, dollars)),
        (b"x-litellm-key-spend", _if_known(facts.key_spend, dollars)),
        (b"x-litellm-key-max-budget", _if_known(facts.key_limit, dollars)),
        (b"x-litellm-key-rpm-limit", _if_known(facts.key_rpm, str)),
        (b"x-litellm-key-tpm-limit", _if_known(facts.key_tpm, str)),
        (b"x-litellm-attempted-retries", str(facts.retries)),
        (b"x-litellm-attempted-fallbacks", str(facts.fallbacks)),
    ]
    return [(name, _safe(value)) for name, value in made if value is not None]


def dollars(amount: Nano) -> str:
    """An amount as a program's `float()` reads it: plain digits, never an exponent."""
    return f"{amount / DOLLAR:.9f}".rstrip("0").rstrip(".")


def _if_known(value: int | None, shown: Callable[[int], str]) -> str | None:
    return None if value is None else shown(value)


def _safe(value: str) -> bytes:
    """A value that ends no header: names of models are the operator's, and the caller's."""
    return "".join(char if " " <= char <= "~" else "?" for char in value)[:200].encode("ascii")
