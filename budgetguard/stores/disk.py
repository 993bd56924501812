"""
What a disk is asked for: to write now, to keep space back, to take a file away. Not every system can do all of it.

macOS has neither `fdatasync` nor `posix_fallocate`; Windows cannot sync a directory, and keeps a file that is open.
"""

from __future__ import annotations

import os

BINARY: int = getattr(os, "O_BINARY", 0)
"""For `os.open`: bytes stay as they are."""

REMOVES_OPEN = os.name == "posix"
"""Whether a file can be removed or renamed while it is open."""

NO_TEXT = "surrogatepass"
"""How what is no text in a file's path, or none in this locale, is quoted in a URL, and read there."""

_DIRECTORY: int | None = getattr(os, "O_DIRECTORY", None)

sync_data = getattr(os, "fdatasync", os.fsync)
"""Have what was written to an open file survive a power cut."""


def sync_directory(path: str) -> None:
    """Have the names in a directory survive a power cut; raises `OSError`."""
    if _DIRECTORY is None:
        return
    fd = os.open(path, os.O_RDONLY | _DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fill(fd: int, size: int) -> None:
    """Take so many bytes of space for an empty file; raises `OSError` where there is no room."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
        return
    left = size
    while left:
        left -= os.write(fd, bytes(min(left, 1 << 16)))
    os.fsync(fd)
