"""
One call of a function of LiteLLM's, read from its arguments: those of OpenAI's API, whoever is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from inspect import Parameter, signature
from types import ModuleType
from typing import Any, Final

from ...adapters.common.failures import free_failure, never_sent
from ...adapters.openai import DIALECT as OPENAI
from ...calls import NOTHING, Answer
from ...concurrency.interrupts import raise_interruption
from ...errors import BudgetGuardError
from ...guards.admission import NO_BOUNDS
from ...guards.charge import Charge
from ...guards.guard import Guard
from ...guards.scope import Scope
from ..exchange import WORDS, Exchange, log, plain_name
from ..places import Place
from .costs import Costs, billed_by
from .names import speaks_openai, whom
from .operations import LiteLLMFunction
from .streams import is_stream, watch_stream

_ID = "litellm_call_id"
"""By which LiteLLM's functions that do one call together have it."""

_FILES: Final = ("file", "image", "mask")
_MOCKED: Final = ("mock_response", "mock_tool_calls", "mock_timeout")
_STATING: Final = frozenset({"litellm_proxy", "openrouter", "perplexity", "vercel_ai_gateway", "xai"})
"""Who states what a call cost; by all others, LiteLLM's usage may have what its own map makes of it."""

_SPREAD: Final = ("fallbacks", "model_list")


class Program:
    """What stands for the client of the SDK, which has none: all functions have one guard."""


PROGRAM: Final = Program()


class LiteLLMCall(Exchange):
    """One call, from its function's arguments. The caller's own objects stay as they are."""

    decoded = True
    path = ""
    answered = False
    """Whether the answer to its one request is what its stream gives."""

    def __init__(
        self,
        operation: LiteLLMFunction,
        litellm: ModuleType,
        wrapped: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        guard: Guard,
        costs: Costs,
        is_async: bool,
    ) -> None:
        self.operation = operation
        self.endpoint, self.dialect = operation.endpoint, operation.dialect
        self.litellm = litellm
        self.wrapped = wrapped
        self.client = PROGRAM
        """Who sends its requests, once that is known."""
        self.guard = guard
        self.costs = costs
        self.is_async = is_async
        self.args = args
        self.kwargs = self.given = kwargs
        self.names = _positional(wrapped) if args else ()
        arguments = {**dict(zip(self.names, args, strict=False)), **kwargs}
        self.whom = asked = whom(litellm, arguments)
        self.body = _body(arguments, asked.model)
        self.unreadable = False
        self.form = _files(arguments)
        version = arguments.get("api_version")
        version = version if isinstance(version, str) else None
        self.place = Place(None, NOTHING, asked.host, version, asked.port, asked.azure, "")
        self.arguments = arguments

    @property
    def unread(self) -> bool:
        """Whether its reply is a stream."""
        return self.body.get("stream") is True

    @property
    def headers(self) -> Mapping[str, Any]:
        """Those that it states."""
        stated = self.arguments.get("extra_headers") or self.arguments.get("headers")
        return stated if isinstance(stated, Mapping) else NOTHING

    @property
    def passes(self) -> bool:
        """Whether it costs nothing itself: it is mocked, spread over others, or the program's own code answers."""
        said, fallbacks = self.arguments, vars(self.litellm).get("model_fallbacks")
        if any(said.get(name) for name in _MOCKED) or self.whom.is_programs_own:
            return True
        return self.operation.name == "completion" and bool(fallbacks or any(said.get(name) for name in _SPREAD))

    def open(self, scope: Scope | None) -> Charge:
        """Read the request, and make its charge; no cap is added that LiteLLM does not pass on."""
        asked = self.whom
        if speaks_openai(asked) and asked.host:
            asked = asked._replace(provider=self.guard.prices.provider(asked.host))
        self.seller = self.costs.provider(self.litellm, asked, self.arguments)
        charge = super().open(scope)
        field = self.dialect.cap_field(self.endpoint, charge.asked.host)
        if charge.call.cap is not None and not (field and self._takes(field)):
            charge.call = charge.call._replace(cap=None)
        return charge

    def is_above(self, other: Exchange) -> bool:
        """
        Whether what is asked on the way is this call: another function of LiteLLM's that does it, or the SDK by which
        it is sent, whose attempts are then this call's.

        What callbacks ask meanwhile is not on the way: where they are told of a call (`hooks`), after its answer, or
        clearly of another model. Nor is anything, of what is only gated.
        """
        if self.endpoint.opaque:
            return False
        if isinstance(other, LiteLLMCall):
            if (own := self.arguments.get(_ID)) is not None and own == other.arguments.get(_ID):
                return True
            return other.operation is not self.operation and other.whom.model == self.whom.model
        if _is_anothers(other, self.body):
            return False
        if self.client is PROGRAM:  # the outermost: there may be an HTTP client below
            self.client = other.client
        if not (self.answered or (self.response is not None and self.response.status_code < 300)):
            return True
        return other.client is self.client or other.client is getattr(self.client, "_client", None)

    def changes(self) -> Mapping[str, Any]:
        """Those that LiteLLM passes on to this provider."""
        changed = super().changes()
        self.added = changed = {name: value for name, value in changed.items() if self._takes(name)}
        self.ask_usage = "stream_options" in changed
        return changed

    def _takes(self, field: str) -> bool:
        """Whether LiteLLM takes a field for this provider, rather than to refuse the call for it."""
        if self.operation.name != "completion":
            return True
        try:
            known = self.litellm.get_supported_openai_params(
                model=self.whom.model, custom_llm_provider=self.whom.litellms or None
            )
        except Exception as error:
            raise_interruption(error)
            return False
        return field in (known or ())

    def proceed(self) -> Any:
        """Have LiteLLM do it, with `changes`; the caller's arguments stay as they are."""
        charge, args, kwargs = self.charge, self.args, self.kwargs
        assert charge is not None
        changed = self.changes() if charge.bounds is not NO_BOUNDS or self.ask_usage else NOTHING
        if changed:
            by_place = dict(zip(self.names, args, strict=False))
            if changed.keys() & by_place.keys():
                args, kwargs = args[len(by_place) :], {**by_place, **kwargs}
            kwargs = {**kwargs, **changed}
        self.carried = kwargs
        return self.wrapped(*args, **kwargs)

    def rewrite(self, body: Mapping[str, Any]) -> bool:
        """Take other arguments for the caller's, if LiteLLM finds the same provider by them: the key is that one's."""
        name, given = body["model"], self.arguments
        for model in (name, f"{self.whom.litellms}/{name}"):
            arguments = {**given, **{field: body[field] for field in body if field in given}, "model": model}
            asked = whom(self.litellm, arguments)
            if asked[2:] == self.whom[2:]:
                break
        else:
            return False
        gone = [field for field in self.body if field not in body]
        self.arguments = {field: arguments[field] for field in arguments if field not in gone}
        self.args, self.kwargs, self.given = (), self.arguments, self.arguments
        self.whom, self.body = asked, _body(self.arguments, asked.model)
        return True

    def observe(self, response: Any) -> None:
        """Take in the reply: of a stream, who hears it. Never raises: the caller has paid for it."""
        charge = self.charge
        assert charge is not None
        try:
            if self.unread and is_stream(response):
                self.answered = self.response is not None
                watch_stream(self, charge, response, self.litellm, self.bill)
                return
        except Exception as error:
            raise_interruption(error)
            log.exception("the stream of call %s cannot be heard", charge.id)
        super().observe(response)
        self.bill(response)

    def bill(self, reply: Any) -> None:
        """Have what LiteLLM says that a reply cost stand, where no price is known here, and only there."""
        charge = self.charge
        if charge is None or charge.answer is None or self.endpoint.opaque:
            return
        try:
            if not _is_priced(charge, charge.answer):
                charge.answer = billed_by(self.litellm, self.whom, reply, charge.answer)
            elif charge.answer.cost and self.whom.litellms not in _STATING:
                charge.answer = charge.answer._replace(cost=None)
        except Exception as error:
            raise_interruption(error)
            log.exception("what call %s cost could not be asked", charge.id)

    def failed(self, error: BaseException) -> None:
        """Take in that the call raised: a refusal, or what LiteLLM made an error of its own of."""
        charge = self.charge
        if isinstance(error, BudgetGuardError):
            error.num_retries = 0  # type: ignore[attr-defined]  # as a `Router` asks an error, how often to try again
        if self.lost is None and self.carried is not None and charge is not None and charge.state == "sent":
            charge.failed(free=_is_free(error), sent=1)
            return
        super().failed(error)


