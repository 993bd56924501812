"""
Tokens: how many a call's input may be, with no network and no patience.

`bound` is arithmetic on byte lengths. Every token of a byte-level BPE stands for
at least one byte of UTF-8, so a text never has more tokens than bytes: that is a
proof for OpenAI's models, and it takes microseconds. `count` is tiktoken's count,
which is some four times lower for English and costs milliseconds: it is for calls
that the bound would refuse. Its vocabularies ship with this package (`data/`), and
whatever tiktoken cannot count soon is bounded by its bytes instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import accumulate
from time import thread_time
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

from ..calls import Call, read
from ..concurrency.interrupts import raise_interruption
from ..concurrency.locks import mutex

if TYPE_CHECKING:
    import re

    from tiktoken import Encoding

PATIENCE_S = 0.15
"""CPU seconds that one count may take; what is left by then is bounded by its bytes. English takes 0.04 s a MB."""

STRETCH = 16_384
"""Characters after which a text may be cut for counting."""

LONGEST_STRETCH = 4 * STRETCH
"""Characters without a place to cut (a million spaces, base64) that are still tokenized: tiktoken fails on far more."""

PER_MESSAGE = 3
PER_ANSWER = 2
PER_NAME = 1
PRIMING = 3
"""
The framing of OpenAI's chat format, in tokens: a message, more if it is an earlier answer, a name, and the start of the
next answer. Source: the usage of 30 recorded replies (langchain-openai 1.7.4, tests/cassettes, 2026-11-22), exact for
gpt-4o-mini; GPT-5 and later have one less to start the answer, and earlier models have no `PER_ANSWER`.
"""

LEAST_MARGIN = 16

PER_TOOL = 16
"""Allowed for the framing of one tool or structured part, on top of the bytes of its compact JSON."""


def bound(call: Call) -> int:
    """
    The most input tokens that `call` can have: never below the true count for OpenAI's models.

    Others are not public, or normalize the text first: for them it is a generous allowance.
    """
    if not (call.texts or call.overhead or call.images):  # billed by the character, the second, the picture
        return 0
    nature = _nature(call.model)
    total = call.overhead + call.images * nature.image + nature.per_call
    for text in call.texts:
        total += (len(text) * nature.factor if text.isascii() else nature.most(text)) + nature.per_text
    return total


def count(call: Call) -> int:
    """
    The input tokens of `call` as tiktoken counts them, never above `bound`.

    It is the bound itself where tiktoken would be wrong (another vendor's model) or is not to be had, and partly so
    where a text takes it longer than `PATIENCE_S`.
    """
    nature = _nature(call.model)
    most = bound(call)
    if nature.encoding is None:
        return most
    return min(most, _count_texts(call.texts, nature.encoding) + _extra(call, nature))


def margin(counted: int) -> int:
    """What a count may fall short of the bill where templates differ by model and host: 1 %, at least 16 tokens."""
    return max(-(-counted // 100), LEAST_MARGIN)


def count_text(text: str, model: str) -> int:
    """
    The tokens of one text without any framing, to price texts whose usage is not known.

    For models of other vendors it is an estimate, and rather too high: cl100k_base and half as much again, at most
    the bytes. (Two such tokenizers, on eight kinds of text, had 0.5 to 1.1 times the tokens of cl100k_base.)
    """
    nature = _nature(model)
    if nature.encoding is not None:
        return _count_texts([text], nature.encoding)
    counted = _count_texts([text], "cl100k_base")
    return min(_byte_length(text), counted + (counted + 1) // 2)


def count_messages(messages: Sequence[Mapping[str, Any]], model: str) -> int:
    """
    The tokens of a list of chat messages, framing and pictures included: `count` of the call that sends them.

    For OpenAI's models at most 1, and 2 for each earlier answer, above what is billed, where nothing but text is sent.
    """
    texts: list[str] = []
    overhead, images = PRIMING, 0
    for message in messages:
        overhead += PER_MESSAGE + (PER_ANSWER if read(message, "role") == "assistant" else 0)
        for key in ("role", "content", "name", "refusal", "tool_calls", "function_call", "tool_call_id"):
            value = read(message, key)
            if isinstance(value, str):
                texts.append(value)
                overhead += PER_NAME if key == "name" else 0
            elif isinstance(value, list | tuple):
                for part in value:
                    if _is_picture(part):
                        images += 1
                    else:
                        overhead += _part(part, texts)
            elif value is not None:
                overhead += _part(value, texts)
    return count(Call(model=model, texts=texts, overhead=overhead, images=images))


def encoding_name(model: str) -> str | None:
    """
    "o200k_base" or "cl100k_base" for models of OpenAI, else `None`: tiktoken's count would be wrong.

    A map of our own: tiktoken raises for models newer than itself. Names that look like OpenAI's and are not known
    have the newest vocabulary.
    """
    return _nature(model).encoding


def image_bound(model: str) -> int:
    """The most tokens that one picture in the input can have; the dearest known for a model that is not known."""
    return _nature(model).image


def encoding(name: str) -> Encoding | None:
    """
    tiktoken's `Encoding` "o200k_base" or "cl100k_base", built once in a process, without a network.

    The first use takes about 200 ms and 80 MB: call it at start-up to have that behind you. `None`, after one
    warning in the log, if it cannot be built.
    """
    try:
        return _encodings[name]
    except KeyError:
        pass
    with _building:
        if name not in _encodings:
            _encodings[name] = _build(name)
        return _encodings[name]


# --- what is known of models


@dataclass(frozen=True, slots=True)
class _Nature:
    """How a model's input is counted."""

    encoding: str | None
    factor: int
    """Tokens allowed a byte."""
    per_text: int
    """Tokens allowed a text for framing that is not OpenAI's."""
    per_call: int
    """Tokens allowed a call for what a server's template puts in front."""
    image: int

    def most(self, text: str) -> int:
        """
        The most tokens of a text that is not ASCII. A tokenizer that is not public may normalize it first, which makes
        up to eleven bytes of one: so do Claude's and those that are SentencePiece's.
        """
        size = _byte_length(text) * self.factor
        return size if self.encoding is not None else max(size, _byte_length(normalize("NFKC", text)))


_ENCODINGS = (
    # The first prefix that fits. Source: tiktoken 0.14.0, tiktoken/model.py (2026-11-22); what it lists as r50k_base,
    # p50k_base or gpt2 is retired and has no vocabulary here. The last lines are the default for new names.
    ("gpt-4o", "o200k_base"),
    ("gpt-4.", "o200k_base"),
    ("gpt-4", "cl100k_base"),
    ("gpt-3", "cl100k_base"),
    ("gpt-2", None),
    ("gpt-j", None),
    ("gpt-neo", None),
    ("gpt-35-turbo", "cl100k_base"),
    ("text-embedding-", "cl100k_base"),
    ("davinci-002", "cl100k_base"),
    ("babbage-002", "cl100k_base"),
    ("gpt-", "o200k_base"),
    ("chatgpt-", "o200k_base"),
    ("o1", "o200k_base"),
    ("o3", "o200k_base"),
    ("o4", "o200k_base"),
    ("codex-", "o200k_base"),
    ("computer-use-", "o200k_base"),
    ("omni-moderation-", "o200k_base"),
)

DEAREST_IMAGE = 48_169
"""The most that a picture is known to take on any model: gpt-4o-mini's, 2,833 + 8 x 5,667."""

_IMAGES = (
    # The first prefix that fits. Tokens = base + 8 tiles x tile, or patches x multiplier, of the largest picture at the
    # highest detail. Source: litellm 1.109.1, litellm/litellm_core_utils/token_counter.py (2026-11-22), but for nano
    # (x 2.46), gpt-5-mini and o4-mini, which it lacks: there the dearest multiplier stands.
    ("gpt-4o-mini", DEAREST_IMAGE),
    ("gpt-4o", 1_445),
    ("gpt-4.1-mini", 6_636),
    ("gpt-4.1-nano", 10_077),
    ("gpt-4.1", 1_445),
    ("gpt-5-mini", 10_077),
    ("gpt-5-nano", 10_077),
    ("gpt-5.1", 1_190),
    ("gpt-5.2", 4_916),
    ("gpt-5.3", 12_000),
    ("gpt-5.4", 12_000),
    ("gpt-5.5", 12_000),
    ("gpt-5.", 36_000),
    ("gpt-5", 1_190),
    ("gpt-6", 36_000),
    ("o4-mini", 10_077),
    ("o1", 1_275),
    ("o3", 1_275),
)

_CLAUDE_IMAGE = 4_784
"""The same source: the token budget of a picture for Claude 4.7 and later; earlier ones have 1,568."""

_GEMINI_3_IMAGE = 2_240
"""`MEDIA_RESOLUTION_ULTRA_HIGH`, Gemini 3's highest; 1,120 by default (fastgptplus.com, read 2026-11-22)."""


@lru_cache(maxsize=1024)
def _nature(model: str) -> _Nature:
    name = _plain_name(model)
    image = next((most for prefix, most in _IMAGES if name.startswith(prefix)), DEAREST_IMAGE)
    found = next((known for prefix, known in _ENCODINGS if name.startswith(prefix)), None)
    if found is not None:
        # Open weights: each server's template adds a system message of its own.
        return _Nature(found, 1, 0, 128 if name.startswith("gpt-oss") else 0, image)
    if "claude" in name:
        # Twice the bytes, and what NFKC makes of them, covered every text tried (tests/prices/test_tokenizers.py).
        return _Nature(None, 2, 16, 64, _CLAUDE_IMAGE)
    return _Nature(None, 1, 8, 64, _GEMINI_3_IMAGE if name.startswith("gemini-3") else DEAREST_IMAGE)


def _plain_name(model: str) -> str:
    """The model's name without its provider, or the base model of a fine-tune: ft:gpt-4o-mini:org::id."""
    name = model.lower().rpartition("/")[2]
    return name.removeprefix("ft:").partition(":")[0]


def _extra(call: Call, nature: _Nature) -> int:
    return call.overhead + call.images * nature.image + len(call.texts) * nature.per_text + nature.per_call


# --- counting


def _byte_length(text: str) -> int:
    """The length in UTF-8, a lone surrogate as 3 bytes. In slices: most of a long text is ASCII, and that is quick."""
    total = 0
    for start in range(0, len(text), 2048):
        piece = text[start : start + 2048]
        total += len(piece) if piece.isascii() else len(piece.encode("utf-8", "surrogatepass"))
    return total


def _count_texts(texts: Sequence[str], name: str) -> int:
    """tiktoken's count of `texts`, in bytes for what is too long to tokenize or comes after `PATIENCE_S`."""
    encoder = encoding(name)
    deadline = thread_time() + PATIENCE_S
    total = 0
    for text in texts:
        for stretch in _stretches(text):
            if encoder is None or len(stretch) > LONGEST_STRETCH or thread_time() > deadline:
                total += _byte_length(stretch)
                continue
            try:
                total += len(encoder.encode(stretch, disallowed_special=()))
            except ValueError:  # its regular expression ran out of stack
                total += _byte_length(stretch)
    return total


def _stretches(text: str) -> Iterator[str]:
    """`text` in pieces that have as many tokens together as the whole."""
    start = 0
    while len(text) - start > STRETCH and (found := _cuts().search(text, start + STRETCH)):
        yield text[start : found.end()]
        start = found.end()
    yield text[start:]


@cache
def _cuts() -> re.Pattern[str]:
    """
    Where both vocabularies' patterns always end a piece, so that cutting there changes no token.

    Before a space that follows anything but white space: each pattern takes a space only as the first of a piece, or
    in a run of white space. And between a letter or digit and punctuation or a line's end: a piece with a letter
    goes on with letters, marks or an apostrophe only, one with a digit with digits.
    """
    import re

    return re.compile(r"\S(?= )|[0-9A-Za-z\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fa5](?=[\n.,\"\u3001\u3002\uff0c])")


def _is_picture(part: object) -> bool:
    return isinstance(part, Mapping) and part.get("type") in ("image_url", "input_image", "image")


def _part(part: object, texts: list[str]) -> int:
    """Add the text of one part of a message to `texts`; return the tokens allowed for its framing."""
    if isinstance(part, str):
        texts.append(part)
        return 0
    if isinstance(part, Mapping) and isinstance(text := part.get("text"), str):
        texts.append(text)
        return 0
    import json

    texts.append(json.dumps(part, separators=(",", ":"), ensure_ascii=False, default=_plain))
    return PER_TOOL


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    return dump(exclude_none=True) if callable(dump) else str(value)


# --- the vocabularies

_PATTERNS = {
    # How a text is cut into pieces before merging: part of each encoding's definition (see data/README.md).
    "cl100k_base": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
        r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
    ),
    "o200k_base": (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
}

_END_OF_TEXT = {"cl100k_base": 100_257, "o200k_base": 199_999}

_encodings: dict[str, Encoding | None] = {}
_building = mutex("tokens")


def _vocabulary(name: str) -> list[bytes]:
    """The tokens of an encoding in the order of their ranks, from `data/{name}.xz` (its README has the format)."""
    import lzma
    from importlib.resources import files

    raw = lzma.decompress(files(__package__).joinpath("data", f"{name}.xz").read_bytes())
    start = 4 + int.from_bytes(raw[:4], "little")
    ends = accumulate(raw[4:start], initial=start)
    begin = next(ends)
    tokens = []
    for end in ends:
        tokens.append(raw[begin:end])
        begin = end
    return tokens


def _build(name: str) -> Encoding | None:
    try:
        from tiktoken import Encoding

        return Encoding(
            name,
            pat_str=_PATTERNS[name],
            mergeable_ranks={token: rank for rank, token in enumerate(_vocabulary(name))},
            special_tokens={"<|endoftext|>": _END_OF_TEXT[name]},
        )
    except Exception as error:
        raise_interruption(error)
        import logging

        logging.getLogger("budgetguard").warning(
            "tokens are bounded by their bytes, which is up to four times too many: tiktoken's %s cannot be built (%r)",
            name,
            error,
        )
        return None
