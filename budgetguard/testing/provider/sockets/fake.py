"""
A provider to test against over WebSockets, on loopback, that keeps its own bill.

    with FakeSockets(tokens=20, prices=price) as provider:
        with provider.client().realtime.connect(model="gpt-realtime") as connection:
            connection.response.create()
            ...
        assert provider.billed > 0

It is found at the paths of OpenAI's Realtime, Responses and Live, and of Gemini's Live. It needs `websockets`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from ssl import SSLContext
from typing import Any
from urllib.parse import parse_qsl

from ....money import Money, Nano
from ..plan import Bill
from .answers import FakeTalk, SocketPlan, TalkBill, talk_at

SocketPrices = Callable[[str, Mapping[str, Any]], Nano]
"""What an answer costs, by its model and usage, in nano-dollars."""


class FakeSockets:
    """
    A provider in threads of this process; start it with `with`, or `start()` and `stop()`.

    `plan` and the keywords (the fields of `SocketPlan`) say how every socket is answered, and `prices` what that costs.
    `ssl` is for clients that take nothing else. It is safe to use from many threads.
    """

    def __init__(
        self,
        plan: SocketPlan | None = None,
        *,
        prices: SocketPrices | None = None,
        ssl: SSLContext | None = None,
        **fields: Any,
    ) -> None:
        self.plan = replace(plan or SocketPlan(), **fields)
        self._prices = prices
        self._ssl = ssl
        self._lock = threading.Lock()
        self._ledger: list[Bill] = []
        self._received: list[dict[str, Any]] = []
        self._server: Any = None

    def __enter__(self) -> FakeSockets:
        return self.start()

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def start(self) -> FakeSockets:
        """Listen on a free port."""
        from websockets.sync.server import serve

        self._server = serve(self._talk, "127.0.0.1", 0, compression=None, ssl=self._ssl)
        threading.Thread(target=self._server.serve_forever, name="fake-sockets", daemon=True).start()
        return self

    def stop(self) -> None:
        """Close the port; what was recorded stays readable."""
        if self._server is not None:
            self._server.shutdown()

    @property
    def port(self) -> int:
        """Where it listens."""
        if self._server is None:
            raise RuntimeError("the provider was not started: use `with FakeSockets() as provider`")
        return int(self._server.socket.getsockname()[1])

    @property
    def url(self) -> str:
        """Below which its paths are: "ws://127.0.0.1:43210"; "wss://" with `ssl`."""
        return f"{'ws' if self._ssl is None else 'wss'}://127.0.0.1:{self.port}"

    @property
    def received(self) -> list[dict[str, Any]]:
        """Every message so far."""
        with self._lock:
            return list(self._received)

    @property
    def ledger(self) -> list[Bill]:
        """Every bill so far; each is there before the message that says so."""
        with self._lock:
            return list(self._ledger)

    @property
    def billed(self) -> Money:
        """The sum of all bills."""
        return Money(sum(bill.amount for bill in self.ledger))

    def client(self, **options: Any) -> Any:
        """An `openai.OpenAI` for this provider; close it after use."""
        from openai import OpenAI

        return OpenAI(**self._options(), **options)

    def async_client(self, **options: Any) -> Any:
        """An `openai.AsyncOpenAI` for this provider, as `client`."""
        from openai import AsyncOpenAI

        return AsyncOpenAI(**self._options(), **options)

    def _options(self) -> dict[str, Any]:
        return {
            "base_url": f"http://127.0.0.1:{self.port}/v1",
            "websocket_base_url": f"{self.url}/v1",
            "api_key": "none",
        }

    def _talk(self, connection: Any) -> None:
        path, _, query = connection.request.path.partition("?")
        make = talk_at(path)
        if make is None:
            connection.close(1008, "nothing is here")
            return
        talk = make(self.plan, dict(parse_qsl(query)))
        if not self._say(connection, path, talk.greet()):
            return
        for message in connection:
            event = json.loads(message)
            with self._lock:
                self._received.append(event)
            if not self._say(connection, path, talk.answer(event, len(message))):
                return

    def _say(self, connection: Any, path: str, messages: Any) -> bool:
        """Send messages, each bill before the next of them; whether the socket is still open."""
        for said in messages:
            if said is None:
                connection.close(1011, "as planned")
                return False
            if isinstance(said, TalkBill):
                self._bill(path, said)
            else:
                connection.send(json.dumps(said))
        return True

    def _bill(self, path: str, charged: TalkBill) -> None:
        usage = charged.usage
        amount = 0 if self._prices is None else self._prices(charged.model, usage)
        asked = usage.get("input_tokens", usage.get("promptTokenCount", 0))
        made = usage.get("output_tokens", usage.get("responseTokenCount", 0))
        with self._lock:
            name = f"bill_{len(self._ledger)}"
            self._ledger.append(Bill(name, path, charged.model, asked, made, usage, amount))


__all__ = ["FakeSockets", "FakeTalk", "SocketPlan"]
