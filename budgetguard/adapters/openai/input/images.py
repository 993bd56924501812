"""
The most output tokens that OpenAI's image models use for a picture.

Sources, both by members of OpenAI's developer community from the official
calculator:
https://community.openai.com/t/gpt-image-1-collected-pricing-information-and-why-responses-is-undocumented/1275254
(2025: tokens by quality and size of gpt-image-1, 100 tokens a partial picture) and
https://community.openai.com/t/gpt-image-2-output-pricing-calculator-online-and-in-your-code/1382699
(2026-06-05: gpt-image-2). Both read in November 2026.

No table was found for the qualities `xhigh` and `max`: each is taken as twice the
detail of `high` along each side.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_FIRST_TOKENS = {
    "low": {"1024x1024": 272, "1024x1536": 408, "1536x1024": 400},
    "medium": {"1024x1024": 1056, "1024x1536": 1584, "1536x1024": 1568},
    "high": {"1024x1024": 4160, "1024x1536": 6240, "1536x1024": 6208},
}
"""gpt-image-1, 1-mini and 1.5: by quality and size."""

_FIRST_DEAREST = "1024x1536"

_DETAIL = {"low": 16, "medium": 48, "high": 96, "xhigh": 192, "max": 192}
"""gpt-image-2 and later: steps along the longer side, by quality."""

_PARTIAL_TOKENS = 100
_GIF_FRAMES = 9
"""`frame_count` where none is stated (openai 3.54, `types/responses/tool.py`)."""

_AUTO_PIXELS = 2560 * 1440
"""The largest size that is not experimental (openai 3.54, `types/image_generate_params.py`), for `auto`."""

_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")


def image_tokens(body: Mapping[str, Any], model: str) -> int:
    """The most output tokens of one picture of a GPT image model, its partial pictures included."""
    quality = body.get("quality")
    partial = _number(body.get("partial_images"), 0, 3) * _PARTIAL_TOKENS
    frames = _number(body.get("frame_count") or _GIF_FRAMES, 1, 1_000) if body.get("output_format") == "gif" else 1
    if model.startswith(("gpt-image-1", "chatgpt-image")):
        sizes = _FIRST_TOKENS.get(quality if isinstance(quality, str) else "", _FIRST_TOKENS["high"])
        size = body.get("size")
        return sizes.get(size if isinstance(size, str) else "", sizes[_FIRST_DEAREST]) + partial
    # `auto` is resolved by the model; only the 2.5 and later have more than `high`.
    dearest = _DETAIL["high"] if model.startswith("gpt-image-2") and not model.startswith("gpt-image-2.") else 192
    detail = _DETAIL.get(quality, dearest) if isinstance(quality, str) else dearest
    # The longer side has `detail` steps and the shorter no more; the price of a step grows with the area.
    return -(-detail * detail * (2_000_000 + _pixels(body.get("size"))) // 4_000_000) * frames + partial


def _pixels(size: object) -> int:
    """Pixels of "1536x1024"; of anything else, what `auto` may come to."""
    found = _SIZE.fullmatch(size) if isinstance(size, str) else None
    return int(found[1]) * int(found[2]) if found else _AUTO_PIXELS


def _number(value: object, least: int, most: int) -> int:
    return min(max(value, least), most) if type(value) is int else least
