"""
A webhook: each alert is a POST of JSON, signed, and sent again where that may help.

With a `secret`, the header `Budgetguard-Signature: t=<seconds>,v1=<hex>` has the HMAC-SHA256 of "<seconds>.<body>": who
receives it computes the same, compares in constant time, and refuses what is older than a few minutes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from ...budgets.said.checks import require_choice
from ...errors import ConfigError
from ..alert import Alert
from .base import LAST_S, require_timeout
from .chats import as_discord, as_slack

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

Style: TypeAlias = Literal["json", "slack", "discord"]

TIMEOUT_S: Final = 10.0
ATTEMPTS: Final = 5
FIRST_WAIT_S: Final = 0.5
MOST_WAIT_S: Final = 30.0
"""How long is waited before one more attempt, at most, whatever the receiver asks for."""

_AGAIN: Final = frozenset({408, 425, 429})
_NEVER_SENT: Final = re.compile(r"[\x00-\x20\x7f]")
"""What fails each attempt, in words that have the address in them."""
_HEADER: Final = "Budgetguard-Signature"


class UndeliveredError(Exception):
    """A sink did not take an alert."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """
    A URL that each alert is posted to.

    * `secret`: signs what is posted (docs/alerts.md says how to check it).
    * `style`: "json", or the form that an incoming webhook of "slack" or "discord" takes.
    * `timeout_s`: how long one attempt may wait for an answer. There are five, with growing pauses between them, as
      long as the receiver cannot be reached, is busy (429) or fails (5xx).

    Neither the secret nor the path of the URL, which often is one, is ever shown. Raises `ConfigError`.
    """

    url: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)
    style: Style = "json"
    timeout_s: float = TIMEOUT_S
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False, compare=False)
    clock: Callable[[], float] = field(default=time.time, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_choice(self.style, get_args(Style), "style")
        require_timeout(self.timeout_s)
        if isinstance(self.url, str):
            object.__setattr__(self, "url", self.url.strip())  # a variable read from a file ends with a line
        try:
            parts = urlsplit(self.url)
            there = parts.scheme in {"http", "https"} and bool(parts.hostname)
            _ = parts.port, (parts.hostname or "").encode("idna")
        except (TypeError, ValueError, AttributeError):
            there = False
        if not there:
            raise ConfigError("url: a webhook's address is needed, such as 'https://hooks.example.com/budgets'")
        if parts.username is not None:
            raise ConfigError("url: a name and password in a webhook's address would not be sent; leave them out")
        if _NEVER_SENT.search(self.url) or not f"{parts.path}{parts.query}".isascii():
            raise ConfigError("url: the path of a webhook's address has ASCII letters and no spaces: escape others")
        if self.secret is not None and (not isinstance(self.secret, str) or not self.secret):
            raise ConfigError("secret: a text that is not empty is needed, or none")

    @property
    def name(self) -> str:
        """Its kind and host."""
        kind = "webhook" if self.style == "json" else self.style
        return f"{kind} {urlsplit(self.url).hostname}"

    def send(self, alert: Alert) -> None:
        """Post it, again where that may help; raises `UndeliveredError`."""
        self._send(alert, ATTEMPTS)

    def send_last(self, alert: Alert) -> None:
        """Post it once, and wait for a moment only; raises `UndeliveredError`."""
        replace(self, timeout_s=min(self.timeout_s, LAST_S))._send(alert, 1)

    def _send(self, alert: Alert, attempts: int) -> None:
        body = json.dumps(self._said(alert)).encode()
        opener = _opener()
        for attempt in range(1, attempts + 1):
            told, again, wait_s = self._post(opener, body)
            if not told:
                return
            if not again or attempt == attempts:
                raise UndeliveredError(f"{told} (attempt {attempt})")
            if wait_s is None:
                wait_s = FIRST_WAIT_S * 2 ** (attempt - 1) * (0.5 + random.random())
            self.sleep(min(wait_s, MOST_WAIT_S))

    def _said(self, alert: Alert) -> dict[str, object]:
        if self.style == "slack":
            return as_slack(alert)
        return as_discord(alert) if self.style == "discord" else alert.in_json()

    def _headers(self, body: bytes) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "User-Agent": "budgetguard"}
        if self.secret is not None:
            headers[_HEADER] = signature(self.secret, body, int(self.clock()))
        return headers

    def _post(self, opener: OpenerDirector, body: bytes) -> tuple[str, bool, float | None]:
        """What went wrong with one attempt ("": nothing), whether another may help, and how long to wait for it."""
        from http.client import HTTPException
        from urllib.error import HTTPError
        from urllib.request import Request

        request = Request(self.url, body, self._headers(body), method="POST")  # the scheme was checked
        try:
            with opener.open(request, timeout=self.timeout_s) as response:
                response.read(1024)
        except HTTPError as error:
            with error:
                return f"it answered {error.code}", error.code in _AGAIN or error.code >= 500, _asked_s(error)
        except (OSError, HTTPException) as error:
            return f"it cannot be reached: {_reason(error)}", True, None
        return "", False, None


def signature(secret: str, body: bytes, at_s: int) -> str:
    """The value of the header `Budgetguard-Signature` for a body that is sent at this time."""
    digest = hmac.new(secret.encode(), b"%d." % at_s + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"


def _asked_s(error: object) -> float | None:
    """How many seconds the receiver asks to wait."""
    headers = getattr(error, "headers", None)
    try:
        asked_s = float(headers.get("Retry-After", "")) if headers is not None else -1.0
    except ValueError:
        return None
    return asked_s if asked_s >= 0 else None  # nor is "nan" a time


def _reason(error: BaseException) -> str:
    """What happened, without the URL."""
    reason = getattr(error, "reason", None)
    return str(reason or error) or type(error).__name__


def _opener() -> OpenerDirector:
    """As the environment's proxies say; a redirect is an answer like any other: nothing is posted where that leads."""
    from urllib.request import HTTPRedirectHandler, build_opener

    class Stay(HTTPRedirectHandler):
        """Follows none."""

        def redirect_request(self, *_: object) -> None:
            """Nowhere."""

    return build_opener(Stay)
