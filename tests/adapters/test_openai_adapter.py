"""
The OpenAI adapter: what it reads from requests, replies and streams.

Replies are in `recordings/openai_replies.json`: constructed after the types of openai 3.54, and after what OpenRouter
and DeepSeek document. Each is read as plain JSON and as the SDK's own object.
"""

from __future__ import annotations

import copy
import importlib
import json
import re
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budgetguard.adapters import openai as adapter
from budgetguard.adapters.common.written import KEPT, PIECES, size
from budgetguard.adapters.openai.usage import TEXT_TOTALS
from budgetguard.calls import UNKNOWN_HOST, Answer, Call, Endpoint, Heard
from budgetguard.money import MAX_AMOUNT
from budgetguard.prices.hosts import host_of
from tests.support import ROOT

RECORDED = json.loads((ROOT / "tests/recordings/openai_replies.json").read_text())
BY_NAME = {endpoint.name: endpoint for endpoint in adapter.ENDPOINTS}


def read_request(name: str, body: Any, files: Any = ()) -> Call:
    request = BY_NAME[name].request
    assert request is not None
    return request(body, files)


def chat(**body: Any) -> Call:
    return read_request("chat.completions", {"model": "gpt-4o", "messages": [], **body})


def respond(**body: Any) -> Call:
    return read_request("responses", {"model": "gpt-5", "input": "hi", **body})


def sdk_type(name: str) -> Any:
    package, _, kind = f"openai.types.{name}".rpartition(".")
    found = getattr(importlib.import_module(package), kind, None)
    if found is None:
        pytest.skip(f"openai {openai.__version__} has no {name}")
    return found


# -- finding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("post", "/chat/completions", "chat.completions"),
        ("POST", "/completions", "completions"),
        ("POST", "/responses?beta=true", "responses"),
        ("GET", "/responses/resp_1?beta=true", "responses.retrieve"),
        ("POST", "/responses/resp_1/cancel", "responses.cancel"),
        ("POST", "/responses/compact", "responses.compact"),
        ("POST", "/deployments/gpt-4o-eu/chat/completions", "chat.completions"),
        ("POST", "/deployments/completions/embeddings", "embeddings"),
        ("POST", "/v1/embeddings", "embeddings"),
        ("POST", "chat/completions", "chat.completions"),
        ("POST", "https://api.openai.com/v1/chat/completions", "chat.completions"),
        ("POST", "https://openrouter.ai/api/v1/chat/completions", "chat.completions"),
        ("POST", "https://x.openai.azure.com/openai/deployments/d/images/generations?api-version=1", "images.generate"),
        ("POST", "/threads/runs", "beta.threads.create_and_run"),
        ("POST", "/threads/t/runs", "beta.threads.runs"),
        ("POST", "/evals/e/runs", "evals.runs"),
        ("POST", "/videos/v/remix", "videos.remix"),
        ("POST", "/audio/translations", "audio.translations"),
        ("POST", "/proxy/acme/chat/completions", "chat.completions"),
        ("POST", "./chat/completions", "chat.completions"),
        ("POST", "/x/../chat/completions", "chat.completions"),
        ("POST", "/chat%2Fcompletions", "chat.completions"),
        ("POST", "//chat//completions/", "chat.completions"),
        ("POST", "/V1/Chat/Completions", "chat.completions"),
        ("POST", "/proxy/acme/completions", "completions"),
        ("POST", "/proxy/acme/threads/runs", "beta.threads.create_and_run"),
        ("GET", "/proxy/acme/responses/resp_1", "responses.retrieve"),
    ],
)
def test_an_operation_is_found_by_its_path(method: str, path: str, name: str) -> None:
    """Under any base URL, behind any proxy's prefix, however a server may read the path."""
    for _ in range(2):  # the second time from the cache
        found = adapter.find(method, path)
        assert found is not None
        assert found.name == name


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/chat/completions"),
        ("POST", "/chat/completions/chatcmpl-1"),
        ("GET", "/models"),
        ("GET", "/files/file-1/content"),
        ("GET", "/v1/models/chat/completions"),
        ("POST", "/proxy/acme/containers/c/files"),
        ("POST", "/proxy/acme/threads/t/messages"),
        ("GET", "/organization/usage/completions"),
        ("POST", "/vector_stores/vs/search"),
        ("POST", "/conversations"),
        ("GET", "/responses/resp_1/input_items"),
        ("POST", ""),
        ("POST", "https://"),
        ("", "/"),
    ],
)
def test_what_costs_nothing_is_not_found(method: str, path: str) -> None:
    """A call that is not found passes through untouched."""
    assert adapter.find(method, path) is None


def test_the_cache_of_paths_is_bounded() -> None:
    """Ids are part of paths: a server that runs for months must not keep them all."""
    for number in range(5_000):
        adapter.find("GET", f"/responses/resp_{number}")
    assert adapter.find.cache_info().currsize <= 2_048  # type: ignore[attr-defined]


def test_every_paying_operation_has_a_reader_and_only_those() -> None:
    """A gap here would be spend that no budget sees."""
    free = {"responses.input_tokens"}
    for endpoint in adapter.ENDPOINTS:
        aside = bool(endpoint.follows or endpoint.uploads)
        assert (endpoint.request is None) == (aside or endpoint.name in free), endpoint.name
        assert endpoint.opaque or endpoint.answer is not None, endpoint.name
        assert endpoint.method in {"GET", "POST"}
    assert len({(e.method, e.path) for e in adapter.ENDPOINTS}) == len(adapter.ENDPOINTS)


