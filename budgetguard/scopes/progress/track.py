"""
`track(rows)`: a loop whose progress is shown, with what it spends and how far its budget reaches.

    for row in track(rows, limit=5.00, stop_at=0.95):
        ask(row)

The loop's own generator is the `for` statement's alone, so that it ends with it, however that is left: by its end, by
`break`, by an error, by Ctrl-C.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar, get_args, overload

from ...budgets.said.checks import require_choice, require_fraction
from ...budgets.said.words import in_our_words
from ...errors import BudgetExceededError, ConfigError
from ...money import Money
from .faces.choice import ProgressKind
from .faces.tqdm_bar import is_tqdm
from .loop import WAIT_S, Loop, Options

T = TypeVar("T")


class _Tracked:
    """What can be asked of a loop, while it runs and after."""

    def __init__(self, options: Options) -> None:
        self._loop = Loop(options)

    @property
    def done(self) -> int:
        """How many rows are done: their body came to its end."""
        return self._loop.done

    @property
    def total(self) -> int | None:
        """How many rows there are, if that is known."""
        return self._loop.total

    @property
    def spent(self) -> Money:
        """What the loop has spent so far; asks nobody."""
        return Money(self._loop.spent)

    @property
    def left(self) -> Money | None:
        """What the tightest budget in dollars over the loop has left now; `None` without one. Reads the store."""
        left = self._loop.left()
        return None if left is None else Money(max(left, 0))

    @property
    def stopped(self) -> bool:
        """Whether it ended by `stop_at`, before all rows were done."""
        return self._loop.stopped

    @property
    def refusal(self) -> BudgetExceededError | None:
        """The last refusal that a call of the loop met with."""
        return self._loop.refusal

    def __len__(self) -> int:
        if self.total is None:
            raise TypeError("the number of rows is not known: say total=")
        return self.total

    def __bool__(self) -> bool:
        return True


class Track(_Tracked, Generic[T]):
    """
    A loop over rows: see `track`. It can be iterated again after it ended early, and goes on with what is left.

    `rest` are the rows that were not done, the one first at which the loop was left.
    """

    def __init__(self, rows: Iterable[T], options: Options) -> None:
        super().__init__(options)
        self._rows = iter(rows)
        self._begun: list[T] = []
        """The row that was begun."""

    @property
    def rest(self) -> Iterator[T]:
        """What was not done: an iterator, which takes the rows from where this one does."""
        while self._begun:
            yield self._begun.pop()
        yield from self._rows

    def __iter__(self) -> Iterator[T]:
        loop, begun = self._loop, self._begun
        with loop:
            loop.wait_for_balances()
            while not loop.stops():
                if not begun:
                    try:
                        begun.append(next(self._rows))
                    except StopIteration:
                        loop.whole = True
                        return
                yield begun[0]
                begun.clear()
                loop.done += 1


class AsyncTrack(_Tracked, Generic[T]):
    """The same over what is iterated by `async for`."""

    def __init__(self, rows: AsyncIterable[T], options: Options) -> None:
        super().__init__(options)
        self._rows = aiter(rows)
        self._begun: list[T] = []

    @property
    async def rest(self) -> AsyncIterator[T]:
        """What was not done: an async iterator, which takes the rows from where this one does."""
        while self._begun:
            yield self._begun.pop()
        async for row in self._rows:
            yield row

    def __aiter__(self) -> AsyncIterator[T]:
        return AsyncRows(self._loop, self._rows, self._begun)


class AsyncRows(Generic[T]):
    """
    What `async for` holds. Left early, it ends at once, as nobody else has it.

    (An async generator would end in a task of its own, whenever the event loop comes to it.)
    """

    def __init__(self, loop: Loop, rows: AsyncIterator[T], begun: list[T]) -> None:
        self._loop = loop
        self._rows = rows
        self._begun = begun
        self._state = "new"

    def __aiter__(self) -> AsyncRows[T]:
        return self

    async def __anext__(self) -> T:
        """The next row; the one before is done."""
        if self._state == "over":
            raise StopAsyncIteration
        loop, begun = self._loop, self._begun
        if self._state == "new":
            loop.__enter__()
            self._state = "running"
            await self._wait_for_balances()
        elif begun:
            begun.clear()
            loop.done += 1
        try:
            if not loop.stops() and not begun:
                begun.append(await anext(self._rows))
        except BaseException as error:
            loop.whole = isinstance(error, StopAsyncIteration)
            self._end()
            raise
        if loop.stopped:
            self._end()
            raise StopAsyncIteration
        return begun[0]

    async def _wait_for_balances(self) -> None:
        if self._loop.options.stop_at is None:
            return
        import anyio

        until_s = time.monotonic() + WAIT_S
        try:
            while not self._loop.knows_balances and time.monotonic() < until_s:
                await anyio.sleep(0.005)
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        if self._state == "running":
            self._state = "over"
            self._loop.__exit__()

    def __del__(self) -> None:
        self._end()


@overload
def track(
    rows: AsyncIterable[T],
    description: str = "",
    total: int | None = None,
    *,
    limit: Money | float | str | None = None,
    user: str | None = None,
    tags: Mapping[str, str] | None = None,
    stop_at: float | None = None,
    progress: ProgressKind = "auto",
    every: float = 30.0,
) -> AsyncTrack[T]: ...


@overload
def track(
    rows: Iterable[T],
    description: str = "",
    total: int | None = None,
    *,
    limit: Money | float | str | None = None,
    user: str | None = None,
    tags: Mapping[str, str] | None = None,
    stop_at: float | None = None,
    progress: ProgressKind = "auto",
    every: float = 30.0,
) -> Track[T]: ...


@in_our_words
def track(
    rows: Any,
    description: str = "",
    total: int | None = None,
    *,
    limit: Money | float | str | None = None,
    user: str | None = None,
    tags: Mapping[str, str] | None = None,
    stop_at: float | None = None,
    progress: ProgressKind = "auto",
    every: float = 30.0,
) -> Any:
    """
    Iterate rows, and show how far it is: rows, dollars, their rates, and the row that the budget will reach.

    * `rows`: anything to iterate, `async for` included.
    * `total`: how many there are, where `len(rows)` does not say it.
    * `limit`, `user`, `tags`: of a scope around the loop's body, as in `budget(...)`.
    * `stop_at`: the part of the tightest budget, such as 0.95, at which the loop ends before the next row; also where
      a row that costs what those before did would go beyond it. `stopped` says so, `rest` has what was not done.
    * `progress`: "terminal", "tqdm", "notebook", "lines" or "off"; by default what there is on stderr.
    * `every`: seconds between two lines, where it is lines.

    A refusal in the body leaves the loop as itself. Nothing goes to stdout. Raises `ConfigError` for what cannot be.
    """
    options = Options(
        description=str(description),
        total=_total(rows, total),
        scope={"limit": limit, "user": user, "tags": tags},
        stop_at=None if stop_at is None else require_fraction(stop_at, "stop_at"),
        progress=require_choice(progress, get_args(ProgressKind), "progress"),  # type: ignore[arg-type]
        lines_s=_seconds(every),
        bar=rows if is_tqdm(rows) else None,
    )
    if isinstance(rows, AsyncIterable):
        return AsyncTrack(rows, options)
    if not isinstance(rows, Iterable) and not hasattr(rows, "__getitem__"):
        raise ConfigError(f"track({rows!r}): something to iterate is needed")
    return Track(rows, options)


def _seconds(every: object) -> float:
    if isinstance(every, bool) or not isinstance(every, int | float) or not every > 0:
        raise ConfigError(f"every={every!r}: a number of seconds above 0 is needed")
    return float(every)


def _total(rows: Any, said: object) -> int | None:
    """How many rows there are, as was said, or as they can tell."""
    if said is not None:
        if not isinstance(said, int) or isinstance(said, bool) or said < 0:
            raise ConfigError(f"total={said!r}: a number of rows is needed")
        return said
    try:
        return len(rows)
    except (TypeError, AttributeError):
        return None
