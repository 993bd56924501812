"""
Kinds: the names of what a usage counts, and of what a price is given for.

Kinds are nested: `input_tokens` is all input, `cache_read_tokens` a part of it, `cache_audio_read_tokens` a part of
that part and of `input_audio_tokens`.
"""

from __future__ import annotations

from functools import cache

_MODES = ("", "text_", "audio_", "image_", "video_")
_CACHE = ("read", "write", "write_5m", "write_1h", "write_12h")

TOKEN_KINDS = frozenset(
    f"{name}_tokens"
    for mode in _MODES
    for name in (
        *(f"{way}_{mode}".rstrip("_") for way in ("input", "output")),
        *(f"cache_{mode}{what}" for what in _CACHE),
        f"input_{mode}tool",
        f"output_{mode}reasoning",
        f"output_{mode}citation",
    )
)
"""Kinds of tokens: those of genai-prices, and writes to a cache that keeps twelve hours."""

TOOL_KINDS = frozenset({"web_searches", "social_searches", "storage_searches", "map_searches", "code_executions"})
"""Kinds of use of a tool: fees beside the price of a model."""

UNIT_KINDS = TOOL_KINDS | frozenset(
    {
        "input_characters",
        "input_text_messages",
        "audio_seconds",
        "input_audio_seconds",
        "output_audio_seconds",
        "input_pixels",
        "input_document_pages",
        "input_annotated_document_pages",
        "rerank_searches",
        "requests",
    }
)
"""Kinds of everything else. `requests` is charged once a call, stated or not."""

FAMILIES = ("images", "video_seconds")
"""Kinds of the form "images/hd/1024x1024": one that is not listed costs what the model's dearest listed one does."""


@cache
def words(kind: str) -> frozenset[str]:
    """
    What a kind's name says. A kind is a part of another if it says all that the other does, and more.

    This is the same order as that of the dimensions of genai-prices' units (a test compares them).
    """
    said = set(kind.split("_"))
    return frozenset(said | {"input"} if "cache" in said else said)


def unpriced_kind(provider: str, model: str, kind: str) -> str:
    """The text of the error about a kind without a price, with the lines to add."""
    key, unit = declared_key(kind)
    where = f", provider={provider!r}" if provider else ""
    return (
        f"no price is known for {kind!r} of model {model!r} ({provider or 'any provider'}). Add it to the price file "
        f"({unit}):\n\n    [models.{quoted(model)}]\n    {quoted(key)} = 0.00\n\nor in code: "
        f"prices.add({model!r}{where}, **{{{key!r}: '0.00'}})"
    )


def declared_key(kind: str) -> tuple[str, str]:
    """How a price file calls a kind, and in what its price is given."""
    if kind in TOKEN_KINDS:
        return kind.removesuffix("_tokens"), "dollars per million tokens"
    return kind, "dollars per million characters" if kind == "input_characters" else "dollars each"


def quoted(text: str) -> str:
    """A text as TOML writes it."""
    plain = (sign.isprintable() and sign not in '"\\' for sign in text)
    return '"' + "".join(sign if ok else f"\\U{ord(sign):08x}" for sign, ok in zip(text, plain, strict=True)) + '"'
