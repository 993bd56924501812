"""Tokens: the bound is never below the count, and no input, network or tiktoken can hold a call up."""

import base64
import hashlib
import logging
import os
import random
import subprocess
import sys
import threading
import time

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from budgetguard.calls import Call
from budgetguard.prices import tokens

ENCODINGS = {
    # name: a model that uses it, where tiktoken 0.14.0 (tiktoken_ext/openai_public.py) would download it, its SHA-256
    "o200k_base": ("gpt-4o", "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"),
    "cl100k_base": ("gpt-4", "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"),
}
MODELS = [model for model, _ in ENCODINGS.values()]

AWKWARD = [
    *" \t\n\r\v\f\x1c\x85\u00a0\u2003\u3000",  # white space of every kind
    *"aZ09_'.,\"/!-{}",
    *"\u00e9\u0301\u0940\u200d\ufe0f",  # accents, marks, joiners
    *"\u4e2d\u3042\ud55c\u3002\uff0c\u0416\u0e01\ufdfa",
    "\U0001f600",
    "\U0001f469\u200d\U0001f680",
    "\ud800",
    "\udfff",
    "\0",
    "'s",
    "'LL",
    "<|endoftext|>",
    "<|im_start|>",
]
texts = st.lists(st.sampled_from(AWKWARD) | st.text(max_size=5) | st.text("ab \n", max_size=40)).map("".join)


def of_text(text: str, model: str = "gpt-4o") -> Call:
    return Call(model=model, texts=[text])


def tiktokens(text: str, model: str) -> int:
    """tiktoken's own count of a whole text."""
    encoding = tokens.encoding(tokens.encoding_name(model))
    return len(encoding.encode(text, disallowed_special=()))


def run(program: str, **environment: str) -> str:
    """What a program prints in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment or None,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# --- the bound


@pytest.mark.parametrize("model", MODELS)
@given(text=texts)
@settings(max_examples=300, deadline=None)
def test_the_bound_is_never_below_the_count(model, text):
    """A budget is only hard if what is held covers what can be billed."""
    assert tokens.bound(of_text(text, model)) >= tiktokens(text, model)
    assert tokens.bound(of_text(text, model)) >= tokens.count(of_text(text, model)) >= tiktokens(text, model)


@given(text=st.text() | texts)
@settings(deadline=None)
def test_the_bound_is_the_length_in_utf_8(text):
    """A token stands for at least a byte; lone surrogates, which no encoder accepts, are 3 bytes."""
    assert tokens.bound(of_text(text)) == len(text.encode("utf-8", "surrogatepass"))


def test_the_bound_of_a_long_text_is_exact_across_its_slices():
    text = "x" * 2047 + "\u4e2d" + "y" * 5000 + "\U0001f600" + "\ud83d" * 3000
    assert tokens.bound(of_text(text)) == len(text.encode("utf-8", "surrogatepass"))


def test_framing_and_pictures_are_added_to_the_bound_and_to_the_count():
    call = Call(model="gpt-4o", texts=["Hello", "world"], overhead=9, images=2)
    assert tokens.bound(call) == 10 + 9 + 2 * 1_445
    assert tokens.count(call) == 2 + 9 + 2 * 1_445


def test_an_empty_call_has_no_tokens():
    assert tokens.bound(Call(model="gpt-4o")) == tokens.count(Call(model="gpt-4o")) == 0
    assert tokens.count_text("", "gpt-4o") == tokens.count_text("", "claude-opus-5") == 0


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "gemini-3-pro", "llama-3.3-70b", "my-deployment"])
def test_models_of_other_vendors_are_bounded_by_bytes_and_an_allowance(model):
    """tiktoken's count may be below theirs, so it must not lower what is held."""
    call = of_text("A few plain words. " * 50, model)
    assert tokens.count(call) == tokens.bound(call) >= 950 + 64


def test_claude_has_twice_the_bytes():
    """Its tokenizer is not public: a byte is no proof there."""
    text = "A few plain words. " * 50
    assert tokens.bound(of_text(text, "anthropic/claude-sonnet-4-5")) >= 2 * len(text)


# --- the count


