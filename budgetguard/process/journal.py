"""
Settlements that could not reach their store: kept on disk until they can.

What a provider has answered must be paid for, whether the store answers or not. So a settlement that fails is
written to a file and synced, the caller gets the answer at once, and a thread repeats it until it has landed.
Hold ids make it land once, however often it is repeated.

What a dead process left on disk is taken over by the next one (`journal_files.py`), and so are the leases that it had
(`leases.py`): its calls are settled, and then they are given back.

A release that fails is repeated too, from memory only: if the process dies, the hold expires by itself.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from weakref import WeakSet

from ..concurrency.interrupts import raise_interruption
from ..concurrency.locks import mutex, take
from ..errors import AmountError, ConfigError, StoreError
from ..ledger import Store
from ..money import Money
from .journal_files import JournalFile, Kept, Left, check_directory, files_in, line_of, within_bounds

log = logging.getLogger("budgetguard")

RETRY_S = 0.1
"""How soon a settlement that failed is repeated; every failure doubles it."""

MOST_RETRY_S = 2.0
"""How long it takes at most, once the store is back, until somebody looks."""

EXIT_S = 1.0
"""How long the end of the process waits for a store that does not answer."""

MOST_RELEASES = 10_000
"""Releases that are remembered while the store is away; what is beyond expires by itself."""


@dataclass(slots=True)
class _Waiting:
    kept: Kept
    landed: Callable[[], None] | None


class Journal:
    """
    What one guard still owes its store.

    `settle` and `release` reach the store and raise `StoreError` when they cannot. `directory` is made when it is
    first needed (`None`: kept in memory only); `name` tells the stores apart that share it. Raises `ConfigError`
    if files cannot be kept there. With `background=False` nothing is repeated but by `replay` and `flush`.
    """

    def __init__(
        self,
        settle: Callable[[Kept], object],
        release: Callable[[str], None],
        directory: str | None,
        name: str,
        *,
        background: bool = True,
    ) -> None:
        self._settle = settle
        self._release = release
        self.directory = directory
        self.name = name
        self._background = background
        self._waiting: dict[str, _Waiting] = {}
        self._releases: dict[str, None] = {}
        self._file: JournalFile | None = None
        self._warned = False
        self.behind = False
        """Whether the store failed when it was last asked: the next settlement is better kept at once."""
        self._renew()
        if directory is not None:
            check_directory(directory)
            if background and any(files_in(directory)):
                self._start()
        _journals.add(self)

    @classmethod
    def of(cls, store: Store, settle: Callable[[Kept], object], directory: str | os.PathLike[str] | None) -> Journal:
        """The journal of a store: in `directory`, else beside the store's file, else in memory."""
        namespace, beside = store.namespace, store.journal
        if directory is None:
            return cls(settle, store.release, beside, namespace)
        # Several stores may share a directory that somebody chose; beside a file there is only that one.
        chosen = os.path.abspath(directory)
        if not os.path.isdir(os.path.dirname(chosen)):
            raise ConfigError(f"journal={chosen!r}: the directory above it does not exist; create it first")
        return cls(settle, store.release, chosen, f"{type(store).__name__} {beside} {namespace}")

    def __len__(self) -> int:
        """How many settlements wait."""
        return len(self._waiting)

    @property
    def pending(self) -> bool:
        """Whether anything waits for the store."""
        return bool(self._waiting or self._releases)

    def keep(self, kept: Kept, landed: Callable[[], None] | None = None) -> None:
        """
        Keep a settlement until it has landed, on disk by the time this returns; `landed` is called then.

        Never raises for a disk that takes nothing: the settlement is then kept in memory, and that is logged.
        """
        with self._lock:
            self._waiting[kept.hold.id] = _Waiting(kept, landed)
            self.behind = True
            self._write(kept)
        self._start()

    def give_back(self, hold_id: str) -> None:
        """Release a hold when the store can be reached."""
        with self._lock:
            if len(self._releases) < MOST_RELEASES:
                self._releases[hold_id] = None
        self._start()

    def replay(self, timeout_s: float = -1) -> bool:
        """Land what waits here, and what dead processes left; whether all of it has landed."""
        if not take(self._replaying, timeout_s):
            return False
        try:
            self._land()
            self._adopt()
        except StoreError as error:
            self.behind = bool(self._waiting)
            if not self._warned:
                self._warned = True
                log.warning("the store does not take settlements, which are kept for it: %s", error)
            return False
        finally:
            self._replaying.release()
        if self._warned:
            log.warning("the store takes settlements again: all that were kept have landed")
        self.behind = self._warned = False
        return True

    def flush(self, timeout_s: float) -> bool:
        """Repeat what waits until all of it has landed, or the time is over; whether it has."""
        until_s = time.monotonic() + timeout_s
        while not self.replay(max(0.0, until_s - time.monotonic())):
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                return False
            time.sleep(min(RETRY_S, left_s))
        return True

    def close(self) -> None:
        """Let go of the file: another process may land what is in it."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _renew(self) -> None:
        self._lock = mutex("journal")
        self._replaying = mutex("journal replay")
        self._thread: threading.Thread | None = None

    def _write(self, kept: Kept) -> None:
        """Append to the file, under the lock."""
        told = "a restart of this process would lose it: set Settings(journal=...) to a directory for such files"
        try:
            if self.directory is not None:
                if self._file is None:
                    self._file = JournalFile.make(self.directory, self.name)
                self._file.append(line_of(*kept))
                return
        except OSError as error:
            raise_interruption(error)
            told = f"its journal cannot be written ({error}), so a restart would lose it: make room in its directory"
        # The store's own error was logged by nobody yet, so the amount and the id are said here.
        log.error(
            "call %s cost %s, which waits for the store in memory; %s", kept.hold.id, Money(kept.entry.cost), told
        )

    def _land(self) -> None:
        """Settle and release what waits in this process. Raises `StoreError` at the first that fails."""
        while self.pending:
            for hold_id in list(self._releases):
                self._release(hold_id)
                self._releases.pop(hold_id, None)
            for hold_id, waiting in list(self._waiting.items()):
                try:
                    self._settle_kept(waiting.kept)
                except StoreError:
                    with self._lock:  # another one first, next time: this one may be what fails
                        self._waiting[hold_id] = self._waiting.pop(hold_id)
                    raise
                except Exception:
                    log.exception("call %s can never be settled", hold_id)
                    if self._file is not None:
                        self._file.damaged = True
                self._forget(hold_id, waiting)
        with self._lock:
            if not self._waiting and self._file is not None:
                self._file.remove()
                self._file = None

    def _settle_kept(self, kept: Kept) -> None:
        """Settle; at the most that can be booked, if the cost is beyond it, as that of one absurd reply."""
        try:
            self._settle(kept)
            return
        except AmountError as error:
            entry = within_bounds(kept.hold, kept.entry, error)
        try:
            self._settle(kept._replace(entry=entry))
        except AmountError as error:
            log.error("call %s: %s; it is left out", kept.hold.id, error)  # noqa: TRY400

    def _forget(self, hold_id: str, waiting: _Waiting) -> None:
        with self._lock:
            self._waiting.pop(hold_id, None)
        if waiting.landed is not None:
            waiting.landed()

    def _adopt(self) -> None:
        """Land what processes left that are no more."""
        for path in files_in(self.directory):
            if self._file is not None and path == self._file.path:
                continue
            left = JournalFile.take(path)
            if left is None:
                continue
            try:
                found = left.read(self.name)
                if found is not None:
                    self._land_left(left, found)
            finally:
                left.close()

    def _land_left(self, file: JournalFile, left: Left) -> None:
        """Settle what a dead process left, then give its leases back, and remove its file."""
        for kept in left.kept:
            try:
                self._settle_kept(kept)
            except StoreError:
                raise
            except Exception:
                log.exception("call %s can never be settled", kept.hold.id)
                file.damaged = True
        if not file.damaged:  # else what a lease paid for is not all on the books, and the rest of it stays spent
            for lease in [lease for lease, give_back in left.leases.items() if give_back]:
                self._release(lease)
        file.remove()
        if left.kept:
            log.warning("%d settlements of an earlier process have landed", len(left.kept))

    def _start(self) -> None:
        """Have the thread running that repeats."""
        if not self._background:
            return
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="budgetguard-journal", daemon=True)
                with suppress(RuntimeError):  # The interpreter is shutting down: `flush_all` comes after this.
                    thread.start()
                    self._thread = thread

    def _run(self) -> None:
        delay_s = RETRY_S
        while True:
            if not self.replay():
                time.sleep(delay_s)
                delay_s = min(2 * delay_s, MOST_RETRY_S)
                continue
            delay_s = RETRY_S
            with self._lock:
                if not self.pending:
                    self._thread = None
                    return

    def _after_fork(self) -> None:
        """In a forked child: what waits is the parent's, as is the lock on its file."""
        self._waiting, self._releases = {}, {}
        self.behind = False
        self._renew()
        if self._file is not None:
            self._file.close()
            self._file = None


def flush_all(timeout_s: float = EXIT_S) -> None:
    """At the end of the process: land what waits, and say what did not."""
    for journal in list(_journals):
        if journal.pending and not journal.flush(timeout_s) and len(journal):
            log.warning("%d settlements wait for their store in %s", len(journal), journal.directory or "memory: lost")


_journals: WeakSet[Journal] = WeakSet()


def _after_in_child() -> None:
    for journal in list(_journals):
        journal._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_in_child)
