"""
What providers and gateways say of usage, in all its forms, and what of it is billed.

After what xAI, Gemini, Groq, DeepSeek, Mistral, Moonshot, DashScope, DeepInfra, Perplexity, OpenRouter, Cerebras, vLLM,
Ollama, LiteLLM and relays of Claude are reported to send. Each right value is worked out beside it.
"""

from __future__ import annotations

from typing import Any

import openai
import pytest

from budgetguard.adapters import openai as adapter
from budgetguard.adapters.common.numbers import merged, stated_cost
from budgetguard.adapters.openai.usage import media_usage, token_usage
from budgetguard.calls import Answer, Heard
from budgetguard.prices.estimates import count_heard
from tests.support.usages import END, ERROR, alone, said, text

BOTH = ("input_tokens", "output_tokens")


def answered(reply: Any, name: str = "chat.completions") -> Answer:
    return next(e.answer for e in adapter.ENDPOINTS if e.name == name)(reply)  # type: ignore[misc]


def chat(usage: Any, text: str = "ok", **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    } | more


# -- counts ------------------------------------------------------------------------------------------------------------

THOUGHT = {"reasoning_tokens": 30}

TOTALS = {
    "OpenAI: reasoning is inside": (said(10, 50, 60, completion_tokens_details=THOUGHT), (10, 50)),
    "xAI: reasoning is beside": (said(10, 50, 90, completion_tokens_details=THOUGHT), (10, 80)),
    "Gemini: only the total has it": (said(10, 50, 90), (10, 80)),
    "all was thought": (said(10, 0, 90), (10, 80)),
    "a relay: reasoning has no details": (said(10, 50, 90, reasoning_tokens=30), (10, 80)),
    "no total": (said(10, 50), (10, 50)),
    "a total of 0": (said(10, 50, 0), (10, 50)),
    "a total below 0": (said(10, 50, -1), (10, 50)),
    "a total that is less": (said(10, 50, 40), (10, 50)),
    "a total that is no number": (said(10, 50, "many"), (10, 50)),
    "a total that is true": (said(10, 50, True), (10, 50)),
    "text": (said("10", "50", "90"), (10, 80)),
    "floats, rounded up": (said(10.0, 49.5, 60.0), (10, 50)),
    "output null, and a total": (said(10, None, 60), (10, 50)),
    "input null, and a total": (said(None, 50, 60), (10, 50)),
    "input 0, and a total": (said(0, 50, 60), (10, 50)),
    "nothing written, by the total": (said(10, None, 10), (10, 0)),
    "Responses' names": ({"input_tokens": 10, "output_tokens": 50, "total_tokens": 90}, (10, 80)),
    "both names, one empty": (said(0, 0, 60, input_tokens=10, output_tokens=50), (10, 50)),
    "both names alike": (said(10, 50, 60, input_tokens=10, output_tokens=50), (10, 50)),
    "sound and pictures are parts": (
        said(10, 50, 60, prompt_tokens_details={"audio_tokens": 4, "image_tokens": 5, "text_tokens": 1}),
        (10, 50),
    ),
    "more than there can be": (said(10**30, 5), (10**12, 5)),
}


@pytest.mark.parametrize(("usage", "counts"), TOTALS.values(), ids=TOTALS)
def test_output_is_what_the_parts_or_the_total_say(usage: Any, counts: tuple[int, int]) -> None:
    """What is billed beside `completion_tokens` is seen in the total; a total without room for it changes nothing."""
    read = token_usage(usage)
    assert read is not None
    assert (read["input_tokens"], read["output_tokens"]) == counts


