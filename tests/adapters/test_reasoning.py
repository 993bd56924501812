"""Whether a model reasons unseen: by its name, and by what the body asks."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from budgetguard.adapters.openai.requests import chat, responses

REASONING = """
    o1 o3-mini o4-mini azure/o3 ft:o4-mini:org::x gpt-5 gpt-5.2 gpt-5.1-codex openai/gpt-6-luna codex-mini-latest
    computer-use-preview o3-deep-research openai.gpt-oss-120b-1:0 gpt-oss:20b deepseek-reasoner
    deepseek/deepseek-r1:free
    deepseek-ai/DeepSeek-R1-Distill-Llama-70B deepseek-v3.2 grok-4 grok-4-0709 grok-4-fast-reasoning x-ai/grok-4.1-fast
    grok-3-mini grok-code-fast-1 gemini-2.5-pro google/gemini-2.5-flash gemini-3-pro-preview Qwen/Qwen3-8B
    qwen3-next-80b-a3b-thinking qwq-32b glm-4.6 z-ai/glm-5 kimi-k2-thinking kimi-k2.5 MiniMaxAI/MiniMax-M2
    magistral-medium-latest anthropic/claude-3.7-sonnet:thinking sonar-reasoning-pro sonar-deep-research
"""
PLAIN = """
    gpt-4o gpt-4o-mini gpt-4.1 gpt-3.5-turbo chatgpt-4o-latest openai/gpt-5-chat deepseek-chat deepseek-v3 grok-3 grok-2
    grok-4-fast-non-reasoning gemini-2.0-flash gemini-2.5-flash-lite qwen2.5-72b-instruct qwen3-coder-plus qwen-plus
    qwen3-235b-a22b-instruct-2507 glm-4-plus kimi-k2-instruct moonshot-v1-8k minimax-text-01 mistral-large-latest
    claude-sonnet-4.5 sonar sonar-pro amazon.nova-pro-v1:0 llama-3.3-70b-instruct phi-4 m
"""


@pytest.mark.parametrize("model", REASONING.split())
def test_models_that_reason_are_known_by_their_names(model: str) -> None:
    """What arrived of their interrupted streams says nothing of the bill."""
    assert chat({"model": model, "messages": []}).thinks
    assert responses({"model": model, "input": "hi"}).thinks


@pytest.mark.parametrize("model", PLAIN.split())
def test_models_that_do_not_reason_cost_what_was_heard(model: str) -> None:
    """To hold all that was reserved for every stream that is left would be no better."""
    assert not chat({"model": model, "messages": []}).thinks


ASKED: list[dict[str, Any]] = [
    {"reasoning": {"effort": "high", "exclude": True}},
    {"reasoning": {"enabled": True}},
    {"reasoning": {"max_tokens": 2_000}},
    {"reasoning": {"summary": "auto"}},
    {"reasoning_effort": "minimal"},
    {"thinking": {"type": "enabled", "budget_tokens": 1_024}},
    {"thinking": {"type": "adaptive"}},
    {"thinking": True},
    {"enable_thinking": True},
    {"thinking_budget": -1},
    {"think": "low"},
    {"chat_template_kwargs": {"enable_thinking": True}},
    {"chat_template_kwargs": {"thinking": True}},
    {"google": {"thinking_config": {"include_thoughts": True}}},
    {"extra_body": {"google": {"thinking_config": {"thinking_budget": 512}}}},
    {"reasoning_effort": "none", "enable_thinking": True},
]
REFUSED: list[dict[str, Any]] = [
    {"reasoning": {"enabled": False}},
    {"reasoning": {"effort": "none"}},
    {"reasoning": {"max_tokens": 0}},
    {"reasoning_effort": "none"},
    {"thinking": {"type": "disabled"}},
    {"thinking": {"type": "enabled", "budget_tokens": 0}},
    {"enable_thinking": False},
    {"thinking_budget": 0},
    {"think": False},
    {"chat_template_kwargs": {"enable_thinking": False}},
    {"google": {"thinking_config": {"thinking_budget": 0}}},
    {"extra_body": {"google": {"thinking_config": {"thinking_budget": 0}}}},
]
SAYS_NOTHING: list[dict[str, Any]] = [
    {"reasoning": None},
    {"reasoning": {}},
    {"reasoning_effort": None},
    {"reasoning_effort": openai.NOT_GIVEN},
    {"chat_template_kwargs": {"add_generation_prompt": True}},
    {"extra_body": "x", "google": 3},
]


@pytest.mark.parametrize("wish", ASKED, ids=str)
def test_who_asks_for_reasoning_gets_it_from_any_model(wish: dict[str, Any]) -> None:
    """In every spelling that a provider has for it."""
    assert chat({"model": "claude-sonnet-4.5", "messages": [], **wish}).thinks
    assert responses({"model": "mine", "input": "hi", **wish}).thinks


@pytest.mark.parametrize("wish", REFUSED, ids=str)
def test_a_wish_not_to_reason_is_believed_where_the_model_can_be_switched(wish: dict[str, Any]) -> None:
    """Some always reason, and only ignore it."""
    for model in ("gemini-2.5-flash", "Qwen/Qwen3-8B", "glm-4.6", "gpt-5.2", "claude-sonnet-4.5"):
        assert not chat({"model": model, "messages": [], **wish}).thinks
    for model in ("grok-4", "deepseek-reasoner", "gemini-2.5-pro", "qwq-32b"):
        assert chat({"model": model, "messages": [], **wish}).thinks


@pytest.mark.parametrize("wish", SAYS_NOTHING, ids=str)
def test_a_field_that_says_nothing_changes_nothing(wish: dict[str, Any]) -> None:
    """The model's habit stands."""
    assert not chat({"model": "gpt-4o", "messages": [], **wish}).thinks
    assert chat({"model": "gemini-2.5-flash", "messages": [], **wish}).thinks


def test_a_fallback_that_reasons_counts() -> None:
    """It may be the one whose stream is left."""
    assert chat({"model": "gpt-4o", "messages": [], "models": ["openai/o3"]}).thinks
