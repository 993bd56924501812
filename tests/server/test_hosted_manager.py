"""`BudgetManager(client_type="hosted")`: over the native API, and over a server that speaks LiteLLM's two endpoints."""

from __future__ import annotations

import http.client
import http.server
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from budgetguard import BudgetManager, ConfigError
from budgetguard.errors import StoreError, UnknownUserError
from budgetguard.ledger import Account, Admitted, Hold, Refusal, new_id
from budgetguard.server.keys import KeyRing
from budgetguard.server.projects import OWN
from budgetguard.stores import open_store
from tests.support.hosting import Hosted

USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
ANSWER = {"id": "chatcmpl-1", "model": "gpt-4", "usage": USAGE}
COST = 1000 * 30e-6 + 100 * 60e-6
RECORD = {"total_budget": 10, "current_cost": 0.5, "model_cost": {"gpt-4": 0.5}}


class Quiet(http.server.BaseHTTPRequestHandler):
    """Answers, and logs nothing."""

    def log_message(self, *_: Any) -> None:
        pass


class Local:
    """A server in a thread, until it is closed."""

    def start(self, handler: type[Quiet]) -> None:
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class TwoEndpoints(Local):
    """A server of somebody else's, that keeps whole dicts as LiteLLM's would."""

    def __init__(self) -> None:
        self.stored: dict[str, dict[str, Any]] = {}
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.down = False
        outer = self

        class Handler(Quiet):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                said = json.loads(self.rfile.read(int(self.headers["content-length"])) or b"null")
                outer.headers.append(dict(self.headers))
                outer.paths.append(self.path)
                status, answer = outer.answer(self.path, said)
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.start(Handler)

    def answer(self, path: str, said: Any) -> tuple[int, Any]:
        if self.down:
            return 500, "<html>"
        if path == "/get_budget":
            found = self.stored.get(said["project_name"])
            return 200, {"status": "error"} if found is None else {"status": "success", "data": found}
        if path == "/set_budget":
            self.stored[said["project_name"]] = said["user_dict"]
            return 200, {"status": "success"}
        return 404, {"detail": "Not Found"}


@pytest.fixture
def plain() -> Iterator[TwoEndpoints]:
    with closing(TwoEndpoints()) as server:
        yield server


@pytest.fixture
def server(tmp_path: Any) -> Iterator[Hosted]:
    hosted = Hosted(f"sqlite:///{tmp_path}/budgets.db")
    yield hosted
    hosted.stop()


def hosted(url: str, **more: Any) -> BudgetManager:
    return BudgetManager(project_name="shop", client_type="hosted", api_base=url, **more)


@pytest.mark.parametrize("kind", ["hosted", "self-hosted"])
def test_a_hosted_manager_answers_as_a_local_one(server: Hosted, kind: str) -> None:
    """Under LiteLLM's names; a second client sees it at once."""
    manager = BudgetManager("shop", kind, server.url + "/")
    assert manager.get_users() == []
    assert manager.create_budget(10, "ann", "monthly")["total_budget"] == 10
    manager.update_cost("ann", completion_obj=ANSWER)
    other = hosted(server.url)
    assert other.get_current_cost("ann") == pytest.approx(COST)
    assert other.get_model_cost("ann") == {"gpt-4": pytest.approx(COST)}
    assert other.is_valid_user("ann")
    assert other.get_total_budget("ann") == 10
    assert dict(other.user_dict)["ann"]["duration"] == 28
    other.reset_cost("ann")
    assert manager.get_current_cost("ann") == 0
    with pytest.raises(UnknownUserError):
        manager.get_current_cost("bob")
    manager.close()
    other.close()


def test_a_hosted_limit_is_hard_between_clients(server: Hosted) -> None:
    """What one holds, the other cannot spend."""
    one, two = hosted(server.url), hosted(server.url)
    one.create_budget(1, "ann")
    account = one.users.get("ann").account(one.store.now_ms())
    assert one.store.reserve(Hold(new_id(), (account,), 7 * 10**8)) == Admitted(7 * 10**8)
    refusal = two.store.reserve(Hold(new_id(), (account,), 4 * 10**8))
    assert isinstance(refusal, Refusal)
    assert refusal.account is account
    assert refusal.busy
    one.close()
    two.close()


