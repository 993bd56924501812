"""A line of the log: for people, as wide as there is room, and for programs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from ...budgets.rules import unescape
from ...budgets.said.shown import on_one_line
from ...reports.amounts import readable_in
from ...reports.shown.lists import CallShown, RefusalShown
from ..common.show import in_csv, iso, money, when
from .newest import Logged

WIDE: Final = 100
"""From so many columns on there is room for the day, the tokens and the tags."""
_USER, _MODEL, _TOKENS, _COST = 12, 22, 15, 10
_NARROW = 10, 17

HEADER: Final = (
    *("what", "at", "user", "provider", "model", "input_tokens", "output_tokens", "cost", "flags", "tags"),
    *("times", "budget", "subject", "unit", "wanted", "room", "busy", "id"),
)


class LogWriter:
    """Writes lines for people, one after the other; on a narrow terminal a new day has a line of its own."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._day = ""

    def write(self, lines: Iterable[Logged]) -> int:
        """Write these; how many they were."""
        count = 0
        for line in lines:
            wide, day = self._console.width >= WIDE, f"{when(line.at_ms):%Y-%m-%d}"
            if not wide and day != self._day:
                self._console.print(Text(f"-- {day} UTC", style="dim"))
                self._day = day
            text, count = line_of(line, wide=wide), count + 1
            if self._console.is_terminal:
                self._console.print(text, no_wrap=True, overflow="ellipsis")
            else:
                self._console.print(text, soft_wrap=True)
        return count


def line_of(line: Logged, *, wide: bool) -> Text:
    """One line: when, who, which model; then what it cost, or why it was refused."""
    user, model = (_USER, _MODEL) if wide else _NARROW
    text = Text(f"{when(line.at_ms):{'%Y-%m-%d ' if wide else ''}%H:%M:%S} ")
    text.append(f"{_cell(line.user or '-', user)} {_cell(line.model or '-', model)} ")
    text.append_text(_refusal(line, wide=wide) if isinstance(line, RefusalShown) else _call(line, wide=wide))
    text.rstrip()
    return text


def _call(call: CallShown, *, wide: bool) -> Text:
    text = Text(f"{call.input_tokens:,} > {call.output_tokens:,}".rjust(_TOKENS) + " " if wide else "")
    text.append(money(call.cost).rjust(_COST), style="bold")
    if call.flags:
        text.append(f"  {' '.join(call.flags)}", style="yellow")
    return text.append(_tags(call) if wide else "", style="dim")


def _refusal(refusal: RefusalShown, *, wide: bool) -> Text:
    times = f" x{refusal.times:,}" if refusal.times > 1 else ""
    budget = on_one_line(refusal.budget)
    text = Text(f"{'busy' if refusal.busy else 'refused'}{times} by {budget}", style="red")
    if wide:
        subject = on_one_line(unescape(refusal.subject))
        text.append(f"/{subject}" if subject else "")
        text.append(
            f": {readable_in(refusal.wanted, refusal.unit)} wanted, {readable_in(refusal.room, refusal.unit)} left"
        )
    return text.append(_tags(refusal) if wide else "", style="dim")


def _tags(line: Logged) -> str:
    named = [on_one_line(f"{name}={value}") for name, value in line.tags.items() if name != "user"]
    return f"  {' '.join(named)}" if named else ""


def _cell(text: str, cells: int) -> str:
    """A name in a column; "…" stands for the end of one that is longer."""
    plain = on_one_line(text)
    return set_cell_size(plain, cells) if cell_len(plain) <= cells else f"{set_cell_size(plain, cells - 1)}…"


def json_line(line: Logged) -> dict[str, Any]:
    """One line for programs; amounts are whole nano-dollars, or of the unit beside them."""
    said = {"id": line.id, "at": iso(line.at_ms), "user": line.user, "provider": line.provider, "model": line.model}
    if isinstance(line, CallShown):
        return {
            "what": "call",
            **said,
            "cost": line.cost,
            "input_tokens": line.input_tokens,
            "output_tokens": line.output_tokens,
            "usage": dict(line.usage),
            "flags": list(line.flags),
            "tags": dict(line.tags),
            "accounts": list(line.accounts),
        }
    return {
        "what": "refusal",
        **said,
        "times": line.times,
        "last_at": iso(line.last_ms),
        "budget": line.budget,
        "subject": unescape(line.subject),
        "account": line.account,
        "unit": line.unit,
        "wanted": line.wanted,
        "room": line.room,
        "spent": line.spent,
        "held": line.held,
        "limit": line.limit,
        "busy": line.busy,
        "tags": dict(line.tags),
    }


def csv_row(line: Logged) -> list[Any]:
    """One line for a spreadsheet, under `HEADER`."""
    tags = " ".join([f"{name}={value}" for name, value in line.tags.items()])
    named = [iso(line.at_ms), line.user, line.provider, line.model]
    if isinstance(line, CallShown):
        counts = [line.input_tokens, line.output_tokens, in_csv(line.cost), " ".join(line.flags), tags]
        return ["call", *named, *counts, 1, "", "", "", "", "", "", line.id]
    amounts = [in_csv(line.wanted, line.unit), in_csv(line.room, line.unit), "yes" if line.busy else ""]
    said = [line.times, line.budget, unescape(line.subject), line.unit, *amounts, line.id]
    return ["refusal", *named, "", "", "", "", tags, *said]
