"""
Anthropic's table of endpoints, and its pure readers: requests as calls, replies and streams as answers.

Replies are in `recordings/anthropic_messages.json`: after the types of anthropic 2.14, and what its users recorded.
Each price there is worked out by hand, in dollars a million tokens.
"""

import json
from typing import Any

import pytest
from anthropic.types import Message
from anthropic.types.beta import BetaMessage

from budgetguard import PriceBook
from budgetguard.adapters.anthropic import DIALECT, MESSAGES, batches
from budgetguard.adapters.anthropic.replies import message as read_message
from budgetguard.adapters.anthropic.requests import COMPACTION_OUTPUT, job, messages
from budgetguard.adapters.anthropic.streams import MessageListener
from budgetguard.adapters.anthropic.tools import ADVISOR_INPUT, ROUNDS
from budgetguard.calls import Answer, Call
from budgetguard.guards.guard import Guard
from budgetguard.prices import tokens
from tests.support import ROOT

RECORDED = json.loads((ROOT / "tests/recordings/anthropic_messages.json").read_text())
HI = [{"role": "user", "content": "hi"}]


def read(**body: Any) -> Call:
    return messages({"model": "claude-opus-4-8", "max_tokens": 100, "messages": HI, **body})


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, **fields}


def start(**usage: Any) -> dict[str, Any]:
    said = {"input_tokens": 25, "output_tokens": 1, **usage}
    return event("message_start", message={"id": "msg_1", "model": "claude-opus-4-8", "usage": said})


def words(*texts: str, index: int = 0) -> list[dict[str, Any]]:
    return [event("content_block_delta", index=index, delta={"type": "text_delta", "text": text}) for text in texts]


def end(**usage: Any) -> list[dict[str, Any]]:
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    return [event("message_delta", delta=delta, usage=usage), event("message_stop")]


def heard(*events: Any) -> tuple[Answer, bool]:
    listener = MessageListener()
    hidden = [listener.hear(each) for each in events]
    assert hidden == [False] * len(events)
    return listener.end(), listener.done


# --- endpoints


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("post", "/v1/messages", "messages"),
        ("POST", "/v1/messages?beta=true", "messages"),
        ("POST", "https://gateway.example/anthropic/v1/messages", "messages"),
        ("POST", "/v1/messages/count_tokens", "messages.count_tokens"),
        ("POST", "/v1/messages/batches", "messages.batches"),
        ("GET", "/v1/messages/batches?beta=true", "messages.batches.list"),
        ("GET", "/v1/messages/batches/msgbatch_1", "messages.batches.retrieve"),
        ("DELETE", "/v1/messages/batches/msgbatch_1", None),
        ("POST", "/v1/messages/batches/msgbatch_1/cancel", "messages.batches.cancel"),
        ("GET", "https://api.anthropic.com/v1/messages/batches/msgbatch_1/results", "messages.batches.results"),
        ("POST", "/v1/complete", "completions"),
        ("POST", "/v1/sessions?beta=true", "beta.sessions"),
        ("POST", "/v1/sessions/sesn_1/events", "beta.sessions.events"),
        ("POST", "/v1/sessions/sesn_1/archive", None),
        ("POST", "/v1/deployments/depl_1/run", "beta.deployments.run"),
        ("POST", "/v1/files", None),
        ("GET", "/v1/models", None),
    ],
)
def test_an_operation_is_found_by_what_its_path_ends_in(method: str, path: str, name: str | None) -> None:
    """Whatever stands before it: a version, or a gateway's own."""
    found = DIALECT.find(method, path)
    assert (found.name if found is not None else None) == name
    assert found is not None or not DIALECT.may_cost(method, path)


def test_an_operation_that_nobody_knows_may_cost_something() -> None:
    """It is said so, once."""
    assert DIALECT.may_cost("POST", "/v1/poems?beta=true")
    assert not DIALECT.may_cost("GET", "/v1/poems")


# --- requests