FREE_ROOTS = """
    organization projects webhook_endpoints vaults skills uploads files vector_stores conversations assistants
    content_provenance_checks
"""
FREE_ENDS = "cancel pause hangup refer reject validate messages {id}"
FREE_PATHS = """
    /agents /evals /threads /audio/voice_consents /containers/{id}/files /agents/environments/templates
    /agents/environments/{id}/files /videos/characters
"""


def test_the_table_has_every_paying_path_of_the_sdk_and_no_other() -> None:
    """
    A path that the SDK does not have would guard nothing, and one that is missing would be unseen spend.

    The table was read from 3.54: an older SDK has fewer paths, a newer one may have more.
    """
    posted = set()
    for source in Path(openai.__file__).parent.joinpath("resources").rglob("*.py"):
        for found in re.finditer(r'self\._post\(\s*(?:path_template\(\s*|f)?"(/[^"]*)"', source.read_text()):
            posted.add(re.sub(r"\{[^}]*\}", "{id}", found[1]).partition("?")[0])
    table = {endpoint.path for endpoint in adapter.ENDPOINTS if endpoint.method == "POST"}
    version = tuple(int(part) for part in openai.__version__.split(".")[:2])
    if version >= (3, 54):
        assert table <= posted | {"/agents/completions"}  # Mistral's, as OpenAI's chats are
    for path in posted - table:
        assert adapter.find("POST", f"/proxy/acme{path.replace('{id}', 'x')}") is None, path
    if version <= (3, 54):
        free = {path for path in posted if path.split("/")[1] in FREE_ROOTS.split()}
        free |= {path for path in posted if path.rsplit("/", 1)[1] in FREE_ENDS.split()}
        assert posted - free - set(FREE_PATHS.split()) <= table
    assert {"/chat/completions", "/responses"} <= posted & table


# -- amending --------------------------------------------------------------------------------------------------------


def amend(name: str, body: Mapping[str, Any], cap: int | None, ask: bool) -> Any:
    change = BY_NAME[name].amend
    assert change is not None
    return change(body, cap, ask, host_of("api.openai.com"))


@pytest.mark.parametrize("name", ["chat.completions", "completions", "responses"])
def test_amending_leaves_the_callers_objects_alone(name: str) -> None:
    """A caller may use the same dictionaries for its next call."""
    body = {
        "model": "m",
        "stream": True,
        "messages": [{"role": "user"}],
        "stream_options": {"include_obfuscation": True},
    }
    before = copy.deepcopy(body)
    amended = amend(name, body, 7, True)
    assert body == before
    assert amended is not body
    assert amended["messages"] is body["messages"]
    assert 7 in amended.values()


def test_usage_is_asked_for_beside_what_the_caller_asked_for() -> None:
    """The caller's own stream options stay."""
    body = {"stream": True, "stream_options": {"include_obfuscation": True}}
    amended = amend("chat.completions", body, None, True)
    assert amended["stream_options"] == {"include_obfuscation": True, "include_usage": True}


@pytest.mark.parametrize("said", [True, False])
def test_what_the_caller_said_of_usage_is_respected(said: bool) -> None:
    """An explicit no is a no, and the very same object says that nothing was asked for on the caller's behalf."""
    body = {"stream": True, "stream_options": {"include_usage": said}}
    assert amend("chat.completions", body, None, True)["stream_options"] is body["stream_options"]


@pytest.mark.parametrize("options", [None, openai.omit if hasattr(openai, "omit") else openai.NOT_GIVEN])
def test_options_that_are_not_given_are_made(options: Any) -> None:
    """The SDK's sentinels mean absent."""
    body = {"stream": True, "stream_options": options}
    assert amend("completions", body, None, True)["stream_options"] == {"include_usage": True}


def test_usage_is_not_asked_for_without_a_stream_nor_of_responses() -> None:
    """Both answer 400 to it, and both have their usage anyway."""
    assert "stream_options" not in amend("chat.completions", {"model": "m"}, None, True)
    assert "stream_options" not in amend("responses", {"model": "m", "stream": True}, None, True)


# -- requests: chat --------------------------------------------------------------------------------------------------


def test_a_chat_is_its_texts_and_the_tokens_of_its_format() -> None:
    """3 tokens a message, 1 a role, 1 a name, 3 to prime: "hi" from a user is 7 and the text."""
    call = chat(messages=[{"role": "user", "content": "hi"}])
    assert (list(call.texts), call.overhead) == (["hi"], 7)
    call = chat(messages=[{"role": "system", "content": "a", "name": "n"}, {"role": "user", "content": "b"}])
    assert (sorted(call.texts), call.overhead) == (["a", "b", "n"], 12)


def test_a_message_of_parts_counts_each() -> None:
    """Texts as texts, pictures as pictures: never by the length of their base64."""
    call = chat(
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10_000}},
                    {"type": "file", "file": {"file_data": "SGVsbG8=", "filename": "a.txt"}},
                ],
            },
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        ]
    )
    assert list(call.texts) == ["look", "Hello", "a.txt", "no"]
    assert call.images == 1
    assert call.overhead == 3 + 2 * 4 + 2
    assert not call.unknown_input