def test_the_key_is_read_from_the_environment(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or stands in `headers`, which replace it; without one there is an error that says so."""
    url = f"sqlite:///{tmp_path}/budgets.db"
    own = open_store(url, namespace=OWN)
    _, key = KeyRing(own).create("shop", "admin")
    own.close()
    guarded = Hosted(url, open_mode=False)
    with pytest.raises(StoreError, match="send a key") as caught:
        hosted(guarded.url).get_users()
    assert key not in str(caught.value)
    manager = hosted(guarded.url, headers={"Authorization": f"Bearer {key}"})
    assert manager.get_users() == []
    monkeypatch.setenv("BUDGETGUARD_KEY", key)
    for made in (hosted(guarded.url), BudgetManager("shop", store=guarded.url)):
        made.create_budget(1, "ann")
        assert made.get_users() == ["ann"]
        made.close()
    with pytest.raises(StoreError, match="not known"):
        hosted(guarded.url, headers={"Authorization": "Bearer bg_x"}).get_users()
    with pytest.raises(StoreError, match="another project"):
        BudgetManager("other", "hosted", guarded.url).get_users()
    in_url = guarded.url.replace("http://", f"http://:{key}@")
    store = open_store(in_url, namespace="shop")
    assert store.now_ms() > 0
    assert key not in store.name  # type: ignore[attr-defined]
    manager.close()
    store.close()
    guarded.stop()


def test_headers_that_are_given_replace_ours(plain: TwoEndpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    """As LiteLLM's do."""
    monkeypatch.setenv("BUDGETGUARD_KEY", "bg_secret")
    hosted(plain.url, headers={"X-Team": "search"}).get_users()
    assert all(sent["X-Team"] == "search" and "Authorization" not in sent for sent in plain.headers)
    hosted(plain.url).get_users()
    assert plain.headers[-1]["Authorization"] == "Bearer bg_secret"


def test_a_server_of_whole_dicts_works_too(plain: TwoEndpoints, caplog: pytest.LogCaptureFixture) -> None:
    """It is asked for the native API once, and sends what LiteLLM's client would; what that means is said once."""
    caplog.set_level(logging.WARNING)
    plain.stored["shop"] = {"bob": {**RECORD, "kept": "as it was"}}
    manager = hosted(plain.url)
    assert manager.get_users() == ["bob"]
    assert manager.get_current_cost("bob") == 0.5
    manager.create_budget(1, "ann", "daily")
    manager.update_cost("ann", completion_obj=ANSWER)
    stored = plain.stored["shop"]
    assert stored["ann"]["current_cost"] == pytest.approx(COST)
    assert stored["ann"]["model_cost"] == {"gpt-4": pytest.approx(COST)}
    assert (stored["ann"]["total_budget"], stored["ann"]["duration"]) == (1, 1)
    assert stored["bob"] == {**RECORD, "kept": "as it was"}
    manager.reset_cost("ann")
    assert plain.stored["shop"]["ann"]["current_cost"] == 0
    account = manager.users.get("ann").account(manager.store.now_ms())
    assert isinstance(manager.store.reserve(Hold(new_id(), (account,), 2 * 10**9)), Refusal)
    assert sum(path.startswith("/v1/") for path in plain.paths) == 1
    assert plain.paths.count("/get_budget") == 1
    assert sum("hard within this process" in record.getMessage() for record in caplog.records) == 1


def test_a_set_budget_that_failed_is_made_up_for(plain: TwoEndpoints) -> None:
    """The spend is kept here meanwhile, and goes with the next."""
    manager = hosted(plain.url)
    manager.create_budget(1, "ann")
    plain.down = True
    with pytest.raises(StoreError, match="answered 500"):
        manager.update_cost("ann", completion_obj=ANSWER)
    plain.down = False
    manager.update_cost("ann", completion_obj={**ANSWER, "id": "chatcmpl-2"})
    assert plain.stored["shop"]["ann"]["current_cost"] == pytest.approx(2 * COST)


def test_a_server_that_is_neither_says_so(plain: TwoEndpoints) -> None:
    """And a URL that cannot be one, too."""
    plain.down = True
    with pytest.raises(StoreError, match="answered 500"):
        hosted(plain.url).get_users()
    for url in (None, "", "ftp://host", "http://", "http://host:port"):
        with pytest.raises(ConfigError):
            hosted(url)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="leave store out"):
        hosted("http://host", store="memory://")
    with pytest.raises(ConfigError, match="plain text in one line") as caught:
        hosted("http://host", headers={"Authorization": "Bearer sec\nret"})
    assert "ret" not in str(caught.value).replace("header", "")


def test_a_key_for_spend_is_enough_to_book_a_cost(tmp_path: Any) -> None:
    """`update_cost` books once and returns the record; other accounts are not listed."""
    url = f"sqlite:///{tmp_path}/budgets.db"
    with closing(open_store(url, namespace=OWN)) as own:
        keys = [KeyRing(own).create("shop", scope)[1] for scope in ("admin", "spend")]
    guarded = Hosted(url, open_mode=False)
    admin, spender = [hosted(guarded.url, headers={"Authorization": f"Bearer {key}"}) for key in keys]
    admin.create_budget(1, "ann")
    record = spender.update_cost("ann", ANSWER)["user"]
    assert record["model_cost"] == {"gpt-4": pytest.approx(COST)}
    assert admin.get_current_cost("ann") == pytest.approx(COST)
    for prefix in ("", "users/", "model"):
        with pytest.raises(StoreError, match="spend only"):
            list(spender.store.accounts(prefix))
    admin.close()
    spender.close()
    guarded.stop()


@pytest.mark.parametrize("status", [403, 404, 429, 500])
@pytest.mark.parametrize("before", [0, 3])
def test_a_page_of_a_proxy_does_not_make_it_another_server(server: Hosted, status: int, before: int) -> None:
    """Spend must not go into a dict of this process, whether the proxy's page is its first answer or a later one."""
    with closing(FrontPage(server.port, status, before)) as front:
        manager = hosted(front.url)
        for _ in range(before):
            assert manager.store.now_ms()
        with pytest.raises(StoreError):
            manager.store.now_ms()
        account = Account("team", limit=10)
        assert manager.store.reserve(Hold(new_id(), (account,), 6)) == Admitted(6)
        assert isinstance(open_store(server.url, namespace="shop").reserve(Hold(new_id(), (account,), 6)), Refusal)
        manager.close()


class FrontPage(Local):
    """A proxy whose one answer after some is a page of its own."""

    def __init__(self, port: int, status: int, before: int) -> None:
        outer = self
        self.answered = 0

        class Handler(Quiet):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.answered += 1
                if outer.answered == before + 1:
                    self.send_error(status)
                    return
                behind = http.client.HTTPConnection("127.0.0.1", port)
                behind.request("POST", self.path, body, {**self.headers, "host": f"127.0.0.1:{port}"})
                answer = behind.getresponse()
                data = answer.read()
                behind.close()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name not in {"date", "server"}:
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

        self.start(Handler)
