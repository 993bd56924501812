"""
A provider that costs next to nothing, as a process of its own: `python -m benchmarks.gateway.upstream`.

It says its port on a line. A request whose text has `wait 50` is answered after 50 ms; one that streams gets 100
events, a millisecond apart, as a model's are: in one piece, a proxy would pass them on as one.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import httptools
import uvloop

EVENTS = 100
EVENT_S = 0.001

STREAM = re.compile(rb'"stream":\s*true')
USAGE = re.compile(rb'"include_usage":\s*true')
WAIT = re.compile(rb"wait (\d+)")

_NUMBERS = b'"usage":{"prompt_tokens":9,"completion_tokens":100,"total_tokens":109}'
_ABOUT = b'"id":"chatcmpl-1","created":1700000000,"model":"gpt-4o-mini-2024-07-18"'
_SAID = b'{"index":0,"message":{"role":"assistant","content":"' + b"word " * 100 + b'"},"finish_reason":"stop"}'
ANSWER = b"{" + _ABOUT + b',"object":"chat.completion","choices":[' + _SAID + b"]," + _NUMBERS + b"}"
PLAIN = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\nx-request-id: 1\r\n\r\n" % len(ANSWER)
) + ANSWER
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _chunk(choices: bytes, more: bytes = b"") -> bytes:
    event = b"data: {" + _ABOUT + b',"object":"chat.completion.chunk","choices":[' + choices + b"]" + more + b"}\n\n"
    return b"%x\r\n%s\r\n" % (len(event), event)


EVENT = _chunk(b'{"index":0,"delta":{"content":"word "},"finish_reason":null}')
END = _chunk(b'{"index":0,"delta":{},"finish_reason":"stop"}')
COUNTED = _chunk(b"", b"," + _NUMBERS)
DONE = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


class Connection(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.loop = asyncio.get_running_loop()
        self.body = b""

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.body = b""

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        wait = WAIT.search(self.body)
        answer = self.stream if STREAM.search(self.body) else self.plain
        if wait:
            self.loop.call_later(int(wait[1]) / 1000, answer)
        else:
            answer()

    def plain(self) -> None:
        self.transport.write(PLAIN)

    def stream(self) -> None:
        self.transport.write(HEAD)
        self.event(EVENTS - 1, COUNTED if USAGE.search(self.body) else b"")

    def event(self, left: int, counted: bytes) -> None:
        if left:
            self.transport.write(EVENT)
            self.loop.call_later(EVENT_S, self.event, left - 1, counted)
        else:
            self.transport.write(END + counted + DONE)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