def test_tool_calls_tools_and_schemas_count_as_compact_json() -> None:
    """They are shown to the model in a shorter form than that."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    called = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    call = chat(
        messages=[{"role": "assistant", "content": None, "tool_calls": [called]}],
        tools=[tool],
        functions=[{"name": "g"}],
        response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": {}}},
    )
    everything = "".join(call.texts)
    assert json.dumps([tool], separators=(",", ":")) in call.texts
    for word in ("arguments", '"g"', "json_schema"):
        assert word in everything
    assert call.overhead >= 3 * 16


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "audio": {"id": "audio_1"}},
        {"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]},
    ],
)
def test_what_the_request_only_points_at_makes_its_input_unknown(message: Any) -> None:
    """The provider bills what it looks up."""
    assert chat(messages=[message]).unknown_input


def test_the_stated_cap_is_the_larger_of_the_two_names() -> None:
    """Which one a server obeys is not known here."""
    assert chat().max_output is None
    assert chat(max_tokens=5).max_output == 5
    assert chat(max_completion_tokens=9, max_tokens=5).max_output == 9
    assert chat(max_tokens=0).max_output == 0
    assert chat(max_tokens="5").max_output == 5
    assert chat(max_tokens="many").max_output is None
    assert chat(max_tokens=-1).max_output is None
    assert chat(max_tokens=True).max_output is None
    assert chat(max_tokens=10**30).max_output == 10**7


def test_what_else_a_chat_says_of_its_cost() -> None:
    """How many answers, in which tier, for whom, streamed or not."""
    call = chat(n=3, service_tier="flex", user="ann", stream=True)
    assert (call.choices, call.tier, call.user, call.stream) == (3, "flex", "ann", True)
    assert call.cap == "max_completion_tokens"
    assert chat(safety_identifier="bob", metadata={"user_id": "c"}).user == "bob"
    assert chat(metadata={"user_id": "c"}).user == "c"
    assert chat(n=None, metadata={"user_id": 3}).choices == 1


@pytest.mark.parametrize(
    ("body", "answers"),
    [({"n": "40"}, 40), ({"n": " 40.0 "}, 40), ({"n": 3.0}, 3), ({"n": "x"}, 1), ({"n": 2, "best_of": 5}, 5)],
)
def test_numbers_in_texts_count(body: Any, answers: int) -> None:
    """Many servers read "40" as 40, and bill 40 answers."""
    assert chat(**body).choices == answers


def test_a_predicted_answer_is_not_capped() -> None:
    """The API refuses a cap beside a prediction."""
    call = chat(prediction={"type": "content", "content": "foo"})
    assert call.cap is None
    assert "foo" in call.texts


def test_a_searching_chat_has_a_fee() -> None:
    """One search a call. What it finds is billed as input, but for the preview models."""
    assert chat(web_search_options={}).fixed == {"web_searches": 1}
    assert chat(web_search_options={}).unknown_input
    preview = chat(model="gpt-4o-search-preview")
    assert (preview.fixed, preview.unknown_input) == ({"web_searches": 1}, False)
    assert chat(model="gpt-5-search-api").unknown_input
    assert chat(model="o3-deep-research").fixed == {}


def test_sentinels_for_not_given_count_as_absent() -> None:
    """The SDK has two kinds of them, and passes them down in places."""
    for sentinel in (openai.NOT_GIVEN, getattr(openai, "omit", openai.NOT_GIVEN)):
        names = ("max_tokens", "n", "tools", "user", "stream", "service_tier", "web_search_options", "prediction")
        assert chat(**dict.fromkeys(names, sentinel)) == chat()
        message = {"role": "user", "content": "hi", "name": sentinel, "tool_calls": sentinel, "audio": sentinel}
        assert list(chat(messages=[message]).texts) == ["hi"]
        names = ("tools", "instructions", "previous_response_id", "conversation", "max_output_tokens", "background")
        assert respond(**dict.fromkeys(names, sentinel)) == respond()


def test_messages_may_be_the_sdks_own_objects() -> None:
    """An answer is often sent back as it came."""
    message = openai.types.chat.ChatCompletionMessage(role="assistant", content="before")
    assert "before" in chat(messages=[message, {"role": "user", "content": "hi"}]).texts


# -- requests: the other texts ---------------------------------------------------------------------------------------


def test_legacy_completions_answer_every_prompt_best_of_times() -> None:
    """All of them are billed, also those that are not returned."""
    call = read_request("completions", {"model": "m", "prompt": ["a", "b"], "n": 2, "best_of": 3, "suffix": "s"})
    assert (call.choices, list(call.texts)) == (6, ["a", "b", "s"])
    assert read_request("completions", {"model": "m"}).choices == 1


@pytest.mark.parametrize(
    ("host", "default"),
    [("api.openai.com", 16), ("x.openai.azure.com", 16), ("llama.example.com", None), ("localhost", None)],
)
def test_a_default_cap_is_known_of_openais_own_api_only(host: str, default: int | None) -> None:
    """llama.cpp and others write on to their model's end, so that a hard budget has to send a cap."""
    request = BY_NAME["completions"].request
    assert request is not None
    assert request({"model": "m", "prompt": "hi"}, (), host_of(host)).default_output == default


def test_token_ids_are_counted_as_what_they_are() -> None:
    """One prompt of three, and two prompts of three together."""
    one = read_request("completions", {"model": "m", "prompt": [1, 2, 3]})
    two = read_request("embeddings", {"model": "m", "input": [[1, 2], [3]]})
    assert (one.overhead, one.choices, list(one.texts)) == (3, 1, [])
    assert (two.overhead, two.output) == (3, False)


def test_embeddings_have_no_output() -> None:
    """Their price is their input's alone."""
    call = read_request("embeddings", {"model": "m", "input": ["a", "b"], "user": "u"})
    assert (list(call.texts), call.output, call.cap, call.user) == (["a", "b"], False, None, "u")


