"""
Google's table of operations, and its pure readers: requests as calls, replies and streams as answers.

Replies are in `recordings/gemini_replies.json`, with where each was recorded. Each price there is worked out by hand,
in dollars a million tokens.
"""

import base64
import json
from typing import Any

import pytest
from google.genai.types import GenerateContentResponse

from budgetguard import PriceBook
from budgetguard.adapters.gemini import DIALECT, GENERATE, located, told
from budgetguard.adapters.gemini import replies as read_replies
from budgetguard.adapters.gemini.prompt import QUERIES
from budgetguard.adapters.gemini.requests import PICTURE_OUTPUT, PICTURES, cache, draw, embed, film, generate, stream
from budgetguard.adapters.gemini.streams import GenerateListener
from budgetguard.calls import Answer, Call, Host
from budgetguard.guards.guard import Guard
from budgetguard.prices import tokens
from tests.support import ROOT

RECORDED = json.loads((ROOT / "tests/recordings/gemini_replies.json").read_text())
HI = [{"role": "user", "parts": [{"text": "hi"}]}]
WRONG: list[Any] = [None, [], {}, {"usageMetadata": 3, "candidates": 4}, {"usageMetadata": {"promptTokenCount": -1}}]
PIXEL = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}


def read(model: str = "gemini-2.5-flash", **body: Any) -> Call:
    return generate({"model": model, "contents": HI, **body})