CACHES = {
    "OpenAI": (said(100, 5, 105, prompt_tokens_details={"cached_tokens": 60}), (100, 5, 60, 0)),
    "DeepSeek": (said(100, 5, 105, prompt_cache_hit_tokens=60, prompt_cache_miss_tokens=40), (100, 5, 60, 0)),
    "Moonshot": (said(100, 5, 105, cached_tokens=60), (100, 5, 60, 0)),
    "Mistral": (said(100, 5, 105, num_cached_tokens=60), (100, 5, 60, 0)),
    "LiteLLM: inside": (
        said(100, 5, 105, cache_creation_input_tokens=30, cache_read_input_tokens=60),
        (100, 5, 60, 30),
    ),
    "the same twice": (
        said(100, 5, 105, cache_read_input_tokens=60, prompt_tokens_details={"cached_tokens": 60}),
        (100, 5, 60, 0),
    ),
    "OpenRouter": (
        said(100, 5, 105, prompt_tokens_details={"cached_tokens": 60, "cache_write_tokens": 30}),
        (100, 5, 60, 30),
    ),
    "DashScope": (said(100, 5, 105, prompt_tokens_details={"cache_creation_input_tokens": 30}), (100, 5, 0, 30)),
    "a relay's name": (said(100, 5, 105, prompt_tokens_details={"cached_creation_tokens": 30}), (100, 5, 0, 30)),
    "text": (said(100, 5, 105, cache_read_input_tokens="60"), (100, 5, 60, 0)),
    "null and below 0": (said(100, 5, 105, cache_read_input_tokens=None, cached_tokens=-6), (100, 5, 0, 0)),
    # 2 + 900 + 30 were sent: the prompt's count has only what was not cached.
    "beside, for it is more": (
        said(2, 5, 7, cache_read_input_tokens=900, cache_creation_input_tokens=30),
        (932, 5, 900, 30),
    ),
    "beside, with details": (said(2, 5, 7, prompt_tokens_details={"cached_tokens": 900}), (902, 5, 900, 0)),
    # 100 + 60 + 5 = 165: the total counts the cached input beside the prompt.
    "beside, by the total": (said(100, 5, 165, cache_read_input_tokens=60), (160, 5, 60, 0)),
    "the writes inside, the reads beside": (
        said(100, 5, 165, cache_read_input_tokens=60, cache_creation_input_tokens=30),
        (160, 5, 60, 30),
    ),
    # 165 + 20 that were thought.
    "beside, and reasoning beside": (
        said(100, 5, 185, cache_read_input_tokens=60, completion_tokens_details={"reasoning_tokens": 20}),
        (160, 25, 60, 0),
    ),
    "inside, and reasoning beside": (
        said(
            100, 5, 125, prompt_tokens_details={"cached_tokens": 60}, completion_tokens_details={"reasoning_tokens": 20}
        ),
        (100, 25, 60, 0),
    ),
    "Claude's own usage, passed on": (
        {"input_tokens": 100, "output_tokens": 5, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 0},
        (160, 5, 60, 0),
    ),
}


@pytest.mark.parametrize(("usage", "counts"), CACHES.values(), ids=CACHES)
def test_cached_input_is_read_by_all_its_names(usage: Any, counts: tuple[int, int, int, int]) -> None:
    """`input_tokens` is all input, whether the prompt's count has the cached part in it or not."""
    read = token_usage(usage)
    assert read is not None
    kinds = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
    assert tuple(read.get(kind, 0) for kind in kinds) == counts


def test_a_cache_that_keeps_an_hour_is_told_apart() -> None:
    """It is dearer to write."""
    kept = {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}
    assert token_usage(said(100, 5, 105, cache_creation_input_tokens=30, cache_creation=kept)) == {
        "input_tokens": 100,
        "output_tokens": 5,
        "cache_write_tokens": 30,
        "cache_write_1h_tokens": 20,
    }


@pytest.mark.parametrize(
    "usage", [said(-1, 5), said(5, -1, 90), said(None, None), said("?", []), {}, [], None, "12", said(True, True)]
)
def test_counts_that_make_no_sense_are_unknown(usage: Any) -> None:
    """Then the call costs what was held."""
    assert token_usage(usage) is None


def test_the_total_of_pictures_says_nothing() -> None:
    """An image model's usage is read as it stands."""
    usage = {"input_tokens": 50, "output_tokens": 272, "total_tokens": 999}
    assert media_usage(usage) == {"input_tokens": 50, "output_tokens": 272}


@pytest.mark.parametrize(
    ("usage", "sent"),
    [({"total_tokens": 700}, 700), (said(8, None, 8), 8), (said(8, 0, 12), 12), ({"prompt_tokens": "8"}, 8)],
)
def test_an_embeddings_total_is_its_input(usage: Any, sent: int) -> None:
    """It has no output, whatever is said."""
    answer = answered({"object": "list", "model": "m", "data": [], "usage": usage}, "embeddings")
    assert (answer.usage, answer.lacks) == ({"input_tokens": sent, "output_tokens": 0}, ())


