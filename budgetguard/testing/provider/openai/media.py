"""
The fake provider's pictures and sounds.

GPT image models and `gpt-4o-*-transcribe` report tokens; `dall-e-*` and `tts-*`
report nothing, `whisper-1` the seconds. What is not told is billed all the same:
a bill's usage then says `images`, `characters` or `seconds`. A second of sound
is 16,000 bytes of its file, begun ones included.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..plan import BadRequestError, Event, FakeReply, Plan, Request
from ..words import PICTURE_TOKENS, input_tokens, whole, write

SOUND_BYTES_PER_SECOND = 16_000
IMAGE_TOKENS = 272
"""Output tokens of one picture of a GPT image model."""

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAAC0lEQVR4nGNgAAIAAAUAAXpeqz8AAAAASUVORK5CYII="
"""A picture of one transparent pixel."""


def generate_image(request: Request, plan: Plan, key: str) -> FakeReply:
    """POST /images/generations."""
    return _images(request, plan, key, "image_generation", pictures=0)


def edit_image(request: Request, plan: Plan, key: str) -> FakeReply:
    """POST /images/edits."""
    files = sum(isinstance(value, bytes) for value in _flat(request.body))
    return _images(request, plan, key, "image_edit", pictures=files)


def image_variation(request: Request, plan: Plan, key: str) -> FakeReply:
    """POST /images/variations."""
    return _images(request, plan, key, "image_variation", pictures=0)


def speech(request: Request, plan: Plan, _key: str) -> FakeReply:
    """POST /audio/speech: bytes that no player knows, or a stream of events with `stream_format: "sse"`."""
    text = str(request.body.get("input") or "")
    model = _model(request, plan)
    sound = b"\0" * (100 * max(1, len(text)))
    if request.body.get("stream_format") != "sse":
        usage = dict(plan.usage or {"characters": len(text)})
        return FakeReply(body=sound, content_type="audio/mpeg", model=model, usage=usage)
    asked = input_tokens(text)
    usage = dict(plan.usage or {"input_tokens": asked, "output_tokens": len(text), "total_tokens": asked + len(text)})
    events = [
        Event({"type": "speech.audio.delta", "audio": base64.b64encode(sound).decode()}, output_tokens=len(text)),
        Event({"type": "speech.audio.done", **({} if plan.omit_usage else {"usage": usage})}),
    ]
    return FakeReply(events=events, model=model, usage=usage)


def transcription(request: Request, plan: Plan, _key: str) -> FakeReply:
    """POST /audio/transcriptions."""
    body = request.body
    model = _model(request, plan)
    seconds = _seconds(body)
    answer = write(plan, cap=None)
    asked = 10 * seconds + input_tokens(body.get("prompt"))
    tokens = {
        "type": "tokens",
        "input_tokens": asked,
        "input_token_details": {"text_tokens": asked - 10 * seconds, "audio_tokens": 10 * seconds},
        "output_tokens": answer.tokens,
        "total_tokens": asked + answer.tokens,
    }
    usage = dict(plan.usage or ({"type": "duration", "seconds": seconds} if model.startswith("whisper") else tokens))
    billed = FakeReply(model=model, usage=usage)
    told = {} if plan.omit_usage else {"usage": usage}
    if str(body.get("stream", "")).lower() == "true":
        events = [Event({"type": "transcript.text.delta", "delta": p}, output_tokens=1) for p in answer.pieces]
        events.append(Event({"type": "transcript.text.done", "text": answer.text, **told}))
        return replace(billed, events=events)
    form = body.get("response_format", "json")
    if form in {"text", "srt", "vtt"}:
        return replace(billed, body=answer.text + "\n", content_type="text/plain")
    reply: dict[str, Any] = {"text": answer.text, **told}
    if form == "verbose_json":
        reply |= {"task": "transcribe", "language": "english", "duration": float(seconds), "segments": [], "words": []}
    return replace(billed, body=reply)


def translation(request: Request, plan: Plan, _key: str) -> FakeReply:
    """POST /audio/translations: never reports a usage."""
    seconds = _seconds(request.body)
    text = write(plan, cap=None).text
    billed = FakeReply(model=_model(request, plan), usage=dict(plan.usage or {"seconds": seconds}))
    form = request.body.get("response_format", "json")
    if form in {"text", "srt", "vtt"}:
        return replace(billed, body=text + "\n", content_type="text/plain")
    more = {"language": "english", "duration": float(seconds), "segments": []} if form == "verbose_json" else {}
    return replace(billed, body={"text": text, **more})


def _images(request: Request, plan: Plan, key: str, kind: str, *, pictures: int) -> FakeReply:
    body = request.body
    model = _model(request, plan, default="dall-e-2")
    number = body.get("n")
    number = whole(int(number) if isinstance(number, str) and number.isdigit() else number, "n", default=1) or 1
    if not model.startswith("gpt-image"):
        image = {"b64_json": PNG} if body.get("response_format") == "b64_json" else {"url": f"https://fake/{key}.png"}
        reply = {"created": int(time.time()), "data": [image] * number}
        return FakeReply(body=reply, model=model, usage=dict(plan.usage or {"images": number}))
    words = input_tokens(body.get("prompt"))
    asked, made = words + PICTURE_TOKENS * pictures, IMAGE_TOKENS * number
    usage = dict(
        plan.usage
        or {
            "input_tokens": asked,
            "input_tokens_details": {"text_tokens": words, "image_tokens": asked - words},
            "output_tokens": made,
            "output_tokens_details": {"text_tokens": 0, "image_tokens": made},
            "total_tokens": asked + made,
        }
    )
    look = {"background": "opaque", "output_format": "png", "quality": body.get("quality", "low"), "size": "1024x1024"}
    told = {} if plan.omit_usage else {"usage": usage}
    billed = FakeReply(model=model, usage=usage)
    if str(body.get("stream", "")).lower() == "true":
        frame = {"b64_json": PNG, "created_at": int(time.time()), **look}
        part: dict[str, Any] = {"type": f"{kind}.partial_image", "partial_image_index": 0, **frame}
        last: dict[str, Any] = {"type": f"{kind}.completed", **frame, **told}
        return replace(billed, events=[Event(part, part["type"]), Event(last, last["type"], made)])
    reply = {"created": int(time.time()), "data": [{"b64_json": PNG}] * number, **look, **told}
    return replace(billed, body=reply)


def _seconds(body: Mapping[str, Any]) -> int:
    sound = body.get("file")
    if not isinstance(sound, bytes):
        raise BadRequestError("Missing required parameter: 'file'.")
    return max(1, -(-len(sound) // SOUND_BYTES_PER_SECOND))


def _model(request: Request, plan: Plan, default: str | None = None) -> str:
    model = plan.model or request.body.get("model") or request.deployment or default
    if not model:
        raise BadRequestError("you must provide a model parameter")
    return str(model)


def _flat(body: Mapping[str, Any]) -> list[Any]:
    return [part for value in body.values() for part in (value if isinstance(value, list) else [value])]
