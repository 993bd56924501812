"""
What is said of a call, in the words of OpenTelemetry's conventions for generative AI, and in ours beside them.

Plain functions over plain data. Of a request's texts and an answer's there is nothing in here: nobody reads them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final, Protocol, TypeAlias

from ..calls import Answer, Call, Endpoint, Host
from ..errors import (
    BudgetBusyError,
    BudgetExceededError,
    BudgetGuardError,
    StoreError,
    UnknownUserError,
    UnpricedModelError,
    UnscopedCallError,
)
from ..ledger import Entry
from ..money import DOLLAR, Nano

Attribute: TypeAlias = str | bool | int | float
Attributes: TypeAlias = dict[str, Attribute]

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
MODEL: Final = "gen_ai.request.model"
ANSWERED_BY: Final = "gen_ai.response.model"
TOKEN_TYPE: Final = "gen_ai.token.type"
INPUT: Final = "gen_ai.usage.input_tokens"
OUTPUT: Final = "gen_ai.usage.output_tokens"
ERROR: Final = "error.type"
HOLD: Final = "budgetguard.hold_id"
HELD: Final = "budgetguard.held_nano"
BUDGET: Final = "budgetguard.budget"
REASON: Final = "budgetguard.reason"
TAG: Final = "budgetguard.tag."

_OPERATIONS: Final = {
    "completions": "text_completion",
    "models.generateContent": "generate_content",
    "models.streamGenerateContent": "generate_content",
    **dict.fromkeys(
        ("chat.completions", "responses", "agents.completions", "messages", "converse", "converse_stream", "v2.chat"),
        "chat",
    ),
    **dict.fromkeys(
        ("embed", "v1.embed", "v2.embed", "models.embedContent", "models.batchEmbedContents"), "embeddings"
    ),
}
"""Operations that the conventions have a name for; others keep their own."""

_PROVIDERS: Final = {
    "aws": "aws.bedrock",
    "azure": "azure.ai.openai",
    "google": "gcp.gemini",
    "mistral": "mistral_ai",
    "x-ai": "x_ai",
}
"""Providers that prices call otherwise than the conventions."""

_USAGE: Final = {
    "input_tokens": INPUT,
    "output_tokens": OUTPUT,
    "cache_read_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_write_tokens": "gen_ai.usage.cache_creation.input_tokens",
    "output_reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
}
TOKENS: Final = {"input_tokens": "input", "output_tokens": "output"}

_AROUND: Final = frozenset({"create_agent", "invoke_agent", "execute_tool", "invoke_workflow", "retrieval", "plan"})
"""What a span says of itself around which calls are made, and which is none."""

_REASONS: Final = (
    (BudgetBusyError, "held"),
    (BudgetExceededError, "spent"),
    (UnpricedModelError, "unpriced"),
    (UnscopedCallError, "unscoped"),
    (UnknownUserError, "unknown_user"),
    (StoreError, "store"),
)


class AskedFor(Protocol):
    """What a call asks for, where, and for whom."""

    @property
    def endpoint(self) -> Endpoint:
        """The operation."""
        ...

    @property
    def provider(self) -> str | None:
        """The provider, as prices know it."""
        ...

    @property
    def host(self) -> Host:
        """The host."""
        ...

    @property
    def tags(self) -> Mapping[str, str]:
        """The tags of its scope."""
        ...


class HeldFor(Protocol):
    """What is held for a call."""

    id: str
    pid: int

    @property
    def amount(self) -> Nano:
        """In dollars."""
        ...


class Asking(Protocol):
    """The charge of a call."""

    @property
    def asked(self) -> AskedFor:
        """What it asks for."""
        ...

    call: Call

    @property
    def held(self) -> HeldFor:
        """What it holds."""
        ...


def asked_of(it: Asking, tags: Collection[str] = ()) -> Attributes:
    """What is known of a call before it is sent. `tags`: the names of those that are told, too."""
    asked, model = it.asked, it.call.model
    name, provider = asked.endpoint.name, asked.provider
    said: Attributes = {OPERATION: _OPERATIONS.get(name, name)}
    if provider:
        said[PROVIDER] = _PROVIDERS.get(provider, provider)
    if model:
        said[MODEL] = model
    if asked.host.name:
        said["server.address"] = asked.host.name
    for tag in tags:
        if tag in asked.tags:
            said[TAG + tag] = asked.tags[tag]
    return said


def name_of_span(asked: Attributes) -> str:
    """ "chat gpt-4o-mini"."""
    model = asked.get(MODEL)
    return f"{asked[OPERATION]} {model}" if model else str(asked[OPERATION])


def booked(entry: Entry, answer: Answer) -> Attributes:
    """What is known of a call once it is on the books."""
    said: Attributes = {"budgetguard.cost": entry.cost / DOLLAR, "budgetguard.cost_nano": entry.cost}
    if answer.model:
        said[ANSWERED_BY] = answer.model
    if answer.id:
        said["gen_ai.response.id"] = answer.id
    for kind, name in _USAGE.items():
        if kind in entry.usage:
            said[name] = entry.usage[kind]
    for flag in entry.flags:
        said[f"budgetguard.{flag}"] = True
    return said


def error_type(error: BaseException) -> str:
    """The class of an error; of an error status that nobody raised, the status."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and type(error).__module__.startswith(__name__.partition(".")[0]):
        return str(status)
    return type(error).__qualname__


def refused(error: BaseException) -> Attributes | None:
    """Which budget had a call not be sent, and why; `None`: it was none of ours who refused it."""
    if not isinstance(error, BudgetGuardError):
        return None
    if isinstance(error, BudgetExceededError):
        reason = "paused" if error.paused else "held" if isinstance(error, BudgetBusyError) else "spent"
        return {BUDGET: error.budget, REASON: reason}
    return {REASON: next((reason for kind, reason in _REASONS if isinstance(error, kind)), "other")}


def is_of_one_call(said: Mapping[str, object] | None) -> bool:
    """
    Whether a span with these attributes is another's of one call of a model, and no call has it by now.

    That of an agent, a tool or a chain is around calls, and is none.
    """
    if not said or HOLD in said:
        return False
    operation = said.get(OPERATION)
    return operation not in _AROUND and (operation is not None or MODEL in said)


def counted(entry: Entry) -> Iterator[tuple[str, int]]:
    """The tokens of a call, by their type."""
    for kind, name in TOKENS.items():
        if entry.usage.get(kind):
            yield name, entry.usage[kind]