@pytest.mark.parametrize(
    ("model", "text", "expected"),
    [
        # openai-cookbook, How_to_count_tokens_with_tiktoken: the ids are listed there
        ("gpt-4", "tiktoken is great!", 6),
        ("gpt-4o-mini", "tiktoken is great!", 6),
        # tiktoken 0.14.0, the docstring of Encoding.encode: a special token's name is plain text here
        ("gpt-4o", "<|endoftext|>", 7),
        ("gpt-4o", "hello world", 2),
    ],
)
def test_known_texts_have_their_known_counts(model, text, expected):
    assert tokens.count_text(text, model) == tokens.count(of_text(text, model)) == expected


TERSE = {"role": "system", "content": "You are terse. Answer in five words or fewer."}


@pytest.mark.parametrize(
    ("model", "messages", "billed"),
    [
        ("gpt-4o-mini", [{"role": "user", "content": "Write a story about a cat."}], 14),
        ("gpt-5.5", [TERSE, {"role": "user", "content": "Hello"}], 22),
        (
            "gpt-5.5",
            [
                TERSE,
                {"role": "user", "content": "hello"},
                {"role": "assistant", "content": [{"type": "output_text", "text": "hello"}]},
                {"role": "user", "content": "how are you"},
            ],
            36,
        ),
        (
            "gpt-5.5",
            [
                TERSE,
                {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
                {"role": "assistant", "content": [{"type": "output_text", "text": "Hello, how are you?"}]},
                {"role": "user", "content": [{"type": "input_text", "text": "Well, thanks."}]},
            ],
            42,
        ),
    ],
)
def test_chat_messages_count_what_openai_billed_or_one_more(model, messages, billed):
    """The usage of recorded replies: langchain-openai 1.7.4, tests/cassettes."""
    assert 0 <= tokens.count_messages(messages, model) - billed <= 1


def test_a_name_costs_a_token_of_its_own():
    message = {"role": "user", "content": "hi"}
    named = message | {"name": "ann"}
    assert tokens.count_messages([named], "gpt-4o") == tokens.count_messages([message], "gpt-4o") + 1 + 1


def test_a_picture_in_a_message_is_bounded_by_its_model_not_by_its_base64():
    """That recorded gpt-5.5 call with a picture was billed 2,089 tokens; its base64 alone is far more."""
    picture = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 400_000}
    counted = tokens.count_messages([{"role": "user", "content": [picture]}], "gpt-5.5")
    assert 2_089 <= counted < 13_000


def test_tool_calls_are_counted_with_room_for_their_framing():
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"city":"Paris"}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    assert tokens.count_messages([message], "gpt-4o") > tokens.count_text(str(call), "gpt-4o")


def test_texts_of_other_vendors_are_estimated_between_openais_count_and_the_bytes():
    """To record spend without a usage: a bound would book four times the cost."""
    text = "The quick brown fox jumps over the lazy dog. " * 20
    assert tiktokens(text, "gpt-4") < tokens.count_text(text, "claude-sonnet-4-5") < len(text) / 2
    assert tokens.count_text("\0\1\2", "claude-sonnet-4-5") == 3


# --- no patience


