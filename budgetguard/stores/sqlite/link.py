"""
A SQLite file as a store keeps it: found or made, known as ours, safe over a fork and on a full disk.

Nothing is written before the first write. Commits and the checkpoints that they cause run inside the gate: library
versions before 3.44.6, 3.50.7 and 3.51.3 can damage a file when two connections checkpoint at once.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from ...concurrency.interrupts import raise_interruption
from ...concurrency.locks import Latch, Mutex, latch, mutex
from ...errors import ConfigError, StoreError
from ..disk import fill, sync_directory
from ..encoding import from_raw
from ..permissions import OWNER, access_of, open_file
from . import schema
from .rows import text

log = logging.getLogger("budgetguard")

BALLAST_BYTES = 1 << 20
"""Disk space kept back, so that settlements still land when the disk is full."""

PAGE_BYTES = 2048
"""A commit writes the few pages that it touched: small ones cost less, but a row should not need several."""

LOG_PAGES = 4096
"""How long the log grows before a settlement copies it into the file, which waits for the disk: 8 MB."""

PAGES_EACH = 3
"""How many pages an operation adds to the log, about."""

TOO_LONG = 4
"""A log that so many times as long is copied by whoever commits: other processes count for themselves."""

BUSY_S = 0.05
"""How long SQLite itself waits for a program that does not use the gate, where nobody has a deadline."""


FileIdentity: TypeAlias = tuple[int, int]
"""What tells a file from another that took its path: device and inode."""


class Slot:
    """A connection, opened when it is needed, and the lock to use it under."""

    def __init__(self, lock: Mutex | Latch) -> None:
        self.lock = lock
        self.connection: sqlite3.Connection | None = None
        self.cursor: sqlite3.Cursor | None = None
        """Of the connection that writes: one for all statements, because each costs time to make."""
        self.opened: FileIdentity | None = None
        """The file that the connection leads to, whatever became of its path."""
        self.version = 0
        """Of the tables, as a connection that reads takes them."""

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        if self.cursor is not None:
            cursor, self.cursor = self.cursor, None
            with suppress(sqlite3.Error):
                cursor.close()
        if self.connection is not None:
            connection, self.connection = self.connection, None
            with suppress(sqlite3.Error):
                connection.close()

    def leave(self) -> None:
        """
        Let go of the connection without closing it, now or ever: its file is not at its path any more.

        The last one to close a file deletes its log by name, and that may be the log of the file which is there now.
        """
        if self.connection is not None:
            from ctypes import py_object, pythonapi  # takes its time to import

            pythonapi.Py_IncRef(py_object(self.connection))
        self.connection = self.cursor = None


class SQLiteFile:
    """The file at `path` and this process's connections to it: one that writes, and others that read."""

    def __init__(self, path: str, namespace: str, *, durable: bool) -> None:
        self.path = path
        self.namespace = namespace
        self.ns = 0
        self.durable = durable
        self.syncs = False
        """Whether the writing connection syncs its commits."""
        self.log_operations = 0
        """How many this process has added to the log since it copied it last."""
        self._begin()
        self.full = False
        """Whether there was no room for the ballast when it was last looked for."""
        self._abandoned: tuple[Slot, ...] = ()
        check_path(path)

    @contextmanager
    def all_locked(self, timeout_s: float | None) -> Iterator[None]:
        """Nobody uses a connection meanwhile. Raises `StoreError` if somebody still does after the time-out."""
        with ExitStack() as stack:
            for slot in (self.writer, self.reader, self.reporter):
                if not slot.lock.acquire(timeout=-1 if timeout_s is None else timeout_s):
                    raise StoreError(f"store {self.path} was in use for {timeout_s:g} s: it cannot be closed")
                stack.callback(slot.lock.release)
            yield

    def close(self) -> None:
        """Close all connections, which are locked."""
        for slot in (self.reporter, self.reader, self.writer):
            slot.close()

    def write(self) -> sqlite3.Cursor:
        """A cursor to write with; makes the file if there is none. Call it inside the gate, under the slot's lock."""
        if self.writer.cursor is None:
            self._make()
            self.writer.opened = _identity(self.path)
            connection = self._connect()
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self.writer.connection, self.writer.cursor = connection, connection.cursor()
            if not self.full:
                self.restore_ballast()
        return self.writer.cursor

    @contextmanager
    def read(self, slot: Slot, *, others: bool = False) -> Iterator[sqlite3.Connection | None]:
        """A snapshot to read from; `None` while there is no file, or nothing of this namespace (of `others`) in it."""
        with slot.lock:
            if slot.connection is not None and not self.is_there(slot):
                slot.leave()
            try:
                connection = self._begin_reading(slot)
                if connection is None:
                    yield None
                    return
                try:
                    self.ns = self.ns or self._find_namespace(connection)
                    yield connection if self.ns or others else None
                finally:
                    if connection.in_transaction:
                        connection.execute("COMMIT")
            except sqlite3.Error as error:
                slot.close()
                raise self.failure(error) from error

    def is_there(self, slot: Slot) -> bool:
        """Whether the path still leads to the file that a connection has open."""
        return slot.opened == _identity(self.path)

    def lost(self) -> StoreError | None:
        """Let go of a file that was removed or replaced, as nobody else sees what is booked there; the error for it."""
        if self.writer.connection is None or _identity(self.path) == self.writer.opened:
            return None
        self.writer.leave()
        log.error("store %s: its file was removed or replaced: what is there now, or is made anew, counts", self.path)
        return StoreError(
            f"store {self.path}: its file was removed or replaced while this process had it open; nothing was booked. "
            "The next call uses what is there now: put the file back first, if that was a mistake"
        )

    def abandon(self) -> None:
        """In a child that was forked while connections were in use: to use, or to close, them would harm the file."""
        self._abandoned = self.writer, self.reader, self.reporter
        self._begin()

    def _begin(self) -> None:
        self.writer = Slot(mutex("sqlite writer"))
        self.reader = Slot(mutex("sqlite reader"))
        # A report is a generator: it may be begun in one thread and closed in another.
        self.reporter = Slot(latch())

    def failure(self, error: Exception) -> StoreError:
        """The error of ours that says what a driver's error means."""
        name = _name(error)
        if is_busy(error):
            told = "another program keeps it locked: end that program's transaction, then try again"
        elif is_full(error):
            told = "its disk is full or fails: free some space, then try again"
        elif name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            told = "it is damaged or no database: restore a copy, or move it away to begin anew"
        elif name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
            told = "this user may not write there: change the permissions of the file and its directory"
        else:
            told = "see the cause"
        return StoreError(f"store {self.path}: {error}; {told}")

    def free_ballast(self) -> bool:
        """Give the reserved disk space back to the file system; whether there was any."""
        self.full = True
        try:
            os.unlink(self.path + "-ballast")
        except OSError as error:
            raise_interruption(error)
            return False
        return True

    def restore_ballast(self) -> bool:
        """Whether the reserved disk space is there (again), so that holds may be placed."""
        name = self.path + "-ballast"
        try:
            if os.stat(name).st_size >= BALLAST_BYTES:
                self.full = False
                return True
        except OSError as error:
            raise_interruption(error)
        try:
            with open(open_file(name, os.O_WRONLY | os.O_TRUNC, access_of(self.path)), "wb") as file:
                fill(file.fileno(), BALLAST_BYTES)
        except OSError as error:
            raise_interruption(error)
            with suppress(OSError):
                os.unlink(name)
            self.full = True
            return False
        self.full = False
        return True

    def need_ballast(self) -> None:
        """Raise `StoreError` while the disk is so full that what is left must be kept for settlements."""
        if not self.restore_ballast():
            raise StoreError(f"store {self.path}: its disk is full; free some space, then try again")

    def set_sync(self, durable: bool) -> None:
        """Have the next commit wait for the disk, or not."""
        wanted = durable and self.durable
        if wanted is not self.syncs and self.writer.connection is not None:
            self.writer.connection.execute("PRAGMA synchronous=FULL" if wanted else "PRAGMA synchronous=NORMAL")
            self.syncs = wanted

    def is_log_long(self) -> bool:
        """Whether it is time to copy the log into the file."""
        return self.log_operations * PAGES_EACH > LOG_PAGES

    def copy_log(self) -> None:
        """Copy the log into the file, as far as nobody reads what was there before. Call it inside the gate."""
        self.log_operations = 0
        connection = self.writer.connection
        if connection is not None:
            with suppress(sqlite3.Error):  # what was committed stands, and the next one tries again
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _make(self) -> None:
        """Make the file, empty and its owner's alone: SQLite gives the files of its log the same rights."""
        with suppress(OSError):  # it is there, or what is wrong is told when it is opened
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, OWNER))

    def _connect(self) -> sqlite3.Connection:
        if self._abandoned:
            raise StoreError(f"store {self.path} was in use when this process was forked: start the process again")
        check_path(self.path)
        try:
            connection = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise self.failure(error) from error
        connection.text_factory = from_raw
        return connection

    def _open_reader(self, slot: Slot) -> sqlite3.Connection | None:
        if not os.path.exists(self.path) or os.path.getsize(self.path) == 0:
            return None
        slot.opened = _identity(self.path)
        connection = self._connect()
        try:
            connection.execute("PRAGMA wal_autocheckpoint=0")
            slot.version = schema.find_version(connection, self.path)
            schema.read_as_new(connection, slot.version)
            connection.execute("PRAGMA query_only=1")
        except BaseException:
            connection.close()
            raise
        if not slot.version:
            connection.close()
            return None
        slot.connection = connection
        return connection

    def _begin_reading(self, slot: Slot) -> sqlite3.Connection | None:
        """A connection in a transaction that reads tables which are as they were when it was opened."""
        while (connection := slot.connection or self._open_reader(slot)) is not None:
            connection.execute("BEGIN")
            if slot.version == schema.VERSION or slot.version == schema.version_now(connection):
                break
            slot.close()  # somebody has brought the file up to date
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        try:
            version = schema.find_version(connection, self.path)
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(f"PRAGMA wal_autocheckpoint={TOO_LONG * LOG_PAGES}")
            self.syncs = False
            if not version:
                connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
                mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
                if mode != "wal":
                    raise StoreError(f"store {self.path} is on a file system without shared memory: use a local disk")
                # The rollback journal that made the file so is gone; should it come back after a power cut, it would
                # undo the file, and all that was settled in between.
                with suppress(OSError):  # not every file system can
                    sync_directory(os.path.dirname(self.path))
                schema.make(connection)
            elif version < schema.VERSION:
                schema.upgrade(connection)
            self.ns = self._find_namespace(connection)
            if not self.ns:
                connection.execute("INSERT INTO namespaces (name) VALUES (CAST(? AS TEXT))", (text(self.namespace),))
                self.ns = self._find_namespace(connection)
            connection.execute("PRAGMA busy_timeout=0")  # whoever begins to write has a deadline
        except sqlite3.Error as error:
            raise self.failure(error) from error

    def _find_namespace(self, connection: sqlite3.Connection) -> int:
        name = text(self.namespace)
        found = connection.execute("SELECT id FROM namespaces WHERE name = CAST(? AS TEXT)", (name,)).fetchall()
        return int(found[0][0]) if found else 0


