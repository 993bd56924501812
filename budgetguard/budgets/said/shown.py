"""Names as people see them: who calls may say any, and what a terminal or a log obeys is never shown as it is."""

from __future__ import annotations

from typing import Final

FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""How a text begins that a spreadsheet would take for a formula."""
_JOINS: Final = "\u200d"
"""What joins several signs to one, such as those of a family."""


def on_one_line(text: str) -> str:
    """A text without letters that end lines, colour or turn what is around them: "\\x1b" stands for that."""
    return text if text.isprintable() else "".join(map(_shown, text))


def on_lines(text: str) -> str:
    """The same of each line."""
    return text if text.isprintable() else "".join(each if each in "\n\t" else _shown(each) for each in text)


def quoted(text: str) -> str:
    """A name as a sheet has it: with a "'" before what a spreadsheet would take for a formula, or its reader trim."""
    return f"'{text}" if _is_quoted(text) else text


def unquoted(text: str) -> str:
    """The name of which `quoted` made this."""
    return text[1:] if text[:1] == "'" and _is_quoted(text[1:]) else text


def _is_quoted(text: str) -> bool:
    return text.startswith(FORMULA) or text != text.strip() or (text[:1] == "'" and _is_quoted(text[1:]))


def _shown(letter: str) -> str:
    return letter if letter.isprintable() or letter == _JOINS else letter.encode("unicode_escape").decode()