@pytest.mark.parametrize("model", MODELS)
@given(text=texts)
@settings(max_examples=500, deadline=None)
def test_cutting_a_text_changes_no_token(model, text):
    """Long texts are counted in stretches, which must never have fewer tokens than the whole."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tokens, "STRETCH", 1)
        stretches = list(tokens._stretches(text))
    assert "".join(stretches) == text
    assert sum(tiktokens(stretch, model) for stretch in stretches) == tiktokens(text, model)


@pytest.mark.parametrize("model", MODELS)
def test_a_megabyte_of_prose_is_counted_exactly(model, monkeypatch):
    monkeypatch.setattr(tokens, "PATIENCE_S", 60)
    words = random.Random(7).choices(
        ["the", " budget", "'s", " of", ", a", ".\n\n", " 1234", "中文，", " naïve"], k=240_000
    )
    text = "".join(words)
    assert tokens.count(of_text(text, model)) == tiktokens(text, model)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "piece", [" ", "\t", "\n", "\r\n", "a", "A", ".", "1", "\0", "中", "\U0001f600", "\ud800", "aA", "x "]
)
def test_a_million_of_anything_is_counted_in_no_time(model, piece):
    """Measured in CPU time with plenty of room: tiktoken alone needs 0.3 to 1 s for most of these, or fails."""
    tokens.encoding(tokens.encoding_name(model))
    call = of_text(piece * 1_000_000, model)
    began = time.thread_time()
    counted = tokens.count(call)
    assert time.thread_time() - began < 2
    assert 0 < counted <= tokens.bound(call)


def test_what_patience_does_not_reach_is_bounded_by_its_bytes(monkeypatch):
    """An input made to be slow is not let through cheaper: it is held at its bound."""
    monkeypatch.setattr(tokens, "PATIENCE_S", -1)
    text = "words and words " * 10_000
    assert tokens.count(of_text(text)) == tokens.bound(of_text(text)) == len(text)


def test_a_stretch_without_a_place_to_cut_is_tokenized_up_to_a_limit(monkeypatch):
    """The last stretch begun may run over the patience, so its length is what bounds the wait."""
    monkeypatch.setattr(tokens, "PATIENCE_S", 60)
    longest = "a" * tokens.LONGEST_STRETCH
    assert tokens.count(of_text(longest)) == len(longest) / 8
    assert tokens.count(of_text(longest + "a")) == len(longest) + 1
    assert tokens.count(of_text(longest + "a and more")) == len(longest) + 1 + 2


def test_a_stretch_that_tiktoken_cannot_take_is_bounded_by_its_bytes(monkeypatch):
    """Its regular expression runs out of stack on a long run of white space."""
    monkeypatch.setattr(tokens, "LONGEST_STRETCH", 10_000_000)
    text = " " * 1_000_000
    with pytest.raises(ValueError, match="stack"):
        tiktokens(text, "gpt-4o")
    assert tokens.count(of_text(text)) == len(text)


# --- no network


@pytest.mark.parametrize("name", ENCODINGS)
def test_the_vocabulary_is_tiktokens_own_byte_for_byte(name):
    """The file that tiktoken would download, by the SHA-256 that it pins."""
    vocabulary = tokens._vocabulary(name)
    original = b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for rank, token in enumerate(vocabulary))
    assert hashlib.sha256(original).hexdigest() == ENCODINGS[name][1]


@pytest.mark.parametrize("name", ENCODINGS)
def test_our_encoding_splits_texts_as_tiktokens_own_does(name, tmp_path, monkeypatch):
    """tiktoken loads the rebuilt file from its cache, with its own checks and pattern: the tokens must be the same."""
    vocabulary = tokens._vocabulary(name)
    original = b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for rank, token in enumerate(vocabulary))
    address = f"https://openaipublic.blob.core.windows.net/encodings/{name}.tiktoken"
    (tmp_path / hashlib.sha1(address.encode()).hexdigest()).write_bytes(original)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("tiktoken went to the network"))

    theirs, ours = tiktoken.get_encoding(name), tokens.encoding(name)

    generator = random.Random(11)
    for _ in range(300):
        text = "".join(generator.choices(AWKWARD, k=60))
        assert ours.encode_ordinary(text) == theirs.encode_ordinary(text)


def test_counting_needs_no_network(tmp_path):
    """A fresh process without sockets, and with nothing in tiktoken's cache."""
    program = """
import socket
def refuse(*args, **kwargs): raise AssertionError("network")
socket.socket = socket.create_connection = socket.getaddrinfo = refuse
from budgetguard.prices import tokens
print(tokens.count_text("hello world", "gpt-4o"), tokens.count_text("hello world", "gpt-4"))
"""
    assert run(program, TIKTOKEN_CACHE_DIR=str(tmp_path)) == "2 2"
    assert list(tmp_path.iterdir()) == []


def test_importing_and_bounding_do_not_import_tiktoken():
    """Most processes never need it: it costs 200 ms and 80 MB."""
    program = """
import sys
from budgetguard.prices import tokens
from budgetguard.calls import Call
assert tokens.bound(Call(model="gpt-4o", texts=["hi"])) == 2
print("tiktoken" in sys.modules)
"""
    assert run(program) == "False"


# --- building


@pytest.fixture
def unbuilt(monkeypatch):
    monkeypatch.setattr(tokens, "_encodings", {})


