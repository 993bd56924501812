"""
The door: who a visit is, by the key that was shown, by the ticket of `budgetguard ui`, or by nothing in open mode.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ....concurrency.locks import mutex
from ...keys import ADMIN, READ, Caller, Keys
from ...keys.finding.loopback import names_loopback
from ...keys.ring import digest_of, prefix_of
from ...problems import Refused
from .sessions import MOST_PROJECTS, Sessions, SignedKey
from .visits import PageVisit

WayIn: TypeAlias = Literal["keys", "open", "ticket"]
"""How one comes in."""
_MOST_LETTERS = 500
_MOST_LOCAL = 100


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks, and at which projects they may."""

    caller: Caller
    projects: tuple[str, ...] = ()
    """Those whose keys were shown; none: all that there are."""


class Tickets:
    """The one-time tickets of `budgetguard ui`: whoever shows one first comes in, and there is another."""

    def __init__(self, issued: Callable[[str], None] = lambda ticket: None) -> None:
        self._lock = mutex("page tickets")
        self._issued = issued
        self.ticket = secrets.token_urlsafe(32)
        self._inside: list[str] = []

    def enter(self, ticket: str, visit_id: str) -> bool:
        """Let a visit in by a ticket that nobody has shown; whether it was one."""
        with self._lock:
            if not hmac.compare_digest(ticket.encode(), self.ticket.encode()):
                return False
            self.ticket = secrets.token_urlsafe(32)
            self._inside = [*self._inside, visit_id][-_MOST_LOCAL:]
        self._issued(self.ticket)
        return True

    def is_inside(self, visit_id: str) -> bool:
        """Whether a visit came in."""
        return visit_id in self._inside

    def leave(self, visit_id: str) -> None:
        """Sign out."""
        with self._lock:
            self._inside = [each for each in self._inside if each != visit_id]


class Door:
    """Finds out who looks. Its methods ask the store."""

    def __init__(self, keys: Keys, sessions: Sessions, *, open_mode: bool = False, tickets: Tickets | None = None):
        self._keys = keys
        self._sessions = sessions
        self._tickets = tickets
        self.way: WayIn = "ticket" if tickets is not None else "open" if open_mode else "keys"

    def require_own_host(self, visit: PageVisit) -> None:
        """Without keys only this machine's own names are answered: any other may be made to lead here."""
        if self.way != "keys" and not names_loopback(visit.host.encode("latin-1", "replace")):
            told = "the host that was asked is not localhost: without keys only this machine is answered"
            raise Refused(403, told, "permission_error")

    def visitor(self, visit: PageVisit, project: str) -> Visitor | None:
        """Who a visit is, in the project that it asks for ("": any); `None`: nobody yet."""
        if self.way == "keys":
            return self._by_keys(visit, project)
        if self._tickets is not None and not self._tickets.is_inside(visit.id):
            return None
        return Visitor(Caller(None, ADMIN, ""))

    def sign_in(self, visit: PageVisit, key: str) -> PageVisit:
        """A visit under a new id that has shown a key, beside those before; raises `Refused` for one that may not."""
        text = key.strip()
        if not text or len(text) > _MOST_LETTERS or not text.isascii():
            raise Refused(401, "type a key: bg_...", "authentication_error")
        caller = self._keys.find(_asked_with(text, visit.address))
        if caller.scope not in (READ, ADMIN) or caller.project is None:
            told = f"this key is for {caller.scope}: sign in with one of scope read or admin (budgetguard keys create)"
            raise Refused(403, told, "permission_error")
        made = SignedKey(caller.project, caller.prefix or prefix_of(text), digest_of(text))
        before = () if visit.is_new else self._sessions.find(visit.id)
        others = [each for each in before if each.project != caller.project]
        renewed = visit.renewed()
        self._sessions.begin(renewed.id, (*others[-MOST_PROJECTS + 1 :], made))
        if before:
            self._sessions.end(visit.id)
        return renewed

    def enter(self, visit: PageVisit, ticket: str) -> PageVisit:
        """A visit under a new id that has shown a ticket; raises `Refused` for one that was shown before."""
        renewed = visit.renewed()
        if self._tickets is None or not self._tickets.enter(ticket, renewed.id):
            told = "this address was opened before, or is none: the terminal of `budgetguard ui` has another"
            raise Refused(403, told, "permission_error")
        return renewed

    def sign_out(self, visit: PageVisit) -> None:
        """End a visit's session."""
        if self._tickets is not None:
            self._tickets.leave(visit.id)
        elif self.way == "keys":
            self._sessions.end(visit.id)

    def _by_keys(self, visit: PageVisit, project: str) -> Visitor | None:
        signed = () if visit.is_new else self._sessions.find(visit.id)
        found = {each.project: caller for each in signed if (caller := self._caller(each)) is not None}
        if not found:
            return None
        if project and project not in found:
            told = f"you have shown no key of project {project!r}: sign in with one"
            raise Refused(403, told, "permission_error", code="project")
        return Visitor(found[project or next(iter(found))], tuple(sorted(found)))

    def _caller(self, signed: SignedKey) -> Caller | None:
        try:
            return self._keys.signed_in(signed.prefix, signed.digest)
        except Refused:  # revoked, rotated, blocked or expired: its session is over
            return None


def _asked_with(key: str, address: str) -> dict[str, object]:
    """A request that brings a key, as `Keys` reads one: it counts wrong ones by their address."""
    return {"headers": [(b"authorization", b"Bearer " + key.encode())], "query_string": b"", "client": (address, 0)}
