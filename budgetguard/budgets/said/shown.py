"""Names as people see them: who calls may say any, and what a terminal or a log obeys is never shown as it is."""

from __future__ import annotations

from typing import Final

_JOINS: Final = "\u200d"
"""What joins several signs to one, such as those of a family."""


def on_one_line(text: str) -> str:
    """A text without letters that end lines, colour or turn what is around them: "\\x1b" stands for that."""
    return text if text.isprintable() else "".join(map(_shown, text))


def on_lines(text: str) -> str:
    """The same of each line."""
    return text if text.isprintable() else "".join(each if each in "\n\t" else _shown(each) for each in text)


def _shown(letter: str) -> str:
    return letter if letter.isprintable() or letter == _JOINS else letter.encode("unicode_escape").decode()
