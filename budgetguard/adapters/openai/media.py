"""
The requests of OpenAI's picture, sound and film operations, read as the most that they can use.

Most of these replies say nothing of their cost, so that what is read here is what is booked. Beside the bounds of
`openai_input` and `openai_images` it rests on these assumptions:

* A picture that is given to an image model is at most 8,000 tokens: tiles of the picture and, at high fidelity, up to
  6,144 tokens more.
* A spoken text is 2 audio tokens a UTF-8 byte (20 tokens a second; 15 bytes a second of English, 15 of Chinese).
* A minute of speech is at most 300 tokens of transcript.
* A file that cannot be measured lasts as long as the longest that the transcription API takes (`openai_sound`).
* A film that is edited is of the dearest size and model, and of 20 seconds, the longest that can be asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...calls import NOTHING, UNKNOWN_HOST, Call, Host, Usage
from ..common.bodies import fields, given, text, whole
from .input import sound
from .input.images import image_tokens
from .input.messages import AUDIO_TOKENS_A_SECOND
from .requests import user

INPUT_IMAGE_TOKENS = 8_000
SPEECH_TOKENS_A_BYTE = 2
TRANSCRIPT_TOKENS_A_SECOND = 5

LONGEST_TOKENIZED_S = 1_500
"""The longest recording that OpenAI's gpt-4o models take; today 1,400 (the API's own error message)."""

VIDEO_MODEL = "sora-2"
"""The model, seconds and size of a film where none are stated (openai 3.54, `types/video_create_params.py`)."""
VIDEO_SECONDS = 4
VIDEO_SIZE = "720x1280"

DEAREST_VIDEO_MODEL = "sora-2-pro"
DEAREST_VIDEO_SIZE = "1792x1024"
LONGEST_VIDEO_SECONDS = 20

SVG_TOKENS = 32_000
"""Assumed most output of the model that writes an SVG."""


def images(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`images.generate`, `images.edit` and `images.create_variation`."""
    body = fields(body)
    model = text(body, "model") or ""
    pictures = max(whole(body, "n") or 1, 1)
    if model.startswith("dall-e"):
        kind = f"images/{text(body, 'quality') or 'standard'}/{text(body, 'size') or '1024x1024'}"
        return Call(model=model, fixed={kind: pictures}, output=False, user=user(body))
    fixed = {"output_image_tokens": image_tokens(body, model) * pictures}
    given_pictures = sum(1 for _ in files) + len(_listed(body, "images")) + (1 if given(body, "mask") else 0)
    if given_pictures:
        fixed["input_image_tokens"] = given_pictures * INPUT_IMAGE_TOKENS
    prompt = text(body, "prompt")
    author = text(fields(body.get("svg")), "model")
    also: list[tuple[str, Usage]] = []
    if author is not None and body.get("output_format") == "svg":
        also.append(
            (
                author,
                {
                    "input_tokens": len((prompt or "").encode("utf-8", "surrogatepass")) + SVG_TOKENS,
                    "output_tokens": SVG_TOKENS,
                },
            )
        )
    return Call(
        model=model,
        texts=(prompt,) if prompt else (),
        fixed=fixed,
        output=False,
        stream=body.get("stream") is True,
        user=user(body),
        also=tuple(also),
    )


def speech(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`audio.speech.create`: the older models are billed by the character, the others by the token."""
    body = fields(body)
    model = text(body, "model") or ""
    spoken = text(body, "input") or ""
    stream = body.get("stream_format") == "sse"
    if model.startswith("tts"):
        characters: Usage = {"input_characters": len(spoken)} if spoken else NOTHING
        return Call(model=model, fixed=characters, output=False, stream=stream, user=user(body))
    speed = body.get("speed")
    slower = max(1.0, 1 / speed) if isinstance(speed, int | float) and speed >= 0.25 else 4.0 if speed else 1.0
    tokens = len(spoken.encode("utf-8", "surrogatepass")) * SPEECH_TOKENS_A_BYTE
    return Call(
        model=model,
        texts=tuple(part for part in (spoken, text(body, "instructions")) if part),
        fixed={"output_audio_tokens": -int(-tokens * slower // 1)},
        output=False,
        stream=stream,
        user=user(body),
    )


def transcription(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`audio.transcriptions.create` and `audio.translations.create`: by the second or, gpt-4o's, by the token."""
    body = fields(body)
    model = text(body, "model") or ""
    seconds = sum(_seconds(file) for file in files) or sound.LONGEST_S
    stream = body.get("stream") is True
    if not model.startswith("gpt-4o"):
        return Call(model=model, fixed={"input_audio_seconds": seconds}, output=False, stream=stream, user=user(body))
    if host.openai:
        seconds = min(seconds, LONGEST_TOKENIZED_S)
    hints = (text(body, "prompt"), *_listed(body, "keywords"))
    return Call(
        model=model,
        texts=tuple(hint for hint in hints if isinstance(hint, str)),
        fixed={"input_audio_tokens": seconds * AUDIO_TOKENS_A_SECOND},
        max_output=seconds * TRANSCRIPT_TOKENS_A_SECOND,
        stream=stream,
        user=user(body),
    )


def video(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`videos.create` and `create_and_poll`."""
    body = fields(body)
    size = text(body, "size") or VIDEO_SIZE
    return Call(
        model=text(body, "model") or VIDEO_MODEL,
        fixed={f"video_seconds/{size}": _length(body) or VIDEO_SECONDS},
        output=False,
        user=user(body),
    )


def video_change(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`videos.edit`, `extend` and `remix`: the body does not say of which film."""
    body = fields(body)
    return Call(
        model=text(body, "model") or DEAREST_VIDEO_MODEL,
        fixed={f"video_seconds/{DEAREST_VIDEO_SIZE}": _length(body) or LONGEST_VIDEO_SECONDS},
        output=False,
        user=user(body),
    )


def _length(body: Mapping[str, Any]) -> int | None:
    """The seconds of a film: the SDK has them as text."""
    seconds = text(body, "seconds")
    if seconds is not None and seconds.isascii() and seconds.isdigit() and len(seconds) < 6:
        return int(seconds)
    return whole(body, "seconds")


def _listed(body: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = body.get(name)
    return value if isinstance(value, list | tuple) else ()


def _seconds(entry: Any) -> int:
    """The longest that a file of a multipart body, (name, file), can sound."""
    file = entry[1] if isinstance(entry, list | tuple) and len(entry) > 1 else entry
    content = file[1] if isinstance(file, list | tuple) and len(file) > 1 else file
    name = file[0] if isinstance(file, list | tuple) and file else getattr(content, "name", None)
    measured = sound.measure(content)
    if measured is None:
        return sound.LONGEST_S
    head, size = measured
    return sound.seconds(head, size, name if isinstance(name, str) else None)
