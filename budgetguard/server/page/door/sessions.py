"""
Sessions: who has signed in, as records in the server's own namespace, so that every server on a store knows them.

A session is the SHA-256 of a visit's id, and the keys that were shown, by their prefix and digest: the key itself is
kept nowhere. It ends after `LASTS_S`, at sign-out, and with its keys: each request asks again, at most every two
seconds, whether they are right.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from typing import NamedTuple

from ....ledger import Record, RecordQuery, Store
from ...keys.finding.remembered import Remembered

KIND = "session"
LASTS_S = 12 * 3_600
MOST_OF_KEY = 100
"""How many sessions a key has at once; then its oldest ends."""
MOST_PROJECTS = 20
"""How many keys, each of another project, a session has."""
_KNOWN_S = 2.0
_MOST_KNOWN = 10_000


class SignedKey(NamedTuple):
    """A key that was shown at sign-in: of a project, by its name and the digest of its text."""

    project: str
    prefix: str
    digest: str


Signed = tuple[SignedKey, ...]


class Sessions:
    """The sessions in a server's own store; `now` is the time in seconds since 1970."""

    def __init__(
        self, own: Store, *, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time
    ) -> None:
        self._own = own
        self._clock = clock
        self._now = now
        self._known: Remembered[str, Signed] = Remembered(_MOST_KNOWN)

    def begin(self, visit_id: str, signed: Signed) -> None:
        """A session under a new id; the oldest of the key's end where there are too many."""
        self._end_oldest(signed[-1])
        self._put(visit_id, signed)

    def find(self, visit_id: str) -> Signed:
        """The keys of a session; none, where there is no such session, or it is over."""
        name = _name(visit_id)
        known = self._known.get(name, self._clock())
        return known.value if known is not None else self._known.put(name, self._read(name), self._until_s()).value

    def end(self, visit_id: str) -> None:
        """Sign out."""
        self._put(visit_id, ())

    def _put(self, visit_id: str, signed: Signed) -> None:
        name, now_ms = _name(visit_id), round(self._now() * 1000)
        body = json.dumps([list(each) for each in signed])
        until_ms = now_ms + LASTS_S * 1000 if signed else None
        self._own.note([Record(KIND, name, now_ms, body, until_ms)], replace=True)
        self._known.put(name, signed, self._until_s())

    def _read(self, name: str) -> Signed:
        just_before = name[:-1] + chr(ord(name[-1]) - 1)  # all names are equally long
        found = next(self._own.noted(RecordQuery(KIND, after=just_before, before=name + " ", limit=1)), None)
        if found is None or found.until_ms is None or found.until_ms <= self._now() * 1000:
            return ()
        return tuple(SignedKey(*each) for each in json.loads(found.body))

    def _end_oldest(self, key: SignedKey) -> None:
        """Look through the sessions, at sign-in only: whoever has a key may sign in, but not fill the store."""
        now_ms = self._now() * 1000
        own = [
            each
            for each in self._own.noted(RecordQuery(KIND))
            if each.until_ms is not None and each.until_ms > now_ms and key.prefix in each.body
        ]
        for each in sorted(own, key=lambda each: each.at_ms)[: max(0, len(own) + 1 - MOST_OF_KEY)]:
            self._own.note([each._replace(body="[]", until_ms=None)], replace=True)
            self._known.drop(each.id)

    def _until_s(self) -> float:
        return self._clock() + _KNOWN_S


def _name(visit_id: str) -> str:
    return hashlib.sha256(visit_id.encode()).hexdigest()
