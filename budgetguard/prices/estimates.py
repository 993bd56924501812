"""The tokens of what was heard of an answer whose usage does not say them: counted, never below the items that came."""

from __future__ import annotations

from ..calls import Heard
from . import tokens

BYTES_A_TOKEN = 4
"""Where there is no vocabulary: OpenAI's rule of thumb for English text."""

_USUAL = "gpt-4"
"""
A model of the vocabulary that others' are nearest to: two of them had 0.5 to 1.1 times its tokens. Claude's has more:
`tokens.count_text` allows for that.
"""


def count_heard(heard: Heard, model: str) -> int:
    """The tokens of what was heard; of the text that was not kept, as many a byte as of the text before it."""
    if not heard.text:
        return heard.pieces
    if tokens.encoding_name(model) is None and "claude" not in model.lower():
        model = _USUAL
    size = len(heard.text.encode("utf-8", "surrogatepass"))
    if tokens.encoding(tokens.encoding_name(model) or "cl100k_base") is None:
        counted = -(-size // BYTES_A_TOKEN)
    else:
        counted = tokens.count_text(heard.text, model)
    return max(counted + -(-counted * heard.more // size), heard.pieces)