def item(text: str = "", *, end: str = "", **usage: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": [{"text": text}] if text else []}, "index": 0}
    if end:
        candidate["finishReason"] = end
    said: dict[str, Any] = {"candidates": [candidate], "modelVersion": "gemini-2.5-flash", "responseId": "r1"}
    return {**said, "usageMetadata": usage} if usage else said


def heard(*items: Any) -> Answer:
    listener = GenerateListener()
    assert [listener.hear(each) for each in items] == [False] * len(items)
    assert not listener.done
    return listener.end()


# --- operations


@pytest.mark.parametrize(
    ("method", "path", "name", "model"),
    [
        ("post", "/v1beta/models/gemini-2.5-flash:generateContent", "models.generateContent", "gemini-2.5-flash"),
        ("POST", "https://example.com/models/a:streamGenerateContent?alt=sse", "models.streamGenerateContent", "a"),
        (
            "POST",
            "https://us-central1-aiplatform.googleapis.com/v1beta1/projects/p/locations/l/publishers/google/models/"
            "gemini-2.5-pro:generateContent",
            "models.generateContent",
            "gemini-2.5-pro",
        ),
        ("POST", "/v1/projects/p/locations/l/endpoints/123:generateContent", "models.generateContent", "123"),
        ("POST", "/v1beta/tunedModels/mine:generateContent", "models.generateContent", "mine"),
        ("POST", "/v1beta/models/x%3AgenerateContent", "models.generateContent", "x"),
        ("POST", "/v1beta/models/e:embedContent", "models.embedContent", "e"),
        ("POST", "/v1beta/models/e:batchEmbedContents", "models.batchEmbedContents", "e"),
        ("POST", "/v1/x/models/text-embedding-005:predict", "models.predict (embeddings)", "text-embedding-005"),
        (
            "POST",
            "/v1/x/models/imagen-4.0-generate-001:predict",
            "models.predict (pictures)",
            "imagen-4.0-generate-001",
        ),
        ("POST", "/v1/x/endpoints/99:predict", "models.predict", "99"),
        ("POST", "/v1beta/models/veo-3:predictLongRunning", "models.predictLongRunning", "veo-3"),
        ("POST", "/v1beta/models/m:batchGenerateContent", "models.batchGenerateContent", "m"),
        ("POST", "/v1beta/models/m:countTokens", "models.countTokens", "m"),
        ("GET", "/v1beta/batches/b1", "batches.get", None),
        ("GET", "/v1beta/batches?pageSize=5", "batches.list", None),
        ("POST", "/v1beta/batches/b1:cancel", "batches.cancel", None),
        ("POST", "/v1beta/interactions", "interactions", None),
        ("GET", "/v1beta/interactions/i1", "interactions.get", None),
        ("POST", "/v1beta/interactions/i1/cancel", "interactions.cancel", None),
        ("DELETE", "/v1beta/interactions/i1", None, None),
        ("POST", "/v1beta/cachedContents", "cachedContents", None),
        ("POST", "/v1beta1/projects/p/locations/l/tuningJobs", "tuningJobs", None),
        ("POST", "/v1beta/fileSearchStores/s:importFile", "fileSearchStores.importFile", "s"),
        ("GET", "/v1beta/models/gemini-2.5-flash", None, None),
        ("DELETE", "/v1beta/cachedContents/c1", None, None),
        ("POST", "/v1beta/files", None, None),
    ],
)
def test_an_operation_is_found_wherever_it_is_served(method: str, path: str, name: str | None, model: Any) -> None:
    """By the Gemini API, by Vertex AI, by a gateway with a path of its own."""
    found = DIALECT.find(method, path)
    assert (None if found is None else found.name) == name
    if model is not None:
        assert located({"contents": []}, path)["model"] == model


@pytest.mark.parametrize(
    ("path", "may"),
    [
        ("/v1beta/models/m:generateContent", False),
        ("/v1beta/models/m:countTokens", False),
        ("/v1beta/batches/b:cancel", False),
        ("/upload/v1beta/files", False),
        ("/v1alpha/auth_tokens", False),
        ("/v1beta/models/m:generateFutures", True),
        ("/v1beta/somethings", True),
    ],
)
def test_what_nobody_knows_may_cost_something(path: str, may: bool) -> None:
    """It is said, not held."""
    assert DIALECT.may_cost("POST", path) is may


# --- requests


def test_a_request_is_read_in_both_spellings() -> None:
    """The SDK sends the one, people who write JSON by hand the other."""
    camel = read(
        systemInstruction={"parts": [{"text": "Be brief."}]},
        generationConfig={"maxOutputTokens": 50, "candidateCount": 2, "thinkingConfig": {"thinkingBudget": 0}},
        serviceTier="flex",
    )
    snake = read(
        system_instruction={"parts": [{"text": "Be brief."}]},
        generation_config={"max_output_tokens": 50, "candidate_count": 2, "thinking_config": {"thinking_budget": 0}},
        service_tier="flex",
    )
    assert camel == snake
    assert (camel.texts, camel.max_output, camel.choices) == (["Be brief.", "hi"], 50, 2)
    assert (camel.tier, camel.thinks, camel.cap, camel.stream) == ("flex", False, "generationConfig", False)
    assert stream({"model": "m", "contents": HI}).stream


def test_a_cap_is_added_where_the_request_would_have_it() -> None:
    """Beside what it configures already; the caller's own objects stay as they are."""
    amend = GENERATE.amend
    assert amend is not None
    body = {"contents": HI, "generation_config": {"temperature": 0, "max_output_tokens": 9}}
    amended = amend(body, 5, False, Host())
    assert amended["generation_config"] == {"temperature": 0, "max_output_tokens": 5}
    assert body["generation_config"] == {"temperature": 0, "max_output_tokens": 9}
    assert amend({"contents": HI}, 5, False, Host())["generationConfig"] == {"maxOutputTokens": 5}
    assert amend(body, None, True, Host()) == body


def parts(*each: Any) -> Call:
    return read("gemini-3-pro-preview", contents=[{"role": "user", "parts": list(each)}])


@pytest.mark.parametrize(
    ("part", "images", "unknown", "kept"),
    [
        ({"text": "hello"}, 0, False, ""),
        (PIXEL, 1, False, ""),
        ({"inline_data": {"mime_type": "image/png", "data": "aGk="}}, 1, False, ""),
        ({"inlineData": {"mimeType": "audio/wav", "data": "aGk="}}, 0, True, "input_audio_tokens"),
        ({"inlineData": {"mimeType": "video/mp4", "data": "aGk="}}, 0, True, "input_audio_tokens"),
        ({"inlineData": {"mimeType": "text/plain", "data": base64.b64encode(b"a text").decode()}}, 0, False, ""),
        ({"inlineData": {"mimeType": "application/zip", "data": "UEsDBAAA"}}, 0, True, ""),
        ({"fileData": {"mimeType": "application/pdf", "fileUri": "https://x/files/1"}}, 0, True, ""),
        ({"fileData": {"fileUri": "https://youtu.be/1"}}, 0, True, "input_audio_tokens"),
        ({"functionCall": {"name": "f", "args": {"url": "https://example.com"}}}, 0, False, ""),
        ({"functionResponse": {"name": "f", "response": {"x": 1}, "parts": [PIXEL]}}, 1, False, ""),
        ({"someFuturePart": {"uri": "gs://bucket/film"}}, 0, True, ""),
        ({"thought": True, "text": "hm", "thoughtSignature": "c2ln"}, 0, False, ""),
    ],
)
def test_a_part_is_bounded_by_what_it_shows(part: Any, images: int, unknown: bool, kept: str) -> None:
    """A sound's length is not in its bytes: it may fill the context, at the price of sound."""
    call = parts(part)
    assert (call.images, call.unknown_input, call.kept) == (images, unknown, kept)


def test_a_text_has_no_more_tokens_than_bytes_and_a_picture_no_more_than_the_largest() -> None:
    """8 a text, 8 a turn, 16 a picture's framing, 64 a call."""
    assert tokens.bound(parts({"text": "hello"})) == 5 + 8 + 8 + 64
    assert tokens.bound(parts(PIXEL)) == 2_240 + 16 + 8 + 64


@pytest.mark.parametrize(
    ("body", "searches", "unknown"),
    [
        ({"tools": [{"functionDeclarations": [{"name": "f", "parameters": {}}]}]}, 0, False),
        ({"tools": [{"googleSearch": {}}]}, 1, True),
        ({"tools": [{"google_search": {}}, {"codeExecution": {}}]}, 1, True),
        ({"tools": [{"googleMaps": {}}]}, 1, True),
        ({"tools": [{"urlContext": {}}]}, 0, True),
        ({"tools": [{"fileSearch": {"fileSearchStoreNames": ["s"]}}]}, 0, True),
        ({"tools": [{"computerUse": {"environment": "ENVIRONMENT_BROWSER"}}]}, 0, False),
        ({"cachedContent": "cachedContents/c1"}, 0, True),
    ],
)
def test_what_the_server_adds_may_fill_the_context(body: Any, searches: int, unknown: bool) -> None:
    """Pages, files, what a cache holds; a search has a fee beside."""
    call = read(**body)
    assert (call.fixed.get("web_searches", 0), call.unknown_input) == (searches, unknown)


def test_a_model_that_bills_each_query_is_held_for_several() -> None:
    """From Gemini 3 on."""
    assert read("gemini-3-pro-preview", tools=[{"googleSearch": {}}]).fixed["web_searches"] == QUERIES


@pytest.mark.parametrize(
    ("model", "config", "pictures"),
    [
        ("gemini-2.5-flash-image", {}, PICTURES),
        ("gemini-2.5-flash-image", {"responseModalities": ["TEXT"]}, 0),
        ("gemini-2.5-flash", {"responseModalities": ["TEXT", "IMAGE"], "candidateCount": 2}, 2 * PICTURES),
        ("gemini-2.5-flash", {}, 0),
    ],
)
def test_pictures_are_held_where_an_answer_may_have_them(model: str, config: Any, pictures: int) -> None:
    """A token of one costs twelve times what a token of text does."""
    call = read(model, generationConfig=config)
    assert call.fixed.get("output_image_tokens", 0) == pictures * PICTURE_OUTPUT


@pytest.mark.parametrize(
    ("model", "thinking", "thinks"),
    [
        ("gemini-2.5-pro", {}, True),
        ("gemini-2.5-flash", {"thinkingBudget": 0}, False),
        ("gemini-2.0-flash", {}, False),
        ("gemini-2.5-flash-lite", {}, False),
        ("gemini-2.5-flash-lite", {"thinkingBudget": 512}, True),
        ("gemini-3-pro-preview", {"thinkingLevel": "LOW"}, True),
    ],
)
def test_what_thinks_is_known_by_its_name_or_its_request(model: str, thinking: Any, thinks: bool) -> None:
    """Thoughts are billed, and are not in the stream."""
    assert read(model, generationConfig={"thinkingConfig": thinking}).thinks is thinks


@pytest.mark.parametrize(("budget", "least"), [(4_000, 4_001), (0, 1), (-1, 1), (None, 1)])
def test_a_cap_of_ours_leaves_room_above_the_thinking_budget(budget: int | None, least: int) -> None:
    """What is thought is inside of the cap: below that budget all of it may be thought, and paid for, and none said."""
    said = {"thinkingConfig": {"thinkingBudget": budget}}
    assert read("gemini-2.5-flash", generationConfig=said).least_output == least


def test_a_schema_and_a_header_are_read() -> None:
    """A schema is input; Vertex AI is asked for a tier by a header."""
    schema = {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}
    assert json.dumps(schema, separators=(",", ":")) in read(generationConfig={"responseSchema": schema}).texts
    headed = DIALECT.headed
    assert headed is not None
    assert headed(read(), {"X-Vertex-AI-LLM-Shared-Request-Type": "priority"}).tier == "priority"
    assert told({"X-Gemini-Service-Tier": "flex"}) == {"serviceTier": "flex"}
    assert told({"x-gemini-service-tier": "a gateway's own word"}) == {}


def test_other_operations_are_read() -> None:
    """Embeddings, pictures, films and caches."""
    asked = {"requests": [{"content": {"parts": [{"text": "a"}]}}, {"content": {"parts": [{"text": "b"}]}}]}
    assert embed({"model": "e", **asked}).texts == ["a", "b"]
    assert embed({"model": "e", "instances": [{"content": "a", "title": "t"}]}).texts == ["a", "t"]
    film_in = {"inlineData": {"mimeType": "video/mp4", "data": "aGk="}}
    assert embed({"model": "e", "content": {"parts": [film_in]}}).kept == "input_video_tokens"
    assert draw({"model": "i", "parameters": {"sampleCount": 2}}).fixed == {"images/standard/1K": 2}
    assert film({"model": "v", "parameters": {"durationSeconds": 6}}).fixed == {"video_seconds/720p": 6}
    made = cache({"model": "models/m", "contents": HI})
    assert (made.model, made.texts, made.output) == ("m", ["hi"], False)


@pytest.mark.parametrize(
    "body", [None, [], {"contents": 3, "tools": "x", "generationConfig": []}, {"contents": [None]}]
)
def test_a_wrong_request_raises_nothing(body: Any) -> None:
    """The API will refuse it."""
    for reads in (generate, stream, embed, draw, film, cache):
        assert isinstance(reads(body), Call)


# --- replies


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: str(case["name"]))
@pytest.mark.parametrize("shape", ["json", "object"])
def test_a_reply_says_what_was_used(case: dict[str, Any], shape: str) -> None:
    """As plain JSON, and as the SDK's object."""
    reply = case["reply"]
    if shape == "object" and "error" not in reply:
        reply = GenerateContentResponse.model_validate(
            {**reply, "usageMetadata": {k: v for k, v in reply.get("usageMetadata", {}).items() if k != "serviceTier"}}
            if "usageMetadata" in reply
            else reply
        )
    answer = read_replies.generated(reply)
    said = {name: list(value) if name == "lacks" else value for name, value in answer._asdict().items()}
    wanted = dict(case["answer"])
    if shape == "object" and wanted.get("tier") == "standard":
        del wanted["tier"]
    assert {name: said[name] for name in wanted} == wanted
    if "nano" in case:
        assert Guard(prices=PriceBook()).parts.true_cost("google", case["model"], answer) == case["nano"]


