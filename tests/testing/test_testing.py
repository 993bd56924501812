"""The fake provider speaks OpenAI's API to the real SDK, over real sockets, and its bill is what it sent."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
import threading
import time
from importlib import import_module

import openai
import pytest
from pydantic import BaseModel

from budgetguard.testing import FakeProvider, Plan, Request
from budgetguard.testing.provider.words import input_tokens
from tests.support.in_memory import MODEL

HI = [{"role": "user", "content": "hi there"}]
HTTP = import_module(openai._base_client.SyncHttpxClientWrapper.__mro__[-2].__module__.partition(".")[0])
"""The HTTP library that this SDK sits on."""

BROKEN = (openai.APIError, ValueError, HTTP.TransportError)
"""What a caller may see of a broken stream: before openai 3.14 it was the HTTP library's own error."""


pytestmark = pytest.mark.provider(prices={MODEL: (0.15, 0.60)})


class Step(BaseModel):
    title: str
    number: int


@pytest.fixture
def client(provider):
    with provider.client() as sdk:
        yield sdk


def test_chat_answers_with_as_many_tokens_as_planned(provider, client):
    """A test of a budget needs to know what a call will cost."""
    reply = client.chat.completions.create(model=MODEL, messages=HI)

    assert reply.choices[0].message.content.startswith("money is a promise")
    assert reply.choices[0].finish_reason == "stop"
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (8, 8)  # ceil(8 bytes / 4) + 3 + 3
    [bill] = provider.ledger
    assert (bill.model, bill.input_tokens, bill.output_tokens, bill.aborted) == (MODEL, 8, 8, False)
    assert bill.amount == 8 * 150 + 8 * 600
    assert provider.billed == 0.000006


def test_the_output_cap_ends_an_answer(provider, client):
    """Caps are how a budget keeps its promise, so the provider must keep to them."""
    old = client.chat.completions.create(model=MODEL, messages=HI, max_tokens=3)
    new = client.chat.completions.create(model=MODEL, messages=HI, max_completion_tokens=3, n=2)
    responses = client.responses.create(model=MODEL, input="write on", max_output_tokens=16)

    assert (old.choices[0].finish_reason, old.usage.completion_tokens) == ("length", 3)
    assert [choice.finish_reason for choice in new.choices] == ["length", "length"]
    assert new.usage.completion_tokens == 6
    assert responses.status == "completed"


def test_reasoning_counts_against_the_cap_and_is_billed():
    """Hidden tokens are the ones that a budget forgets most easily."""
    with FakeProvider(tokens=10, reasoning=20) as provider, provider.client() as client:
        reply = client.responses.create(model="o4-mini", input="think", max_output_tokens=25)

    assert reply.status == "incomplete"
    assert reply.incomplete_details.reason == "max_output_tokens"
    assert (reply.usage.output_tokens, reply.usage.output_tokens_details.reasoning_tokens) == (25, 20)


def test_a_chat_stream_has_a_role_chunk_a_chunk_a_token_and_an_end(provider, client):
    """The usage chunk is there only for those who asked, as OpenAI does it."""
    chunks = list(client.chat.completions.create(model=MODEL, messages=HI, stream=True))
    asked = list(
        client.chat.completions.create(model=MODEL, messages=HI, stream=True, stream_options={"include_usage": True})
    )

    assert [chunk.choices[0].delta.role for chunk in chunks[:1]] == ["assistant"]
    assert len([chunk for chunk in chunks if chunk.choices[0].delta.content]) == 8
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all("usage" not in chunk.to_dict() for chunk in chunks)
    assert asked[-1].choices == []
    assert asked[-1].usage.completion_tokens == 8
    assert len(asked) == len(chunks) + 1
    assert [bill.output_tokens for bill in provider.ledger] == [8, 8]


def test_the_stream_helpers_of_the_sdk_work(client):
    """`.stream()` and `.parse()` check far more of the wire format than `create` does."""
    with client.chat.completions.stream(model=MODEL, messages=HI) as stream:
        kinds = {event.type for event in stream}
        assert stream.get_final_completion().choices[0].message.content.startswith("money")
    with client.responses.stream(model=MODEL, input="hi") as stream:
        events = [event.type for event in stream]
        assert stream.get_final_response().output_text.startswith("money")

    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert events[0] == "response.created"
    assert events.count("response.output_text.delta") == 8
    assert events[-1] == "response.completed"


