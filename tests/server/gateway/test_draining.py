"""The end of a server, without processes: who is before the port is answered, and nobody comes after."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
import uvloop

from budgetguard.server.gateway.process.draining import DrainingProtocol, DrainingServer

REQUEST = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"


async def hello(_scope: Any, _receive: Any, send: Any) -> None:
    """Answers."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"hi"})


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_who_waits_in_the_line_before_the_port_is_let_in(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """The system resets who waits there when a port is closed: a proxy takes that for a call that was sent."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    told: list[str] = []

    async def run() -> None:
        config = uvicorn.Config(hello, http=DrainingProtocol, lifespan="off", log_config=None)
        config.load()
        server = DrainingServer(config, lambda: told.append("ready"))
        server.lifespan = config.lifespan_class(config)
        await server.startup([listening])
        assert told == ["ready"]
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]  # the loop has not seen them
        for client in clients:
            client.sendall(REQUEST)
        await server.shutdown([listening])
        for client in clients:
            with client:
                client.settimeout(10)
                answer = b"".join(iter(lambda client=client: client.recv(4096), b""))  # type: ignore[misc]
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"\r\nconnection: close\r\n" in answer
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())