def test_embeddings_that_are_said_to_have_read_nothing_are_estimated() -> None:
    """LM Studio says 0 whatever it embedded."""
    answer = answered({"object": "list", "model": "m", "data": [], "usage": said(0, None, 0)}, "embeddings")
    assert (answer.usage, answer.lacks) == ({"output_tokens": 0}, ("input_tokens",))


LACKING = {
    "output null": (said(10, None), {"input_tokens": 10}, ("output_tokens",)),
    "output 0 beside text": (said(10, 0, 10), {"input_tokens": 10, "output_tokens": 0}, ("output_tokens",)),
    "input null": (said(None, 5), {"output_tokens": 5}, ("input_tokens",)),
    "all zeros": (said(0, 0, 0), {}, BOTH),
    "only a total": ({"total_tokens": 90}, {"total_tokens": 90}, BOTH),
}


@pytest.mark.parametrize("plain", [True, False], ids=["dict", "object"])
@pytest.mark.parametrize(("usage", "counts", "lacks"), LACKING.values(), ids=LACKING)
def test_what_is_not_said_is_lacking_and_not_0(usage: Any, counts: Any, lacks: Any, plain: bool) -> None:
    """It is estimated, the output by the text of the answer."""
    reply = chat(usage, text="two words")
    answer = answered(reply if plain else openai.types.chat.ChatCompletion.construct(**reply))
    assert (answer.usage, tuple(answer.lacks)) == (counts, lacks)
    assert answer.heard == Heard("two words", 0, 1)


def test_an_answer_of_nothing_may_have_no_output() -> None:
    """Its count is believed."""
    answer = answered(chat(said(10, 0, 10), text=""))
    assert (answer.usage, answer.lacks) == ({"input_tokens": 10, "output_tokens": 0}, ())


# -- stated costs ------------------------------------------------------------------------------------------------------

OWN = {"is_byok": True}

COSTS = {
    "OpenRouter": (
        {"cost": 0.01, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.009}},
        (10_000_000, 0),
    ),
    "its fee, and the upstream's bill": (
        {"cost": 0.0005, "cost_details": {"upstream_inference_cost": 0.01}, **OWN},
        (10_500_000, 0),
    ),
    "no fee, and the upstream's bill": (
        {"cost": 0, "cost_details": {"upstream_inference_cost": 0.01}, **OWN},
        (10_000_000, 0),
    ),
    "a fee, and nobody says the bill": (
        {"cost": 0.0005, "cost_details": {"upstream_inference_cost": None}, **OWN},
        (None, 500_000),
    ),
    "a fee, and no details": ({"cost": 0.0005, **OWN}, (None, 500_000)),
    "whose key is not said: a fee": (
        {"cost": 0.95, "cost_details": {"upstream_inference_cost": 19}},
        (19_950_000_000, 0),
    ),
    "whose key is not said: the price": (
        {"cost": 0.01, "cost_details": {"upstream_inference_cost": 0.01}},
        (10_000_000, 0),
    ),
    "Perplexity": ({"cost": {"request_cost": 0.006, "input_tokens_cost": 0.001, "total_cost": 0.007}}, (7_000_000, 0)),
    "Perplexity without the sum": ({"cost": {"request_cost": 0.006, "input_tokens_cost": 0.001}}, (7_000_000, 0)),
    "xAI": ({"cost_in_usd_ticks": 412_500_001}, (41_250_001, 0)),
    "DeepInfra": ({"estimated_cost": 5.25e-06}, (5_250, 0)),
    "text": ({"cost": "0.0042"}, (4_200_000, 0)),
    "text with a sign": ({"cost": "$4.2e-3"}, (4_200_000, 0)),
    "a proxy without a price": ({"cost": 0.0}, (None, 0)),
    "a promotion": ({"cost": 0, "is_byok": False}, (None, 0)),
    "below 0": ({"cost": -1, "estimated_cost": "-1", "cost_in_usd_ticks": -1}, (None, 0)),
    "null": ({"cost": None, "estimated_cost": None}, (None, 0)),
    "more than can be booked": ({"cost": 10_000_000}, (None, 0)),
    "no number": ({"cost": "1e999999999", "cost_in_usd_ticks": "many"}, (None, 0)),
}


@pytest.mark.parametrize(("usage", "stated"), COSTS.values(), ids=COSTS)
def test_a_stated_cost_is_read_in_all_its_forms(usage: Any, stated: Any) -> None:
    """In nano-dollars; and what is billed beside the price of the usage."""
    assert stated_cost(usage) == stated


