"""What goes back to a browser, with the headers that keep other sites, frames, caches and scripts out of it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import Self

Header = tuple[bytes, bytes]

HTML = "text/html; charset=utf-8"
_KEEP_OUT: tuple[Header, ...] = (
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),  # with none at all, a browser does not say either whose form it sends
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
_NOT_KEPT: Header = (b"cache-control", b"no-store")
_KEPT: Header = (b"cache-control", b"public, max-age=31536000, immutable")
_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


def new_nonce() -> str:
    """What a script or a sheet of ours has in this one answer, and no other can know."""
    return secrets.token_urlsafe(16)


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """A status, a body, and what is said of it."""

    status: int
    body: bytes = b""
    kind: str = HTML
    headers: tuple[Header, ...] = ()
    nonce: str = ""
    kept: bool = False
    """Whether browsers may keep it: a file whose address changes when it does."""

    def all_headers(self) -> list[Header]:
        """All that is sent before the body."""
        policy = _POLICY.format(nonce=self.nonce) if self.nonce else "default-src 'none'; frame-ancestors 'none'"
        return [
            (b"content-type", self.kind.encode()),
            (b"content-length", b"%d" % len(self.body)),
            (b"content-security-policy", policy.encode()),
            _KEPT if self.kept else _NOT_KEPT,
            *_KEEP_OUT,
            *self.headers,
        ]

    def with_cookie(self, value: str) -> Self:
        """The same, and a cookie."""
        return replace(self, headers=(*self.headers, (b"set-cookie", value.encode("latin-1"))))


def went_to(path: str) -> PageAnswer:
    """Look there next. The path is one of ours, made here: nothing of a request is in front of it."""
    return PageAnswer(303, headers=((b"location", path.encode("latin-1")),))