def test_a_response_reads_items_of_every_kind() -> None:
    """What is sent back of earlier turns is billed again."""
    call = respond(
        instructions="be kind",
        input=[
            {"role": "user", "content": "one"},
            {
                "role": "user",
                "content": [{"type": "input_text", "text": "two"}, {"type": "input_image", "file_id": "f"}],
            },
            {"type": "function_call", "call_id": "c", "name": "three", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "four"},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "five"}]},
            {
                "type": "reasoning",
                "id": "rs",
                "summary": [{"type": "summary_text", "text": "six"}],
                "encrypted_content": "seven",
            },
            {
                "type": "computer_call_output",
                "call_id": "c",
                "output": {"type": "computer_screenshot", "image_url": "data:"},
            },
            {"type": "image_generation_call", "id": "ig", "status": "completed", "result": "A" * 1000},
            {"type": "something_new", "payload": "eight"},
        ],
        text={"format": {"type": "json_schema", "name": "nine", "schema": {}}},
    )
    everything = " ".join(call.texts)
    for word in ("be kind", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"):
        assert word in everything
    assert "AAAA" not in everything
    assert call.images == 3
    assert not call.unknown_input
    assert (call.cap, call.least_output) == ("max_output_tokens", 16)


@pytest.mark.parametrize(
    "body",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"prompt": {"id": "pmpt_1"}},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "https://x"}]}]},
    ],
)
def test_stored_context_makes_the_input_unknown(body: Any) -> None:
    """The context window is then the only bound there is."""
    assert respond(**body).unknown_input
    assert not respond().unknown_input


def test_a_new_container_counts_by_its_memory() -> None:
    """Its price is proportional to it; one that was made before was paid for then."""
    auto = {"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "4g"}}
    made = {"type": "code_interpreter", "container": "cntr_1"}
    assert respond(tools=[auto]).fixed == {"code_executions": 4}
    assert respond(tools=[made]).fixed == {}


def test_background_work_and_its_followers() -> None:
    """Creating settles nothing; a later look does."""
    assert respond(background=True).background
    assert BY_NAME["responses.retrieve"].follows
    assert BY_NAME["responses.cancel"].follows


def test_decisions_and_compactions_take_no_cap() -> None:
    """They are read like a response, and cannot be shortened."""
    questions = [{"type": "choice", "instructions": [{"type": "input_text", "text": "why"}], "options": ["x"]}]
    call = read_request("decisions", {"model": "m", "input": "hi", "questions": questions})
    assert {"hi", "why"} <= set(call.texts)
    assert call.cap is None
    call = read_request("responses.compact", {"model": "m", "previous_response_id": "r"})
    assert (call.cap, call.unknown_input) == (None, True)


# -- requests: media -------------------------------------------------------------------------------------------------


def test_pictures_of_dall_e_are_counted_whole() -> None:
    """By quality and size; the prompt costs nothing."""
    call = read_request("images.generate", {"model": "dall-e-3", "prompt": "p", "quality": "hd", "size": "1024x1792"})
    assert (call.fixed, list(call.texts), call.output) == ({"images/hd/1024x1792": 1}, [], False)
    call = read_request("images.create_variation", {"model": "dall-e-2", "n": 3}, [("image", b"")])
    assert call.fixed == {"images/standard/1024x1024": 3}


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"model": "gpt-image-1", "quality": "low", "size": "1024x1024"}, 272),
        ({"model": "gpt-image-1.5", "quality": "high", "size": "1536x1024"}, 6_208),
        ({"model": "gpt-image-1", "n": 2}, 12_480),
        ({"model": "gpt-image-2", "quality": "high", "size": "1024x1024"}, 7_024),
        ({"model": "gpt-image-2", "quality": "low", "size": "1024x1024", "partial_images": 2}, 196 + 200),
        ({"model": "gpt-image-2.5-flare", "size": "1024x1024"}, 28_096),
        ({"model": "gpt-image-2", "quality": "high", "size": "1024x1024", "output_format": "gif"}, 9 * 7_024),
    ],
)
def test_pictures_of_gpt_image_models_are_bounded_in_tokens(body: Any, tokens: int) -> None:
    """7,024 is what OpenAI's calculator gives for gpt-image-2, high, 1024x1024; `auto` is the dearest."""
    call = read_request("images.generate", {"prompt": "p", **body})
    assert call.fixed == {"output_image_tokens": tokens}
    assert (list(call.texts), call.output) == (["p"], False)


def test_pictures_that_are_edited_count_as_input() -> None:
    """Every one that is sent, the mask included."""
    files = [("image[]", ("a.png", b"x")), ("image[]", ("b.png", b"x")), ("mask", ("m.png", b"x"))]
    call = read_request("images.edit", {"model": "gpt-image-1", "prompt": "p", "quality": "low"}, files)
    assert call.fixed["input_image_tokens"] == 3 * 8_000


def test_speech_is_billed_by_character_or_by_token() -> None:
    """As the model is; a slower speech is a longer one."""
    call = read_request("audio.speech", {"model": "tts-1", "input": "héllo"})
    assert (call.fixed, list(call.texts)) == ({"input_characters": 5}, [])
    body = {"model": "gpt-4o-mini-tts", "input": "hello", "instructions": "softly"}
    call = read_request("audio.speech", body)
    assert (call.fixed, list(call.texts)) == ({"output_audio_tokens": 10}, ["hello", "softly"])
    assert read_request("audio.speech", {**body, "speed": 0.5}).fixed == {"output_audio_tokens": 20}
    assert read_request("audio.speech", {**body, "stream_format": "sse"}).stream


def test_transcripts_of_token_billed_models_are_bounded_in_tokens() -> None:
    """Sound, hints and the transcript."""
    body = {"model": "gpt-4o-transcribe", "prompt": "names: Ann", "stream": True}
    call = read_request("audio.transcriptions", body, [("file", ("a.mp3", b"x" * 7_500))])
    assert (call.fixed, call.max_output) == ({"input_audio_tokens": 100}, 50)
    assert (list(call.texts), call.stream, call.output) == (["names: Ann"], True, True)