def test_a_request_states_the_most_that_it_can_use() -> None:
    """`max_tokens` is required: there is no cap for us to add, but one that may be lowered."""
    call = read(system="be brief", stream=True, metadata={"user_id": "ann"}, service_tier="auto")
    assert (call.model, call.max_output, call.cap) == ("claude-opus-4-8", 100, "max_tokens")
    assert list(call.texts) == ["be brief", "hi"]
    assert (call.stream, call.user, call.tier, call.thinks, call.unknown_input) == (True, "ann", "auto", False, False)


def test_blocks_of_every_kind_are_counted() -> None:
    """A picture by its table, a document by its text, what a tool said as what it is."""
    content = [
        {"type": "text", "text": "look"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA" * 1000}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a paper"}, "title": "T"},
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "inside"}]}},
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "found"}, {"type": "image"}]},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"url": "https://example.com"}},
        {"type": "thinking", "thinking": "hmm", "signature": "sig"},
    ]
    call = read(messages=[{"role": "user", "content": content}])
    assert call.images == 2
    assert {"look", "a paper", "T", "inside", "found"} <= set(call.texts)
    assert not any("AAAA" in text for text in call.texts)
    assert not call.unknown_input


@pytest.mark.parametrize(
    "block",
    [
        {"type": "document", "source": {"type": "url", "url": "https://example.com/paper.pdf"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQK"}},
        {"type": "container_upload", "file_id": "file_1"},
        {"type": "film", "source": {"type": "url", "url": "https://example.com/film"}},
        {
            "type": "web_fetch_tool_result",
            "content": {"type": "web_fetch_result", "content": {"type": "document", "source": {"type": "file"}}},
        },
    ],
)
def test_what_a_request_only_points_at_may_fill_the_context(block: dict[str, Any]) -> None:
    """Its bytes say nothing of its tokens."""
    assert read(messages=[{"role": "user", "content": [block]}]).unknown_input


def test_a_conversation_that_the_server_keeps_may_fill_the_context() -> None:
    """So may the skills of a container."""
    assert read(thread={"type": "continue", "previous_message_id": "msg_0"}).unknown_input
    assert read(container={"skills": [{"skill_id": "pdf"}]}).unknown_input
    assert not read(thread={"type": "create"}).unknown_input


def test_tools_and_schemas_are_counted_as_their_json() -> None:
    """And what the server tells the model of them."""
    tool = {"name": "f", "description": "d", "input_schema": {"type": "object"}}
    call, plain = read(tools=[tool]), read()
    assert '{"name":"f","description":"d","input_schema":{"type":"object"}}' in call.texts
    assert call.overhead - plain.overhead >= 346
    own = read(tools=[{"type": "bash_20250124", "name": "bash"}])
    assert own.overhead - plain.overhead >= 346 + 245
    assert own.tools is None
    schema = {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    assert any("json_schema" in text for text in read(output_config=schema).texts)


@pytest.mark.parametrize("place", ["system", "content", "tool", "request"])
def test_a_cache_that_keeps_an_hour_is_asked_for_anywhere(place: str) -> None:
    """All of the input may be written there."""
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    bodies: dict[str, dict[str, Any]] = {
        "system": {"system": [{"type": "text", "text": "s", **mark}]},
        "content": {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi", **mark}]}]},
        "tool": {"tools": [{"name": "f", "input_schema": {}, **mark}]},
        "request": mark,
    }
    assert read(**bodies[place]).kept == "cache_write_1h_tokens"
    assert read(cache_control={"type": "ephemeral"}).kept == ""


def test_hosted_tools_read_everything_once_more_a_round() -> None:
    """A turn has ten rounds at most; each search has a fee."""
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    call = read(tools=[search])
    assert call.tools is not None
    assert (call.tools.calls, call.fixed) == (3, {"web_searches": 3})
    free = read(tools=[{**search, "max_uses": None}, {"type": "code_execution_20250825", "name": "code_execution"}])
    assert free.tools is not None
    assert (free.tools.calls, free.fixed) == (ROUNDS, {"web_searches": 10})
    assert read(mcp_servers=[{"type": "url", "url": "https://mcp.example"}]).tools is not None


def test_an_advisor_reads_the_context_too_at_its_own_price() -> None:
    """`max_tokens` of the request does not bound it; that of the tool does."""
    advisor = {"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-5", "max_uses": 2}
    call = read(tools=[{**advisor, "max_tokens": 2_000}])
    assert list(call.also) == [("claude-opus-5", {"input_tokens": ADVISOR_INPUT, "output_tokens": 2_000})] * 2


def test_a_conversation_that_may_be_summed_up_is_read_once_more() -> None:
    """The summary is billed beside the answer."""
    call = read(context_management={"edits": [{"type": "compact_20260112"}]})
    assert call.tools is not None
    assert (call.tools.calls, call.fixed) == (1, {"output_tokens": COMPACTION_OUTPUT})
    assert read(context_management={"edits": [{"type": "clear_tool_uses_20250919"}]}).tools is None


def test_models_that_may_answer_instead_are_named() -> None:
    """With caps of their own. Each reads the request, and what one wrote before it declined is billed."""
    call, plain = read(fallbacks=[{"model": "claude-opus-5", "max_tokens": 500}, {"model": "claude-haiku-4-5"}]), read()
    assert (list(call.others), call.max_output) == (["claude-opus-5", "claude-haiku-4-5"], 500)
    assert (call.choices, len(call.texts), call.overhead) == (3, 3 * len(plain.texts), 3 * plain.overhead)
    default = read(fallbacks="default")
    assert (list(default.others), default.choices) == ([], 2)
    assert read(fallbacks=None).choices == 1


def test_a_stream_that_another_model_goes_on_with_is_priced_as_its_last_usage_says() -> None:
    """The start names the model that was asked, which then declined."""
    declined = {"type": "message", "model": "claude-opus-4-8", "input_tokens": 25, "output_tokens": 9}
    served = {"type": "fallback_message", "model": "claude-haiku-4-5", "input_tokens": 40, "output_tokens": 7}
    last = end(input_tokens=40, output_tokens=7, iterations=[declined, served])
    answer, done = heard(start(), *words("Hello", "!"), *last)
    assert (done, answer.model, answer.usage) == (True, "claude-haiku-4-5", {"input_tokens": 40, "output_tokens": 7})
    assert list(answer.also) == [("claude-opus-4-8", {"input_tokens": 25, "output_tokens": 9})]


def test_no_output_may_be_asked_for() -> None:
    """It fills a cache; a request that states no cap is bounded by the model."""
    assert read(max_tokens=0).max_output == 0
    assert read(max_tokens=None).max_output is None


def test_a_second_delta_says_what_it_knows() -> None:
    """Counts are cumulative: the last that is said of each holds."""
    first, last = end(output_tokens=7, input_tokens=25, cache_read_input_tokens=5)[0], end(output_tokens=9)
    answer, done = heard(start(), *words("Hello"), first, *last)
    assert (done, answer.usage) == (True, {"input_tokens": 30, "cache_read_tokens": 5, "output_tokens": 9})


@pytest.mark.parametrize(
    ("model", "thinking", "thinks"),
    [
        ("claude-opus-4-8", None, False),
        ("claude-opus-4-8", {"type": "adaptive"}, True),
        ("claude-3-7-sonnet-latest", {"type": "enabled", "budget_tokens": 1024}, True),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", None, False),
        ("claude-opus-5", None, True),
        ("claude-opus-5", {"type": "disabled"}, False),
        ("a-new-name", None, True),
    ],
)
def test_later_models_think_unasked(model: str, thinking: Any, thinks: bool) -> None:
    """What they think is billed, and not all of it streamed."""
    body = {"model": model} if thinking is None else {"model": model, "thinking": thinking}
    assert read(**body).thinks is thinks


def test_interleaved_thinking_may_pass_the_cap() -> None:
    """Its budget is of the whole turn."""
    assert read(thinking={"type": "enabled", "budget_tokens": 4_000}).max_output == 4_000


def test_fast_mode_is_a_tier_and_a_region_has_a_price() -> None:
    """Both are asked for in the body."""
    call = read(speed="fast", inference_geo="us")
    assert (call.tier, call.region) == ("fast", "us")
    assert (read(speed="standard").tier, read(inference_geo="global").region) == (None, "")


@pytest.mark.parametrize("body", [None, [], "text", 7])
def test_what_is_no_body_may_be_anything(body: Any) -> None:
    """A reader never raises."""
    assert messages(body).unknown_input


@pytest.mark.parametrize("junk", [None, 3, "x", [1, None, {"type": 5}], {"a": object()}, [["deep"]]])
def test_fields_of_the_wrong_type_are_read_without_an_error(junk: Any) -> None:
    """The API will refuse them."""
    for name in ("messages", "system", "tools", "thinking", "metadata", "fallbacks", "max_tokens", "cache_control"):
        assert read(**{name: junk}).model == "claude-opus-4-8"
    assert job({"requests": junk, "agent": junk}).model == ""


def test_a_batch_has_the_calls_of_its_requests() -> None:
    """Each as if it were asked alone; whom they are for, if they agree on it."""

    def params(model: str, user: str) -> dict[str, Any]:
        return {"params": {"model": model, "max_tokens": 9, "metadata": {"user_id": user}}}

    call = batches.create({"requests": [params("claude-opus-5", "ann"), params("claude-haiku-4-5", "ann")]})
    assert (call.user, call.tier, call.background, call.file) == ("ann", "batch", True, "")
    assert [(each.model, each.max_output) for each in call.requests or ()] == [
        ("claude-opus-5", 9),
        ("claude-haiku-4-5", 9),
    ]
    assert batches.create({"requests": [params("claude-opus-5", "ann"), params("claude-opus-5", "bob")]}).user is None


@pytest.mark.parametrize("junk", [None, 1, "x", [], [None], {"a": None}, [{"params": 3}]])
def test_a_batch_of_the_wrong_type_is_read_without_an_error(junk: Any) -> None:
    """Where it has no requests that can be read, it is not known to be free."""
    calls = batches.create({"requests": junk}).requests
    assert calls is None or all(call.model == "" for call in calls)
    assert not batches.batch({"id": "b", "request_counts": junk, "processing_status": "ended"}).final
    listener = batches.ResultsListener()
    listener.hear(junk)
    listener.hear({"result": junk})
    listener.hear({"result": {"type": "succeeded", "message": junk}})
    assert (listener.end().requests, listener.end().usage, listener.end().shares) == (1, None, ())


@pytest.mark.parametrize(
    "text", ["hello", "\u00e9\u00e9", "\U0001f600" * 10, "x" * 1000, "\u4e2d\u6587", "a b c d " * 50]
)
def test_claudes_input_is_bounded_by_twice_its_bytes(text: str) -> None:
    """Its tokenizer is not public, so that nothing is ever counted lower: the count is the bound."""
    call = read(messages=[{"role": "user", "content": text}])
    assert tokens.bound(call) >= 2 * len(text.encode()) + 16
    assert tokens.count(call) == tokens.bound(call)


# --- replies


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: str(case["name"]))
@pytest.mark.parametrize("shape", ["json", "object"])
def test_a_reply_says_what_was_used(case: dict[str, Any], shape: str) -> None:
    """As plain JSON, and as the SDK's object."""
    reply = case["reply"]
    if shape == "object" and "usage" in reply:
        made = BetaMessage if "iterations" in reply["usage"] else Message
        reply = made.construct(**reply)
    answer = read_message(reply)
    wanted = {**case["answer"], "also": tuple((model, used) for model, used in case["answer"].get("also", ()))}
    said = {name: list(value) if name == "lacks" else value for name, value in answer._asdict().items()}
    assert {name: said[name] for name in wanted} == wanted
    assert said["usage"] == wanted.get("usage")
    if "nano" in case:
        assert Guard(prices=PriceBook()).parts.true_cost("anthropic", "claude-opus-4-8", answer) == case["nano"]


# --- streams


def test_a_stream_says_its_usage_at_both_ends() -> None:
    """The input at the start, the whole output at the end; `message_stop` is the last word."""
    answer, done = heard(start(), *words("Hello", "!"), *end(output_tokens=15))
    assert done
    assert answer.usage == {"input_tokens": 25, "output_tokens": 15}
    assert (answer.model, answer.id, answer.lacks, answer.exact) == ("claude-opus-4-8", "msg_1", (), False)


def test_a_web_search_is_counted_by_the_last_usage() -> None:
    """The model read what it found: 2,679 tokens at the start were 10,682 in the end (the API's own example)."""
    used = {"input_tokens": 10682, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    last = end(**used, output_tokens=510, server_tool_use={"web_search_requests": 1})
    answer, _ = heard(start(input_tokens=2679, output_tokens=3), *words("found"), *last)
    assert answer.usage == {"input_tokens": 10682, "output_tokens": 510, "web_searches": 1}


@pytest.mark.parametrize(
    "later",
    [
        {"output_tokens": 9},
        {"output_tokens": 9, "cache_read_input_tokens": None, "input_tokens": None},
        {"output_tokens": 9, "cache_read_input_tokens": 0, "input_tokens": 0},
    ],
)
def test_what_the_last_usage_does_not_say_stays(later: dict[str, Any]) -> None:
    """Null and all zeros are no counts of the input."""
    parts = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 30}
    first = start(cache_read_input_tokens=70, cache_creation_input_tokens=30, cache_creation=parts)
    answer, _ = heard(first, *words("a"), *end(**later))
    assert answer.usage == {
        "input_tokens": 125,
        "cache_read_tokens": 70,
        "cache_write_tokens": 30,
        "cache_write_1h_tokens": 30,
        "output_tokens": 9,
    }


def test_an_abandoned_stream_has_its_exact_input() -> None:
    """And what arrived, to be counted; the placeholder at the start is no count of the output."""
    answer, done = heard(start(cache_read_input_tokens=75), *words("one", " two", " three"))
    assert not done
    assert answer.usage == {"input_tokens": 100, "cache_read_tokens": 75, "output_tokens": 1}
    assert (answer.lacks, answer.exact, answer.heard.text, answer.heard.pieces) == (
        ("output_tokens",),
        True,
        "one two three",
        3,
    )


def test_every_kind_of_block_is_heard() -> None:
    """Thinking that is shown, and the arguments of a tool, are output as well."""
    answer, _ = heard(
        start(),
        event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "hmm"}),
        event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "c2ln"}),
        *words("so", index=1),
        event("content_block_delta", index=2, delta={"type": "input_json_delta", "partial_json": '{"a":'}),
        event("ping"),
    )
    assert answer.heard.pieces == 3
    assert answer.heard.text == 'hmm\nso\n{"a":'