def test_deep_research_is_billed_beside_its_completion() -> None:
    """Perplexity bills citations, reasoning and searches; of its other models these counts are not billed."""
    usage = said(30, 7_000, 7_030, citation_tokens=20_000, num_search_queries=20, reasoning_tokens=3_000)
    assert answered(chat(usage, model="sonar-deep-research")).usage == {
        "input_tokens": 30,
        "output_tokens": 30_000,
        "output_citation_tokens": 20_000,
        "output_reasoning_tokens": 3_000,
        "web_searches": 20,
    }
    sonar = answered(chat(said(30, 700, 730, citation_tokens=20_000, num_search_queries=2), model="sonar")).usage
    assert sonar == {"input_tokens": 30, "output_tokens": 700}


# -- errors with status 200 --------------------------------------------------------------------------------------------

ERRORS = {
    "OpenRouter": {"error": {"message": "Provider returned error", "code": 502}, "user_id": "u"},
    "vLLM": {"object": "error", "message": "too long", "code": 400},
    "Anthropic": {"type": "error", "error": {"type": "overloaded_error"}},
    "Z.ai": {"code": 500, "msg": "404 NOT_FOUND", "success": False},
    "Cloudflare": {"success": False, "errors": [{"code": 7003}]},
    "MiniMax": {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}},
    "with no choices and zeros": {"error": "no", "choices": [], "usage": said(0, 0, 0)},
}


@pytest.mark.parametrize("name", ["chat.completions", "completions", "responses", "embeddings", "images.generate"])
@pytest.mark.parametrize("reply", ERRORS.values(), ids=ERRORS)
def test_an_error_in_the_place_of_an_answer_is_free(reply: Any, name: str) -> None:
    """As it would be with its right status."""
    if name in {"responses", "images.generate"} and "usage" in reply:
        reply = {"error": "no"}
    assert answered(reply, name).free


@pytest.mark.parametrize(
    "reply",
    [
        {**chat(said(10, 5, 15)), "error": {"message": "late"}},
        {**chat(None), "error": {"message": "late"}},
        {"usage": said(10, 5, 15), "error": {"message": "late"}},
        {"usage": {"cost": 0.1}, "error": {"message": "late"}},
        {**chat(None), "error": None, "base_resp": {"status_code": 0}},
        {"message": "hello"},
    ],
)
def test_an_error_beside_an_answer_or_a_bill_is_not_free(reply: Any) -> None:
    """Something was made."""
    assert not answered(reply).free


# -- streams -----------------------------------------------------------------------------------------------------------


IN_CHOICE = {**END, "choices": [{**END["choices"][0], "usage": said(10, 5, 15)}]}

SETTLED = {
    "OpenAI": ([text(), END, alone(said(10, 5, 15))], (10, 5)),
    "on the finish chunk": ([text(), {**END, "usage": said(10, 5, 15)}], (10, 5)),
    "on the last text": ([text(), text(usage=said(10, 5, 15)), END], (10, 5)),
    "Moonshot, in the choice": ([text(), IN_CHOICE], (10, 5)),
    "Groq": ([text("", x_groq={"id": "r"}), text(), {**END, "x_groq": {"id": "r", "usage": said(10, 5, 15)}}], (10, 5)),
    "zeros after it": ([text(), {**END, "usage": said(10, 5, 15)}, alone(said(0, 0, 0))], (10, 5)),
    "zeros alone before it": ([text(), END, alone(said(0, 0, 0)), alone(said(10, 5, 15))], (10, 5)),
    "null after it": ([text(), {**END, "usage": said(10, 5, 15)}, alone(said(None, None))], (10, 5)),
    "in two parts": ([text("", usage=said(10, 1, 11)), text(), {**END, "usage": said(0, 5, 5)}], (10, 5)),
    "in two parts, of which the total knows": (
        [text("", usage={"prompt_tokens": 10}), text(), {**END, "usage": said(0, 5, 15)}],
        (10, 5),
    ),
    "alone and first, then last": ([alone(said(10, 0, 10)), text(), END, alone(said(10, 5, 15))], (10, 5)),
    "Gemini, running, with thinking in the total": (
        [text(usage=said(10, 1, 31)), text(usage=said(10, 2, 32)), {**END, "usage": said(10, 5, 35)}],
        (10, 25),
    ),
    "vLLM, running, and once more at the end": (
        [text(usage=said(10, 1, 11)), text(usage=said(10, 2, 12)), END, alone(said(10, 5, 15))],
        (10, 5),
    ),
    "text": ([text(), END, alone(said("10", "5", "15"))], (10, 5)),
    "without a finish": ([text(), alone(said(10, 5, 15))], (10, 5)),
    "all was thought": ([text(""), {**END, "usage": said(10, 0, 15)}], (10, 5)),
    "nothing written": ([text(""), {**END, "usage": said(10, 0, 10)}], (10, 0)),
}