def _is_anothers(other: Exchange, body: Mapping[str, Any]) -> bool:
    """
    Whether a request asks clearly something else than a body says: another model, by other words.

    Only OpenAI's API is given the words as LiteLLM was; where models have other names, the words are the same.
    """
    own, asked = (plain_name(each.get("model")).lower() for each in (body, other.body))
    if other.dialect is not OPENAI or not (own and asked) or own in asked or asked in own:
        return False
    return any(other.body.get(name) for name in WORDS) and all(
        other.body.get(name) != body.get(name) for name in WORDS if name in other.body
    )


def _is_priced(charge: Charge, answer: Answer) -> bool:
    """Whether the price book knows what an answer costs."""
    if charge.plan.quote is None:
        return False
    if answer.usage is None or answer.lacks:
        return True
    return charge.parts.true_cost(charge.asked.provider, charge.call.model, answer) is not None


_TRANSPORTS: Final = frozenset({"httpx", "httpx2", "httpcore", "httpcore2", "aiohttp"})


def _is_free(error: BaseException) -> bool:
    """Whether a failed call cannot have been billed: LiteLLM gives a status to what had none, a time-out is a 408."""
    broken = [
        link
        for link in _links(error)
        if type(link).__module__.partition(".")[0] in _TRANSPORTS and type(link).__name__ != "HTTPStatusError"
    ]
    return never_sent(broken[0]) if broken else free_failure(error)


def _links(error: BaseException | None) -> Iterator[BaseException]:
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


@lru_cache(maxsize=256)
def _positional(function: Callable[..., Any]) -> Sequence[str]:
    """The names of the arguments that a function may be given by their place."""
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return [name for name, each in signature(function).parameters.items() if each.kind in kinds]


def _body(arguments: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The fields of the API among the arguments: LiteLLM's own say nothing there."""
    body = {name: value for name, value in arguments.items() if value is not None and not name.startswith("litellm_")}
    extra = body.pop("extra_body", None)
    return {**body, **(extra if isinstance(extra, Mapping) else NOTHING), "model": model}


def _files(arguments: Mapping[str, Any]) -> Sequence[tuple[str, Any]]:
    """The files among the arguments, as a multipart form has them."""
    found: list[tuple[str, Any]] = []
    for name in _FILES:
        value = arguments.get(name)
        found += [(name, each) for each in (value if isinstance(value, list) else [value]) if each is not None]
    return found
