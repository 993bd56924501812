"""
The headers that programs which came from LiteLLM read of an answer to a model call.

Pure: what is not known of a call has no header, as a stream's cost is not known when its headers go out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from ....money import DOLLAR, Nano
from ...keys import OwnerRules
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
    retries: int = 0
    """How many requests were sent before the one that was answered."""


def headers(facts: CallFacts, owners: Iterable[OwnerRules] = ()) -> Headers:
    """LiteLLM's headers of these facts, and of the limits that the key among these owners has."""
    limits = {
        rule.unit: rule.limit for owner in owners if owner.tag == "key" for rule in owner.rules[::-1] if not rule.match
    }
    made: list[tuple[bytes, str | None]] = [
        (b"x-litellm-call-id", facts.call_id),
        (b"x-litellm-model-id", facts.model_id or None),
        (b"x-litellm-model-group", facts.model or None),
        (b"x-litellm-version", LITELLM_VERSION),
        (b"x-litellm-response-cost", _dollars(facts.cost)),
        (b"x-litellm-key-spend", _dollars(facts.key_spend)),
        (b"x-litellm-key-max-budget", _dollars(limits.get("dollars"))),
        (b"x-litellm-key-rpm-limit", _count(limits.get("requests"))),
        (b"x-litellm-key-tpm-limit", _count(limits.get("tokens"))),
        (b"x-litellm-attempted-retries", str(facts.retries)),
    ]
    return [(name, _safe(value)) for name, value in made if value is not None]


def _dollars(amount: Nano | None) -> str | None:
    """An amount as a program's `float()` reads it: plain digits, never an exponent."""
    if amount is None:
        return None
    return f"{amount // DOLLAR}.{amount % DOLLAR:09d}".rstrip("0").rstrip(".")


def _count(number: int | None) -> str | None:
    return None if number is None else str(number)


def _safe(value: str) -> bytes:
    """A value that ends no header: names of models are the operator's, and the caller's."""
    return "".join(char if " " <= char <= "~" else "?" for char in value)[:200].encode("ascii")
