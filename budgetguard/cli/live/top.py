"""`top`: a live table of what is spent now, and of the budgets that are fullest."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Annotated, Final, NoReturn

import typer
from rich.console import Console
from rich.live import Live

from ...budgets.said.checks import require_text
from ...errors import ConfigError, StoreError
from ...reports.reports import Reports
from ..common.options import JsonOption, ProjectOption, StoreOption, project
from ..common.show import console, print_json
from .drawn import TopView, drawn, in_json
from .frame import ORDERS, GroupOrder, TopFrame, TopFrames, following, sorted_by
from .keys import TypedKeys

INTERRUPTED: Final = 130
TERMINATED: Final = 143
FIELDS: Final = ("user", "model", "provider")
_LENGTH: Final = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)(s|m|h|d|)")
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_LINES: Final = 40
"""Of a frame that is alone."""
_LEAST_S, _LOOK_S = 0.05, 0.25
"""How often is looked whether a frame has come, and whether the window has another size."""

ByOption = Annotated[str, typer.Option(help="Groups: user, model, provider, or any tag.")]
EveryOption = Annotated[str, typer.Option(metavar="TIME", help="How often it is drawn: 2s, 0.5s.")]
OverOption = Annotated[str, typer.Option(metavar="TIME", help="What is recent, of rates and groups: 5m, 1h.")]
SortOption = Annotated[str, typer.Option(help="Order of the groups: cost, calls, tokens or name.")]
OnceOption = Annotated[bool, typer.Option("--once", help="One frame, and end; so it is where stdout is no terminal.")]


def top(
    *,
    by: ByOption = "user",
    sort: SortOption = "cost",
    every: EveryOption = "2s",
    over: OverOption = "5m",
    once: OnceOption = False,
    store: StoreOption = None,
    name: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    What is spent now, live: the rate, calls in flight, the fullest budgets, who spends; days are UTC.

    Keys: q quits, s changes the order, b the groups, p pauses.

    Example: budgetguard top --by model --every 5s
    """
    every_s, over_s = _seconds(every, "--every"), _seconds(over, "--over")
    view, out = TopView(require_text(by, "--by"), _order(sort)), console()
    with project(store, name) as manager:
        reports = Reports(manager.store, manager.guard.budgets)
        frames = TopFrames(reports, manager.project_name, round(over_s * 1000))
        if as_json:
            print_json(in_json(frames.frame(view.by, view.order)))
        elif once or not out.is_terminal or out.is_dumb_terminal:
            out.print(drawn(frames.frame(view.by, view.order), view, out.width, _LINES))
        else:
            _live(frames, view, every_s, out)


def _order(sort: str) -> GroupOrder:
    for order in ORDERS:
        if order == sort:
            return order
    raise ConfigError(f"--sort {sort!r}: use {', '.join(ORDERS)}")


def _seconds(text: str, name: str) -> float:
    found = _LENGTH.fullmatch(text)
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if seconds < 0.1:
        raise ConfigError(f"{name} {text!r}: a time from 0.1s on is needed, such as 2s or 5m")
    return seconds


def _live(frames: TopFrames, view: TopView, every_s: float, out: Console) -> None:
    """Frames until somebody ends it. The terminal is as it was afterwards."""
    first = frames.frame(view.by, view.order)  # where it cannot be read, that is said as ever
    try:
        with (
            ThreadPoolExecutor(1) as pool,
            _ended_by_sigterm(),
            TypedKeys() as keys,
            Live(console=out, screen=True, auto_refresh=False) as live,
            _stopped_by_ctrl_z(keys, live),
        ):
            _Watch(frames, replace(view, keys=keys.there), first, live).run(keys, every_s, pool)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


class _Watch:
    """The loop: what is shown, and how it is looked at. Frames are made in another thread, as a store may take long."""

    def __init__(self, frames: TopFrames, view: TopView, frame: TopFrame, live: Live) -> None:
        self._frames = frames
        self._view = view
        self._frame = frame
        self._live = live
        self._size = live.console.size
        self._first = view.by
        """What is grouped by at first: it may be a tag."""

    def run(self, keys: TypedKeys, every_s: float, pool: Executor) -> None:
        """Draw, and wait for a key or for the next frame, until the key is `q`."""
        self._draw()
        due_s, coming = time.monotonic() + every_s, None
        while (key := keys.wait(min(max(due_s - time.monotonic(), _LEAST_S), _LOOK_S))) not in {"q", "Q"}:
            self._pressed(key)
            if coming is None and self._wants(due_s):
                coming = pool.submit(self._frames.frame, self._view.by, self._view.order)
            if coming is not None and coming.done():
                self._take(coming)
                self._draw()
                due_s, coming = time.monotonic() + every_s, None
            elif key or self._live.console.size != self._size:
                self._draw()

    def _wants(self, due_s: float) -> bool:
        """Whether it is time for another frame."""
        if self._frame.by != self._view.by and not self._view.error:
            return True
        return time.monotonic() >= due_s and not self._view.paused

    def _pressed(self, key: str) -> None:
        view = self._view
        if key == "s":
            self._view = replace(view, order=following(view.order))
            self._frame = sorted_by(self._frame, self._view.order)
        elif key == "b":
            fields = list(dict.fromkeys([*FIELDS, self._first]))
            self._view = replace(view, by=fields[(fields.index(view.by) + 1) % len(fields)])
        elif key == "p":
            self._view = replace(view, paused=not view.paused)

    def _take(self, coming: Future[TopFrame]) -> None:
        """The next frame; where there is none, the last one stays, and why is said below it."""
        try:
            self._frame = sorted_by(coming.result(), self._view.order)
            self._view = replace(self._view, error="")
        except StoreError as error:
            self._view = replace(self._view, error=f"the store cannot be read: {error}")

    def _draw(self) -> None:
        self._size = width, height = self._live.console.size
        self._live.update(drawn(self._frame, self._view, width, height), refresh=True)


@contextmanager
def _stopped_by_ctrl_z(keys: TypedKeys, live: Live) -> Iterator[None]:
    """Whoever stops it has the terminal as it was, and the table and its keys again when it goes on."""
    if sys.platform == "win32":
        yield
        return

    def stop(number: int, place: FrameType | None) -> None:
        keys.pause()
        live.console.show_cursor(True)
        live.console.set_alt_screen(False)
        os.kill(os.getpid(), signal.SIGSTOP)  # goes on here
        live.console.set_alt_screen(True)
        live.console.show_cursor(False)
        keys.resume()
        live.refresh()

    before = signal.signal(signal.SIGTSTP, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, before)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """The signal that asks a program to end is an exception meanwhile: what was changed of the terminal is put back."""

    def end(number: int, place: FrameType | None) -> NoReturn:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
