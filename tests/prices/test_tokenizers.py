"""
Bounds of models whose tokenizers are not OpenAI's, against those that are to be had.

Claude's is the one that Anthropic published for its second generation, DeepSeek's that of V3: both come with litellm
(`litellm_core_utils/tokenizers`). Mistral's is the SentencePiece model of its third version, in mistral-common.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budgetguard.calls import Call
from budgetguard.prices import tokens

RECORDED = [
    # twenty times a text, and its tokens by Claude's, DeepSeek's and Mistral's tokenizer (tokenizers 0.23, 2026-11-29)
    ("The quick brown fox jumps over the lazy dog. ", 201, 201, 241),
    ("\ufdfa", 300, 60, 61),
    ("\ufdfb\u33a5\xbd", 220, 120, 141),
    ("\u4e2d\u6587\u306e\u6587\u5b57\uff0c", 80, 80, 121),
    ("\U0001f469\u200d\U0001f680", 120, 100, 121),
    ("\t\n\r ", 60, 60, 81),
    ("a\u0301\u0323", 80, 60, 60),
    ("\u0e01\u0e33 \u0e19\u0e49\u0e33", 201, 60, 121),
    ("0123456789", 20, 67, 201),
    ('{"a":[1,2]}', 140, 159, 179),
    ("\uac00\u11a8", 40, 60, 81),
    ("\U0010ffff\ue000", 140, 120, 141),
]
MODELS = ["claude-opus-5", "deepseek-chat", "mistral-large-2512", "gemini-2.5-pro"]
PIECES = st.sampled_from([*"\ufdfa\ufdfb\u33a5\xbd\u1e9b\u0323\t\n \u3000aZ09{", "\U0001f469\u200d\U0001f680", "\0"])


def bound(text: str, model: str) -> int:
    return tokens.bound(Call(model=model, texts=[text]))


@pytest.mark.parametrize("row", RECORDED, ids=lambda row: ascii(row[0]))
def test_recorded_counts_are_within_the_bound(row: tuple[str, int, int, int]) -> None:
    """Claude's normalizes: one sign of three bytes became fifteen tokens, two and a half times what was held."""
    text, *counts = row
    for model, counted in zip(MODELS, counts, strict=False):
        assert counted <= bound(text * 20, model)


@pytest.mark.parametrize("model", MODELS)
def test_text_that_grows_when_it_is_normalized_is_held_at_what_it_becomes(model: str) -> None:
    """Whatever a tokenizer does with it afterwards: it cannot have more tokens than bytes."""
    assert bound("\ufdfa" * 100, model) >= 100 * 33


@cache
def tokenizer(model: str) -> Callable[[str], int]:
    """Counts by the real one; skips where it is not installed."""
    spec = find_spec("litellm")
    if spec is None or spec.origin is None or find_spec("tokenizers") is None:
        pytest.skip("litellm and tokenizers are not installed here")
    from tokenizers import Tokenizer

    folder = Path(spec.origin).parent / "litellm_core_utils/tokenizers"
    real = Tokenizer.from_file(str(folder / f"{model}_tokenizer.json"))
    return lambda text: len(real.encode(text, add_special_tokens=False).ids)


@pytest.mark.parametrize("model", ["anthropic", "deepseek"])
@given(text=st.lists(PIECES | st.text(max_size=6), max_size=30).map("".join))
@settings(max_examples=100, deadline=None)
def test_no_text_has_more_tokens_than_its_bound(model: str, text: str) -> None:
    """A hold below the bill is a budget that does not hold."""
    name = {"anthropic": "claude-opus-5"}.get(model, "deepseek-chat")
    assert tokenizer(model)(text) <= bound(text, name)
