"""
Whether an answer may have billed output that its stream does not show: by the model's name, and by what the body asks.

Of such an answer, what arrived before its stream broke off says nothing of the bill. A model that is taken for none
and reasons costs less than its bill then, so the families are drawn wide. Providers spell the wish in many ways; a
wish not to is believed where the model can be switched, and not of one that always reasons.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_NEVER = re.compile(r"non?[-_]?(reason|think)|gpt-5-chat|gemini-2\.5-flash-(lite|image)|qwen3?-?(embedding|coder|max)")
"""Of families below, those that do not, or only when they are asked to."""

_ALWAYS = re.compile(
    r"(^|[/:.@])(o\d|gpt-(5($|[-:@])|oss)|codex|computer-use)|codex|reason|thinking|think$|deep-research|deepseek-r\d"
    r"|[-/]r1\b|qwq|qvq|magistral|minimax-m\d|grok-(3-mini|4($|-0|[-.]\d(?!.*fast))|[5-9]|code)|gemini-2\.5-pro"
    r"|gemini-[3-9][\d.]*-pro|hunyuan-t1|ernie-x|exaone-deep|seed-oss|intellect-3"
)
"""OpenAI's and DeepSeek's reasoners, Grok, Gemini Pro, QwQ, Magistral, MiniMax-M, and whoever says so in its name."""

_UNLESS_TOLD = re.compile(
    r"gpt-([6-9]|5\.)|gemini-(2\.5-flash|[3-9]|(flash|pro)-latest)|grok-4|qwen-?3(?!.*instruct)|qwen-?[4-9]"
    r"|glm-(4\.[5-9]|[5-9]|z)|kimi-(k2\.[5-9]|k[3-9]|latest)|deepseek-v(3\.[1-9]|[4-9])|nemotron|doubao-seed|mimo"
    r"|nova-(2|premier)|step-3"
)
"""Those that reason unless they are told not to; some of them only if they are asked, by the host that serves them."""

_SWITCHES = frozenset(
    {
        "reasoning",
        "reasoning_effort",
        "reasoning_budget",
        "reasoning_config",
        "reasoningConfig",
        "thinking",
        "thinking_budget",
        "thinkingBudget",
        "thinking_level",
        "thinkingLevel",
        "thinking_config",
        "thinkingConfig",
        "enable_thinking",
        "think",
        "budget_tokens",
        "effort",
        "enabled",
        "max_tokens",
    }
)
_BOXES = frozenset(
    {
        "chat_template_kwargs",
        "extra_body",
        "google",
        "generation_config",
        "generationConfig",
        "output_config",
        "additional_model_request_fields",
        "additionalModelRequestFields",
    }
)
"""Fields in which servers take switches of their own."""

WISHES = frozenset({name for name in _SWITCHES if "reason" in name or "think" in name} | _BOXES)
"""The fields of a body that may ask for reasoning."""

_OFF = frozenset({"", "none", "off", "no", "false", "disable", "disabled", "disable_thinking", "no_think", "0"})
_DEPTH = 4


def thinks(model: str, body: Mapping[str, Any]) -> bool:
    """Whether a model reasons unseen when it is asked like this."""
    habit = _habit(model)
    if habit == "always" or WISHES.isdisjoint(body):
        return habit != "never"
    asked = _asked({name: body[name] for name in WISHES if name in body})
    return habit != "never" if asked is None else asked


@lru_cache(maxsize=1024)
def reasons(model: str) -> bool:
    """Whether a model reasons unseen when nobody says anything of it."""
    return _habit(model) != "never"


@lru_cache(maxsize=1024)
def _habit(model: str) -> str:
    name = model.lower()
    if _NEVER.search(name):
        return "never"
    if _ALWAYS.search(name):
        return "always"
    return "unless told" if _UNLESS_TOLD.search(name) else "never"


def _asked(fields: Mapping[str, Any], depth: int = 0) -> bool | None:
    """What the switches among some fields say; on, if they contradict each other; `None` if they say nothing."""
    said = [_switch(value, depth) for name, value in fields.items() if name in _SWITCHES]
    if depth < _DEPTH:
        said += [_asked(box, depth + 1) for name in _BOXES if isinstance(box := fields.get(name), Mapping)]
    return True if True in said else False if False in said else None


def _switch(value: Any, depth: int) -> bool | None:
    if isinstance(value, str):
        return value.lower() not in _OFF
    if isinstance(value, bool | int | float):
        return bool(value)
    if not isinstance(value, Mapping):
        return None
    kind = value.get("type")
    if isinstance(kind, str) and kind.lower() in _OFF:
        return False
    inner = {name: part for name, part in value.items() if name in _SWITCHES and part is not None}
    asked = _asked(inner, depth + 1) if depth < _DEPTH else None
    if inner.get("enabled") is False or (asked is False):
        return False
    return True if value else None
