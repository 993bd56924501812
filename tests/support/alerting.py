"""What is told of budgets, heard over real sockets: a server for webhooks, one for mail, and calls that tell."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import openai

import budgetguard
from budgetguard import Budget, BudgetManager
from budgetguard.alerts import Alert
from budgetguard.ledger import RecordQuery, Store
from budgetguard.testing import StoppedClock
from tests.support.in_memory import HI, MODEL, REPLY, answering

COST = 5_700
"""What one call of `ask` costs, in nano-dollars."""
PATIENCE_S = 30.0


def until(found: Callable[[], Any], told: str = "what was waited for") -> Any:
    """Wait until something is there; it, then."""
    end_s = time.monotonic() + PATIENCE_S
    while not (there := found()):
        assert time.monotonic() < end_s, f"{told} did not come"
        time.sleep(0.005)
    return there


def client_of(manager: BudgetManager) -> openai.OpenAI:
    """A client of a provider in memory, under a manager's budgets."""
    made = openai.OpenAI(api_key="-", max_retries=0, http_client=answering(lambda body: REPLY))
    guarded: openai.OpenAI = budgetguard.guard(made, manager)
    return guarded


def ask(client: openai.OpenAI, user: str = "ann", calls: int = 1, **tags: str) -> None:
    """Calls of a user, of `COST` each."""
    with budgetguard.budget(user=user, tags=tags):
        for _ in range(calls):
            client.chat.completions.create(model=MODEL, messages=HI, max_tokens=6)  # type: ignore[arg-type]


def limit_of(calls: float) -> str:
    """A limit in dollars that is so many calls."""
    return f"{calls * COST / 1e9:.9f}"


def managed(
    url: str,
    *budgets: Budget,
    told: Sequence[Any] = (),
    clock: StoppedClock | None = None,
    **more: Any,
) -> BudgetManager:
    """A manager that tells these sinks."""
    options = {} if clock is None else {"clock": clock}
    return BudgetManager("shop", store=url, budgets=budgets, alerts=told, **options, **more)


def noted(store: Store, kind: str = "alert") -> list[dict[str, Any]]:
    """The bodies of records, in the order of their ids."""
    return [json.loads(each.body) for each in store.noted(RecordQuery(kind))]


class Heard(list[Alert]):
    """A sink that keeps what it is told."""

    def __call__(self, alert: Alert) -> None:
        self.append(alert)

    @property
    def parts(self) -> list[float | None]:
        """The parts of limits that it was told of."""
        return [each.part for each in self if each.what == "threshold"]


class Posted(NamedTuple):
    """One request that a webhook's receiver got."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """What was posted."""
        return json.loads(self.body)


class Receiver:
    """A webhook's receiver. It answers with these statuses, one after the other, and then with 200."""

    def __init__(self, port: int, statuses: list[int], headers: dict[str, str]) -> None:
        self.url = f"http://127.0.0.1:{port}/services/T0/SECRET"
        self.got: list[Posted] = []
        self.statuses = statuses
        self.headers = headers


@contextmanager
def receiver(*statuses: int, headers: dict[str, str] | None = None) -> Iterator[Receiver]:
    """One on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            heard.got.append(Posted(self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(heard.statuses.pop(0) if heard.statuses else 200)
            for name, value in {**heard.headers, "content-length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    heard = Receiver(server.server_address[1], list(statuses), headers or {})
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class MailServer:
    """A server that takes mail, or refuses to."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.mails: list[str] = []
        self.commands: list[str] = []
        self.refuses = ""
        """The command that it refuses."""


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """One on loopback, that speaks as much SMTP as a client needs which sends one message."""

    class Handler(socketserver.StreamRequestHandler):
        def say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

        def handle(self) -> None:
            self.say("220 here")
            while line := self.rfile.readline().decode().strip():
                verb = line.split(":")[0].split()[0].upper()
                heard.commands.append(line)
                if verb == heard.refuses:
                    self.say("550 not you")
                elif verb == "EHLO":
                    self.say("250-here")
                    self.say("250 AUTH PLAIN")
                elif verb == "AUTH":
                    self.say("235 it is you")
                elif verb == "DATA":
                    self.say("354 go on")
                    heard.mails.append(self.message())
                    self.say("250 taken")
                elif verb == "QUIT":
                    self.say("221 bye")
                    return
                else:
                    self.say("250 well")

        def message(self) -> str:
            lines = []
            while (line := self.rfile.readline().decode().rstrip("\r\n")) != ".":
                lines.append(line)
            return "\n".join(lines)

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    heard = MailServer(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
