"""
A visit: the id that a browser keeps in a cookie, and what proves that a form was one of ours.

The id is 256 random bits, made anew at every sign-in, so that nobody goes on under an id that he was given. The cookie
is for `/ui` alone, scripts cannot read it, and its name has the port: browsers tell servers on one host apart by that
only. A form has a token that follows from the id, and comes from our own origin.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from ...problems import Refused
from ..links import HOME

FORM_TOKEN = "csrf"
"""The field of a form that has the token."""
_ID = re.compile(r"[A-Za-z0-9_-]{43}")
_MOST_COOKIES = 16_384


@dataclass(frozen=True, slots=True)
class PageVisit:
    """A browser, as its request shows it."""

    id: str
    host: str
    """What the browser has in its address bar: "localhost:8080"."""
    address: str
    secure: bool = False
    """Whether it asked over TLS."""
    is_new: bool = False
    """Whether it has no cookie yet."""

    @property
    def token(self) -> str:
        """What our forms have: nothing of the id can be told from it."""
        return hmac.new(self.id.encode(), b"budgetguard form", hashlib.sha256).hexdigest()

    def cookie(self, *, gone: bool = False) -> str:
        """The value of Set-Cookie."""
        flags = f"Path={HOME}; HttpOnly; SameSite=Lax" + ("; Secure" if self.secure else "")
        return f"{cookie_name(self.host)}={'' if gone else self.id}; {flags}" + ("; Max-Age=0" if gone else "")

    def renewed(self) -> PageVisit:
        """The same browser under a new id."""
        return PageVisit(new_visit_id(), self.host, self.address, self.secure, is_new=True)


def new_visit_id() -> str:
    """An id that nobody can guess."""
    return secrets.token_urlsafe(32)


def cookie_name(host: str) -> str:
    """The name of the cookie of a server, by the port of the host that was asked."""
    try:
        port = urlsplit(f"//{host}").port
    except ValueError:
        port = None
    return f"budgetguard-{port}" if port else "budgetguard"


def visit_of(headers: Mapping[str, str], *, address: str, secure: bool) -> PageVisit:
    """The visit that a request belongs to; a new one where it brings no id that could be one of ours."""
    host = headers.get("host", "")
    wanted = cookie_name(host)
    for pair in headers.get("cookie", "")[:_MOST_COOKIES].split(";"):
        name, _, value = pair.strip().partition("=")
        if name == wanted and _ID.fullmatch(value):
            return PageVisit(value, host, address, secure)
    return PageVisit(new_visit_id(), host, address, secure, is_new=True)


def require_own_form(visit: PageVisit, headers: Mapping[str, str], form: Mapping[str, str]) -> None:
    """Raise `Refused` (403) for a form that a page of another origin sent, or that has not the visit's token."""
    origin = headers.get("origin")
    if origin is None:  # a browser that sends none with a form says who asked in one of these
        referer = headers.get("referer", "")
        own = headers.get("sec-fetch-site") == "same-origin" or _host_of(referer) == visit.host
    else:
        own = _host_of(origin) == visit.host
    if not own:
        raise Refused(403, "this form was sent by another site's page, so nothing was done", "permission_error")
    if visit.is_new or not hmac.compare_digest(form.get(FORM_TOKEN, "").encode(), visit.token.encode()):
        told = "this form is not of this visit: go back, load the page again, and send it once more"
        raise Refused(403, told, "permission_error", code="csrf")


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).netloc or "none"
    except ValueError:
        return "none"