def test_other_replies_are_read() -> None:
    """What counts nothing is counted before it is sent."""
    embedded = read_replies.embedded
    assert embedded({"embedding": {"values": [1]}}).lacks == ("input_tokens",)
    assert embedded({"embeddings": [], "usageMetadata": {"promptTokenCount": 3}}).usage == {
        "input_tokens": 3,
        "output_tokens": 0,
    }
    statistics = [{"embeddings": {"statistics": {"token_count": each}, "values": []}} for each in (3, 4)]
    assert embedded({"predictions": statistics}).usage == {"input_tokens": 7, "output_tokens": 0}
    assert read_replies.drawn({"predictions": []}).free
    assert not read_replies.drawn({"predictions": [{"bytesBase64Encoded": "aGk="}]}).free
    assert read_replies.cached({"usageMetadata": {"totalTokenCount": 5_000}}).usage["input_tokens"] == 5_000  # type: ignore[index]
    for reads in (read_replies.generated, embedded, read_replies.drawn, read_replies.begun, read_replies.cached):
        for wrong in WRONG:
            assert isinstance(reads(wrong), Answer)


# --- streams


def test_a_stream_says_its_usage_with_each_item() -> None:
    """As recorded (pydantic-ai, test_google_stream_usage_is_live_mid_stream): the last one is the whole."""
    more: dict[str, Any] = {"promptTokenCount": 18, "thoughtsTokenCount": 35}
    answer = heard(
        item("1\n2", candidatesTokenCount=31, totalTokenCount=84, **more),
        item("4\n15", candidatesTokenCount=79, totalTokenCount=132, **more),
        item("0", end="STOP", candidatesTokenCount=80, totalTokenCount=133, **more),
    )
    assert answer.usage == {"input_tokens": 18, "output_tokens": 115, "output_reasoning_tokens": 35}
    assert (answer.lacks, answer.model, answer.id, answer.cut) == ((), "gemini-2.5-flash", "r1", False)


