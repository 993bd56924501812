"""What a request sends along or points at: files, films, pictures, recordings, and how many tokens they can be."""

from __future__ import annotations

import base64
import io
import struct
import tracemalloc
import zipfile
import zlib
from typing import Any

import pytest

from budgetguard.adapters.common.pages import pages
from budgetguard.adapters.openai.input import sound
from budgetguard.adapters.openai.media import transcription
from budgetguard.adapters.openai.requests import chat, completions, embeddings, moderations, responses
from budgetguard.calls import UNREAD, Call
from budgetguard.prices.hosts import host_of

OPENAI = host_of("api.openai.com")


def data_url(content: bytes, kind: str = "application/pdf") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def pdf(text: bytes = b"") -> bytes:
    """Sixty pages that share one packed stream."""
    packed = zlib.compress(text)
    pages = b"".join(b"%d 0 obj<</Type/Page/Parent 2 0 R/Contents 3 0 R>>endobj\n" % number for number in range(4, 64))
    head = b"%PDF-1.4\n2 0 obj<</Type/Pages/Count 60>>endobj\n3 0 obj<</Filter/FlateDecode/Length "
    return head + b"%d>>stream\n" % len(packed) + packed + b"\nendstream endobj\n" + pages + b"%%EOF"


def docx() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("word/document.xml", "word " * 100_000)
    return file.getvalue()


def send(part: dict[str, Any]) -> Call:
    """A chat with one part in its message; every part is read alike in a response."""
    message = {"role": "user", "content": [part]}
    call = chat({"model": "gpt-4o-mini", "messages": [message]})
    again = responses({"model": "gpt-4o-mini", "input": [message]})
    assert (list(call.texts), call.images, call.unknown_input) == (list(again.texts), again.images, again.unknown_input)
    return call


# -- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        pdf(),
        pdf(b"word " * 400_000),
        b"\n" * 100 + pdf(),
        docx(),
        b"{\\rtf1 hello}",
        b"a\0b",
        "Grüße".encode("utf-16"),
        "Grüße".encode("latin-1"),
    ],
)
@pytest.mark.parametrize("name", ["a.pdf", "a.txt"])
def test_a_packed_file_has_no_bound_in_its_bytes(content: bytes, name: str) -> None:
    """3 KB of PDF are 60 pages, each billed as a picture and as its text: the model's context is the bound."""
    assert len(content) < 8_000
    for data in (data_url(content), data_url(content, "text/plain"), base64.b64encode(content).decode()):
        assert send({"type": "file", "file": {"filename": name, "file_data": data}}).unknown_input
        assert send({"type": "input_file", "filename": name, "file_data": data}).unknown_input


def packed(objects: bytes, kind: bytes = b"/Type/ObjStm", filters: bytes = b"/FlateDecode") -> bytes:
    """Objects in a stream, as most writers of PDF 1.5 have them."""
    data = zlib.compress(objects)
    head = b"9 0 obj\n<<" + kind + b" /N 3 /First 8 /Filter " + filters + b" /Length %d>>\nstream\r\n" % len(data)
    return b"%PDF-1.5\n" + head + data + b"\nendstream\nendobj\n%%EOF"


PAGE = b"<</Type /Page /Parent 2 0 R>> "


@pytest.mark.parametrize(
    ("content", "count"),
    [
        (pdf(), 60),
        (pdf(b"word " * 400_000), 60),
        (pdf().replace(b"/Count 60", b"/Count 1"), 60),  # it lies
        (pdf().replace(b"/Type/Page/", b"/Type\r\n\0 /Page/"), 60),
        (b"%PDF-1.4 <</Type/Pages/Count 60/Kids[3 0 R]>> <</Type/Page>>", 60),  # a page that is shared
        (b"%PDF-1.4 <</Type/Pages/Count 2>> <</Type/Pages/Count 5>> <</Count -900>>", 5),
        (b"%PDF-1.4 <</Type/PageLabel>><</Type/Pages>><</Type/Page0>>", 0),
        (b"%PDF-1.4 <</Type/Page", 1),
        (b"%PDF-1.4 /Count 999999999", 100_000),
        (b"%PDF-1.4 /Count 9999999999", 0),
        (packed(PAGE * 60), 60),
        (packed(PAGE * 60) + packed(PAGE * 7), 67),
        (packed(b"<</Type/Pages/Count 9>>"), 9),
        (packed(PAGE * 60, filters=b"[/FlateDecode]"), 60),
        (packed(PAGE * 60)[:-24], 60),  # cut off
        (packed(PAGE, kind=b"/Type/XObject"), 0),  # no objects are in there
        (b"%PDF-1.5 /ObjStm stream\nencrypted endstream /ObjStm", 0),
        (b"no PDF /Type /Page", 0),
    ],
)
def test_the_pages_of_a_pdf_are_pictures(content: bytes, count: int) -> None:
    """Each is billed as one, and as its text."""
    plain = base64.b64encode(content).decode()
    for data in (data_url(content), data_url(content, "text/plain").replace("data:", "DATA:"), plain):
        assert send({"type": "file", "file": {"filename": "a", "file_data": data}}).images == count
        assert send({"type": "input_file", "filename": "a", "file_data": data}).images == count


