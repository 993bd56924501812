"""
Reading an answer that the caller holds: an SDK's object, its plain dict, or another library's own kind.

Each kind is known by its shape, and read by its API's own reader: a new one is a line in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from ..adapters import anthropic, openai
from ..adapters.bedrock import replies as bedrock
from ..adapters.cohere import replies as cohere
from ..adapters.common.bodies import fields
from ..adapters.common.numbers import stated_cost
from ..adapters.gemini import replies as gemini
from ..adapters.ollama import replies as ollama
from ..calls import Answer, Reply, read
from ..errors import ConfigError
from ..money import Nano
from ..prices.estimates import count_heard
from ..providers.table import by_prefix


class AnswerKind(NamedTuple):
    """One kind of answers."""

    fits: Callable[[Any], bool]
    """Whether an answer is one, by its shape."""
    read: Reply
    provider: str | None = None
    """Whose API it is: its prices count where it has the model."""


class HeldAnswer(NamedTuple):
    """What an answer says of its cost, and what is known of it beside."""

    answer: Answer
    provider: str | None = None
    """Whose prices count first."""
    otherwise: Nano | None = None
    """What it costs by LiteLLM's own map: for a model that has no price here."""

    def completed(self, model: str | None) -> HeldAnswer:
        """With the model that was asked, where it names none, and its text counted where it does not say how much."""
        answer, usage = self.answer, dict(self.answer.usage or {})
        asked = answer.model or model
        if answer.cost is None and (answer.usage is None or "input_tokens" in answer.lacks):
            raise ConfigError("completion_obj has no usage: give model, input_text and output_text instead")
        if answer.lacks:
            usage["output_tokens"] = count_heard(answer.heard, asked or "")
        return self._replace(answer=answer._replace(model=asked, usage=usage))


def _says(name: str, value: str, answer: Any) -> bool:
    return bool(read(answer, name) == value)


def _has(names: tuple[str, ...], answer: Any) -> bool:
    return any(read(answer, name) is not None for name in names)


def _is_coheres(answer: Any) -> bool:
    return any(read(read(answer, name), "billed_units") is not None for name in ("usage", "meta"))


def _openai(path: str) -> Reply:
    endpoint = openai.find("POST", path)
    assert endpoint is not None
    assert endpoint.answer is not None
    return endpoint.answer


_CHAT = _openai("/chat/completions")

KINDS: Final = (
    AnswerKind(partial(_says, "type", "message"), anthropic.MESSAGES.answer or _CHAT, "anthropic"),
    AnswerKind(partial(_says, "object", "response"), _openai("/responses")),
    AnswerKind(partial(_says, "object", "text_completion"), _openai("/completions")),
    AnswerKind(partial(_says, "object", "list"), _openai("/embeddings")),
    AnswerKind(partial(_has, ("usageMetadata", "usage_metadata")), gemini.generated, "google"),
    AnswerKind(partial(_has, ("stopReason",)), bedrock.converse, "aws"),
    AnswerKind(partial(_has, ("prompt_eval_count", "eval_count")), ollama.answer),  # by no host: it may be hosted
    AnswerKind(_is_coheres, cohere.answer, "cohere"),
    AnswerKind(partial(_has, ("usage", "choices")), _CHAT),  # LiteLLM's, Mistral's, Z.ai's, and a dict of these fields
)
"""Every kind, the most particular first."""


def read_answer(answer: Any) -> HeldAnswer:
    """What an answer says of its cost; raises `ConfigError` for what is no answer at all, without what it says."""
    plain = isinstance(answer, Mapping) or hasattr(answer, "__dict__")
    kind = next((kind for kind in KINDS if kind.fits(answer)), None) if plain else None
    if kind is None:
        raise ConfigError(
            f"completion_obj is of {type(answer).__name__}, and no answer that can be read: give what an SDK returned "
            "(OpenAI's, Anthropic's, Google's, Bedrock's, Cohere's, Mistral's, Ollama's, LiteLLM's), or its dict, with "
            "its usage; or model, input_text and output_text"
        )
    hidden = fields(getattr(answer, "_hidden_params", None))
    if not hidden:
        return HeldAnswer(kind.read(answer), kind.provider)
    named = by_prefix().get(str(hidden.get("custom_llm_provider")))
    cost, _fee = stated_cost({"cost": hidden.get("response_cost")})
    return HeldAnswer(kind.read(answer), named.prices if named is not None else kind.provider, cost)
