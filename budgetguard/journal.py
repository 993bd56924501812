"""
Settlements that could not reach their store: kept on disk until they can.

What a provider has answered must be paid for, whether the store answers or not. So a settlement that fails is
written to a file and synced, the caller gets the answer at once, and a thread repeats it until it has landed.
Hold ids make it land once, however often it is repeated.

A process appends to one file of its own, one JSON object a line, and locks it (`flock`) while it lives. Whoever
finds a file that is not locked lands what is in it, and removes it: so what a dead process left is taken over by
the next one. A file holds what an `Entry` holds: no prompt, no answer, no key.

A release that fails is repeated too, from memory only: if the process dies, the hold expires by itself.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakSet

from .errors import ConfigError, StoreError
from .ledger import Account, Entry, Hold, Millis, Store, new_id
from .money import Money

log = logging.getLogger("budgetguard")

RETRY_S = 0.1
"""How soon a settlement that failed is repeated; every failure doubles it."""

MOST_RETRY_S = 2.0
"""How long it takes at most, once the store is back, until somebody looks."""

EXIT_S = 1.0
"""How long the end of the process waits for a store that does not answer."""

MOST_RELEASES = 10_000
"""Releases that are remembered while the store is away; what is beyond expires by itself."""

SUFFIX = ".jsonl"
DAMAGED = ".damaged"


class Kept(NamedTuple):
    """A settlement that waits for its store."""

    hold: Hold
    entry: Entry
    at_ms: Millis
    """When the call began, if the store was away then: nobody could say for sure which accounts it touches."""
    asked: str | None = None
    """The model asked for, in that case."""


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
        self._directory = directory
        self._name = name
        self._background = background
        self._waiting: dict[str, _Waiting] = {}
        self._releases: dict[str, None] = {}
        self._file: _File | None = None
        self._warned = False
        self.behind = False
        """Whether the store failed when it was last asked: the next settlement is better kept at once."""
        self._renew()
        if directory is not None:
            check_directory(directory)
            if background and any(_files(directory)):
                self._start()
        _journals.add(self)

    @classmethod
    def of(cls, store: Store, settle: Callable[[Kept], object], directory: str | os.PathLike[str] | None) -> Journal:
        """The journal of a store: in `directory`, else beside the store's file, else in memory."""
        namespace = str(getattr(store, "namespace", ""))
        beside: str | None = getattr(store, "journal", None)
        if directory is None:
            return cls(settle, store.release, beside, namespace)
        # Several stores may share a directory that somebody chose; beside a file there is only that one.
        return cls(settle, store.release, os.path.abspath(directory), f"{type(store).__name__} {beside} {namespace}")

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
        if not self._replaying.acquire(timeout=timeout_s):
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
        self._lock = threading.Lock()
        self._replaying = threading.Lock()
        self._thread: threading.Thread | None = None

    def _write(self, kept: Kept) -> None:
        """Append to the file, under the lock."""
        told = "a restart of this process would lose it: set Settings(journal=...) to a directory for such files"
        try:
            if self._directory is not None:
                if self._file is None:
                    self._file = _File.make(self._directory, self._name)
                self._file.append(_line(kept))
                return
        except OSError as error:
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
                    self._settle(waiting.kept)
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

    def _forget(self, hold_id: str, waiting: _Waiting) -> None:
        with self._lock:
            self._waiting.pop(hold_id, None)
        if waiting.landed is not None:
            waiting.landed()

    def _adopt(self) -> None:
        """Land what processes left that are no more."""
        for path in _files(self._directory):
            if self._file is not None and path == self._file.path:
                continue
            left = _File.take(path)
            if left is None:
                continue
            try:
                lines = left.read(self._name)
                for kept in lines or ():
                    try:
                        self._settle(kept)
                    except StoreError:
                        raise
                    except Exception:
                        log.exception("call %s can never be settled", kept.hold.id)
                        left.damaged = True
                if lines is not None:
                    left.remove()
                    if lines:
                        log.warning("%d settlements of an earlier process have landed", len(lines))
            finally:
                left.close()

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


