"""Usage and cost APIs that answer what was recorded, page by page, over a real socket; and books to compare with."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from tests.support import ROOT

RECORDINGS = ROOT / "tests/recordings/bills"


def recorded(provider: str) -> dict[str, list[Any]]:
    """The recorded pages of a provider, by their paths."""
    text = (RECORDINGS / f"{provider}.json").read_text("utf-8")
    return {path: pages for path, pages in json.loads(text).items() if path.startswith("/")}


@dataclass
class Spoilt:
    """An answer in the place of a page, so many times."""

    status: int
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    times: int = 1


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    path: str
    params: Sequence[tuple[str, str]]
    headers: Mapping[str, str]


class BillServer:
    """Serves pages below "/v1"; the page of a cursor is the one after that which named it."""

    def __init__(self, pages: Mapping[str, Sequence[Any]], spoilt: Sequence[Spoilt] = ()) -> None:
        self.pages = pages
        self.spoilt = list(spoilt)
        self.asked: list[Asked] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def url(self) -> str:
        """The base URL of the API."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, asked: Asked) -> tuple[int, Mapping[str, str], bytes]:
        """What a request is answered."""
        self.asked.append(asked)
        if self.spoilt:
            first = self.spoilt[0]
            first.times -= 1
            if not first.times:
                del self.spoilt[0]
            return first.status, first.headers, first.body
        found = self.pages.get(asked.path.removeprefix("/v1"))
        if found is None:
            return 404, {}, b'{"error": {"message": "no such path"}}'
        cursor = dict(asked.params).get("page")
        place = 0 if cursor is None else next(n for n, page in enumerate(found, 1) if page["next_page"] == cursor)
        return 200, {"content-type": "application/json"}, json.dumps(found[place]).encode()


def _handler(served: BillServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, more, body = served.answer(Asked(parts.path, parse_qsl(parts.query), headers))
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: Any) -> None:
            pass

    return Handler