def test_structured_output_satisfies_its_schema(client):
    """Frameworks parse every answer: words would make them retry."""
    chat = client.chat.completions.parse(model=MODEL, messages=HI, response_format=Step)
    response = client.responses.parse(model=MODEL, input="hi", text_format=Step)
    plain = client.chat.completions.create(model=MODEL, messages=HI, response_format={"type": "json_object"})

    assert chat.choices[0].message.parsed == Step(title="word", number=1)
    assert response.output_parsed == Step(title="word", number=1)
    assert plain.choices[0].message.content == '{"answer": "word"}'


def test_a_tool_is_called_once_and_then_answered(client):
    """An agent's loop against this provider ends."""
    function = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
    tools = [{"type": "function", "function": function}]
    first = client.chat.completions.create(model=MODEL, messages=HI, tools=tools)
    call = first.choices[0].message.tool_calls[0]
    history = [*HI, first.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    second = client.chat.completions.create(model=MODEL, messages=history, tools=tools)
    streamed = client.responses.create(model=MODEL, input="hi", tools=[{"type": "function", **function}], stream=True)

    assert first.choices[0].finish_reason == "tool_calls"
    assert (call.function.name, call.function.arguments) == ("weather", '{"city": "word"}')
    assert second.choices[0].message.content.startswith("money")
    assert list(streamed)[-1].response.output[0].arguments == '{"city": "word"}'


async def test_the_async_client_is_served_as_the_sync_one(provider):
    """Half of the world awaits."""
    async with provider.async_client() as client:
        reply = await client.chat.completions.create(model=MODEL, messages=HI)
        stream = await client.responses.create(model=MODEL, input="hi", stream=True)
        last = [event async for event in stream][-1]

    assert reply.usage.completion_tokens == last.response.usage.output_tokens == 8
    assert len(provider.ledger) == 2


def test_a_background_response_is_billed_when_a_retrieve_finds_it_complete():
    """Its create says nothing of a usage: the bill comes later."""
    with FakeProvider(polls=1) as provider, provider.client() as client:
        created = client.responses.create(model=MODEL, input="take your time", background=True)
        assert (created.status, created.usage, provider.ledger) == ("queued", None, [])
        assert client.responses.retrieve(created.id).status == "in_progress"
        done = client.responses.retrieve(created.id)
        client.responses.retrieve(created.id)

        assert (done.status, done.usage.output_tokens) == ("completed", 8)
        assert [bill.output_tokens for bill in provider.ledger] == [8]
        assert list(client.responses.retrieve(created.id, stream=True))[-1].response.id == created.id


def test_a_background_response_that_is_cancelled_costs_nothing(provider, client):
    """It had not begun."""
    created = client.responses.create(model=MODEL, input="never mind", background=True)

    assert client.responses.cancel(created.id).status == "cancelled"
    assert client.responses.retrieve(created.id).status == "cancelled"
    assert provider.ledger == []


BATCH_LINE = b'{"custom_id": "%d", "method": "POST", "url": "/v1/chat/completions", "body": %s}\n'
BATCH_BODY = b'{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi there"}]}'


def _batch(client, *bodies):
    content = b"".join(BATCH_LINE % (number, body) for number, body in enumerate(bodies))
    file = client.files.create(file=content, purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")


def test_a_batch_is_billed_at_half_price_when_a_look_finds_it_complete():
    """As OpenAI does it; a request that is refused is not billed, and the output has the answers."""
    with FakeProvider(prices={MODEL: (0.15, 0.60)}, polls=1) as provider, provider.client() as client:
        made = _batch(client, BATCH_BODY, b'{"model": "gpt-4o-mini"}', BATCH_BODY)
        assert (made.status, provider.ledger) == ("validating", [])
        assert client.batches.retrieve(made.id).status == "in_progress"
        done = client.batches.retrieve(made.id)
        again = client.batches.list().data[0]
        output = client.files.content(done.output_file_id).read().splitlines()

        assert (done.status, again.status) == ("completed", "completed")
        assert (done.request_counts.total, done.request_counts.completed, done.request_counts.failed) == (3, 2, 1)
        assert (done.model, done.usage.input_tokens, done.usage.output_tokens) == (MODEL, 16, 16)
        assert [json.loads(line)["custom_id"] for line in output] == ["0", "2"]
        [bill] = provider.ledger
        assert bill.amount == 2 * (8 * 75 + 8 * 300)


def test_a_batch_that_is_cancelled_or_refused_costs_nothing(provider, client):
    """Nothing of it is run before the first look."""
    cancelled, refused = _batch(client, BATCH_BODY), _batch(client, b"no json")
    assert client.batches.cancel(cancelled.id).status == "cancelling"
    assert client.batches.retrieve(cancelled.id).status == "cancelled"
    assert client.batches.retrieve(refused.id).status == "failed"
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(cancelled.id)
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch_nobody")
    assert provider.ledger == []


def test_files_are_kept_whole_or_put_together_of_parts(client):
    """For what is made of them."""
    whole = client.files.create(file=b"ab", purpose="batch")
    upload = client.uploads.create(bytes=4, filename="x.jsonl", mime_type="application/jsonl", purpose="batch")
    parts = [client.uploads.parts.create(upload.id, data=data).id for data in (b"cd", b"ab")]
    done = client.uploads.complete(upload.id, part_ids=parts[::-1])

    assert client.files.retrieve(whole.id).bytes == 2
    assert client.files.content(done.file.id).read() == b"abcd"
    assert client.files.delete(whole.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(whole.id)


def test_a_response_can_be_retrieved_and_deleted(client):
    """Stored responses are found by their id, and a missing one is a 404."""
    created = client.responses.create(model=MODEL, input="hi", service_tier="flex")

    assert client.responses.retrieve(created.id) == created
    assert created.service_tier == "flex"
    client.responses.delete(created.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(created.id)


def test_legacy_completions_end_at_sixteen_tokens_unless_told_otherwise():
    """The endpoint's own cap is a rule that a budget relies on."""
    with FakeProvider(tokens=40) as provider, provider.client() as client:
        default = client.completions.create(model="gpt-3.5-turbo-instruct", prompt="once")
        longer = client.completions.create(model="gpt-3.5-turbo-instruct", prompt=["a", "b"], max_tokens=20)
        streamed = list(client.completions.create(model="gpt-3.5-turbo-instruct", prompt="once", stream=True))

    assert (default.usage.completion_tokens, default.choices[0].finish_reason) == (16, "length")
    assert longer.usage.completion_tokens == 40
    assert len([chunk for chunk in streamed if chunk.choices[0].text]) == 16


def test_embeddings_count_their_input_only(provider, client):
    """The SDK asks for base64 and must get it."""
    reply = client.embeddings.create(model="text-embedding-3-small", input=["one two", "three"])
    sized = client.embeddings.create(model="text-embedding-3-small", input="x", dimensions=3, encoding_format="float")

    assert [len(item.embedding) for item in reply.data] == [8, 8]
    assert reply.data[0].embedding[0] == 0.5
    assert reply.usage.prompt_tokens == 4
    assert len(sized.data[0].embedding) == 3
    assert [bill.output_tokens for bill in provider.ledger] == [0, 0]


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the SDK's, for old endpoints and models
def test_pictures_are_billed_by_token_or_by_piece(provider, client):
    """GPT image models report a usage; DALL-E reports none, and is billed all the same."""
    reply = client.images.generate(model="gpt-image-1", prompt="a safe", n=2)
    client.images.generate(model="dall-e-3", prompt="a safe")
    client.images.edit(model="gpt-image-1", prompt="bigger", image=io.BytesIO(b"png"))
    client.images.create_variation(image=io.BytesIO(b"png"), n=3)
    streamed = list(client.images.generate(model="gpt-image-1", prompt="a safe", stream=True))

    assert reply.usage.output_tokens == 544
    assert streamed[-1].usage.output_tokens == 272
    usages = [bill.usage for bill in provider.ledger]
    assert (usages[1], usages[3]) == ({"images": 1}, {"images": 3})
    assert usages[2]["input_tokens_details"]["image_tokens"] == 85


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the SDK's, for old endpoints and models
def test_sounds_are_billed_by_character_second_or_token(provider, client):
    """Three ways of billing, as the real models have them."""
    spoken = client.audio.speech.create(model="tts-1", voice="alloy", input="hello")
    heard = client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.wav", b"x" * 40_000))
    whisper = client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"x" * 40_000))
    text = client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"x"), response_format="text")
    translated = client.audio.translations.create(model="whisper-1", file=("a.wav", b"x" * 16_001))
    events = list(client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.wav", b"x"), stream=True))

    assert len(spoken.content) == 500
    assert heard.usage.input_token_details.audio_tokens == 30
    assert whisper.usage.seconds == 3
    assert text.startswith("money")
    assert translated.text.startswith("money")
    assert events[-1].usage.output_tokens == 8
    usages = [bill.usage for bill in provider.ledger]
    assert usages[0] == {"characters": 5}
    assert usages[4] == {"seconds": 2}


def test_what_is_free_is_not_billed(provider, client):
    """Moderations, model lists and token counts cost nothing at OpenAI."""
    assert client.moderations.create(input="hi").results[0].flagged is False
    assert "gpt-4o-mini" in {model.id for model in client.models.list()}
    assert client.responses.input_tokens.count(model=MODEL, input="hi there").input_tokens == 8

    assert provider.ledger == []
    assert len(provider.requests) == 3


def test_azure_paths_name_a_deployment(provider):
    """The Azure client writes another path and another header."""
    with openai.AzureOpenAI(azure_endpoint=provider.root_url, api_key="k", api_version="2024-10-21") as client:
        reply = client.chat.completions.create(model="my-deployment", messages=HI)

    [request] = provider.requests
    assert reply.model == "my-deployment"
    assert (request.endpoint, request.deployment) == ("/chat/completions", "my-deployment")
    assert request.path.endswith("?api-version=2024-10-21")
    assert request.headers["api-key"] == "k"


def test_a_plan_can_follow_the_request():
    """One provider plays several models."""

    def plan(request: Request) -> Plan:
        return Plan(tokens=3, cached=4) if request.body["model"] == "small" else Plan(text="Certainly not, Sir.")

    with FakeProvider(plan) as provider, provider.client() as client:
        small = client.chat.completions.create(model="small", messages=HI)
        large = client.chat.completions.create(model="large", messages=HI)

    assert (small.usage.completion_tokens, small.usage.prompt_tokens_details.cached_tokens) == (3, 4)
    assert large.choices[0].message.content == "Certainly not, Sir."
    assert large.usage.completion_tokens == 3


def test_a_usage_can_be_dictated_or_left_out():
    """Recorded usages are replayed, and a provider that reports none is one to be ready for."""
    usage = {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200}
    options = {"usage": usage, "fail": [None, {"omit_usage": True}], "prices": lambda _model, used: len(used)}
    with FakeProvider(**options) as provider, provider.client() as client:
        told = client.chat.completions.create(model=MODEL, messages=HI)
        untold = client.chat.completions.create(model=MODEL, messages=HI)

    assert told.usage.prompt_tokens == 1000
    assert untold.usage is None
    assert [(bill.input_tokens, bill.output_tokens, bill.amount) for bill in provider.ledger] == [(1000, 200, 3)] * 2


def test_a_scripted_failure_is_retried_by_the_sdk_and_billed_once(provider):
    """An error status costs nothing, so a call that was retried has one bill."""
    provider.fail_next({"status": 429, "retry_after_ms": 1}, {"status": 503, "retry_after_ms": 1}, None)
    provider.fail_next(status=400)
    with provider.client(max_retries=2) as client:
        client.chat.completions.create(model=MODEL, messages=HI)
        with pytest.raises(openai.BadRequestError, match="asked for"):
            client.chat.completions.create(model=MODEL, messages=HI)

    assert len(provider.requests) == 4
    assert len(provider.ledger) == 1


@pytest.mark.parametrize("fault", [{"drop": "headers"}, {"drop": "body"}, {"malformed": "body"}])
def test_an_answer_that_was_lost_is_billed_in_full(provider, client, fault):
    """The work was done: unknown is not free."""
    provider.fail_next(fault)
    with pytest.raises((openai.APIConnectionError, openai.APIError, ValueError)):
        client.chat.completions.create(model=MODEL, messages=HI)

    [bill] = provider.wait().ledger
    assert bill.output_tokens == 8
    assert bill.aborted == ("drop" in fault)


@pytest.mark.parametrize("fault", [{"drop": "stream"}, {"malformed": "stream"}])
def test_a_stream_can_break_in_the_middle(provider, client, fault):
    """After the role chunk and two words."""
    provider.fail_next(fault)
    stream = client.chat.completions.create(model=MODEL, messages=HI, stream=True)
    got = []
    with pytest.raises(BROKEN):
        got += stream
    stream.close()

    [bill] = provider.wait().ledger
    assert bill.output_tokens == 2 if "drop" in fault else 2 <= bill.output_tokens <= 8


def test_a_stall_lasts_until_the_client_gives_up(provider, client):
    """A time-out after sending: the provider has worked, the client has nothing."""
    provider.fail_next({"stall": "headers"}, {"stall": "stream"})
    with pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(model=MODEL, messages=HI, timeout=0.1)
    with pytest.raises((openai.APITimeoutError, HTTP.TimeoutException)):
        list(client.chat.completions.create(model=MODEL, messages=HI, timeout=0.1, stream=True))

    bills = provider.wait().ledger
    assert [(bill.output_tokens, bill.aborted) for bill in bills] == [(8, True), (2, True)]


def test_an_abandoned_stream_is_billed_for_what_was_written():
    """This is the bill that a budget must not fall short of."""
    with FakeProvider(tokens=1000, chunk_s=0.005) as provider, provider.client() as client:
        stream = client.chat.completions.create(model=MODEL, messages=HI, stream=True)
        for _ in range(6):
            next(stream)
        stream.close()
        [bill] = provider.wait().ledger

    assert bill.aborted
    assert 5 <= bill.output_tokens < 500
    assert bill.input_tokens == 8
    assert bill.usage["completion_tokens"] == bill.output_tokens


def test_caps_can_be_ignored(client, provider):
    """Some providers do."""
    provider.fail_next(ignore_caps=True)

    assert client.chat.completions.create(model=MODEL, messages=HI, max_tokens=2).usage.completion_tokens == 8


def test_bodies_can_be_compressed():
    """A reader of raw bytes has to be ready for it."""
    with FakeProvider(gzip=True) as provider, provider.client() as client:
        raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=HI)
        chunks = list(client.chat.completions.create(model=MODEL, messages=HI, stream=True))

    assert raw.headers["content-encoding"] == "gzip"
    assert raw.parse().usage.completion_tokens == 8
    assert len(chunks) == 10


