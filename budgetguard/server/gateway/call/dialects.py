"""The APIs that are passed through, as the adapters know them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ....adapters import anthropic, gemini, openai
from ....calls import Dialect
from ..config.model import Api

DIALECTS: Final[Mapping[Api, Dialect]] = {
    "openai": openai.DIALECT,
    "anthropic": anthropic.DIALECT,
    "gemini": gemini.DIALECT,
}