def test_an_abandoned_search_has_no_exact_input() -> None:
    """After each use of a hosted tool the model reads everything again; the search has its fee."""
    used = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    answer, _ = heard(start(), event("content_block_start", index=0, content_block=used), *words("so", index=1))
    assert answer.usage == {"output_tokens": 1, "web_searches": 1}
    assert (answer.lacks, answer.exact) == (("input_tokens", "output_tokens"), False)


@pytest.mark.parametrize(
    "item", [{"error": {"type": "error"}}, {"type": "error", "error": {"type": "overloaded_error"}}]
)
def test_an_error_before_the_start_is_free(item: dict[str, Any]) -> None:
    """After it, the input was read."""
    assert heard(item)[0].free
    answer, _ = heard(start(), item)
    assert (answer.free, answer.lacks, answer.exact) == (False, ("output_tokens",), True)


def test_items_that_nobody_knows_say_nothing() -> None:
    """A listener never raises."""
    answer, done = heard(
        None, 7, "text", {"type": []}, {"delta": 3}, {"type": "message_start"}, {"type": "message_delta"}
    )
    assert not done
    assert answer.lacks == ("input_tokens", "output_tokens")


def test_messages_have_a_reader_for_every_shape() -> None:
    """Plain and streamed, with nothing of ours to add to the request."""
    assert MESSAGES.request is messages
    assert MESSAGES.amend is None