@pytest.mark.usefixtures("unbuilt")
def test_threads_that_need_an_encoding_at_once_build_it_once(monkeypatch):
    """80 MB each, otherwise."""
    built = []

    def build(name):
        built.append(name)
        time.sleep(0.05)
        return None

    monkeypatch.setattr(tokens, "_build", build)
    start = threading.Barrier(8)
    threads = [threading.Thread(target=lambda: (start.wait(), tokens.encoding("o200k_base"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert built == ["o200k_base"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_forked_while_another_thread_builds_can_still_count():
    """The lock is held by a thread that the child does not have."""
    program = """
import os
from budgetguard.prices import tokens
tokens._building.acquire()
child = os.fork()
if child == 0:
    os._exit(0 if tokens.count_text("hello world", "gpt-4o") == 2 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run(program) == "0"


@pytest.mark.usefixtures("unbuilt")
def test_without_a_usable_tiktoken_the_bound_is_the_count_and_one_warning_says_so(monkeypatch, caplog):
    """A missing or changed tiktoken makes budgets stricter, it does not stop calls."""
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    text = "plenty of plain words"
    with caplog.at_level(logging.WARNING, "budgetguard"):
        assert tokens.count(of_text(text)) == len(text)
        assert tokens.count(of_text(text)) == len(text)
    assert len(caplog.records) == 1
    assert "bounded by their bytes" in caplog.text


# --- models


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4o", "o200k_base"),
        ("gpt-4o-mini-2024-07-18", "o200k_base"),
        ("gpt-4.1-nano", "o200k_base"),
        ("gpt-4.5-preview", "o200k_base"),
        ("gpt-5.5", "o200k_base"),
        ("gpt-9-not-yet-known", "o200k_base"),
        ("gpt-oss-120b", "o200k_base"),
        ("chatgpt-4o-latest", "o200k_base"),
        ("o3-mini", "o200k_base"),
        ("o4-mini", "o200k_base"),
        ("openai/gpt-4o", "o200k_base"),
        ("ft:gpt-4o-mini-2024-07-18:acme::abc123", "o200k_base"),
        ("ft:gpt-4.1:acme::abc123", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("GPT-4-32k", "cl100k_base"),
        ("gpt-3.5-turbo", "cl100k_base"),
        ("gpt-35-turbo", "cl100k_base"),
        ("ft:gpt-3.5-turbo-0125:acme::abc123", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        ("davinci-002", "cl100k_base"),
        ("davinci", None),
        ("text-davinci-003", None),
        ("gpt-2", None),
        ("gpt2", None),
        ("EleutherAI/gpt-neox-20b", None),
        ("claude-opus-4-7", None),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", None),
        ("gemini-2.5-flash", None),
        ("meta-llama/llama-3.3-70b-instruct", None),
        ("my-deployment", None),
        ("", None),
    ],
)
def test_models_have_the_encoding_that_they_use(model, expected):
    """`None` is always safe; a wrong name is not."""
    assert tokens.encoding_name(model) == expected


def test_every_model_that_tiktoken_knows_has_the_same_encoding_or_none():
    """Ours is a map of its own, but never against theirs. (gpt-oss: the same vocabulary, with more special tokens.)"""
    from tiktoken.model import MODEL_PREFIX_TO_ENCODING, MODEL_TO_ENCODING

    for model, theirs in (MODEL_TO_ENCODING | MODEL_PREFIX_TO_ENCODING).items():
        if model == "ft:gpt-4":  # as a prefix it takes in gpt-4.1, whose vocabulary is the newer one
            continue
        ours = tokens.encoding_name(model)
        assert ours == theirs.replace("harmony", "base") or (ours is None and theirs not in ENCODINGS), model


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4o", 85 + 8 * 170),
        ("gpt-4o-mini", 2_833 + 8 * 5_667),
        ("gpt-4.1", 85 + 8 * 170),
        ("gpt-5", 70 + 8 * 140),
        ("o3", 75 + 8 * 150),
        ("gpt-5.2", 64 * 64 * 1.2 // 1 + 1),
        ("gpt-5.4", 10_000 * 1.2),
        ("gpt-6-astra", 30_000 * 1.2),
        ("claude-opus-4-7", 4_784),
        ("gemini-3-pro", 2_240),
        ("never-heard-of", 48_169),
    ],
)
def test_a_picture_is_bounded_by_its_model(model, expected):
    """Never by the length of its address or base64, which says nothing; unknown models get the dearest."""
    assert tokens.image_bound(model) == expected