def test_films_are_counted_in_seconds() -> None:
    """What the request does not say is the API's default; of a film that is changed, the dearest."""
    assert read_request("videos", {"prompt": "p"}).fixed == {"video_seconds/720x1280": 4}
    call = read_request("videos", {"prompt": "p", "seconds": "12", "size": "1792x1024", "model": "sora-2-pro"})
    assert (call.fixed, call.model) == ({"video_seconds/1792x1024": 12}, "sora-2-pro")
    assert read_request("videos.extend", {"seconds": "8"}).fixed == {"video_seconds/1792x1024": 8}
    assert read_request("videos.remix", {"prompt": "p"}).fixed == {"video_seconds/1792x1024": 20}


@pytest.mark.parametrize(
    ("name", "body", "model"),
    [
        ("fine_tuning.jobs", {"model": "gpt-4o-mini", "training_file": "f"}, "gpt-4o-mini"),
        ("realtime.client_secrets", {"session": {"type": "realtime", "model": "gpt-realtime"}}, "gpt-realtime"),
        ("beta.agents.sessions", {"agent": {"model": "gpt-5.6"}}, "gpt-5.6"),
        ("evals.runs", {"data_source": {"model": "o3"}}, "o3"),
    ],
)
def test_jobs_and_sessions_can_be_gated(name: str, body: Any, model: str) -> None:
    """Their cost is not to be seen; that there is some can be."""
    endpoint = BY_NAME[name]
    assert endpoint.opaque
    assert read_request(name, body).model == model


# -- replies ---------------------------------------------------------------------------------------------------------


def expected(recorded: Any) -> Answer:
    fields = dict(recorded["answer"])
    fields["also"] = tuple(tuple(pair) for pair in fields.get("also", []))
    return Answer(**fields)


def answered(endpoint: Endpoint, reply: Any) -> Answer:
    assert endpoint.answer is not None
    return endpoint.answer(reply)


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda recorded: recorded["name"])
def test_a_reply_says_what_was_used(recorded: Any) -> None:
    """As plain JSON, which is what a raw response is read as."""
    assert answered(BY_NAME[recorded["endpoint"]], recorded["reply"]) == expected(recorded)


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda recorded: recorded["name"])
def test_an_sdk_object_says_the_same(recorded: Any) -> None:
    """Fields that the SDK does not know are in its extras."""
    reply = sdk_type(recorded["type"]).construct(**recorded["reply"])
    assert type(reply) is sdk_type(recorded["type"])
    assert answered(BY_NAME[recorded["endpoint"]], reply) == expected(recorded)


@pytest.mark.parametrize(
    ("cost", "nano"),
    [
        (0, None),
        (1, 10**9),
        (1e-10, 1),
        (0.1, 10**8),
        (-1, None),
        (float("nan"), None),
        (float("inf"), None),
        (True, None),
        ("0.1", 10**8),
        ("free", None),
        ({"total_cost": 1}, 10**9),
        ({"total_cost": "?"}, None),
        ([], None),
        (None, None),
        (9_000_001, None),
    ],
)
def test_a_stated_cost_is_taken_only_if_it_is_an_amount(cost: Any, nano: int | None) -> None:
    """Rounded up to whole nano-dollars. A 0 says nothing: proxies put it where they know no price."""
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "cost": cost}
    assert answered(BY_NAME["chat.completions"], {"usage": usage}).cost == nano


# -- streams ---------------------------------------------------------------------------------------------------------


def listen(name: str, items: list[Any]) -> tuple[Any, list[bool]]:
    make = BY_NAME[name].listener
    assert make is not None
    listener = make()
    return listener, [listener.hear(item) for item in items]


def chunk(choices: list[Any], **more: Any) -> dict[str, Any]:
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o", "choices": choices, **more}


def delta(index: int = 0, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"index": index, "delta": fields, "finish_reason": finish}


USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}

CHAT_STREAM = [
    chunk([delta(role="assistant", content="")], usage=None),
    chunk([delta(content="héllo")], usage=None),
    chunk([delta(1, tool_calls=[{"index": 0, "function": {"name": "f", "arguments": "{}"}}])], usage=None),
    chunk([delta(refusal="no")], usage=None),
    chunk([delta(reasoning_content="hm")], usage=None),
    chunk([delta(finish="stop")], usage=None),
    chunk([], usage=USAGE, service_tier="default"),
]


@pytest.mark.parametrize("plain", [True, False], ids=["dict", "object"])
def test_a_chat_stream_ends_with_its_usage(plain: bool) -> None:
    """The chunk that only has usage is marked, so that it can be hidden from a caller who did not ask for it."""
    kind = openai.types.chat.ChatCompletionChunk
    listener, marks = listen("chat.completions", [c if plain else kind.construct(**c) for c in CHAT_STREAM])
    assert marks == [False] * 6 + [True]
    assert listener.done
    assert listener.end() == Answer(
        model="gpt-4o", usage={"input_tokens": 5, "output_tokens": 3}, tier="default", id="c1"
    )