def check_path(path: str) -> None:
    """Raise `ConfigError` for a path at which there can be no store."""
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        raise ConfigError(f"store {path}: the directory {parent} does not exist; create it first")
    if os.path.isdir(path):
        raise ConfigError(f"store {path} is a directory: name a file in it, such as {Path(path) / 'budgets.db'}")
    if not os.path.exists(path):
        return
    # Only SQLite may open and close the file: closing any other handle of it would drop the locks that this process's
    # connections hold, another process would take itself for the last one and delete the log under our commits.
    try:
        with closing(sqlite3.connect(f"{Path(path).as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            connection.execute("PRAGMA schema_version")
    except sqlite3.Error as error:
        if _name(error) == "SQLITE_NOTADB":
            raise ConfigError(f"store {path} is not a SQLite database: use another file") from error
        if _name(error).startswith(("SQLITE_CANTOPEN", "SQLITE_PERM")):
            raise ConfigError(f"store {path} cannot be read: change its permissions") from error
        # What else there is to say, is said when the file is used.


def _identity(path: str) -> FileIdentity | None:
    try:
        found = os.stat(path)
    except OSError as error:
        raise_interruption(error)
        return None
    return found.st_dev, found.st_ino


def is_full(error: BaseException) -> bool:
    """Whether an error means that the disk took no more (a quota shows as an I/O error)."""
    name = _name(error)
    return name == "SQLITE_FULL" or name.startswith("SQLITE_IOERR")


def is_busy(error: BaseException) -> bool:
    """Whether another program has the file locked."""
    return _name(error).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _name(error: BaseException) -> str:
    return getattr(error, "sqlite_errorname", None) or ""