def heard(items: list[Any], plain: bool = True, name: str = "chat.completions") -> Any:
    listener = next(e.listener for e in adapter.ENDPOINTS if e.name == name)()  # type: ignore[misc]
    kind = openai.types.chat.ChatCompletionChunk
    for item in items:
        listener.hear(item if plain else kind.construct(**item))
    return listener


@pytest.mark.parametrize("plain", [True, False], ids=["dict", "object"])
@pytest.mark.parametrize(("items", "counts"), SETTLED.values(), ids=SETTLED)
def test_a_stream_says_its_usage_anywhere(items: list[Any], counts: tuple[int, int], plain: bool) -> None:
    """What comes later completes what came before, and never erases it."""
    answer = heard(items, plain).end()
    assert (answer.usage["input_tokens"], answer.usage["output_tokens"], answer.lacks) == (*counts, ())


@pytest.mark.parametrize(
    ("items", "done"),
    [
        ([text(), END, alone(said(10, 5, 15))], True),
        ([alone(said(10, 5, 15))], False),
        ([text(), alone(said(10, 5, 15))], False),
        ([text(), END, alone(said(0, 0, 0))], False),
        ([text(), END, alone(said(10, 0, 10))], False),
        ([text(), {**END, "usage": said(10, 5, 15)}], False),
    ],
)
def test_the_last_word_is_the_usage_that_comes_alone_after_the_end(items: list[Any], done: bool) -> None:
    """Before it something may come that changes it; what is not done is settled at the body's end."""
    assert heard(items).done is done


def test_details_are_kept() -> None:
    """The bare counts may come once more."""
    first = {**END, "usage": said(100, 5, 105, prompt_tokens_details={"cached_tokens": 60})}
    answer = heard([text(), first, alone(said(100, 5, 105))]).end()
    assert answer.usage == {"input_tokens": 100, "output_tokens": 5, "cache_read_tokens": 60}


PLACEHOLDERS = {
    "1 on the first": ([text(usage=said(10, 1, 11)), *[text()] * 9], 10, 10),
    "1 alone and first": ([alone(said(10, 1, 11)), *[text()] * 9], 10, 9),
    "zeros on each": ([text(usage=said(0, 0, 0))] * 9, None, 9),
    "input alone, then all": ([alone(said(10, 0, 10)), *[text()] * 9, END], 10, 9),
    "input on each": ([text(usage=said(10, 0, 10))] * 9, 10, 9),
    "null on each": ([text(usage=None)] * 9, None, 9),
    "below 0 on each": ([text(usage=said(-1, -1, -1))] * 9, None, 9),
}


@pytest.mark.parametrize("plain", [True, False], ids=["dict", "object"])
@pytest.mark.parametrize(("items", "sent", "pieces"), PLACEHOLDERS.values(), ids=PLACEHOLDERS)
def test_a_placeholder_is_not_the_last_word(items: list[Any], sent: int | None, pieces: int, plain: bool) -> None:
    """The output is then what was heard."""
    answer = heard(items, plain).end()
    assert answer.usage.get("input_tokens") == sent
    assert "output_tokens" in answer.lacks
    assert answer.heard == Heard("a" * pieces, 0, pieces)


def test_what_comes_after_a_running_total_is_counted_on_top() -> None:
    """What came before is in the total."""
    items = [text("a", usage=said(10, n, 10 + n)) for n in (1, 2, 3)]
    answer = heard([*items, text("b")]).end()
    assert (answer.usage["output_tokens"], answer.heard) == (3, Heard("b", 0, 1, running=True))