@pytest.mark.parametrize("plain", [True, False], ids=["dict", "object"])
@pytest.mark.parametrize(
    "more",
    [
        {"moderation": {"input": {"type": "error", "code": "c", "message": "m"}}},
        {"prompt_filter_results": [{"prompt_index": 0}]},
    ],
)
def test_a_usage_chunk_with_anything_else_is_kept(plain: bool, more: dict[str, Any]) -> None:
    """Azure's and moderation's chunks have no choices either, and are the caller's."""
    item: Any = chunk([], usage=USAGE, **more)
    item = item if plain else openai.types.chat.ChatCompletionChunk.construct(**item)
    listener, marks = listen("chat.completions", [*CHAT_STREAM[:-1], item])
    assert marks == [False] * len(CHAT_STREAM)
    assert listener.done


def test_an_empty_first_chunk_is_no_usage_chunk() -> None:
    """Azure's first chunk has neither choices nor usage."""
    listener, marks = listen("chat.completions", [chunk([], prompt_filter_results=[{}])])
    assert marks == [False]
    assert not listener.done
    assert listener.end().usage == {}


def test_the_latest_usage_counts() -> None:
    """Some servers put a running total on every chunk: the last is the sum, and none is the last word."""
    items = [
        chunk([delta(content="a")], usage={"prompt_tokens": 5, "completion_tokens": n, "total_tokens": 5 + n})
        for n in (1, 2, 3)
    ]
    listener, marks = listen("chat.completions", items)
    assert marks == [False] * 3
    answer = listener.end()
    assert answer.usage is not None
    assert (answer.usage["output_tokens"], answer.lacks, answer.heard) == (3, ("output_tokens",), Heard(running=True))
    assert not listener.done


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_a_stream_that_ends_at_its_cap_says_so(order: list[int]) -> None:
    """Whether the usage comes before that or after."""
    items = [chunk([delta(finish="length")]), chunk([delta(content="")], usage=USAGE)]
    listener, _ = listen("chat.completions", [items[n] for n in order])
    assert listener.end().cut


def test_an_abandoned_stream_tells_what_was_heard() -> None:
    """Its input is counted before, its output as far as it came."""
    listener, _ = listen("chat.completions", CHAT_STREAM[:2])
    answer = listener.end()
    assert (answer.usage, answer.lacks, answer.heard, listener.done) == ({}, TEXT_TOTALS, Heard("héllo", 0, 1), False)


def test_all_that_is_written_is_heard() -> None:
    """Calls of tools with their names, refusals, and reasoning that is shown; that of the second choice apart."""
    listener, _ = listen("chat.completions", CHAT_STREAM[:5])
    assert listener.end().heard == Heard("héllonohm\nf{}", 0, 4)


@pytest.mark.parametrize("plain", [True, False], ids=["dict", "object"])
def test_choices_that_come_by_turns_are_heard_one_after_the_other(plain: bool) -> None:
    """As one text, the halves of words would be counted that were cut by the other choice's."""
    kind = openai.types.chat.ChatCompletionChunk
    items = [
        chunk([delta(index, content=f"{index}{part}")])
        for part in ("inter", "nation", "al" * 1_000)
        for index in (1, 0)
    ]
    both = [chunk([delta(0, content="a"), delta(1, content="b")])]
    listener, _ = listen("chat.completions", [c if plain else kind.construct(**c) for c in items + both])
    tail = "al" * 1_000
    assert listener.end().heard == Heard(f"0inter0nation0{tail}a\n1inter1nation1{tail}b", 0, 8)
    legacy, _ = listen("completions", [{"choices": [{"index": n, "text": f"{n}"}]} for n in (0, 1, 0, 1)])
    assert legacy.end().heard == Heard("00\n11", 0, 4)


@pytest.mark.parametrize("index", [-1, 10**9, True, 0.5, "1", [], None])
def test_an_index_that_is_none_keeps_no_text_apart(index: Any) -> None:
    """A server that numbers every piece anew would have each kept by itself."""
    listener, _ = listen("chat.completions", [chunk([delta(index, content="a")]), chunk([delta(content="b")])])
    assert listener.end().heard == Heard("ab", 0, 2)


def test_a_legacy_stream_is_heard_alike() -> None:
    """Its text is in the choice itself."""
    items = [{"choices": [{"index": 0, "text": "ab", "finish_reason": "length"}]}, {"choices": [], "usage": USAGE}]
    listener, marks = listen("completions", items)
    assert marks == [False, True]
    assert (listener.end().usage, listener.end().cut) == ({"input_tokens": 5, "output_tokens": 3}, True)


def response(status: str, **more: Any) -> dict[str, Any]:
    plain = {"id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-5", "status": status, "output": []}
    return {**plain, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], **more}


RESPONSE_USAGE = {
    "input_tokens": 5,
    "output_tokens": 3,
    "total_tokens": 8,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}


@pytest.mark.parametrize("plain", [True, False], ids=["dict", "object"])
@pytest.mark.parametrize("end", ["completed", "incomplete", "failed"])
def test_a_response_stream_ends_with_its_response(plain: bool, end: str) -> None:
    """However it ended: an incomplete or failed response is billed for what it used."""
    types = openai.types.responses
    events: list[tuple[Any, dict[str, Any]]] = [
        (types.ResponseCreatedEvent, {"type": "response.created", "response": response("in_progress")}),
        (types.ResponseTextDeltaEvent, {"type": "response.output_text.delta", "delta": "hé", "item_id": "i"}),
        (
            types.ResponseFunctionCallArgumentsDeltaEvent,
            {"type": "response.function_call_arguments.delta", "delta": "{}"},
        ),
        (types.ResponseReasoningSummaryTextDeltaEvent, {"type": "response.reasoning_summary_text.delta", "delta": "m"}),
        (
            getattr(types, f"Response{end.title()}Event"),
            {"type": f"response.{end}", "response": response(end, usage=RESPONSE_USAGE)},
        ),
    ]
    listener, marks = listen("responses", [event if plain else kind.construct(**event) for kind, event in events])
    assert marks == [False] * 5
    assert listener.done
    answer = listener.end()
    assert answer.usage == {"input_tokens": 5, "output_tokens": 3}
    assert answer.final
    assert answer.lacks == ()