def test_the_pages_of_several_files_add_up() -> None:
    """In a response's results of tools, too, and where a server takes a PDF for a picture."""
    part = {"type": "input_file", "filename": "a.pdf", "file_data": data_url(pdf())}
    user = {"role": "user", "content": [part, part, {"type": "input_image", "image_url": "https://x.example/y.png"}]}
    result = {"type": "function_call_output", "call_id": "c", "output": [part]}
    assert responses({"model": "m", "input": [user, result]}).images == 181
    call = send({"type": "image_url", "image_url": {"url": data_url(pdf())}})
    assert (call.images, call.unknown_input) == (60, True)


def test_base64_that_only_some_servers_read_has_its_pages_counted() -> None:
    """That for URLs, or with spaces in between."""
    data = base64.urlsafe_b64encode(b"%PDF-1.4 \xff\xfe\xfb\xef" + pdf()).decode()
    assert "-" in data or "_" in data
    for form in (data, " ".join(data), data + "=="):
        call = send({"type": "input_file", "filename": "a.pdf", "file_data": form})
        assert (call.images, call.unknown_input) == (60, True)


def test_a_pdf_unpacks_within_bounds() -> None:
    """What is behind 16 MB, or ten thousand streams, is not looked at; a mark without a stream is cheap."""
    bomb = packed(bytes(40_000_000) + PAGE)
    assert pages(bomb + packed(PAGE)) == 0
    assert pages(packed(PAGE) + bomb + PAGE) == 2
    assert pages(packed(PAGE) * 10_010) == 10_000
    assert pages(b"/ObjStm stream\n" * 1_000 + packed(PAGE)) == 1
    assert pages(b"/ObjStm stream\n" * 1_000_000 + PAGE) == 1
    tracemalloc.start()
    try:
        pages(bomb)
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.py", "a.pdf", None])
def test_a_plain_text_is_that_text_whatever_its_name(name: str | None) -> None:
    """It has no more tokens than bytes."""
    content = "a,b\nä,ö\n" * 10
    data = base64.encodebytes(content.encode()).decode()
    for form in (data_url(content.encode(), "text/csv"), data, data.replace("\n", "").rstrip("=")):
        call = send({"type": "input_file", "filename": name, "file_data": form})
        assert content in call.texts
        assert not call.unknown_input


@pytest.mark.parametrize("data", ["https://x.example/a.pdf", "", "not base64!", "data:text/plain", None, 7, "\ud800"])
def test_a_file_that_cannot_be_read_here_is_unknown(data: Any) -> None:
    """A server may well read it."""
    assert send({"type": "file", "file": {"filename": "a", "file_data": data}}).unknown_input


