"""
The files of a journal: what a process owes its store, one JSON object a line.

A process appends to one file of its own and locks it (`flock`) while it lives. Whoever finds a file that is not locked
lands what is in it, and removes it: so what a dead process left is taken over by the next one. A file holds what an
`Entry` holds: no prompt, no answer, no key.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any, NamedTuple

from ..concurrency import file_locks
from ..errors import AmountError, ConfigError
from ..ledger import Account, Entry, Hold, Millis, new_id
from ..ledger.as_json import read, text
from ..money import MAX_AMOUNT, Money
from ..stores.disk import BINARY, REMOVES_OPEN, sync_data, sync_directory
from ..stores.permissions import access_in, make_directory, open_file

log = logging.getLogger("budgetguard")

SUFFIX = ".jsonl"
DAMAGED = ".damaged"


class Kept(NamedTuple):
    """A settlement that waits for its store."""

    hold: Hold
    entry: Entry
    at_ms: Millis = 0
    """When the call began, if the store was away then: nobody could say for sure which accounts it touches."""
    asked: str | None = None
    """The model asked for, in that case."""


class Left(NamedTuple):
    """What a process left in its file."""

    kept: list[Kept]
    leases: dict[str, bool]
    """Those that it had not given back, and whether somebody may do so for it once its calls are settled."""

    def add(self, data: Mapping[str, Any]) -> None:
        """Take in one line; raises `KeyError`, `TypeError` or `ValueError` for what is none."""
        lease = data.get("lease")
        if lease is None:
            self.kept.append(_kept(data))
        elif data["over"]:
            self.leases.pop(lease, None)
        else:
            self.leases[lease] = bool(data["give_back"])


class JournalFile:
    """One process's file, locked."""

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self.damaged = False
        """Whether there is a line in it that did not land, so that it must not be removed."""
        self.size = 0
        """In bytes, as far as this process wrote it."""
        self._fd = fd
        self._begin = 0

    @classmethod
    def make(cls, directory: str, name: str) -> JournalFile:
        """A new file, with its first line; raises `OSError`."""
        make_directory(directory)
        access = access_in(directory)
        while True:
            path = os.path.join(directory, new_id() + SUFFIX)
            file = cls(path, open_file(path, os.O_RDWR | os.O_EXCL | os.O_APPEND, access))
            try:
                file_locks.flock(file._fd, file_locks.LOCK_EX)
                if os.fstat(file._fd).st_nlink == 0:  # taken for a dead process's before it was locked
                    file.close()
                    continue
                file.append(json.dumps({"budgetguard": 2, "store": None, "of": name}))
                file._begin = file.size
                for place in (directory, os.path.dirname(directory)):
                    sync_directory(place)
            except BaseException:
                file.close()
                raise
            return file

    @classmethod
    def take(cls, path: str) -> JournalFile | None:
        """The file of a process that is no more; `None` if it lives, or another has taken the file."""
        try:
            file = cls(path, os.open(path, os.O_RDWR | os.O_APPEND | BINARY))
        except FileNotFoundError:
            return None
        except OSError as error:
            log.error("the journal %s cannot be read (%s): let this user read and write it", path, error)  # noqa: TRY400
            return None
        try:
            file_locks.flock(file._fd, file_locks.LOCK_EX | file_locks.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        if os.fstat(file._fd).st_nlink == 0:
            file.close()
            return None
        return file

    def append(self, lines: str, *, sync: bool = True) -> None:
        """Add lines, which a power cut may lose without the sync; what does not fit leaves nothing behind."""
        data = f"{lines}\n".encode("ascii")
        size = self.size + len(data)
        try:
            written = os.write(self._fd, data)
            while written < len(data):
                written += os.write(self._fd, data[written:])
            if sync:
                sync_data(self._fd)
        except BaseException:
            with suppress(OSError):
                os.ftruncate(self._fd, self.size)
            raise
        self.size = size

    def rewrite(self, lines: Sequence[str]) -> None:
        """Begin again with these lines behind the first one. Whoever dies in between leaves too few, not too many."""
        os.ftruncate(self._fd, self._begin)
        self.size = self._begin
        if lines:
            self.append("\n".join(lines), sync=False)

    def read(self, name: str) -> Left | None:
        """What is in it; `None` if it is another store's. A line that cannot be read is reported and left out."""
        with open(self._fd, "rb", closefd=False) as file:
            file.seek(0)
            lines = file.read().split(b"\n")
        torn = lines.pop()
        if torn:
            log.error("the journal %s ends in the middle of a line: its process died while it was writing", self.path)
        found = Left([], {})
        if not lines:
            return found
        try:
            if _store_of(json.loads(lines[0])) != name:
                return None
        except (ValueError, TypeError, KeyError):
            self._report(1)
            return found
        for number, line in enumerate(lines[1:], 2):
            try:
                found.add(json.loads(line))
            except (ValueError, TypeError, KeyError):
                self._report(number)
        return found

    def _report(self, number: int) -> None:
        self.damaged = True
        log.error("the journal %s is damaged in line %d: the file is kept beside, as %s", self.path, number, DAMAGED)

    def remove(self) -> None:
        """All of it has landed."""
        if not REMOVES_OPEN:  # whoever finds it meanwhile lands it once more, which is harmless
            self.close()
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


def _store_of(first: Mapping[str, Any]) -> str | None:
    """
    Whose settlements are in a file, by its first line.

    Since version 2 another field says it, so that a program from before takes the file for another store's, and leaves
    it for one that can read it.
    """
    name: str | None = first["of"] if first["budgetguard"] == 2 else first["store"]
    return name


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


def files_in(directory: str | None) -> Iterator[str]:
    """The paths of the files in a directory, the oldest first."""
    if directory is None:
        return
    with suppress(FileNotFoundError):
        for name in sorted(os.listdir(directory)):
            if name.endswith(SUFFIX):
                yield os.path.join(directory, name)


class Waiting(NamedTuple):
    """How many settlements are in the files of a directory."""

    left: int
    """By processes that are no more: they wait for the next one."""
    living: int
    """By processes that are running: they land by themselves, and some may have landed already."""


def waiting_in(directory: str | None) -> Waiting:
    """What waits in the files of a directory."""
    left = living = 0
    for path in files_in(directory):
        with suppress(FileNotFoundError), open(path, "rb") as file:  # it may land meanwhile
            lives = _is_locked(file.fileno())
            file.seek(1)  # behind the byte that may be locked, which on Windows nobody else may read
            found = sum(line.startswith(b'{"id"') for line in file)
            left, living = (left, living + found) if lives else (left + found, living)
    return Waiting(left, living)


def _is_locked(fd: int) -> bool:
    try:
        file_locks.flock(fd, file_locks.LOCK_SH | file_locks.LOCK_NB)
    except BlockingIOError:
        return True
    file_locks.flock(fd, file_locks.LOCK_UN)  # at once: whoever finds it locked takes its process for alive
    return False


def line_of(hold: Hold, entry: Entry, at_ms: Millis = 0, asked: str | None = None) -> str:
    """A settlement as a line: what is its own, and what many calls have in common; see `Kept`."""
    accounts, entry_at_ms, tags, provider, model, usage, flags, units = entry[2:]
    counts = ""  # a loop: a comprehension is a function of its own, on the path of every leased call
    for kind, count in usage.items():
        counts += f",{_quoted(kind)}:{count:d}"
    used = "".join([f",{_quoted(unit)}:{count:d}" for unit, count in units.items()]) if units else ""
    alike = _alike(
        (hold.accounts, hold.leases, (accounts, entry_at_ms, tuple(tags.items()), provider, model), flags, asked)
    )
    return (
        f'{{"id":{_quoted(hold.id)},"cost":{entry.cost:d},"at_ms":{at_ms:d},"usage":{{{counts[1:]}}},'
        f'"units":{{{used[1:]}}},"kept":{alike}}}'
    )


@lru_cache(1024)
def _alike(shared: tuple[Any, ...]) -> str:
    """The part of a line that many calls have in common: of the hold, what a settlement needs."""
    charged, leases, (accounts, at_ms, tags, provider, model), flags, asked = shared
    ends = tuple([Account(account.key, end_ms=account.over_ms) for account in charged])
    entry = Entry("", 0, accounts, at_ms, dict(tags), provider, model, flags=flags)
    return text(Kept(Hold("", ends, 0, leases=leases), entry, asked=asked))


def lease_line(lease_id: str, *, over: bool = False, give_back: bool = True) -> str:
    """That a lease was taken, and whether others may give it back when this process is dead; or that it is over."""
    return json.dumps({"lease": lease_id, "over": over, "give_back": give_back})


def _kept(data: Mapping[str, Any]) -> Kept:
    if "kept" not in data:
        return _kept_before(data)
    kept, hold_id = read(Kept, data["kept"]), str(data["id"])
    entry = kept.entry._replace(hold_id=hold_id, cost=int(data["cost"]), usage=data["usage"], units=data["units"])
    return Kept(kept.hold._replace(id=hold_id), entry, int(data["at_ms"]), kept.asked)


def _kept_before(data: Mapping[str, Any]) -> Kept:
    """A line as files before version 2 have it."""
    accounts = tuple(Account(key, end_ms=end_ms) for key, end_ms in data["charged"])
    entry = Entry(
        data["id"],
        int(data["cost"]),
        tuple(data["accounts"]),
        tags=data["tags"],
        provider=data["provider"],
        model=data["model"],
        usage=data["usage"],
        flags=frozenset(data["flags"]),
    )
    hold = Hold(entry.hold_id, accounts, 0, leases=tuple(data.get("leases", ())))
    return Kept(hold, entry, int(data["at_ms"]), data["asked"])


def within_bounds(hold: Hold, entry: Entry, error: AmountError) -> Entry:
    """The entry of a call that no store can book, as that of one absurd reply, at the most that can be; said aloud."""
    most = max(0, min(entry.cost, MAX_AMOUNT))
    units = {unit: max(0, min(used, MAX_AMOUNT)) for unit, used in entry.units.items()}
    log.error("call %s cost %s: %s; it counts %s", hold.id, Money(entry.cost), error, Money(most))
    return entry._replace(cost=most, units=units)
