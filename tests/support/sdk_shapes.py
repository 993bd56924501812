"""
Every shape of call that the OpenAI SDK offers, written once for its sync and its async client.

A shape is an `async def` over a client: `wait` awaits what the async client gives and passes on what the sync one
gives, `each` iterates either, `enter` enters either. `run` drives it. What it returns is a list of what the caller
sees, as plain data (`seen`), so that two runs can be compared.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import openai
from openai import BaseModel as SdkModel
from openai._constants import RAW_RESPONSE_HEADER
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

MODEL = "gpt-4o-mini"
HI = [{"role": "user", "content": "hi there"}]
SOUND = ("hello.mp3", b"\0" * 20_000)
PICTURE = ("dot.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 64)


class Fruit(BaseModel):
    name: str
    weight: int


async def wait(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def each(items: Any) -> AsyncIterator[Any]:
    if hasattr(items, "__aiter__"):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


@asynccontextmanager
async def enter(manager: Any) -> AsyncIterator[Any]:
    if hasattr(manager, "__aenter__"):
        async with manager as value:
            yield value
    else:
        with manager as value:
            yield value


async def plain(client: Any, body: dict[str, Any]) -> Any:
    return await wait(client.chat.completions.create(**body))


async def streamed(client: Any, body: dict[str, Any]) -> list[Any]:
    return [item async for item in each(await wait(client.chat.completions.create(**body, stream=True)))]


def run(work: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop | None) -> Any:
    """Run a shape: on a loop, or, with the sync client, straight through."""
    if loop is not None:
        return loop.run_until_complete(work)
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    work.close()
    raise AssertionError("a shape waited for something with the sync client")


_CHANGING = re.compile(r"[0-9a-f]{32}|\b1[0-9]{9}(\.[0-9]+)?\b")


def seen(value: Any) -> Any:
    """A value as its caller sees it: its exact type, its data, its fields that were set."""
    if isinstance(value, BaseModel):
        # Not `warnings=True`: the SDK constructs models without validation.
        data = value.model_dump(mode="json", warnings=False)
        given = value.to_dict(mode="json", warnings=False) if isinstance(value, SdkModel) else None
        shown = (_name(value), data, given, sorted(value.model_fields_set), sorted(value.__dict__))
    elif isinstance(value, bytes | str | int | float | dict | list | tuple | None):
        shown = (_name(value), value)
    elif hasattr(value, "status_code"):
        shown = (_name(value), value.status_code, sorted(value.headers))
    else:
        shown = (_name(value), sorted(name for name in vars(value) if name != "extensions"))
    return _CHANGING.sub("*", repr(shown))


def _name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


async def all_of(stream: Any) -> list[Any]:
    return [seen(stream), *[seen(item) async for item in each(stream)]]


@dataclass(frozen=True)
class Shape:
    name: str
    call: Callable[[Any], Awaitable[list[Any]]]
    free: bool = False
    exact: bool = True
    """Whether the reply says what was used; otherwise what was held is booked, marked estimated."""
    sync_only: bool = False

    def __str__(self) -> str:
        return self.name


SHAPES: list[Shape] = []


def shape(**options: Any) -> Callable[[Any], Any]:
    def keep(call: Any) -> Any:
        SHAPES.append(Shape(call.__name__, call, **options))
        return call

    return keep


# -- chat ----------------------------------------------------------------------------------------------------------


@shape()
async def chat_create(c: Any) -> list[Any]:
    return [seen(await wait(c.chat.completions.create(model=MODEL, messages=HI)))]


@shape()
async def chat_create_two(c: Any) -> list[Any]:
    return [seen(await wait(c.chat.completions.create(model=MODEL, messages=HI, n=2, max_tokens=5)))]


@shape()
async def chat_create_with_omits(c: Any) -> list[Any]:
    omit = getattr(openai, "omit", openai.NOT_GIVEN)
    return [
        seen(
            await wait(
                c.chat.completions.create(
                    model=MODEL,
                    messages=HI,
                    max_tokens=omit,
                    stop=openai.NOT_GIVEN,
                    extra_headers={"x-thing": "1"},
                    extra_query={"q": "1"},
                    extra_body={"top_k": 3, "seed": omit},
                )
            )
        )
    ]


@shape()
async def chat_parse(c: Any) -> list[Any]:
    reply = await wait(c.chat.completions.parse(model=MODEL, messages=HI, response_format=Fruit))
    return [seen(reply), seen(reply.choices[0].message.parsed)]


@shape()
async def chat_stream(c: Any) -> list[Any]:
    return await all_of(await wait(c.chat.completions.create(model=MODEL, messages=HI, stream=True)))


@shape()
async def chat_stream_in_with(c: Any) -> list[Any]:
    async with enter(await wait(c.chat.completions.create(model=MODEL, messages=HI, stream=True, n=2))) as stream:
        return [*await all_of(stream), seen(stream.response)]


@shape()
async def chat_stream_with_usage(c: Any) -> list[Any]:
    options = {"include_usage": True}
    stream = await wait(c.chat.completions.create(model=MODEL, messages=HI, stream=True, stream_options=options))
    return [*await all_of(stream), options]


@shape()
async def chat_stream_helper(c: Any) -> list[Any]:
    async with enter(c.chat.completions.stream(model=MODEL, messages=HI)) as stream:
        events = [seen(event) async for event in each(stream)]
        return [*events, seen(await wait(stream.get_final_completion()))]


@shape()
async def chat_stream_helper_parsed(c: Any) -> list[Any]:
    async with enter(c.chat.completions.stream(model=MODEL, messages=HI, response_format=Fruit)) as stream:
        final = await wait(stream.get_final_completion())
        return [seen(final), seen(final.choices[0].message.parsed)]


@shape()
async def chat_raw(c: Any) -> list[Any]:
    raw = await wait(c.chat.completions.with_raw_response.create(model=MODEL, messages=HI))
    return [seen(raw), seen(raw.http_response), seen(await wait(raw.parse())), raw.text[:10]]


@shape()
async def chat_raw_parse(c: Any) -> list[Any]:
    raw = await wait(c.chat.completions.with_raw_response.parse(model=MODEL, messages=HI, response_format=Fruit))
    return [seen(raw), seen(await wait(raw.parse()))]


@shape()
async def chat_raw_stream(c: Any) -> list[Any]:
    raw = await wait(c.chat.completions.with_raw_response.create(model=MODEL, messages=HI, stream=True))
    return [seen(raw), seen(raw.headers.get("content-type")), *await all_of(await wait(raw.parse()))]


@shape()
async def chat_streaming_response(c: Any) -> list[Any]:
    async with enter(c.chat.completions.with_streaming_response.create(model=MODEL, messages=HI)) as raw:
        return [seen(raw), seen(await wait(raw.parse()))]


@shape()
async def chat_streaming_response_bytes(c: Any) -> list[Any]:
    async with enter(c.chat.completions.with_streaming_response.create(model=MODEL, messages=HI)) as raw:
        parts = [part async for part in each(raw.iter_bytes())]
        return [seen(raw), seen(b"".join(parts)), seen(raw.http_response), raw.elapsed.total_seconds() > 0]


@shape(exact=False)
async def chat_streaming_response_lines(c: Any) -> list[Any]:
    create = c.chat.completions.with_streaming_response.create
    async with enter(create(model=MODEL, messages=HI, stream=True)) as raw:
        return [seen(raw), *[seen(line) async for line in each(raw.iter_lines())]]


@shape(exact=False)
async def chat_streaming_response_stream(c: Any) -> list[Any]:
    create = c.chat.completions.with_streaming_response.create
    async with enter(create(model=MODEL, messages=HI, stream=True)) as raw:
        return await all_of(await wait(raw.parse()))


@shape()
async def chat_streaming_response_lines_with_usage(c: Any) -> list[Any]:
    create = c.chat.completions.with_streaming_response.create
    options = {"include_usage": True}
    async with enter(create(model=MODEL, messages=HI, stream=True, stream_options=options)) as raw:
        return [seen(line) async for line in each(raw.iter_lines())]


# -- by path ---------------------------------------------------------------------------------------------------------

BODY = {"model": MODEL, "messages": HI}


@shape()
async def post_model(c: Any) -> list[Any]:
    return [seen(await wait(c.post("/chat/completions", cast_to=ChatCompletion, body=BODY))), dict(BODY)]


@shape()
async def post_dict(c: Any) -> list[Any]:
    return [seen(await wait(c.post("/chat/completions", cast_to=dict[str, Any], body=BODY)))]


@shape()
async def post_object(c: Any) -> list[Any]:
    return [seen(await wait(c.post("/chat/completions", cast_to=object, body=BODY)))]


@shape()
async def post_text(c: Any) -> list[Any]:
    return [seen(await wait(c.post("/chat/completions", cast_to=str, body=BODY)))]


@shape(exact=False)
async def post_none(c: Any) -> list[Any]:
    return [seen(await wait(c.post("/chat/completions", cast_to=type(None), body=BODY)))]


@shape()
async def post_http_response(c: Any) -> list[Any]:
    stack = __import__(type(c._client).__mro__[-2].__module__.partition(".")[0])
    reply = await wait(c.post("/chat/completions", cast_to=stack.Response, body=BODY))
    return [seen(reply), seen(reply.json())]


@shape()
async def post_stream(c: Any) -> list[Any]:
    kind = (openai.AsyncStream if isinstance(c, openai.AsyncOpenAI) else openai.Stream)[ChatCompletionChunk]
    body = {**BODY, "stream": True}
    stream = c.post("/chat/completions", cast_to=ChatCompletion, body=body, stream=True, stream_cls=kind)
    return [*await all_of(await wait(stream)), body]


@shape()
async def post_stream_of_dicts(c: Any) -> list[Any]:
    kind = (openai.AsyncStream if isinstance(c, openai.AsyncOpenAI) else openai.Stream)[object]
    body = {**BODY, "stream": True}
    stream = c.post("/chat/completions", cast_to=object, body=body, stream=True, stream_cls=kind)
    return await all_of(await wait(stream))


@shape()
async def post_extra_body(c: Any) -> list[Any]:
    options = {"extra_body": {"model": MODEL, "max_tokens": 4}}
    reply = c.chat.completions.create(model="a-model-that-nobody-knows", messages=HI, **options)
    return [seen(await wait(reply)), options]


@shape()
async def post_raw_header(c: Any) -> list[Any]:
    options = {"headers": {RAW_RESPONSE_HEADER: "true"}}
    raw = await wait(c.post("/chat/completions", cast_to=ChatCompletion, body=BODY, options=options))
    return [seen(raw), seen(await wait(raw.parse()))]


# -- responses -------------------------------------------------------------------------------------------------------


@shape()
async def responses_create(c: Any) -> list[Any]:
    return [seen(await wait(c.responses.create(model=MODEL, input="hi there")))]


@shape()
async def responses_parse(c: Any) -> list[Any]:
    reply = await wait(c.responses.parse(model=MODEL, input="hi there", text_format=Fruit))
    return [seen(reply), seen(reply.output_parsed)]


@shape()
async def responses_stream(c: Any) -> list[Any]:
    return await all_of(await wait(c.responses.create(model=MODEL, input="hi there", stream=True)))


@shape()
async def responses_stream_helper(c: Any) -> list[Any]:
    async with enter(c.responses.stream(model=MODEL, input="hi there")) as stream:
        events = [seen(event) async for event in each(stream)]
        return [*events, seen(await wait(stream.get_final_response()))]


@shape()
async def responses_raw(c: Any) -> list[Any]:
    raw = await wait(c.responses.with_raw_response.create(model=MODEL, input="hi there"))
    return [seen(raw), seen(await wait(raw.parse()))]


@shape()
async def responses_streaming_response_lines(c: Any) -> list[Any]:
    create = c.responses.with_streaming_response.create
    async with enter(create(model=MODEL, input="hi there", stream=True)) as raw:
        return [seen(line) async for line in each(raw.iter_lines())]


# -- the rest --------------------------------------------------------------------------------------------------------


@shape()
async def completions_create(c: Any) -> list[Any]:
    reply = await wait(c.completions.create(model=MODEL, prompt="hi there"))
    assert isinstance(reply, Completion)
    return [seen(reply)]


@shape()
async def completions_stream(c: Any) -> list[Any]:
    return await all_of(await wait(c.completions.create(model=MODEL, prompt="hi there", stream=True)))


@shape()
async def embeddings(c: Any) -> list[Any]:
    return [seen(await wait(c.embeddings.create(model="text-embedding-3-small", input=["hi there", "you"])))]


@shape()
async def embeddings_raw(c: Any) -> list[Any]:
    raw = await wait(c.embeddings.with_raw_response.create(model="text-embedding-3-small", input="hi there"))
    return [seen(await wait(raw.parse()))]


@shape()
async def images_generate(c: Any) -> list[Any]:
    return [seen(await wait(c.images.generate(model="gpt-image-1", prompt="a dot")))]


@shape()
async def images_stream(c: Any) -> list[Any]:
    return await all_of(await wait(c.images.generate(model="gpt-image-1", prompt="a dot", stream=True)))


@shape()
async def images_edit(c: Any) -> list[Any]:
    return [seen(await wait(c.images.edit(model="gpt-image-1", image=PICTURE, prompt="a dot")))]


@shape(exact=False)
async def speech(c: Any) -> list[Any]:
    reply = await wait(c.audio.speech.create(model="tts-1", voice="alloy", input="hi there"))
    return [seen(reply), seen(reply.content), seen(reply.response)]


@shape(exact=False)
async def speech_streamed(c: Any) -> list[Any]:
    create = c.audio.speech.with_streaming_response.create
    async with enter(create(model="tts-1", voice="alloy", input="hi there")) as raw:
        return [seen(raw), *[seen(part) async for part in each(raw.iter_bytes(100))]]


@shape()
async def speech_events(c: Any) -> list[Any]:
    reply = await wait(
        c.audio.speech.create(model="gpt-4o-mini-tts", voice="alloy", input="hi there", stream_format="sse")
    )
    return [seen(reply), seen(reply.content)]


@shape()
async def transcription(c: Any) -> list[Any]:
    return [seen(await wait(c.audio.transcriptions.create(model="gpt-4o-mini-transcribe", file=SOUND)))]


@shape()
async def transcription_of_seconds(c: Any) -> list[Any]:
    return [seen(await wait(c.audio.transcriptions.create(model="whisper-1", file=SOUND)))]


@shape(exact=False)
async def transcription_as_text(c: Any) -> list[Any]:
    create = c.audio.transcriptions.create
    return [seen(await wait(create(model="whisper-1", file=SOUND, response_format="text")))]


@shape()
async def transcription_stream(c: Any) -> list[Any]:
    create = c.audio.transcriptions.create
    return await all_of(await wait(create(model="gpt-4o-mini-transcribe", file=SOUND, stream=True)))


@shape(free=True)
async def moderations(c: Any) -> list[Any]:
    return [seen(await wait(c.moderations.create(input="hi there")))]


@shape(free=True)
async def models(c: Any) -> list[Any]:
    return [seen(model) async for model in each(c.models.list())]