def test_a_response_stream_that_is_left_tells_what_was_heard() -> None:
    """Text, arguments of tools, and summaries of reasoning."""
    kinds = ("output_text.delta", "function_call_arguments.delta", "reasoning_summary_text.delta")
    events = [{"type": f"response.{kind}", "delta": text} for kind, text in zip(kinds, ("hé", "{}", "m"), strict=True)]
    answer = listen("responses", events)[0].end()
    assert (answer.usage, answer.lacks, answer.heard) == ({}, TEXT_TOTALS, Heard("hé{}m", 0, 3))


def test_a_broken_stream_of_a_background_response_leaves_its_id() -> None:
    """So that its hold can wait for a later retrieve. One in the foreground ends with its stream."""
    created = {"type": "response.created", "response": response("queued", background=True)}
    listener, _ = listen("responses", [created])
    assert listener.end() == Answer(model="gpt-5", id="resp_1", final=False)
    assert not listener.done
    created = {"type": "response.created", "response": response("in_progress", background=False)}
    assert listen("responses", [created])[0].end().final


def test_media_streams_have_one_event_with_usage() -> None:
    """Pictures, transcripts and speech each have their own."""
    usage = {"input_tokens": 5, "output_tokens": 272, "input_tokens_details": {"image_tokens": 0, "text_tokens": 5}}
    picture = {"type": "image_generation.completed", "usage": usage}
    listener, _ = listen("images.generate", [{"type": "image_generation.partial_image"}, picture, picture])
    assert listener.end().usage == {"input_tokens": 10, "output_tokens": 544, "output_image_tokens": 544}
    assert not listener.done

    usage = {"type": "tokens", "input_tokens": 9, "output_tokens": 2, "input_token_details": {"audio_tokens": 8}}
    events = [{"type": "transcript.text.delta", "delta": "hi"}, {"type": "transcript.text.done", "usage": usage}]
    listener, _ = listen("audio.transcriptions", events)
    assert listener.end().usage == {"input_tokens": 9, "output_tokens": 2, "input_audio_tokens": 8}
    assert listener.done
    assert listen("audio.transcriptions", events[:1])[0].end().heard == Heard("hi", 0, 1)

    listener, _ = listen(
        "audio.speech", [{"type": "speech.audio.done", "usage": {"input_tokens": 3, "output_tokens": 40}}]
    )
    assert listener.end().usage["output_tokens"] == 40
    assert listener.done


def test_hearing_keeps_only_so_much_of_a_stream() -> None:
    """Of a very long one the start, and how long the rest is."""
    made = [chunk([delta(content="é" * 1_000)])] * 3_000
    listener, _ = listen("chat.completions", made)
    heard = listener.end().heard
    assert heard == Heard("é" * KEPT, 2 * (3_000_000 - KEPT), 3_000)
    assert len(listener._texts) <= PIECES


TRANSCRIPT = {"type": "transcript.text.delta"}
OUTPUT = {"type": "response.output_text.delta"}


@pytest.mark.parametrize(
    ("name", "items"),
    [
        ("chat.completions", [chunk([delta(content="a" * 50_000)])]),
        ("chat.completions", [chunk([delta(n, content="a" * 50_000)]) for n in range(3)]),
        ("chat.completions", [chunk([delta(n, content="a" * 1_000)]) for n in range(200)]),
        ("chat.completions", [chunk([delta(reasoning_content="a" * 50_000)])]),
        ("completions", [{"choices": [{"index": 0, "text": "a" * 50_000}]}]),
        ("responses", [{**OUTPUT, "delta": "a" * 50_000}]),
        ("audio.transcriptions", [{**TRANSCRIPT, "delta": "a" * 50_000}]),
    ],
)
def test_long_pieces_are_not_kept_until_there_are_many(name: str, items: list[Any]) -> None:
    """27 MB in pieces of 50 kB, or of 1 kB for 200 choices: a megabyte waits, and 262,144 characters are kept."""
    make = BY_NAME[name].listener
    assert make is not None
    listener: Any = make()
    size = sum(len(str(item)) for item in items) // len(items) // 1_000 * 1_000
    rounds = 27_000_000 // size // len(items)
    tracemalloc.start()
    try:
        for _ in range(rounds):
            for item in items:
                text = json.loads(json.dumps(item))  # a text of its own, as it comes from a server
                listener.hear(text)
        del text
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    heard = listener.end().heard
    assert kept < 1_600_000, kept
    assert (heard.pieces, heard.text.count("a") + heard.more) == (rounds * len(items), rounds * len(items) * size)
    assert heard.text.count("a") == KEPT


# -- robustness ------------------------------------------------------------------------------------------------------

NAMES = """
    model messages role content type text input prompt tools tool_calls function arguments name n max_tokens usage
    choices delta prompt_tokens completion_tokens input_tokens output_tokens prompt_tokens_details cached_tokens cost
    cost_details output status action response tool_usage web_search num_requests image_gen container size quality
    seconds metadata user prediction audio file input_audio data format summary image_url questions instructions
    finish_reason service_tier id background incomplete_details reason svg svg_usage speed stream memory_limit
    container_id environment duration modalities max_tool_calls previous_response_id session agent
"""
WORDS = """
    web_search code_interpreter image_generation message function_call_output reasoning text image_url input_audio
    file queued length max_output_tokens response.completed response.created response.output_text.delta gif high
    image_generation.completed transcript.text.done web_search_call code_interpreter_call shell_call auto tts-1 gpt-4o
    gpt-image-1 dall-e-3 1024x1024 12 search \ud800 é
"""
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS.split()) | st.text(max_size=5)
LEAVES |= st.sampled_from([openai.NOT_GIVEN, getattr(openai, "omit", openai.NOT_GIVEN), b"x", object()])
JUNK = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES.split()), inner, max_size=6),
    max_leaves=30,
)


