"""
What the errors of redis-py and valkey-py mean.

They are told by the names of their classes: both packages have the same ones, and a program needs only one of them.
"""

from __future__ import annotations

_PACKAGES = {"redis", "valkey"}


def _names(error: BaseException) -> set[str]:
    """What an error is, in the words of the drivers; empty for one that is not theirs."""
    return {base.__name__ for base in type(error).__mro__ if base.__module__.partition(".")[0] in _PACKAGES}


def of_driver(error: BaseException) -> bool:
    """Whether an error is one of the drivers' own."""
    return bool(_names(error))


def is_a(error: BaseException, name: str) -> bool:
    """Whether an error is of a driver's class of this name."""
    return name in _names(error)


_REACH = "is it running, and reachable from here?"

_PERMISSION = "its user needs the keys budgetguard:* and the commands that docs/stores.md lists for `ACL SETUSER`"

_NO_PRIMARY, _PART_DOWN = "it has no primary at the moment", "a part of the cluster is down"
_REPLICA = "this is a replica: name the primary, or use a Sentinel client that follows it"

_ERRORS = (
    ("AuthenticationError", "check the user and password of the URL", False),
    ("NoPermissionError", _PERMISSION, False),
    ("ACL failure in script", _PERMISSION, False),
    ("ReadOnlyError", _REPLICA, True),
    ("READONLY", _REPLICA, True),
    ("OutOfMemoryError", "it is full: raise maxmemory, or prune old entries; what was spent is still booked", False),
    ("BusyLoadingError", "it is loading its data: wait until it has", True),
    ("TimeoutError", "it did not answer in time: it may have done it, or not", True),
    ("MaxConnectionsError", "too many threads wait for it at once", False),
    ("ConnectionError", _REACH, True),
    ("RedisClusterException", _REACH, True),
    ("ValkeyClusterException", _REACH, True),
    ("MasterDownError", _NO_PRIMARY, True),
    ("MASTERDOWN", _NO_PRIMARY, True),
    ("ClusterDownError", _PART_DOWN, True),
    ("CLUSTERDOWN", _PART_DOWN, True),
    ("NOREPLICAS", "it has too few replicas to take writes at the moment", True),
)
"""What an error is, by the name of its class or a word in it; what to do; and whether the server is then away."""


def told(error: Exception) -> tuple[str, bool]:
    """What to do about a driver's error, and whether it means that the server is away."""
    text = str(error)
    for sign, what, away in _ERRORS:
        if is_a(error, sign) or sign in text:
            return what, away
    return "see the cause", False
