"""
What upstreams did lately: who cools down until when, who is open, and how soon the first byte came.

Two things fail apart. A connection that is refused or breaks is the upstream's, for all of its models. A limit, or a
name that is not taken, is one model's: providers limit by model, and a 404 of one says nothing of another. So each has
a `Health` of its own, and a model at an upstream is asked if both are well.

After a pause it is half open: one request, a probe, finds out whether it is back. Requests that were under way when the
pause began say what is known already: they neither lengthen it nor end it, or 32 failing at once would count as 32.
"""

from __future__ import annotations

from ..config.model import Upstream

FIRST_PAUSE_S = 1.0
MOST_PAUSE_S = 60.0
MOST_STATED_S = 600.0
"""A day's quota may be stated as hours: a probe every ten minutes finds out whether somebody raised it."""
CLAIM_S = 5.0
"""How long a probe is kept for a call that was given it and has not begun: it may have been refused in between."""
PROBE_S = 60.0
"""How long a probe that has no answer keeps others away."""

EWMA_PART = 0.3
STALE_S = 30.0
"""A measurement this old is replaced by the next one, not averaged with it."""
HUNG = 4
"""An attempt that waits for this many times the average is the better measurement: a hung upstream sends no other."""


class Health:
    """Whether one thing has failed lately, and when it is asked again. Times are those of the router's clock."""

    __slots__ = ("barred_until", "failures", "probe_until", "turn", "until")

    def __init__(self) -> None:
        self.failures = 0
        """In a row; 0: it is well."""
        self.until = 0.0
        """When the pause ends; after it, and before a success, it is half open."""
        self.barred_until = 0.0
        """Until when it asked to be left alone."""
        self.probe_until = 0.0
        self.turn = 0
        """Counts the pauses, so that what began before one is known."""

    def free(self, now: float) -> bool:
        """Whether it may be asked: it is well, or half open with nobody probing."""
        return not self.failures or (now >= self.until and now >= self.probe_until)

    def claim(self, now: float, for_s: float) -> None:
        """Be the probe, for so long at most, if it is half open."""
        if self.failures and now >= self.until:
            self.probe_until = now + for_s

    def let_go(self, turn: int) -> None:
        """A probe ended that has found out nothing."""
        if turn == self.turn:
            self.probe_until = 0.0

    def recovered(self, turn: int) -> None:
        """Something that began in this turn was answered."""
        if turn == self.turn:
            self.failures, self.until, self.barred_until, self.probe_until = 0, 0.0, 0.0, 0.0

    def failed(self, turn: int, now: float, stated_s: float | None, pause_s: float | None = None) -> None:
        """Something that began in this turn failed: pause as it stated, else `pause_s`, else longer each time."""
        known = turn != self.turn and (stated_s is None or self.failures > 0)
        if known and stated_s is None:
            return
        if not known:
            self.turn += 1
            self.failures += 1
            self.probe_until = 0.0
        if stated_s is not None:
            pause_s = min(stated_s, MOST_STATED_S)
            self.barred_until = max(self.barred_until, now + pause_s)
        elif pause_s is None:
            pause_s = min(MOST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self.failures - 1, 30))
        # The later end counts: a short pause that comes after a long one does not cut it.
        self.until = max(self.until, now + pause_s)


class UpstreamState:
    """One upstream as the router knows it."""

    __slots__ = ("asked", "health", "open", "upstream")

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.health = Health()
        self.open = 0
        """Requests that are under way, streams to their end."""
        self.asked = 0
        """The number of the call that was last given it, to take turns among equals."""


class ModelState:
    """One model at one upstream."""

    __slots__ = ("at", "first_byte_s", "health", "model", "seen", "waiting")

    def __init__(self, at: UpstreamState, model: str | None) -> None:
        self.at = at
        self.model = model
        self.health = Health()
        self.first_byte_s: float | None = None
        """An average that forgets; `None` before the first one. Failures are no measurements: they are quick."""
        self.seen = 0.0
        """When it was measured last."""
        self.waiting: dict[object, float] = {}
        """Requests that have had no byte yet and when they began, the oldest first."""

    def free(self, now: float) -> bool:
        """Whether neither the model nor its upstream cools down, or is being probed."""
        return self.health.free(now) and self.at.health.free(now)

    def barred_until(self) -> float:
        """Until when one of both asked to be left alone."""
        return max(self.health.barred_until, self.at.health.barred_until)

    def back_at(self) -> float:
        """When the later one of both comes back."""
        return max(self.health.until, self.at.health.until)

    def claim(self, now: float, for_s: float) -> None:
        """Be the probe of what is half open."""
        self.health.claim(now, for_s)
        self.at.health.claim(now, for_s)

    def measured(self, took_s: float, now: float) -> None:
        """The first byte came."""
        known = self.first_byte_s
        fresh = known is not None and now - self.seen < STALE_S
        self.first_byte_s = known + EWMA_PART * (took_s - known) if known is not None and fresh else took_s
        self.seen = now

    def expected_s(self, now: float) -> float:
        """How soon its first byte can be expected, after the one that waits the longest."""
        oldest = next(iter(self.waiting.values()), now)
        return max(self.first_byte_s or 0.0, (now - oldest) / HUNG)