def test_a_stream_that_was_left_has_its_exact_input() -> None:
    """What came after the latest usage is counted."""
    answer = heard(item("a b", promptTokenCount=18, candidatesTokenCount=2), item("c d e"))
    assert (answer.usage, answer.lacks) == ({"input_tokens": 18, "output_tokens": 2}, ("output_tokens",))
    assert answer.exact
    assert (answer.heard.text, answer.heard.running) == ("c d e", True)


def test_a_stream_whose_usage_comes_last_is_read() -> None:
    """As Vertex AI had it: until then, an item says the traffic's type only."""
    first = {**item("Hello"), "usageMetadata": {"trafficType": "ON_DEMAND"}}
    answer = heard(first, item(end="MAX_TOKENS", promptTokenCount=3, candidatesTokenCount=2, totalTokenCount=5))
    assert (answer.usage, answer.lacks) == ({"input_tokens": 3, "output_tokens": 2}, ())
    assert answer.cut
    left = heard(first)
    assert left.lacks == ("input_tokens", "output_tokens")
    assert left.heard.text == "Hello"


def test_a_stream_of_two_candidates_ends_with_the_second() -> None:
    """The usage until then does not have all."""
    first = item("a", end="STOP", promptTokenCount=3, candidatesTokenCount=2)
    other = item("b", promptTokenCount=3, candidatesTokenCount=3)
    other["candidates"][0]["index"] = 1
    assert heard(other, first).lacks == ("output_tokens",)
    last = item(end="STOP", promptTokenCount=3, candidatesTokenCount=9)
    last["candidates"][0]["index"] = 1
    assert heard(other, first, last).usage == {"input_tokens": 3, "output_tokens": 9}