def test_two_hundred_slow_streams_run_at_once():
    """The guard's promises are tested under load, so the provider must bear it."""

    async def read(client):
        return len([c async for c in await client.chat.completions.create(model=MODEL, messages=HI, stream=True)])

    async def run(provider):
        async with provider.async_client(timeout=30) as client:
            return await asyncio.gather(*(read(client) for _ in range(200)))

    with FakeProvider(latency_s=0.5, chunk_s=0.01) as provider:
        began = time.monotonic()
        assert asyncio.run(run(provider)) == [10] * 200
        elapsed = time.monotonic() - began

    assert elapsed < 60  # one after the other would take 120 s
    assert sum(bill.output_tokens for bill in provider.ledger) == 1600


def test_a_request_that_openai_would_not_take_is_a_400(client, provider):
    """A wrong cap added by a budget would show here."""
    with pytest.raises(openai.BadRequestError, match="max_output_tokens"):
        client.responses.create(model=MODEL, input="hi", max_output_tokens=3)
    with pytest.raises(openai.BadRequestError, match="max_tokens"):
        client.chat.completions.create(model=MODEL, messages=HI, max_tokens=0)

    assert provider.ledger == []


def test_nothing_is_left_when_it_stops(provider):
    """No thread and no socket outlives the `with`."""
    errors = []

    def ask():
        with pytest.raises(openai.APIConnectionError) as caught:
            _ask(client)
        errors.append(caught.value)

    with FakeProvider(fail=[{"stall": "headers"}]) as stuck, stuck.client() as client:
        caller = threading.Thread(target=ask)
        caller.start()
        while not stuck.requests:
            time.sleep(0.005)
        before = threading.active_count()
    caller.join(timeout=5)

    assert len(errors) == 1
    assert threading.active_count() <= before - 3  # the listener, the connection, the caller
    with pytest.raises(openai.APIConnectionError), stuck.client() as late:
        _ask(late)


def test_input_is_counted_as_documented():
    """ceil(bytes / 4) + 3 a message + 3, pictures at 85."""
    picture = {"role": "user", "content": [{"type": "text", "text": "é"}, {"type": "image_url", "image_url": {}}]}

    assert input_tokens(*HI, messages=1) == 2 + 6
    assert input_tokens(picture, messages=1) == 1 + 85 + 6
    assert input_tokens("abcde") == 2  # of what is no conversation


def test_it_runs_on_its_own():
    """`python -m budgetguard.testing.provider`, for programs in other languages."""
    command = [sys.executable, "-m", "budgetguard.testing.provider", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            base_url = process.stdout.readline().split()[-1]
            with openai.OpenAI(base_url=base_url, api_key="none") as client:
                assert _ask(client).usage.completion_tokens == 8
        finally:
            process.terminate()


def test_importing_it_imports_no_sdk():
    """A conftest that imports the provider costs a test run nothing."""
    code = "import sys, budgetguard.testing.provider; print({'openai', 'httpx2', 'pydantic'} & set(sys.modules))"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def _ask(client):
    return client.chat.completions.create(model=MODEL, messages=HI)
