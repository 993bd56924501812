"""A sentence for the next page, after a form was sent: in a cookie that only the visit's own server could have made."""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Mapping

from ..links import HOME
from .visits import PageVisit, cookie_name

_MOST_LETTERS = 500
_MARK = 32


def told_cookie(visit: PageVisit, told: str) -> str:
    """The value of Set-Cookie; "" takes the sentence back."""
    text = urlsafe_b64encode(told[:_MOST_LETTERS].encode()).decode()
    value = f"{_mark(visit, text)}.{text}" if told else ""
    flags = f"Path={HOME}; HttpOnly; SameSite=Lax; Max-Age={60 if told else 0}" + ("; Secure" if visit.secure else "")
    return f"{_name(visit)}={value}; {flags}"


def told_in(headers: Mapping[str, str], visit: PageVisit) -> str:
    """The sentence that this visit was told; "" if there is none."""
    for pair in headers.get("cookie", "").split(";"):
        name, _, value = pair.strip().partition("=")
        mark, _, text = value.partition(".")
        if name == _name(visit) and hmac.compare_digest(mark.encode(), _mark(visit, text).encode()):
            try:
                return urlsafe_b64decode(text).decode()
            except (Error, ValueError):
                return ""
    return ""


def _name(visit: PageVisit) -> str:
    return f"{cookie_name(visit.host)}-told"


def _mark(visit: PageVisit, text: str) -> str:
    return hmac.new(visit.id.encode(), f"told {text}".encode(), hashlib.sha256).hexdigest()[:_MARK]
