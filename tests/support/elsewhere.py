"""A process in which the package, and nobody else, finds no more of POSIX than there is on Windows."""

from __future__ import annotations

import builtins
import os
import signal
from types import ModuleType
from typing import Any

MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty", "uvloop"}
"""There are none of these."""

OS = {
    *(
        "O_CLOEXEC",
        "O_DIRECTORY",
        "O_NOFOLLOW",
        "O_NONBLOCK",
        "O_SYNC",
        "O_DSYNC",
        "chown",
        "confstr",
        "fchdir",
        "fchmod",
    ),
    *(
        "fchown",
        "fdatasync",
        "fork",
        "forkpty",
        "geteuid",
        "getegid",
        "getgid",
        "getloadavg",
        "getpgid",
        "getuid",
        "killpg",
    ),
    *(
        "lchown",
        "lockf",
        "mkfifo",
        "nice",
        "openpty",
        "pipe2",
        "posix_fadvise",
        "posix_fallocate",
        "posix_spawn",
        "pread",
    ),
    *(
        "pwrite",
        "pwritev",
        "register_at_fork",
        "sched_getaffinity",
        "sched_yield",
        "setsid",
        "setuid",
        "sync",
        "sysconf",
    ),
    *("uname", "wait", "waitid", "writev", "WNOHANG"),
}
SIGNAL = {
    *(
        "SIGALRM",
        "SIGCHLD",
        "SIGHUP",
        "SIGKILL",
        "SIGPIPE",
        "SIGQUIT",
        "SIGUSR1",
        "SIGUSR2",
        "alarm",
        "getitimer",
        "pause",
    ),
    *("pthread_kill", "pthread_sigmask", "setitimer", "siginterrupt", "sigpending", "sigwait"),
}
"""What these modules lack."""


def hide() -> None:
    """Hide them from every module of the package that is imported from now on."""
    imported = builtins.__import__
    without = {"os": _without(os, OS), "signal": _without(signal, SIGNAL)}
    without["os"].name = "nt"  # type: ignore[attr-defined]

    def found(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> ModuleType:
        package = name.partition(".")[0]
        if level or str((globals or {}).get("__name__")).partition(".")[0] != "budgetguard":
            return imported(name, globals, locals, fromlist, level)
        if package in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return without.get(name) or imported(name, globals, locals, fromlist, level)

    builtins.__import__ = found


def _without(module: ModuleType, names: set[str]) -> ModuleType:
    less = ModuleType(module.__name__)
    less.__dict__.update({name: value for name, value in vars(module).items() if name not in names})
    return less
