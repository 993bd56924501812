"""
Callers in a closed loop, as a process of its own: so many connections, each asks again once it is answered.

    python -m benchmarks.gateway.client PORT PATH KEY CONNECTIONS CALLS WAIT_MS STREAM

It prints a line of JSON: how long all took, and the latencies of each call in milliseconds, to the end of the answer.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import httptools
import uvloop


@dataclass
class Load:
    request: bytes
    left: int
    took_ms: list[float] = field(default_factory=list)
    problems: int = 0
    problem: str = ""


def request(port: int, path: str, key: str, wait_ms: int, stream: bool) -> bytes:
    body = json.dumps(
        {
            "model": "gpt-4o-mini",
            "messages": [{"role": "user", "content": f"wait {wait_ms}" if wait_ms else "hi"}],
            "max_tokens": 200,
            **({"stream": True} if stream else {}),
        },
        separators=(",", ":"),
    ).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\naccept: application/json\r\nuser-agent: load\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Caller(asyncio.Protocol):
    def __init__(self, load: Load) -> None:
        self.load = load
        self.over = asyncio.get_running_loop().create_future()
        self.parser = httptools.HttpResponseParser(self)
        self.body = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        if not self.load.left:
            self.over.set_result(None)
            self.transport.close()
            return
        self.load.left -= 1
        self.body = b""
        self.began = time.perf_counter()
        self.transport.write(self.load.request)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.body = body

    def on_message_complete(self) -> None:
        self.load.took_ms.append((time.perf_counter() - self.began) * 1e3)
        if self.parser.get_status_code() != 200:
            self.load.problems += 1
            self.load.problem = f"{self.parser.get_status_code()} {self.body[:300].decode(errors='replace')}"
        self.ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.over.done():
            self.load.problems += 1
            self.load.problem = f"the connection was closed: {error}"
            self.over.set_result(None)


async def main() -> None:
    port, path, key, connections, calls, wait_ms, stream = sys.argv[1:]
    load = Load(request(int(port), path, key, int(wait_ms), stream == "stream"), int(calls))
    began = time.perf_counter()
    loop = asyncio.get_running_loop()
    callers = [
        (await loop.create_connection(lambda: Caller(load), "127.0.0.1", int(port)))[1] for _ in range(int(connections))
    ]
    await asyncio.gather(*(each.over for each in callers))
    print(
        json.dumps(
            {
                "took_s": time.perf_counter() - began,
                "took_ms": load.took_ms,
                "problems": load.problems,
                "problem": load.problem,
            }
        )
    )


if __name__ == "__main__":
    uvloop.run(main())
