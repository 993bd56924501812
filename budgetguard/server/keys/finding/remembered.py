"""What was found out lately, each for a time of its own; where there are too many, the oldest goes."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

from ....concurrency.locks import mutex

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Trusted(NamedTuple, Generic[V]):
    """What was found, and how long it is trusted, by the clock of whoever asks."""

    until_s: float
    value: V


class Remembered(Generic[K, V]):
    """A bounded memory, of which any thread may ask without a lock."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: dict[K, Trusted[V]] = {}
        self._lock = mutex("server recent")

    def get(self, key: K, now_s: float) -> Trusted[V] | None:
        """What is trusted now."""
        found = self._found.get(key)
        return found if found is not None and found.until_s > now_s else None

    def put(self, key: K, value: V, until_s: float) -> Trusted[V]:
        """Remember it; it is now the newest."""
        made = Trusted(until_s, value)
        with self._lock:
            self._found.pop(key, None)
            if len(self._found) >= self._most:
                del self._found[next(iter(self._found))]
            self._found[key] = made
        return made

    def drop(self, key: K) -> None:
        """Forget it."""
        with self._lock:
            self._found.pop(key, None)

    def __contains__(self, key: K) -> bool:
        """Whether it is remembered, trusted or not."""
        return key in self._found

    def __len__(self) -> int:
        return len(self._found)
