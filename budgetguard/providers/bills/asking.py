"""
A bill is asked for over HTTP: page after page, with the key that the environment has, and with nothing else.

The key goes to the provider's own host, or to one that is named, over TLS; a redirect is not followed, and no text of
ours has it. What fails in passing is tried again, as long as the provider asks, within bounds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ...errors import BillError, ConfigError
from .lines import BillLine, BillRequest, BillRow, BillSource, BillUsage, ProviderBill
from .reading import day_of, require_new

if TYPE_CHECKING:
    import httpx2

TIMEOUT_S: Final = 30
"""Without a word of the server's."""
MOST_PAGES: Final = 400
MOST_BYTES: Final = 50_000_000
"""Of one page."""
TRIES: Final = 5
MOST_WAIT_S: Final = 60.0
"""Before another try, however long the provider asks."""

_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504, 529})
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})

Wait = Callable[[float], object]


def ask(
    source: BillSource,
    since_s: int,
    until_s: int,
    *,
    environ: Mapping[str, str],
    url: str | None = None,
    wait: Wait = time.sleep,
) -> ProviderBill:
    """The bill of a time, in seconds. Raises `ConfigError` without a key, `BillError` where none comes."""
    import httpx2

    key, base = _key(source, environ), _base(source, url)
    lines, used, notes = list[BillLine](), list[BillUsage](), list[str]()
    headers = {"User-Agent": "budgetguard", "Accept": "application/json", **source.headers(key)}
    with httpx2.Client(headers=headers, timeout=TIMEOUT_S, follow_redirects=False) as client:
        for request in source.requests(since_s, until_s):
            for page in _pages(_Asker(client, source, wait), base, request):
                _sort(_within(request.read(page), since_s, until_s), lines, used)
                notes += filter(None, [request.note(page)])
    return ProviderBill(tuple(lines), tuple(used), tuple(notes))


def _within(rows: Iterator[BillRow], since_s: int, until_s: int) -> Iterator[BillRow]:
    """The rows of the days that were asked for: a provider may send more."""
    first, end = day_of(since_s), day_of(until_s)
    yield from (row for row in rows if first <= row.day < end)


def _sort(rows: Iterator[BillRow], lines: list[BillLine], used: list[BillUsage]) -> None:
    for row in rows:
        if isinstance(row, BillLine):
            lines.append(row)
        else:
            used.append(row)


def _key(source: BillSource, environ: Mapping[str, str]) -> str:
    for name in source.keys:
        if key := environ.get(name, "").strip():
            if not (key.isascii() and key.isprintable()) or " " in key:
                raise ConfigError(f"{name} is no key: it has spaces, or signs that no key has")
            return key
    raise ConfigError(f"{source.keys[0]} is not set: {source.name}'s bill needs {source.key_kind}")


def _base(source: BillSource, url: str | None) -> str:
    if url is None:
        return source.base
    parts = urlsplit(url)
    if parts.username or parts.password or parts.query:
        raise ConfigError("--url: write an address without a user, a password and a query")
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOCAL):
        raise ConfigError(f"--url {url}: the key would be sent in the clear; write https://...")
    return url.rstrip("/")


def _pages(asker: _Asker, base: str, request: BillRequest) -> Iterator[Any]:
    cursor, seen, sent = "", set[str](), set[str]()
    for _ in range(MOST_PAGES):
        params = [*request.params, *([("page", cursor)] if cursor else [])]
        page = asker.page(base + request.path, params)
        require_new(page, sent)
        yield page
        cursor = _next(page)
        if not cursor:
            return
        if cursor in seen:
            raise BillError(f"{asker.source.name} names the page {cursor[:40]!r} after itself: its bill has no end")
        seen.add(cursor)
    raise BillError(f"{asker.source.name}'s bill has more than {MOST_PAGES} pages: ask for a shorter time")


def _next(page: Any) -> str:
    """The cursor of the page after this one; "" after the last. Raises `BillError` where there is more, and no way."""
    if not isinstance(page, dict) or page.get("has_more") is False:
        return ""
    cursor = page.get("next_page")
    if isinstance(cursor, str) and cursor:
        return cursor
    if page.get("has_more") or cursor:
        raise BillError("there are more pages, and none is named: the provider's answer is not as documented")
    return ""


class _Asker:
    """Asks one page at a time, again where it may help."""

    def __init__(self, client: httpx2.Client, source: BillSource, wait: Wait) -> None:
        self.client = client
        self.source = source
        self.wait = wait

    def page(self, url: str, params: Sequence[tuple[str, str]]) -> Any:
        """One page as JSON, its numbers exact."""
        for tried in range(1, TRIES + 1):
            status, text, wanted = self._once(url, params)
            if status == 200:
                return self._read(text)
            if status is not None and status not in _PASSING:
                raise BillError(self._refused(status, text))
            if tried < TRIES:
                self.wait(min(wanted if wanted is not None else 2.0 ** (tried - 1), MOST_WAIT_S))
        what = "did not answer" if status is None else f"answered {status}"
        raise BillError(f"{self.source.name} {what}, {TRIES} times: {_place(url)}; try again later")

    def _once(self, url: str, params: Sequence[tuple[str, str]]) -> tuple[int | None, bytes, float | None]:
        """The status, the text, and in how many seconds the provider wants to be asked again; no status: no answer."""
        import httpx2

        text = bytearray()
        try:
            with self.client.stream("GET", url, params=list(params)) as reply:
                for piece in reply.iter_bytes():
                    text += piece
                    if len(text) > MOST_BYTES:
                        raise BillError(f"{_place(url)}: a page has more than {MOST_BYTES:,} bytes: no bill has that")
                return reply.status_code, bytes(text), _seconds(reply.headers.get("retry-after"))
        except (httpx2.TransportError, httpx2.DecodingError):
            return None, b"", None

    def _read(self, text: bytes) -> Any:
        try:
            return json.loads(text, parse_float=Decimal)
        except (ValueError, RecursionError):
            raise BillError(f"{self.source.name}'s answer is not JSON: is this the address of its API?") from None

    def _refused(self, status: int, text: bytes) -> str:
        """What to do; where it is about the key, nothing of the provider's text, which may have a part of it."""
        name = self.source.name
        if status in {401, 403}:
            keys = " or ".join(self.source.keys)
            return f"{name} answered {status} to the key in {keys}: needed is {self.source.key_kind}"
        if 300 <= status < 400:
            return f"{name} answered {status}, with another address: the key is not sent there; --url names it"
        return f"{name} answered {status}: {self._message(text)}"

    def _message(self, text: bytes) -> str:
        said: Any = None
        with suppress(ValueError, RecursionError):
            said = json.loads(text)
        error = said.get("error") if isinstance(said, dict) else None
        message = error.get("message") if isinstance(error, dict) else error
        shown = message if isinstance(message, str) else "it does not say why"
        for secret in filter(
            None, [*self.client.headers.get_list("authorization"), self.client.headers.get("x-api-key")]
        ):
            shown = shown.replace(secret.removeprefix("Bearer "), "...")
        return shown[:300]


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}{parts.path}"


def _seconds(header: str | None) -> float | None:
    """What `Retry-After` says: seconds, or a time."""
    if header is None:
        return None
    with suppress(ValueError):
        return max(float(header), 0.0) if float(header) < float("inf") else None
    with suppress(ValueError, TypeError):
        return max((parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds(), 0.0)
    return None