# -- what is only pointed at -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "part",
    [
        {"type": "video_url", "video_url": {"url": "https://x.example/y.mp4"}},
        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}},
        {"type": "video_url", "video_url": {"url": "asset://a"}},
        {"type": "input_video", "video": "AAAA"},
        {"type": "video", "video": ["https://x.example/1.jpg", "https://x.example/2.jpg"]},
        {"type": "audio_url", "audio_url": {"url": "https://x.example/y.mp3"}},
        {"type": "input_audio", "input_audio": {"data": "https://x.example/y.mp3", "format": "mp3"}},
        {"type": "document_url", "document_url": "https://x.example/y.pdf"},
        {"type": "file_url", "file_url": {"url": "https://x.example/y.pdf"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_file", "file_url": "https://x.example/y.pdf"},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}},
        {"type": "media", "file_uri": "gs://bucket/a", "mime_type": "video/mp4"},
        {"type": "asset", "id": "a_1"},
        {"type": "page", "page": {"uri": "x/y"}},
        {"file_data": {"file_uri": "https://generativelanguage.googleapis.com/v1beta/files/a"}},
        {"inline_data": {"mime_type": "video/mp4", "data": "AAAA"}},
        {"type": "image_url", "image_url": {"url": "data:application/pdf;base64,JVBERg=="}},
        {"type": "image_url", "image_url": "gs://bucket/film.mp4"},
    ],
)
def test_what_is_only_pointed_at_is_not_free(part: dict[str, Any]) -> None:
    """An hour of film is a URL of twenty bytes."""
    assert send(part).unknown_input


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": "see https://x.example/y.mp4"},
        {"type": "something_new", "payload": "eight"},
        {"type": "tool_use", "id": "t_1", "name": "f", "input": {"url": "https://x.example"}},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"url": "https://x.example"}'},
        {"type": "web_search_call", "id": "ws_1", "action": {"type": "search", "url": "https://x.example"}},
        {"type": "thinking", "thinking": "hm", "signature": "x"},
    ],
)
def test_what_is_shown_stays_bounded_by_its_bytes(part: dict[str, Any]) -> None:
    """A URL in a text, or in what an earlier turn said, is only text."""
    call = send(part)
    assert call.texts
    assert not call.unknown_input


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://x.example/y.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": "https://x.example/y.png"},
        {"type": "input_image", "image_url": "https://x.example/y.png"},
        {"type": "input_image", "file_id": "file-1"},
        {"type": "image", "source": {"type": "url", "url": "https://x.example/y.png"}},
    ],
)
def test_a_picture_is_bounded_by_its_models_table(part: dict[str, Any]) -> None:
    """However it is given: what a picture can take is known."""
    call = send(part)
    assert (call.images, call.unknown_input, list(call.texts)) == (1, False, [])


def test_attachments_beside_a_message_count() -> None:
    """Some servers take them there."""
    message = {"role": "user", "content": "hi", "attachments": [{"file_id": "f"}]}
    assert chat({"model": "m", "messages": [message]}).unknown_input
    message = {"role": "user", "content": "hi", "documents": [{"title": "t", "text": "shown"}]}
    assert not chat({"model": "m", "messages": [message]}).unknown_input
    call = chat({"model": "m", "messages": [], "documents": [{"type": "text", "text": "shown"}]})
    assert "shown" in call.texts


# -- sound -----------------------------------------------------------------------------------------------------------


def wav(
    rate: int, channels: int, bits: int, codec: int = 1, align: int = 0, extra: bytes = b"", data: int = 0
) -> bytes:
    align = align or channels * bits // 8
    chunk = struct.pack("<HHIIHH", codec, channels, rate, rate * align, align, bits) + extra
    body = b"fmt " + struct.pack("<I", len(chunk)) + chunk + b"data" + struct.pack("<I", data) + bytes(data)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WAVE" + body


def flac(rate: int, samples: int, size: int = 60_000) -> bytes:
    info = struct.pack(">HH", 4096, 4096) + bytes(6) + (rate << 44 | 15 << 36 | samples).to_bytes(8, "big") + bytes(16)
    head = b"fLaC" + b"\x00\x00\x00\x22" + info
    return head + bytes(size - len(head))