WRONG = [None, True, 0, -1, 1.5, float("nan"), 10**30, "", "x", [], {}, [[]], [{}], {"a": []}, ("b",), openai.NOT_GIVEN]


def broken(sample: Any) -> Iterator[Any]:
    """The sample with each of its parts, in turn, replaced by everything that is wrong there; then without it."""
    yield sample
    keys = list(sample) if isinstance(sample, dict) else range(len(sample)) if isinstance(sample, list) else ()
    for key in keys:
        for wrong in (*WRONG, *broken(sample[key])):
            changed = copy.copy(sample)
            changed[key] = wrong
            yield changed


BODIES = [
    {
        "model": "gpt-4o",
        "messages": [
            {
                "role": "user",
                "name": "n",
                "content": [
                    {"type": "text", "text": "t"},
                    {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
                    {"type": "file", "file": {"file_data": "AA", "filename": "f"}},
                ],
            },
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
        ],
        "prediction": {"content": [{"type": "text", "text": "t"}]},
        "max_tokens": 5,
        "n": 2,
        "metadata": {"user_id": "u"},
    },
    {
        "model": "gpt-5",
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "t"}]},
            {"type": "function_call_output", "output": [{"type": "input_image"}]},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "t"}]},
        ],
        "tools": [
            {"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "4g"}},
            {"type": "image_generation", "model": "gpt-image-2", "size": "1024x1024", "quality": "low"},
        ],
        "questions": [{"instructions": [{"type": "input_text", "text": "t"}]}],
        "max_tool_calls": 3,
    },
    {
        "model": "gpt-image-2",
        "prompt": ["p"],
        "size": "16x16",
        "quality": "low",
        "n": 1,
        "partial_images": 1,
        "frame_count": 3,
        "output_format": "gif",
        "svg": {"model": "m"},
        "images": [{}],
        "seconds": "4",
        "speed": 1.5,
        "session": {"model": "m"},
    },
]
ITEMS = [
    *CHAT_STREAM,
    {"type": "response.completed", "response": RECORDED[11]["reply"]},
    {"type": "response.created", "response": {"id": "r", "background": True}},
    {"type": "image_edit.completed", "usage": USAGE},
    {"type": "transcript.text.done", "usage": {"type": "duration", "seconds": 3}},
]


REQUESTS = [
    e.request for e in adapter.ENDPOINTS if e.request is not None and (not e.opaque or e.name == "fine_tuning.jobs")
]
REPLIES = list({e.answer: None for e in adapter.ENDPOINTS if e.answer is not None})
LISTENERS = [BY_NAME[name].listener for name in ("chat.completions", "responses", "images.edit", "audio.speech")]


def check_requests(body: Any, files: Any = ()) -> None:
    for request in REQUESTS:
        call = request(body, files)
        assert all(type(text) is str for text in call.texts)
        assert min(call.overhead, call.images, call.choices - 1, *call.fixed.values(), 0) == 0


def check_answer(answer: Answer) -> None:
    for usage in (answer.usage or {}, *(usage for _, usage in answer.also)):
        assert all(type(number) is int and 0 <= number <= 4 * 10**12 for number in usage.values())
    assert answer.model is None or type(answer.model) is str
    assert answer.cost is None or 0 < answer.cost <= MAX_AMOUNT
    assert answer.usage is not None or not answer.lacks
    assert type(answer.heard.text) is str


def check_replies(reply: Any) -> None:
    for read_reply in REPLIES:
        check_answer(read_reply(reply))


def check_listeners(items: list[Any]) -> None:
    for make in LISTENERS:
        assert make is not None
        listener = make()
        for item in items:
            assert listener.hear(item) in (True, False)
        check_answer(listener.end())


@pytest.mark.parametrize("body", BODIES, ids=["chat", "responses", "media"])
def test_no_wrong_field_makes_a_request_reader_raise(body: Any) -> None:
    """A wrong body is the API's to refuse, in its own words."""
    for wrong in broken(body):
        check_requests(wrong)


def test_no_wrong_field_makes_a_reply_reader_raise() -> None:
    """The caller has paid for it. What is read is whole counts of at least 0."""
    for recorded in RECORDED:
        for wrong in broken(recorded["reply"]):
            check_replies(wrong)


def test_no_wrong_field_makes_a_listener_raise() -> None:
    """Streams of servers that only resemble OpenAI's pass through too."""
    for item in ITEMS:
        for wrong in broken(item):
            check_listeners([wrong, wrong])


@settings(max_examples=150, deadline=None)
@given(junk=JUNK)
def test_no_junk_makes_anything_raise(junk: Any) -> None:
    """Nor does what is no request, reply or event at all."""
    check_requests(junk, junk if isinstance(junk, list) else [junk])
    check_replies(junk)
    check_listeners([junk])
    for endpoint in adapter.ENDPOINTS:
        if endpoint.amend is not None and isinstance(junk, dict):
            endpoint.amend(junk, 16, True, UNKNOWN_HOST)


def test_text_that_no_encoding_has_is_measured() -> None:
    """A lone surrogate may stand in any Python text."""
    assert size("\ud800") == 3
