"""Attacks on an HTTP server by who speaks to its socket: the same for every server of the package that is reachable."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from urllib.parse import quote

from tests.support.wire import exchange

PATIENCE_S = 20.0


@dataclass(frozen=True)
class Target:
    """A server, and a request that it answers with 200: what an attacker with a key wants answered twice."""

    port: int
    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    """With the key, if it asks for one; without a length."""

    def head(self, *lines: str) -> bytes:
        """The request line and headers, and these lines behind them."""
        own = (f"{name}: {value}" for name, value in self.headers.items())
        return "\r\n".join([f"POST {self.path} HTTP/1.1", "host: localhost", *own, *lines, "", ""]).encode("latin-1")

    @property
    def request(self) -> bytes:
        """The whole request."""
        return self.head(f"content-length: {len(self.body)}") + self.body

    @property
    def last(self) -> bytes:
        """The same, behind whose answer the connection ends."""
        return self.head(f"content-length: {len(self.body)}", "connection: close") + self.body

    def connect(self) -> socket.socket:
        """A connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def say(self, *pieces: bytes) -> list[int]:
        """The statuses of all that is answered to this, until the server ends the connection."""
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d\d\d) ", self.hear(*pieces))]

    def hear(self, *pieces: bytes) -> bytes:
        """All that is answered to this, until the server ends the connection."""
        return exchange(self.port, b"".join(pieces), PATIENCE_S)

    def is_well(self) -> bool:
        """Whether it answers the request, as if nothing had been."""
        return self.say(self.last) == [200]


def smuggled(target: Target) -> dict[str, bytes]:
    """
    Requests that two servers in a row may read differently: each has another one hidden in it, or where a body would
    end for one of the two.
    """
    hidden, chunk = target.last, b"%x\r\n%s\r\n" % (len(target.body), target.body)
    length, chunked = f"content-length: {len(target.body)}", "transfer-encoding: chunked"
    ended = chunk + b"0\r\n\r\n"
    return {
        "a length and chunks": target.head(length, chunked) + ended + hidden,
        "chunks and a length": target.head(chunked, "content-length: 3") + ended + hidden,
        "two lengths": target.head(length, "content-length: 0") + target.body + hidden,
        "a list of lengths": target.head(f"{length}, 0") + target.body + hidden,
        "a length below zero": target.head("content-length: -1") + target.body + hidden,
        "a length with a sign": target.head(f"content-length: +{len(target.body)}") + target.body + hidden,
        "a length beyond all numbers": target.head("content-length: " + "9" * 40) + target.body + hidden,
        "a length in hexadecimal": target.head("content-length: 0x10") + target.body + hidden,
        "chunks that are not the last coding": target.head("transfer-encoding: chunked, identity") + ended + hidden,
        "chunks by another name": target.head("transfer-encoding: xchunked") + ended + hidden,
        "chunks in HTTP/1.0": target.head(chunked).replace(b"HTTP/1.1", b"HTTP/1.0") + ended + hidden,
        "a chunk of a size below zero": target.head(chunked) + b"-1\r\n" + ended + hidden,
        "a chunk of a size beyond all numbers": target.head(chunked) + b"f" * 17 + b"\r\n" + ended + hidden,
        "a chunk that is longer than it says": target.head(chunked)
        + b"1\r\n"
        + target.body
        + b"\r\n0\r\n\r\n"
        + hidden,
        "a line that goes on": target.head(length, "x-folded: a", f"\t{chunked}") + target.body + hidden,
        "a name with a space behind it": target.head("content-length : 0", length) + target.body + hidden,
        "a name with a NUL": target.head(length, "x\0: 1") + target.body + hidden,
        "a value with a NUL": target.head(length, "x: a\0b") + target.body + hidden,
        "a value with a bare CR": target.head(length, f"x: a\r{chunked}") + target.body + hidden,
        "no version": target.head(length).replace(b" HTTP/1.1", b"", 1) + target.body + hidden,
        "a head of bare LFs": target.head(length, chunked).replace(b"\r\n", b"\n") + ended + hidden,
    }


def endless(target: Target) -> dict[str, tuple[bytes, ...]]:
    """Heads, bodies and what is around them that go on and on: none may be kept."""
    flood = b"y" * 65_536
    return {
        "a head": (target.head()[:-2] + b"x: ", *[flood] * 40),
        "a path": (b"GET /" + flood, *[flood] * 40),
        "headers": (target.head()[:-2], *[b"x: y\r\n" * 10_000] * 40),
        "an extension of a chunk": (target.head("transfer-encoding: chunked") + b"1;", *[flood] * 40),
        "trailers": (target.head("transfer-encoding: chunked") + b"0\r\n", *[b"x: y\r\n" * 10_000] * 40),
    }


def unreadable(target: Target) -> dict[str, bytes]:
    """Requests whose address is longer than any that can be read, in one piece; alone, and behind one that is right."""
    long = b"GET /ui/calls?" + b"x=1&" * 20_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n"
    return {"first": long, "behind another": target.request + long}


INJECTED = "a\r\nset-cookie: b=c\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"


def injected(target: Target) -> dict[str, bytes]:
    """Requests whose values would be headers, or another answer, if they were put into a head as they are."""
    said = json.dumps({**json.loads(target.body), "model": INJECTED, "user": INJECTED, "keys": [INJECTED]}).encode()
    length = f"content-length: {len(said)}"
    line, query = f"POST {target.path} ".encode(), f"POST {target.path}?x={quote(INJECTED)} ".encode()
    path = f"POST /v1/{quote(INJECTED)} ".encode()
    return {
        "in the body": target.head(length, "connection: close") + said,
        "in the query": target.last.replace(line, query, 1),
        "in the path": target.last.replace(line, path, 1),
    }


def silent(target: Target, number: int, stack: ExitStack) -> list[socket.socket]:
    """Connections that say nothing, until the stack ends."""
    return [stack.enter_context(target.connect()) for _ in range(number)]


def has_ended(raw: socket.socket) -> bool:
    """Whether the other side has closed a connection."""
    raw.settimeout(0)
    try:
        return raw.recv(1) == b""
    except ConnectionResetError:
        return True
    except BlockingIOError:
        return False
