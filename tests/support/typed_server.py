"""A server that answers each path with what it was last told to."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

TELL = "/-/answers"


class TypedServer:
    """It is told an answer by `PUT /-/answers`. `asked` counts the other requests."""

    def __init__(self) -> None:
        self.asked = 0
        answers: dict[tuple[str, str], Any] = {}
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                path = self.path.partition("?")[0]
                if path == TELL:
                    said = json.loads(body)
                    answers[said["method"], said["path"].removeprefix("/v1")] = said["body"]
                    self.reply(200, b"{}")
                    return
                server.asked += 1
                found = answers.get((self.command, path.removeprefix("/v1")), server)
                if found is server:
                    self.reply(404, b'{"error": {"message": "nobody said what is here"}}')
                elif b'"stream":true' in body.replace(b" ", b""):
                    self.reply(
                        200, b"data: " + json.dumps(found).encode() + b"\n\ndata: [DONE]\n\n", "text/event-stream"
                    )
                else:
                    self.reply(200, json.dumps(found).encode())

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

            def reply(self, status: int, body: bytes, kind: str = "application/json") -> None:
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                """A client is gone: so it is in tests of streams."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