class _File:
    """One process's file, locked."""

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self.damaged = False
        """Whether there is a line in it that did not land, so that it must not be removed."""
        self._fd = fd

    @classmethod
    def make(cls, directory: str, name: str) -> _File:
        """A new file, with its first line; raises `OSError`."""
        os.makedirs(directory, exist_ok=True)
        while True:
            path = os.path.join(directory, new_id() + SUFFIX)
            file = cls(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o666))
            try:
                fcntl.flock(file._fd, fcntl.LOCK_EX)
                if os.fstat(file._fd).st_nlink == 0:  # taken for a dead process's before it was locked
                    file.close()
                    continue
                file.append(json.dumps({"budgetguard": 1, "store": name}))
                for place in (directory, os.path.dirname(directory)):
                    _sync_directory(place)
            except BaseException:
                file.close()
                raise
            return file

    @classmethod
    def take(cls, path: str) -> _File | None:
        """The file of a process that is no more; `None` if it lives, or another has taken the file."""
        try:
            file = cls(path, os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC))
        except FileNotFoundError:
            return None
        except OSError as error:
            log.error("the journal %s cannot be read (%s): let this user read and write it", path, error)  # noqa: TRY400
            return None
        try:
            fcntl.flock(file._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        if os.fstat(file._fd).st_nlink == 0:
            file.close()
            return None
        return file

    def append(self, line: str) -> None:
        """Add a line and sync it; a line that does not fit leaves nothing behind."""
        size = os.fstat(self._fd).st_size
        data = (line + "\n").encode("ascii")
        try:
            while data:
                data = data[os.write(self._fd, data) :]
            os.fdatasync(self._fd)
        except BaseException:
            with suppress(OSError):
                os.ftruncate(self._fd, size)
            raise

    def read(self, name: str) -> list[Kept] | None:
        """What is in it; `None` if it is another store's. A line that cannot be read is reported and left out."""
        with open(self._fd, "rb", closefd=False) as file:
            file.seek(0)
            lines = file.read().split(b"\n")
        torn = lines.pop()
        if torn:
            log.error("the journal %s ends in the middle of a line: its process died while it was writing", self.path)
        if not lines:
            return []
        found = []
        try:
            if json.loads(lines[0])["store"] != name:
                return None
        except (ValueError, TypeError, KeyError):
            self._report(1)
            return []
        for number, line in enumerate(lines[1:], 2):
            try:
                found.append(_kept(json.loads(line)))
            except (ValueError, TypeError, KeyError):
                self._report(number)
        return found

    def _report(self, number: int) -> None:
        self.damaged = True
        log.error("the journal %s is damaged in line %d: the file is kept beside, as %s", self.path, number, DAMAGED)

    def remove(self) -> None:
        """All of it has landed."""
        with suppress(OSError):
            if self.damaged:
                os.rename(self.path, self.path + DAMAGED)
            else:
                os.unlink(self.path)
        self.close()

    def close(self) -> None:
        """Let go of it. In a forked child this leaves the parent's lock alone."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def check_directory(directory: str) -> None:
    """Raise `ConfigError` if a directory is there and no files can be kept in it, or if it cannot be made."""
    if os.path.exists(directory):
        if not os.path.isdir(directory):
            raise ConfigError(f"journal={directory!r} is no directory: name one, or move the file away")
        if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
            raise ConfigError(f"journal={directory!r}: this user may not read and write there: change its permissions")
        try:
            os.listdir(directory)
        except OSError as error:
            raise ConfigError(f"journal={directory!r} cannot be read ({error}): name another directory") from error
    elif not os.path.isdir(os.path.dirname(directory)):
        raise ConfigError(f"journal={directory!r}: the directory above it does not exist; create it first")


def flush_all(timeout_s: float = EXIT_S) -> None:
    """At the end of the process: land what waits, and say what did not."""
    for journal in list(_journals):
        if journal.pending and not journal.flush(timeout_s) and len(journal):
            log.warning("%d settlements wait for their store in %s", len(journal), journal._directory or "memory: lost")


def _files(directory: str | None) -> Iterator[str]:
    if directory is None:
        return
    with suppress(FileNotFoundError):
        for name in sorted(os.listdir(directory)):
            if name.endswith(SUFFIX):
                yield os.path.join(directory, name)


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _line(kept: Kept) -> str:
    hold, entry = kept.hold, kept.entry
    return json.dumps(
        {
            "id": hold.id,
            "cost": entry.cost,
            "at_ms": kept.at_ms,
            "asked": kept.asked,
            "charged": [[account.key, account.end_ms] for account in hold.accounts],
            "accounts": list(entry.accounts),
            "tags": dict(entry.tags),
            "provider": entry.provider,
            "model": entry.model,
            "usage": dict(entry.usage),
            "flags": sorted(entry.flags),
        }
    )


def _kept(data: Mapping[str, Any]) -> Kept:
    accounts = tuple(Account(key, end_ms=end_ms) for key, end_ms in data["charged"])
    entry = Entry(
        data["id"],
        int(data["cost"]),
        tuple(data["accounts"]),
        0,
        data["tags"],
        data["provider"],
        data["model"],
        data["usage"],
        frozenset(data["flags"]),
    )
    return Kept(Hold(entry.hold_id, accounts, 0, tags=entry.tags), entry, int(data["at_ms"]), data["asked"])


_journals: WeakSet[Journal] = WeakSet()


def _after_in_child() -> None:
    for journal in list(_journals):
        journal._after_fork()


os.register_at_fork(after_in_child=_after_in_child)