FAILED = {"type": "response.failed", "response": {"id": "r", "status": "failed", "output": [], "usage": None}}
CREATED = {"type": "response.created", "response": {"id": "r", "status": "in_progress", "output": []}}
WRITTEN = {"type": "response.output_text.delta", "delta": "hi"}


@pytest.mark.parametrize(
    ("name", "items", "free"),
    [
        ("chat.completions", [ERROR], True),
        ("chat.completions", [{**text("", "error"), **ERROR}], True),
        ("chat.completions", [text("", "error")], True),
        ("chat.completions", [text(""), ERROR], True),
        ("chat.completions", [text(), ERROR], False),
        ("chat.completions", [text(), {**text("", "error"), **ERROR}], False),
        ("chat.completions", [{**ERROR, "choices": [], "usage": said(10, 5, 15)}], False),
        ("chat.completions", [], False),
        ("responses", [ERROR], True),
        ("responses", [{"type": "error", "code": "server_error", "message": "no"}], True),
        ("responses", [CREATED, FAILED], True),
        ("responses", [CREATED, WRITTEN, FAILED], False),
        ("responses", [CREATED, {"type": "response.output_item.added", "item": {"type": "reasoning"}}, FAILED], False),
        ("responses", [CREATED, WRITTEN, ERROR], False),
        ("responses", [CREATED], False),
        ("audio.transcriptions", [{"type": "error", "error": {"message": "no"}}], True),
    ],
)
def test_a_stream_that_is_only_an_error_is_free(name: str, items: list[Any], free: bool) -> None:
    """An error after something was written is an interruption."""
    answer = heard(items, name=name).end()
    assert (answer.free, bool(answer.lacks)) == (free, not free and not answer.usage)


def test_a_responses_usage_is_completed_too() -> None:
    """An earlier event may have said more of it."""
    first = {"type": "response.in_progress", "response": {"status": "in_progress", "usage": {"input_tokens": 10}}}
    last = {"type": "response.completed", "response": {"status": "completed", "usage": {"output_tokens": 5}}}
    answer = heard([first, WRITTEN, last], name="responses").end()
    assert (answer.usage, answer.lacks) == ({"input_tokens": 10, "output_tokens": 5}, ())


def test_a_response_that_says_zeros_is_estimated() -> None:
    """It wrote something."""
    last = {
        "type": "response.completed",
        "response": {"status": "completed", "usage": {"input_tokens": 0, "output_tokens": 0}},
    }
    answer = heard([WRITTEN, last], name="responses").end()
    assert (answer.usage, tuple(answer.lacks), answer.heard) == ({}, BOTH, Heard("hi", 0, 1))


def test_merging_keeps_the_larger_count_and_the_later_word() -> None:
    """Also of text, and inside of details."""
    first = {"a": 5, "b": "7", "c": {"d": 3, "e": 1}, "f": "old", "g": 2}
    assert merged(first, {"a": 4, "b": "12", "c": {"d": None, "e": 2}, "f": "new", "h": 0, "g": None}) == {
        "a": 5,
        "b": "12",
        "c": {"d": 3, "e": 2},
        "f": "new",
        "g": 2,
        "h": 0,
    }


# -- what was heard ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heard", "model", "tokens"),
    [
        (Heard("word " * 100, 0, 100), "gpt-4o", 101),  # " word" is one, and so is the last space
        (Heard("internationalization " * 10, 0, 10), "gpt-4o", 21),  # by bytes / 4 it would be 53
        (Heard("", 0, 0), "gpt-4o", 0),
        (Heard("", 0, 7), "gpt-4o", 7),
        (Heard("a", 0, 3), "gpt-4o", 3),  # never below the items
        (Heard("word " * 100, 1_500, 100), "gpt-4o", 404),  # 101 for 500 bytes; 303 for the rest
        (Heard("word " * 100, 0, 100), "llama-3", 101),
        (Heard("word " * 100, 0, 100), "claude-sonnet-4-5", 152),  # half as much again
    ],
)
def test_what_was_heard_is_counted_with_the_tokenizer(heard: Heard, model: str, tokens: int) -> None:
    """And never below the items that came."""
    assert count_heard(heard, model) == tokens


def test_without_a_vocabulary_four_bytes_are_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where tiktoken cannot be had."""
    monkeypatch.setattr("budgetguard.prices.tokens._encodings", {"o200k_base": None})
    assert count_heard(Heard("word " * 100, 0, 10), "gpt-4o") == 125
