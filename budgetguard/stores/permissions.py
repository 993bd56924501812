"""
Who may open the files of a store: its owner, and whom the database itself lets write.

Whoever can open a lock file can keep every call waiting, and a journal names users and models. So what lies beside a
database is for its owner alone, whatever the umask; where the database is shared with a group, so is that.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import NamedTuple

from ..concurrency.interrupts import raise_interruption
from .disk import BINARY

UNSETTLED = "-unsettled"
"""Behind the path of a database: the directory of its journal."""

OWNER = 0o600

OWNED = hasattr(os, "fchown")
"""Whether a file has an owner and a mode here; on Windows its directory says who may open it."""


class Access(NamedTuple):
    """What the files beside a database are made with."""

    mode: int
    group: int | None


def access_of(database: str) -> Access:
    """The access to files beside a database: of all who may write it, which need not be there yet."""
    try:
        found = os.stat(database)
    except OSError as error:
        raise_interruption(error)
        return Access(OWNER, None)
    mode = OWNER
    for write, both in ((0o020, 0o060), (0o002, 0o006)):
        if found.st_mode & write:
            mode |= both
    return Access(mode, found.st_gid if mode & 0o060 else None)


def access_in(directory: str) -> Access:
    """The access to files in a directory: of all who may write there."""
    found = os.stat(directory)
    return Access(OWNER | 0o060, found.st_gid) if found.st_mode & 0o020 else Access(OWNER, None)


def open_file(path: str, flags: int, access: Access) -> int:
    """Open a file, made if need be, that nobody else may open; one that is there is made so if it is ours."""
    fd = os.open(path, flags | os.O_CREAT | BINARY, OWNER)
    try:
        _apply(fd, access, access.mode)
    except BaseException:
        os.close(fd)
        raise
    return fd


def make_directory(path: str) -> None:
    """Make the directory of a journal, if it is not there, for those who may write the database that it is beside."""
    database = path.removesuffix(UNSETTLED)
    beside = database != path
    there = os.path.isdir(path)
    if not there:
        os.makedirs(path, 0o700, exist_ok=True)
    if OWNED and (beside or not there):  # one that somebody chose, and made, is theirs
        access = access_of(database) if beside else Access(OWNER, None)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _apply(fd, access, access.mode | (access.mode & 0o444) >> 2)
        finally:
            os.close(fd)


def _apply(fd: int, access: Access, mode: int) -> None:
    found = os.fstat(fd)
    if not OWNED or found.st_uid != os.geteuid():
        return
    if access.group is not None and found.st_gid != access.group:
        with suppress(OSError):  # we may not be of that group
            os.fchown(fd, -1, access.group)
    if stat.S_IMODE(found.st_mode) & 0o777 != mode:
        os.fchmod(fd, mode)