@pytest.mark.parametrize(
    ("content", "name", "seconds"),
    [
        (wav(8_000, 1, 8, data=80_000), "a.wav", 10),
        (wav(48_000, 2, 16, data=1_920_000), "a.wav", 10),
        (wav(48_000, 2, 16, data=1_920_001), "a.mp3", 11),
        # GSM 6.10: 320 samples in 65 bytes, 1,625 bytes a second of 8 kHz.
        (wav(8_000, 1, 0, 0x31, 65, b"\x02\x00\x40\x01", 975_000), "a.wav", 600),
        # IMA ADPCM: 505 samples in blocks of 256 bytes.
        (wav(8_000, 1, 4, 0x11, 256, b"\x02\x00\xf9\x01", 256 * 160), "a.wav", 11),
        # MP3 in a WAV, and a rate of nothing: the longest that there is.
        (wav(8_000, 1, 0, 0x55, 1, b"", 80_000), "a.wav", 34_953),
        (wav(0, 1, 8, data=80_000), "a.wav", 34_953),
        (flac(16_000, 3_600 * 16_000), "a.flac", 3_600),
        (flac(16_000, 0), "a.flac", 34_953),
        (b"x" * 60_000, "a.flac", 34_953),
        (b"x" * 60_000, None, 34_953),
        (b"ID3" + bytes(7_497), None, 10),
        (b"\xff\xfb\x90" + bytes(7_497), "a", 10),
        (b"OggS" + bytes(7_496), None, 10),
        (b"\x1a\x45\xdf\xa3" + bytes(7_496), None, 10),
        (b"\x00\x00\x00\x20ftypM4A " + bytes(7_488), None, 10),
        (b"x" * 7_500, "a.mp3", 10),
    ],
)
def test_a_recording_is_as_long_as_its_header_says(content: bytes, name: str | None, seconds: int) -> None:
    """And where it says nothing, as long as the longest that the API takes: 25 MB at 750 bytes a second."""
    file = content if name is None else (name, content, "audio/x")
    call = transcription({"model": "whisper-1"}, [("file", file)])
    assert call.fixed == {"input_audio_seconds": seconds}


def test_a_recording_that_cannot_be_measured_is_the_longest() -> None:
    """Without a file, too: some servers take a URL."""

    class Unmeasured:
        name = "a.mp3"

    assert transcription({"model": "whisper-1"}, [("file", Unmeasured())]).fixed == {"input_audio_seconds": 34_953}
    assert transcription({"model": "whisper-1"}).fixed == {"input_audio_seconds": 34_953}


def test_measuring_an_open_file_leaves_it_where_it_was() -> None:
    """The SDK has still to send it."""
    file = io.BytesIO(b"junk" + wav(8_000, 1, 8, data=80_000))
    file.seek(4)
    call = transcription({"model": "whisper-1"}, [("file", file)])
    assert call.fixed == {"input_audio_seconds": 10}
    assert file.tell() == 4


def test_openais_token_billed_models_take_no_longer_recordings_than_they_say() -> None:
    """1,400 seconds today, 1,500 before: 10 tokens a second."""
    call = transcription({"model": "gpt-4o-transcribe"}, [("file", ("a.flac", b"x"))], OPENAI)
    assert (call.fixed, call.max_output) == ({"input_audio_tokens": 15_000}, 7_500)
    assert transcription({"model": "gpt-4o-transcribe"}, [("file", ("a.flac", b"x"))]).max_output == 5 * 34_953


@pytest.mark.parametrize(
    ("content", "kind", "seconds"),
    [
        (wav(8_000, 1, 8, data=80_000), "wav", 10),
        (wav(8_000, 1, 0, 0x31, 65, b"\x02\x00\x40\x01", 975_000), "wav", 600),
        (b"ID3" + bytes(7_497), "mp3", 10),
        (b"x" * 100, "wav", 34_953),
    ],
)
def test_sound_in_a_message_is_bounded_by_its_length(content: bytes, kind: str, seconds: int) -> None:
    """10 tokens a second at OpenAI; 32 elsewhere, which is Gemini's."""
    data = base64.b64encode(content).decode()
    part = {"type": "input_audio", "input_audio": {"data": data, "format": kind}}
    body = {"model": "gpt-4o-audio-preview", "messages": [{"role": "user", "content": [part]}]}
    assert chat(body, (), OPENAI).fixed == {"input_audio_tokens": seconds * 10}
    assert chat(body).fixed == {"input_audio_tokens": seconds * 32}
    assert not chat(body).texts


def test_an_earlier_spoken_answer_is_of_any_length() -> None:
    """It is given by its id, and heard again."""
    call = chat(
        {"model": "gpt-4o-audio-preview", "messages": [{"role": "assistant", "audio": {"id": "a_1"}}]}, (), OPENAI
    )
    assert call.unknown_input
    assert call.fixed == {"input_audio_tokens": sound.LONGEST_S * 10}


# -- bodies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [chat, completions, responses, embeddings, moderations])
@pytest.mark.parametrize("body", [None, b"raw", "text", 7, []])
def test_a_body_that_cannot_be_read_may_ask_for_anything(read: Any, body: Any) -> None:
    """No model is named that could have a price, and the context is the bound of the input."""
    assert read(body) == UNREAD
    assert (UNREAD.model, UNREAD.unknown_input) == ("", True)
