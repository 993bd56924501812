"""
A provider to test against: the HTTP APIs of OpenAI and others on loopback, that keeps its own bill.

    with FakeProvider(tokens=20, prices={"gpt-4o-mini": (0.15, 0.60)}) as provider:
        client = OpenAI(base_url=provider.base_url, api_key="none")
        client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}])
        assert provider.ledger[0].output_tokens == 20

Answers are made of words that depend on nothing, a token each (`words` says how
tokens are counted). What it generates it bills, also when the client goes away:
an abandoned stream costs its input and the items that were written when the
provider noticed. So its `ledger` is what a budget is to be checked against. It
needs nothing outside the standard library.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeAlias

from ...money import Money, Nano, nano_from_pico
from .anthropic.batches import FakeMessageBatches
from .apis import api_of
from .clients import SdkClients
from .openai.batches import FakeBatches
from .openai.replies import ENDPOINTS
from .openai.responses import pending, replay
from .plan import BadRequestError, Bill, Event, FakeReply, Plan, Request, as_bytes, as_json
from .wire import Connection, FakeServer

Price: TypeAlias = tuple[float | str, float | str]
"""Dollars per million input and output tokens."""

PriceList: TypeAlias = Mapping[str, Price] | Callable[[str, Mapping[str, Any]], Nano]
"""A price for each model, or a function of model and usage that gives nano-dollars."""

Fault: TypeAlias = Plan | Mapping[str, Any] | int | None
"""What is different for one request: a whole plan, some of its fields, an HTTP status, or nothing."""

_ROOT = re.compile(r"^(?:/openai|/api/paas)?(?:/deployments/(?P<deployment>[^/]+))?(?:/v1|/v4)?(?=/)")


class FakeProvider(SdkClients):
    """
    An OpenAI-compatible provider in threads of this process; start it with `with`, or `start()` and `stop()`.

    * `plan` and the keywords (the fields of `Plan`) say how every request is answered. `plan` may be a function
      of the `Request`.
    * `fail` says what is different for the first requests, in the order of their arrival: `fail=[429, None,
      {"drop": "body"}]`. `fail_next` adds to it.
    * `prices` is the provider's price list, in dollars per million tokens: `{"gpt-4o-mini": (0.15, 0.60)}`; or a
      function `(model, usage) -> nano-dollars`.

    It is safe to use from many threads; `requests` and `ledger` are copies.
    """

    def __init__(
        self,
        plan: Plan | Callable[[Request], Plan] | None = None,
        *,
        fail: Iterable[Fault] = (),
        prices: PriceList | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        **fields: Any,
    ) -> None:
        self.plan = plan if callable(plan) else replace(plan or Plan(), **fields)
        self.prices: PriceList = prices if prices is not None else {}
        self._address = (host, port)
        self._faults: deque[Fault] = deque(fail)
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self._ledger: dict[str, Bill] = {}
        self._busy = 0
        self._idle = threading.Condition(self._lock)
        self._background: dict[str, tuple[Request, Plan, FakeReply]] = {}
        self._stored: dict[str, dict[str, Any]] = {}
        self._polls: dict[str, int] = {}
        self._batches = FakeBatches(self._cost, self._book_batch)
        self._message_batches = FakeMessageBatches(self._cost, self._book_batch)
        self._server: FakeServer | None = None

    def __enter__(self) -> FakeProvider:
        return self.start()

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def start(self) -> FakeProvider:
        """Listen; on a free port unless one was given."""
        self._server = FakeServer(*self._address, self._serve)
        self._server.start()
        return self

    def stop(self) -> None:
        """Close the port and every connection; what was recorded stays readable."""
        if self._server is not None:
            self._server.stop()

    @property
    def base_url(self) -> str:
        """The URL to give to a client: "http://127.0.0.1:43210/v1"."""
        return f"{self.root_url}/v1"

    @property
    def root_url(self) -> str:
        """The URL without "/v1": the `azure_endpoint` of an Azure client."""
        if self._server is None:
            raise RuntimeError("the provider was not started: use `with FakeProvider() as provider`")
        return f"http://{self._address[0]}:{self._server.port}"

    @property
    def requests(self) -> list[Request]:
        """Every request so far, in the order of arrival."""
        with self._lock:
            return list(self._requests)

    @property
    def ledger(self) -> list[Bill]:
        """Every bill so far, in the order in which the answers began; a running stream's as it stands."""
        with self._lock:
            return list(self._ledger.values())

    @property
    def billed(self) -> Money:
        """The sum of all bills."""
        return Money(sum(bill.amount for bill in self.ledger))

    def fail_next(self, *faults: Fault, **fields: Any) -> None:
        """What is different for the next requests, one each; with keywords for one more: `fail_next(status=500)`."""
        with self._lock:
            self._faults.extend([*faults, *([fields] if fields else [])])

    def wait(self, timeout_s: float = 5.0) -> FakeProvider:
        """
        Wait until no answer is under way, so that the ledger is final; raises `TimeoutError`.

        An answer that was read to its end is in the ledger before its last byte is sent. This is for streams
        that the client gave up.
        """
        with self._idle:
            if not self._idle.wait_for(lambda: self._busy == 0, timeout_s):
                raise TimeoutError(f"{self._busy} answers are still under way after {timeout_s} s")
        return self

    def _serve(self, connection: Connection) -> None:
        with self._lock:
            self._busy += 1
        try:
            self._answer(connection)
        finally:
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()

    def _answer(self, connection: Connection) -> None:
        key = uuid.uuid4().hex
        try:
            request = _read(connection)
        except BadRequestError as error:
            self._refuse(connection, key, error.status, str(error))
            return
        with self._lock:
            self._requests.append(request)
            fault = self._faults.popleft() if self._faults else None
        plan = _with_fault(self.plan(request) if callable(self.plan) else self.plan, fault)
        self._pause(plan.latency_s)
        if plan.status >= 400:
            self._refuse(connection, key, plan.status, "This failure was asked for.", plan.retry_after_ms)
            return
        try:
            reply = self._reply(request, plan, key)
        except BadRequestError as error:
            self._refuse(connection, key, error.status, str(error))
            return
        self._deliver(connection, request, plan, reply, key)

    def _reply(self, request: Request, plan: Plan, key: str) -> FakeReply:
        api, answering = api_of(request.endpoint), ENDPOINTS.get((request.method, request.endpoint))
        own = api.reply(request, plan, key) if api is not None else None
        if own is not None:
            return own
        if answering is None:
            with self._lock:
                found = self._batches.reply(request, plan, key) or self._message_batches.reply(request, plan, key)
            return self._stored_reply(request, key) if found is None else found
        reply = answering(request, plan, key)
        if request.endpoint != "/responses":
            return reply
        final = reply.body if reply.events is None else reply.events[-1].data["response"]
        if request.body.get("background") and reply.events is None:
            with self._lock:
                self._background[final["id"]] = (request, plan, reply)
            return replace(reply, body=pending(final, "queued"), billed=False)
        if request.body.get("store", True):
            with self._lock:
                self._stored[final["id"]] = final
        return reply

    def _stored_reply(self, request: Request, key: str) -> FakeReply:
        """GET and DELETE /responses/{id}, POST /responses/{id}/cancel."""
        match = re.fullmatch(r"/responses/([^/]+)(/cancel)?", request.endpoint)
        if match is None:
            raise BadRequestError(f"Unknown request URL: {request.method} {request.path}.", status=404)
        name = match[1]
        with self._lock:
            if name in self._background and request.method == "GET":
                return self._work_on(name, key)
            if name in self._background and match[2]:
                _, _, reply = self._background.pop(name)
                self._stored[name] = pending(reply.body, "cancelled")
            found = self._stored.get(name)
            if found is None:
                raise BadRequestError(f"Response with id '{name}' not found.", status=404)
            if request.method == "DELETE":
                del self._stored[name]
                return FakeReply(body={"id": name, "object": "response", "deleted": True}, billed=False)
        if "stream=true" in request.path.lower():
            return FakeReply(events=replay(found), billed=False)
        return FakeReply(body=found, billed=False)

    def _work_on(self, name: str, key: str) -> FakeReply:
        """A look at a background response: in progress for a while, then complete, and billed."""
        request, plan, reply = self._background[name]
        self._polls[name] = self._polls.get(name, 0) + 1
        if self._polls[name] <= plan.polls:
            return FakeReply(body=pending(reply.body, "in_progress"), billed=False)
        del self._background[name]
        self._stored[name] = reply.body
        self._ledger[key] = self._bill(request, reply, key)
        return replace(reply, billed=False)

    def _deliver(self, connection: Connection, request: Request, plan: Plan, reply: FakeReply, key: str) -> None:
        """Put an answer on the wire, whole or as the plan has it. The bill is there before the last byte is."""
        headers = {
            "content-type": reply.content_type,
            "x-request-id": key,
            "openai-processing-ms": "1",
            **reply.headers,
        }
        in_one = reply.events is None or plan.stall == "headers" or plan.drop == "headers"
        made = reply.output_tokens if in_one else 0
        self._book(self._bill(request, reply, key, made), reply)
        try:
            if plan.stall == "headers":
                self._stall(connection)
            if plan.drop == "headers" or connection.is_gone():
                connection.cut()
                raise ConnectionAbortedError("as planned, or by the client")
            if reply.events is None:
                self._send_whole(connection, plan, reply, headers)
                return
            connection.begin_stream({**headers, "content-type": reply.framing.content_type}, squeeze=plan.gzip)
            for number, event in enumerate(reply.events or ()):
                if number == plan.drop_after:
                    self._misbehave(connection, request, plan, reply)
                self._pause(plan.chunk_s)
                last = number + 1 == len(reply.events or ())
                if last:
                    self._book(self._bill(request, reply, key), reply)
                connection.send_piece(reply.framing.frame(event))
                made = reply.output_tokens if last else made + event.output_tokens
                if event.output_tokens and not last:
                    self._book(self._bill(request, reply, key, made), reply)
            connection.end_stream()
        except ConnectionError:
            connection.close_connection = True
            self._book(replace(self._bill(request, reply, key, made), aborted=True), reply)

    def _send_whole(self, connection: Connection, plan: Plan, reply: FakeReply, headers: Mapping[str, str]) -> None:
        body = b'{"id": "cut off' if plan.malformed == "body" else as_bytes(reply.body)
        connection.send(200, headers, body, squeeze=plan.gzip, half=plan.drop == "body")
        if plan.drop == "body":
            connection.cut()
            raise ConnectionAbortedError("as planned")

    def _misbehave(self, connection: Connection, request: Request, plan: Plan, reply: FakeReply) -> None:
        """What the plan wants to go wrong in the middle of a stream."""
        if plan.drop in {"stream", "body"}:
            connection.cut()
            raise ConnectionAbortedError("as planned")
        if plan.stall == "stream":
            self._stall(connection)
        api = api_of(request.endpoint)
        if plan.error_event is not None and api is not None:
            said = api.error(plan.error_event, "This failure was asked for.")
            connection.send_piece(reply.framing.frame(Event(said, api.error_event)))
            connection.end_stream()
            raise ConnectionAbortedError("as planned")
        if plan.malformed is not None:
            connection.send_piece(b'data: {"id": "cut off\n\n')

    def _book(self, bill: Bill, reply: FakeReply) -> None:
        if reply.billed:
            with self._lock:
                self._ledger[bill.request_id] = bill

    def _book_batch(self, bill: Bill) -> None:
        self._ledger[bill.request_id] = bill  # its caller has the lock

    def _cost(self, reply: FakeReply) -> Nano:
        return self._amount(reply.model, reply.usage, reply.input_tokens, reply.output_tokens)

    def _bill(self, request: Request, reply: FakeReply, key: str, output_tokens: int | None = None) -> Bill:
        """The bill for a whole answer, or for one that had come to `output_tokens` when it ended."""
        made = reply.output_tokens if output_tokens is None else output_tokens
        usage = reply.usage if made == reply.output_tokens else reply.words.lowered(reply.usage, made)
        amount = self._amount(reply.model, usage, reply.input_tokens, made)
        return Bill(key, request.endpoint, reply.model, reply.input_tokens, made, usage, amount)

    def _amount(self, model: str, usage: Mapping[str, Any], input_tokens: int, output_tokens: int) -> Nano:
        if callable(self.prices):
            return self.prices(model, usage)
        if model not in self.prices:
            return 0
        per_input, per_output = (Decimal(str(dollars)) * 1_000_000 for dollars in self.prices[model])
        return nano_from_pico(int(per_input * input_tokens + per_output * output_tokens))

    def _refuse(
        self, connection: Connection, key: str, status: int, message: str, retry_after_ms: int | None = None
    ) -> None:
        kinds = {401: "authentication_error", 404: "invalid_request_error", 429: "rate_limit_error"}
        kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
        api = api_of(_split(connection.path)[0])
        error = {"error": {"message": message, "type": kind, "param": None, "code": None}}
        error = error if api is None else api.error(status, message)
        headers = {"content-type": "application/json", "x-request-id": key}
        if retry_after_ms is not None:
            headers["retry-after-ms"] = str(retry_after_ms)
        connection.send(status, headers, as_json(error), squeeze=False)

    def _pause(self, seconds: float) -> None:
        if seconds > 0 and self._server is not None:
            self._server.closing.wait(seconds)

    def _stall(self, connection: Connection) -> None:
        while self._server is not None and not self._server.closing.wait(0.01):
            if connection.is_gone():
                break
        connection.close_connection = True
        raise ConnectionAbortedError("the client went away, as planned")


def _split(path: str) -> tuple[str, str | None]:
    """A path below the API's root, and the deployment that an Azure path names."""
    path = path.partition("?")[0]
    match = _ROOT.match(path)
    return (path[match.end() :], match["deployment"]) if match else (path, None)


def _read(connection: Connection) -> Request:
    endpoint, deployment = _split(connection.path)
    headers = {name.lower(): value for name, value in connection.headers.items()}
    return Request(connection.command, connection.path, endpoint, connection.read_body(), headers, deployment)


def _with_fault(plan: Plan, fault: Fault) -> Plan:
    if fault is None:
        return plan
    if isinstance(fault, Plan):
        return fault
    return replace(plan, status=fault) if isinstance(fault, int) else replace(plan, **fault)
