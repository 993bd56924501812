"""
Which models a key may call: globs in which a `*` stays within one part of a name.

`gpt-4o*` is `gpt-4o-mini` and not `gpt-4o/../o3`; `openai/*`, which ends in a part of its own, is all of a provider's,
and `*` alone is every model. Letters count as they are written: nothing is folded that only looks alike.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from ...errors import ConfigError

MOST_LETTERS = 256


def allows(globs: Sequence[str], model: str) -> bool:
    """Whether one of the globs is of the model; any model, without globs."""
    return not globs or (is_name(model) and any(_pattern(glob).fullmatch(model) for glob in globs))


def is_name(model: str) -> bool:
    """Whether a text can be a model's name: printable, not long, and no path that leads elsewhere."""
    return (
        0 < len(model) <= MOST_LETTERS
        and model.isprintable()
        and not any(letter in " \\" for letter in model)
        and not any(part in {"", ".", ".."} for part in model.split("/"))
    )


def require_glob(glob: object) -> str:
    """A glob that names of models can match; raises `ConfigError`."""
    if not isinstance(glob, str) or not is_name(glob):
        raise ConfigError(f"models={glob!r}: write a model's name, or a glob such as 'gpt-4o*' or 'openai/*'")
    return glob


@lru_cache(4_096)
def _pattern(glob: str) -> re.Pattern[str]:
    """`*` is any letters of one part, or of all that are left where it is the last part; `?` is one letter."""
    stem, all_of_it = (glob[:-1], ".*") if glob == "*" or glob.endswith("/*") else (glob, "")
    return re.compile("/".join(map(_part, stem.split("/"))) + all_of_it)


def _part(glob: str) -> str:
    """The pattern of one part; what a star took is not tried again, as no glob may keep everybody waiting."""
    first, *others = ["".join("[^/]" if each == "?" else re.escape(each) for each in text) for text in glob.split("*")]
    *middle, last = others or [""]
    return first + "".join(f"(?>[^/]*?{text})" for text in middle) + (f"[^/]*{last}" if others else "")