def test_a_stream_may_fail_or_be_blocked() -> None:
    """An error before anything else is free; a prompt that was read is not."""
    assert heard({"error": {"code": 503}}).free
    assert not heard(item("a", promptTokenCount=3), {"error": {"code": 503}}).free
    blocked = heard({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 7}})
    assert (blocked.usage, blocked.lacks) == ({"input_tokens": 7, "output_tokens": 0}, ())
    assert heard({"promptFeedback": {"blockReason": "SAFETY"}}).lacks == ("input_tokens",)


@pytest.mark.parametrize("name", ["promptTokenCount", "candidatesTokenCount"])
def test_a_count_of_zero_is_none_where_something_was_written(name: str) -> None:
    """A gateway that does not count says 0: an answer that is there was not free."""
    said = item("hi", end="STOP", **{"promptTokenCount": 3, "candidatesTokenCount": 2, name: 0})
    lacks = (("input_tokens" if name.startswith("prompt") else "output_tokens"),)
    assert read_replies.generated(said).lacks == lacks
    assert heard(said).lacks == lacks


def test_a_search_whose_queries_are_not_shown_is_one() -> None:
    """What is to be shown beside its results says that there was one; pages that were read by their URL do not."""
    grounded = item("hi", end="STOP", promptTokenCount=3, candidatesTokenCount=2)
    chunks = {"groundingChunks": [{"web": {"uri": "https://example.com"}}]}
    grounded["candidates"][0]["groundingMetadata"] = {"searchEntryPoint": {"renderedContent": "<div>"}, **chunks}
    assert read_replies.generated(grounded).usage["web_searches"] == 1
    grounded["candidates"][0]["groundingMetadata"] = chunks
    assert "web_searches" not in read_replies.generated(grounded).usage


def test_a_search_is_counted_once_in_a_stream() -> None:
    """Its queries come with one item, or with each."""
    grounded = item(end="STOP", promptTokenCount=3, candidatesTokenCount=2)
    grounded["modelVersion"] = "gemini-3-pro-preview"
    grounded["candidates"][0]["groundingMetadata"] = {"webSearchQueries": ["a", "b"]}
    assert heard(grounded, grounded).usage == {"input_tokens": 3, "output_tokens": 2, "web_searches": 2}
