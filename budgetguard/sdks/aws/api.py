"""Bedrock's API, with the readers of Anthropic's and OpenAI's JSON, which go in its envelope."""

from __future__ import annotations

from typing import Final

from ...adapters import anthropic, openai
from ...adapters.bedrock import Bedrock, Guest, bedrock

BEDROCK: Final[Bedrock] = bedrock(
    claude=Guest(anthropic.DIALECT, anthropic.MESSAGES), chat=Guest(openai.DIALECT, openai.CHAT)
)
