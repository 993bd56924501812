"""How often an address may try a wrong key."""

from __future__ import annotations

from collections.abc import Callable

from ....concurrency.locks import mutex

MOST_FAILURES = 20
"""So many wrong keys of one prefix from one address are answered as such; then they have to wait."""
MOST_OF_ADDRESS = 200
"""So many of any prefix; then the address has to wait."""
REFILL_S = 3.0
"""One more is allowed after this long."""
_MOST_ADDRESSES = 10_000


class FailedKeys:
    """A bucket of failures for each address, that leaks one in `REFILL_S`; the number of addresses is bounded."""

    def __init__(self, clock: Callable[[], float], most: int = MOST_FAILURES) -> None:
        self._clock = clock
        self._most = most
        self._lock = mutex("server limits")
        self._empty_at: dict[str, float] = {}  # when the address's bucket will have leaked empty

    def wait_s(self, address: str) -> float:
        """How long an address has to wait; 0: it may try."""
        full_s = self._empty_at.get(address, 0.0) - self._clock()
        return max(0.0, full_s - (self._most - 1) * REFILL_S)

    def failed(self, address: str) -> None:
        """Count a wrong key."""
        now = self._clock()
        with self._lock:
            if len(self._empty_at) >= _MOST_ADDRESSES:
                self._empty_at = {key: at for key, at in self._empty_at.items() if at > now}
                if len(self._empty_at) >= _MOST_ADDRESSES:
                    self._empty_at.clear()
            self._empty_at[address] = max(self._empty_at.get(address, now), now) + REFILL_S
