"""LiteLLM's admin API over a store, on loopback, and what its scripts ask it with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from budgetguard.server.app import App
from budgetguard.server.gateway.litellm.admin.models import ModelAdmin, ModelPlace
from budgetguard.server.gateway.litellm.mount import LiteLLMAdmin
from budgetguard.server.keys import ADMIN, KeyRing
from tests.support.hosting import Hosted

DEPLOYMENTS = (
    ModelPlace("gpt-4o-mini", "openai", "openai", "gpt-4o-mini", 1.5e-7, 6e-7),
    ModelPlace("gpt-4o-mini", "azure-eu", "azure", "mini", 1.5e-7, 6e-7),
    ModelPlace("claude-haiku-4-5", "claude", "anthropic", "claude-haiku-4-5"),
)


class WithLiteLLM:
    """A server of budgets with the API beside it, as the gateway has them."""

    def __init__(self, app: App, prefix: str, cooling: Mapping[str, float]) -> None:
        self._app = app
        models = ModelAdmin(lambda: DEPLOYMENTS, lambda: cooling)
        self.admin = LiteLLMAdmin(prefix, app.projects, app.runner, app.metrics, models)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """ASGI."""
        mine = scope["type"] == "http" and self.admin.answers(scope)
        await (self.admin if mine else self._app)(scope, receive, send)


class LiteLLMServer(Hosted):
    """In a thread; `master` is the key of its administrator, as a script has it in LITELLM_MASTER_KEY."""

    def __init__(self, store: str, *, prefix: str = "", clock: Callable[[], float] | None = None) -> None:
        self.cooling: dict[str, float] = {}
        self.prefix = prefix
        super().__init__(store, open_mode=False, clock=clock, around=self._beside)
        self.ring = KeyRing(self.app.projects.own)
        self.master = self.ring.create("shop", ADMIN, text="sk-master-0123456789abcdef")[1]

    def _beside(self, app: App) -> WithLiteLLM:
        self.beside = WithLiteLLM(app, self.prefix, self.cooling)
        return self.beside

    def asked(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> tuple[int, Any]:
        """One request with a key (the administrator's): the status, and the JSON of the answer."""
        bearer = {"authorization": f"Bearer {self.master if key is None else key}"} if key != "" else {}
        headers = {"content-type": "application/json", "budgetguard-project": "shop", **bearer}
        return self.ask(method, self.prefix + path, body, headers=headers)[:2]

    def done(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> Any:
        """The answer to a request that succeeds."""
        status, answer = self.asked(method, path, body, key=key)
        assert status == 200, answer
        return answer

    def refused(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> tuple[int, Any]:
        """The status and the error of a request that does not."""
        status, answer = self.asked(method, path, body, key=key)
        assert status >= 400, answer
        error = answer["error"]
        assert set(error) == {"message", "type", "param", "code"}, error
        assert error["code"] == str(status)
        return status, error
