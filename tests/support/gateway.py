"""A gateway on loopback, in a thread of the test, before a provider that keeps its own bill."""

from __future__ import annotations

import http.client
import json
from typing import Any

import uvloop

from budgetguard.budgets.rules import Budget
from budgetguard.prices.book import PriceBook
from budgetguard.server.gateway.app import Gateway
from budgetguard.server.gateway.config.model import GatewayOptions, Upstream
from budgetguard.server.gateway.config.resolve import Configuration
from budgetguard.server.keys import KeyRing
from budgetguard.server.projects import OWN
from budgetguard.server.protocol import Protocol
from budgetguard.stores import open_store
from tests.support.serving import InThread

MODEL = "gpt-4o-mini"
CLAUDE, GEMINI = "claude-haiku-4-5", "gemini-2.5-flash"
MESSAGES = [{"role": "user", "content": "count the money"}]


def upstream(name: str, root: str, *, key: str = "sk-upstream-secret", **fields: Any) -> Upstream:
    """One that speaks all APIs at the root of a fake provider."""
    bases = {"openai": f"{root}/v1", "anthropic": f"{root}/v1", "gemini": f"{root}/v1beta"}
    headers: Any = {
        "openai": (("authorization", f"Bearer {key}"),),
        "anthropic": (("x-api-key", key), ("anthropic-version", "2023-06-01")),
        "gemini": (("x-goog-api-key", key),),
    }
    stated = {"provider": "openai", "prices": "openai", "bases": bases, "headers": headers, **fields}
    return Upstream(name, **stated)  # type: ignore[arg-type]


def configured(
    *upstreams: Upstream, models: Any = (), prices: PriceBook | None = None, **options: Any
) -> Configuration:
    """A configuration of these upstreams."""
    return Configuration(upstreams, models, options=GatewayOptions(**options), prices=prices)


class ServedGateway:
    """A gateway in a thread."""

    def __init__(self, configuration: Configuration, store: str = "memory://", port: int = 0, **more: Any) -> None:
        self.app = Gateway(configuration, store, **{"open_mode": store.startswith("memory:"), **more})
        self.store = store
        self._served = InThread(self.app, uvloop.new_event_loop, self.app.aclose, port, http=Protocol, lifespan="on")
        self.port = self._served.port
        self.url = f"http://127.0.0.1:{self.port}"
        self._served.start()

    def stop(self) -> None:
        """End it."""
        self._served.stop()

    def __enter__(self) -> ServedGateway:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def ask(
        self,
        path: str,
        body: Any = None,
        *,
        method: str = "",
        key: str = "",
        headers: dict[str, str] | None = None,
        port: int | None = None,
    ) -> tuple[int, Any, Any]:
        """One request: the status, the JSON (or bytes) of the answer, and its headers."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=30)
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        known = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, sent, {**known, **(headers or {})})
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        kind = answer.getheader("content-type", "")
        return answer.status, json.loads(data) if kind.startswith("application/json") else data, answer.headers

    def key(self, project: str = "shop", scope: str = "call", **grant: Any) -> str:
        """A key of its store."""
        store = open_store(self.store, namespace=OWN)
        try:
            return KeyRing(store).create(project, scope, **grant)[1]
        finally:
            store.close()


def hard(limit: float, **fields: Any) -> Budget:
    """A budget of all calls together."""
    return Budget("all", limit, **fields)
