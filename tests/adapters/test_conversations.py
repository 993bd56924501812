"""What is said over sockets, read message by message: what is asked for at most, and what the bill says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from budgetguard.adapters.gemini.live import find as find_gemini
from budgetguard.adapters.openai.sockets import find as find_openai
from budgetguard.calls import UNKNOWN_HOST
from budgetguard.prices.book import PriceBook
from budgetguard.prices.tokens import bound

AT_MS = 1_795_000_000_000
BIDI = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
TALKS = ["/v1/realtime", "/v1/responses", "/v1/live/sessions", "/v1/realtime/translations", BIDI]


def socket(path: str) -> Any:
    return find_openai(path) or find_gemini(path)


def talk(path: str, **query: str) -> Any:
    return socket(path).talk(query)


def say(to: Any, idle: bool = True, **event: Any) -> Any:
    return to.sent(json.dumps(event), idle)


def call(path: str, opening: Any) -> Any:
    return socket(path).endpoint.request(opening.body, (), UNKNOWN_HOST)


def test_a_realtime_bill_is_priced_by_hand():
    """Sound, text and what of either was cached have four prices, one inside of the other."""
    usage = {
        "total_tokens": 1_300,
        "input_tokens": 1_000,
        "output_tokens": 300,
        "input_token_details": {
            "text_tokens": 400,
            "audio_tokens": 600,
            "cached_tokens": 500,
            "cached_tokens_details": {"text_tokens": 200, "audio_tokens": 300},
        },
        "output_token_details": {"text_tokens": 100, "audio_tokens": 200},
    }
    done = {"type": "response.done", "response": {"id": "r", "status": "completed", "usage": usage}}
    [news] = talk("/v1/realtime", model="gpt-realtime").heard(json.dumps(done))

    # $4, 0.40 cached, 32 of sound, 0.40 of it cached; $16 and 64: developers.openai.com, gpt-realtime, 2026-11-29
    by_hand = 200 * 4_000 + 200 * 400 + 300 * 32_000 + 300 * 400 + 100 * 16_000 + 200 * 64_000
    cost = PriceBook().tariff("openai", "gpt-realtime", None, AT_MS).cost(news.answer.usage)
    assert (news.what, news.id, cost) == ("ended", "r", by_hand)


def test_a_bill_of_geminis_live_is_priced_by_hand():
    """Thoughts are output beside the answer, and not all input says of which kind it is."""
    said = {
        "promptTokenCount": 522,
        "responseTokenCount": 42,
        "totalTokenCount": 564,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 332}, {"modality": "AUDIO", "tokenCount": 165}],
        "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 42}],
        "thoughtsTokenCount": 136,
    }
    message = {"serverContent": {"turnComplete": True}, "usageMetadata": said}
    [news] = talk(BIDI).heard(json.dumps(message).encode())

    # $0.75, 3 of sound; $4.50, 12 of sound: genai-prices, gemini-3.1-flash-live-preview
    by_hand = (522 - 165) * 750 + 165 * 3_000 + 136 * 4_500 + 42 * 12_000
    cost = PriceBook().tariff("google", "gemini-3.1-flash-live-preview", None, AT_MS).cost(news.answer.usage)
    assert (news.what, cost) == ("ended", by_hand)


def test_a_turn_of_geminis_is_settled_once_by_its_last_usage():
    """Its usage counts on until the turn is complete, and names come in either case."""
    live = talk(BIDI)
    assert live.heard('{"usageMetadata": {"promptTokenCount": 10, "responseTokenCount": 2}}') == ()
    assert live.heard('{"server_content": {"generation_complete": true}}') == ()
    [news] = live.heard('{"server_content": {"turn_complete": true}, "usage_metadata": {"response_token_count": 9}}')
    assert news.answer.usage == {"input_tokens": 10, "output_tokens": 9}
    assert live.heard('{"serverContent": {"turnComplete": true}}') == ()


@pytest.mark.parametrize(
    ("message", "asks"),
    [
        ({"client_content": {"turns": [{"parts": [{"text": "hi"}]}], "turn_complete": True}}, True),
        ({"clientContent": {"turns": [{"parts": [{"text": "hi"}]}], "turnComplete": True}}, True),
        ({"client_content": {"turns": [{"parts": [{"text": "hi"}]}], "turn_complete": False}}, False),
        ({"realtime_input": {"text": "hi" * 1_000}}, True),
        ({"realtimeInput": {"audio": {"mimeType": "audio/pcm", "data": "AAAA" * 1_000}}}, False),
        ({"tool_response": {"functionResponses": [{"name": "f", "response": {}}]}}, True),
    ],
)
def test_what_asks_gemini_for_an_answer(message, asks):
    """The rest is taken in, and counts for the next answer."""
    live = talk(BIDI)
    say(live, setup={"model": "models/gemini-live-2.5-flash", "generationConfig": {"maxOutputTokens": 50}})
    opening = say(live, **message)
    assert (opening is not None) == asks
    if asks:
        asked = call(BIDI, opening)
        assert (asked.model, asked.max_output) == ("gemini-live-2.5-flash", 50)
        assert bound(asked) >= sum(map(len, asked.texts))


def test_the_bound_of_a_conversation_is_what_was_billed_and_what_was_said_since():
    """The first answer reads it all; the bill of that is exact, so only what came later has to be bounded."""
    live = talk("/v1/realtime", model="gpt-realtime")
    say(live, type="session.update", session={"instructions": "x" * 500, "max_output_tokens": 77})
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "y" * 4_000}]}
    say(live, type="conversation.item.create", item=item)
    live.sent(json.dumps({"type": "input_audio_buffer.append", "audio": "A" * 640_000}), True)
    first = call("/v1/realtime", say(live, type="response.create"))
    assert 4_500 <= bound(first) < 7_000
    assert first.fixed["input_audio_tokens"] == pytest.approx(100, abs=1)  # ten seconds
    assert first.max_output == 77

    live.heard('{"type": "response.created", "response": {"id": "r"}}')
    say(live, type="conversation.item.create", item={**item, "content": [{"type": "input_text", "text": "z" * 90}]})
    usage = {"input_tokens": 1_200, "output_tokens": 50, "total_tokens": 1_250}
    usage |= {"input_token_details": {"audio_tokens": 100}, "output_token_details": {"audio_tokens": 40}}
    live.heard(json.dumps({"type": "response.done", "response": {"id": "r", "usage": usage, "conversation_id": "c"}}))
    second = call("/v1/realtime", say(live, type="response.create", response={"max_output_tokens": "inf"}))
    assert 1_250 - 140 + 90 + 500 <= bound(second) < 3_500
    assert second.fixed == {"input_audio_tokens": 140}


@pytest.mark.parametrize(
    ("query", "events"),
    [
        ({"call_id": "c"}, []),
        ({}, [{"type": "session.update", "session": {"prompt": {"id": "p"}}}]),
        ({}, [{"type": "session.update", "session": {"tools": [{"type": "mcp", "server_label": "s"}]}}]),
        ({}, [{"type": "conversation.item.create", "item": {"type": "item_reference", "id": "i"}}]),
    ],
)
def test_what_is_not_said_over_the_socket_makes_the_input_unknown(query, events):
    """Then an answer may read all that the model can."""
    live = talk("/v1/realtime", **query)
    for event in events:
        say(live, **event)
    assert call("/v1/realtime", say(live, type="response.create")).unknown_input


def test_telephones_have_fewer_bytes_a_second():
    """The same bytes are six times as long."""
    live = talk("/v1/realtime")
    say(live, type="session.update", session={"audio": {"input": {"format": {"type": "audio/pcmu"}}}})
    live.sent(json.dumps({"type": "input_audio_buffer.append", "audio": "A" * 640_000}), True)
    asked = call("/v1/realtime", say(live, type="response.create"))
    assert asked.fixed["input_audio_tokens"] == pytest.approx(600, abs=2)


def test_a_live_session_is_settled_by_what_it_lasted_since():
    """Its events count on from the beginning; a delegated answer has a model of its own."""
    live = talk("/v1/live/sessions")
    assert say(live, type="session.start", session={"model": "gpt-live-1"}).body["model"] == "gpt-live-1"
    assert say(live, idle=False, type="session.input_audio.append", audio="AAAA") is None

    def lasted(kind: str, seconds: float) -> list[Any]:
        said = live.heard(json.dumps({"type": kind, "usage": {"seconds": seconds}}))
        return [news.answer.usage["audio_seconds"] for news in said]

    assert [lasted("session.usage.updated", seconds) for seconds in (10, 31, 45)] == [[], [31], []]
    assert say(live, type="session.input_audio.append", audio="AAAA") is not None
    assert lasted("session.closed", 50) == [19]
    assert say(live, type="session.input_audio.append", audio="AAAA") is None

    done = {"id": "r", "model": "gpt-5", "status": "completed", "usage": {"input_tokens": 9, "output_tokens": 4}}
    event = {"type": "response.event", "event": {"type": "response.completed", "response": done}}
    [news] = live.heard(json.dumps(event))
    assert (news.what, news.body) == ("beside", {"model": "gpt-5"})


@pytest.mark.parametrize("path", TALKS)
def test_no_junk_makes_anything_raise(path):
    """What a peer writes is not ours to fail for."""
    live = talk(path, model="m")
    kinds = ["response.create", "session.update", "conversation.item.create", "response.done", "session.start", "error"]
    kinds += ["response.created", "session.usage.updated", "response.event", "session.created", "response.completed"]
    values: list[Any] = [
        None,
        1,
        "x",
        [],
        [1],
        {},
        {"usage": 1},
        {"usage": {"input_tokens": "x"}},
        {"id": 5, "tools": 3},
    ]
    names = [
        "session",
        "item",
        "response",
        "usage",
        "event",
        "error",
        "audio",
        "client_content",
        "setup",
        "usageMetadata",
    ]
    for kind in [*kinds, None, 7]:
        for value in values:
            message = json.dumps({"type": kind, **dict.fromkeys(names, value), "turnComplete": 1})
            for form in (message, message.encode()):
                opening = live.sent(form, True)
                if opening is not None:
                    call(path, opening)
                live.heard(form)
    for form in ("", b"\xff\xfe", "[]", '"usage', "{" * 2_000 + '"usage'):
        live.sent(form, False)
        live.heard(form)


def test_other_paths_are_none_of_these():
    """A socket is known by how its path ends, wherever it is served."""
    for path in ("/", "/chat", "/realtime/v1/websocket", "/v1/realtimes", "/ws/other.Bidi"):
        assert socket(path) is None
    assert socket("/openai/realtime") is socket("/x/v1/realtime/") is not None
    assert socket("/v1/live/sessions/s/fork") is socket("/v1/live/sessions")
    assert socket("/v1/live/sessions/s/attach").endpoint.opaque
    assert socket("/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateMusic").endpoint.opaque


def test_the_model_of_a_session_is_the_one_that_the_server_says():
    """An update that asks for a cheaper one is refused there: what is held and billed stays the dearer one's."""
    realtime = talk("/v1/realtime", model="gpt-realtime")
    say(realtime, type="session.update", session={"model": "gpt-realtime-mini"})
    assert say(realtime, type="response.create").body["model"] == "gpt-realtime"
    realtime.heard(json.dumps({"type": "session.updated", "session": {"model": "gpt-realtime-mini"}}))
    assert say(realtime, type="response.create").body["model"] == "gpt-realtime-mini"
    unnamed = talk("/v1/realtime")
    say(unnamed, type="session.update", session={"model": "gpt-realtime-mini"})
    assert say(unnamed, type="response.create").body["model"] == "gpt-realtime-mini"


@pytest.mark.parametrize("said", [{"totalTokenCount": 120}, {"promptTokenCount": -5, "responseTokenCount": "x"}])
def test_a_turn_of_geminis_whose_bill_says_no_number_is_not_free(said):
    """It costs what was held, as an answer without a bill does."""
    message = {"serverContent": {"turnComplete": True}, "usageMetadata": said}
    [news] = talk(BIDI).heard(json.dumps(message))
    assert (news.what, news.answer.usage, news.answer.free) == ("ended", None, False)
