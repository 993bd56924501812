"""The gateway's calls: a span each, in the trace of the client that asked."""

from __future__ import annotations

import http.client
import json

import pytest
from opentelemetry import trace

from budgetguard.telemetry.telemetry import go_on_from
from tests.support.gateway import MESSAGES, MODEL, ServedGateway, configured, upstream
from tests.support.hearing import said

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
CHAT = {"model": MODEL, "messages": MESSAGES, "max_tokens": 9}


@pytest.fixture
def gateway(heard, provider):
    """A gateway whose process listens."""
    with ServedGateway(configured(upstream("one", provider.root_url))) as served:
        yield served


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_call_goes_on_the_trace_of_its_client(heard, gateway, stream):
    """A program's own span, and beneath it what the gateway paid for it: found by one id."""
    status, _, _ = gateway.ask("/v1/chat/completions", {**CHAT, "stream": stream}, headers=TRACEPARENT)
    assert status == 200
    [span] = heard.spans
    assert span.context is not None
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
    assert said(span)["budgetguard.cost_nano"] > 0
    assert said(span)["gen_ai.provider.name"] == "openai"


def test_requests_of_one_connection_are_traces_of_their_own(heard, gateway):
    """What one says of its trace is not the next one's."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    for headers in (TRACEPARENT, {}):
        sent = {"content-type": "application/json", **headers}
        connection.request("POST", "/v1/chat/completions", json.dumps(CHAT), sent)
        assert len(connection.getresponse().read()) > 0
    connection.close()
    first, second = heard.spans
    assert first.parent is not None
    assert second.parent is None


def test_a_header_that_is_none_is_no_reason_to_fail(heard, gateway):
    """It comes from anybody."""
    status, _, _ = gateway.ask("/v1/chat/completions", CHAT, headers={"traceparent": "00-zz-\xff-"})
    assert status == 200
    assert [each.parent for each in heard.spans] == [None]


def test_a_span_of_the_server_is_not_passed_by(heard):
    """Where the server is instrumented, its span is beneath the client's already, and a call beneath that."""
    with trace.get_tracer("the server").start_as_current_span("request") as outer:
        go_on_from([(name.encode(), value.encode()) for name, value in TRACEPARENT.items()])
        assert trace.get_current_span() is outer
