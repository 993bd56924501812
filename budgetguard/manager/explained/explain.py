"""`explain`: a call is rehearsed, and what each budget said to it is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ...adapters.openai import find
from ...budgets.news import NO_NEWS, Mark
from ...budgets.rules import Budget, unescape
from ...budgets.steering.declared import declared
from ...budgets.steering.known import Subject
from ...budgets.steering.moments import moment_text
from ...budgets.steering.states import left_of, state_of
from ...budgets.steering.steers import Steer
from ...calls import UNKNOWN_HOST, Call, Endpoint, Host
from ...errors import BudgetExceededError, BudgetGuardError, ConfigError, UnpricedModelError
from ...guards.costs.room import room_in_s
from ...guards.fallbacks.fallback import Fallback
from ...guards.guard import Guard
from ...ledger import Account, Balance, Refusal, Store, Unit
from ...money import PICO_PER_NANO
from ...prices.book import PriceBook
from ...prices.hosts import host_of
from ...prices.tokens import bound
from ...providers.table import MAIN, ProviderRow, by_prefix
from ...reports.amounts import readable_in
from ...stores.rules import granted
from .explanation import Explanation
from .rehearsal import Rehearsal, Rehearsed
from .shown import BudgetSays, BudgetUntouched, InsteadSays, ProjectedCall

_MILLION = 1_000_000
_UNPRICED = "no price of the model is known, and the budget has to know it"


class AskedCall(NamedTuple):
    """The call that is meant: a chat of one message. Without a model, only whose it is is known."""

    model: str | None = None
    provider: str | None = None
    """Whose model it is; `None`: as "provider/model" says, else OpenAI's, else whoever sells it."""
    text: str | None = None
    """What it sends; or else how many tokens that is."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    """The output cap that it states; 0: it has no output, as embeddings have none."""


class _Placed(NamedTuple):
    """Where a call goes."""

    endpoint: Endpoint
    provider: str | None
    host: Host
    call: Call


def explain(store: Store, guard: Guard, tags: Mapping[str, str], asked: AskedCall, told: Sequence[str]) -> Explanation:
    """See `BudgetManager.explain`; `told` are those who are told of a budget near its limit."""
    given = {rule.name for rule in guard.budgets}
    rules = (*guard.budgets, *[rule for rule in declared(store) if rule.name not in given])
    placed = _placed(asked, guard.prices)
    stage = Rehearsal(store, guard, rules, tags)
    own, others, refusal = _rehearsed(stage, placed, guard.prices)
    fits = refusal is None
    sent = next((each.model for each in others if each.fits), placed.call.model)
    error = refusal if isinstance(refusal, BudgetExceededError) else None
    return Explanation(
        tags,
        fits,
        "" if refusal is None else str(refusal),
        tuple(_budgets(stage, own, placed)),
        tuple(_untouched(rules, stage)),
        None if asked.model is None else _projected(own, placed),
        tuple(others),
        sent if fits else "",
        None if error is None else error.retry_after_s,
        tuple(told),
        tuple(dict.fromkeys(stage.heard.texts)),
    )


# -- the call ----------------------------------------------------------------------------------------------------------


def _placed(asked: AskedCall, prices: PriceBook) -> _Placed:
    endpoint = find("POST", "/chat/completions")
    assert endpoint is not None
    assert endpoint.request is not None
    if asked.model is None:
        if (asked.text, asked.input_tokens, asked.output_tokens, asked.provider) != (None,) * 4:
            raise ConfigError("model is missing: what a call costs depends on it")
        return _Placed(replace(endpoint, opaque=True), None, UNKNOWN_HOST, Call("", cap=None))
    if (asked.text is None) == (asked.input_tokens is None):
        raise ConfigError(f"model={asked.model!r}: say what the call sends: its text, or how many tokens that is")
    for name, value in (("input_tokens", asked.input_tokens), ("output_tokens", asked.output_tokens)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            raise ConfigError(f"{name}={value!r}: a whole number is needed")
    row, model = _named(asked)
    provider = _provider(row, model, asked, prices)
    host = _host(row, model)
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": asked.text or ""}]}
    if asked.output_tokens:
        body["max_completion_tokens"] = asked.output_tokens
    call = endpoint.request(body, (), host)
    if asked.input_tokens is not None:
        framing = bound(Call(model, overhead=1)) - 1
        call = call._replace(texts=(), overhead=max(asked.input_tokens - framing, min(asked.input_tokens, 1)))
    if asked.output_tokens == 0:
        call = call._replace(output=False, cap=None)
    return _Placed(endpoint, provider, host, call)


def _named(asked: AskedCall) -> tuple[ProviderRow | None, str]:
    """The provider that is named, and what the model is called there."""
    model = asked.model or ""
    if asked.provider is not None:
        return by_prefix().get(asked.provider.lower()), model
    prefix, slash, rest = model.partition("/")
    row = by_prefix().get(prefix.lower()) if slash else None
    return (row, rest) if row is not None and rest else (None, model)


def _provider(row: ProviderRow | None, model: str, asked: AskedCall, prices: PriceBook) -> str | None:
    """Whose prices count."""
    if row is not None:
        return row.prices or row.name
    if asked.provider is not None:
        return asked.provider.lower()
    if prices.declares(None, model):
        return None
    if prices.sells(MAIN, model) is not None:
        return MAIN
    try:
        return prices.quote(None, model).provider or None
    except UnpricedModelError:
        return None


def _host(row: ProviderRow | None, model: str) -> Host:
    place = urlsplit((row or by_prefix()[MAIN]).base)
    return UNKNOWN_HOST if not place.hostname or "{" in place.netloc else host_of(place.hostname, None, None, model)


def _projected(own: Rehearsed, placed: _Placed) -> ProjectedCall:
    call, plan, projection = placed.call, own.plan, own.projection
    cost = None if plan.unpriced and not plan.assumed else own.wish.amount
    inside = 0 if projection is None else projection.cost(0)
    stated = call.max_output is not None or not call.output
    capped = None if own.bounds.cap is None or own.bounds.cap >= own.wish.output else own.bounds.cap
    flat = None if projection is None else projection.quote.flat()
    prices = (None, None) if flat is None or cost is None else _prices(*flat)
    return ProjectedCall(
        call.model,
        placed.provider or "",
        bound(call) if projection is None else projection.input_tokens,
        own.wish.output * call.choices if projection is not None else call.max_output or 0,
        cost,
        inside,
        max((cost or 0) - inside, 0),
        stated,
        capped,
        *prices,
    )


def _prices(rate: int, output: int, divisor: int) -> tuple[int, int]:
    """What a million tokens cost at most, in and out."""
    return -(-rate * _MILLION // (divisor * PICO_PER_NANO)), -(-output * _MILLION // (divisor * PICO_PER_NANO))


# -- what the guard decides --------------------------------------------------------------------------------------------


def _rehearsed(
    stage: Rehearsal, placed: _Placed, prices: PriceBook
) -> tuple[Rehearsed, list[InsteadSays], BudgetGuardError | None]:
    """What becomes of a call: of its own model, of those in its place, and the error in the end, if there is one."""
    if placed.endpoint.opaque:
        own = stage.attempt(*placed, None)
        return own, [], own.error
    fallback = Fallback(placed.call.model, looks=stage.coverage.falls > 1)
    own = stage.attempt(*placed, fallback)
    refused = isinstance(own.error, BudgetExceededError) and not own.error.paused
    if not (own.near or refused):
        return own, [], own.error
    others = []
    while fallback.left:
        said = _instead(stage, placed, fallback, prices)
        others.append(said)
        if said.fits:
            return own, others, None
    if own.near:  # it was near its limit, and may have room yet
        fallback.looks, fallback.model = False, ""
        own = stage.attempt(*placed, fallback)
    if fallback.first is not None and fallback.tried:
        fallback.first.add(fallback.said())
    return own, others, own.error


def _instead(stage: Rehearsal, placed: _Placed, fallback: Fallback, prices: PriceBook) -> InsteadSays:
    """What becomes of the next model in its place."""
    model, provider = fallback.left.pop(0), placed.provider
    why = ""
    if provider is not None and not prices.declares(provider, model) and prices.sells(provider, model) is None:
        why = f"{provider} does not have it"
    else:
        try:
            most = prices.quote(provider, model).max_output
        except UnpricedModelError:
            why = "its price is not known"
    if why:
        fallback.tried[model] = why
        return InsteadSays(model, False, None, why)
    stated, fallback.model = placed.call.max_output, model
    lowered = min(stated, most) if stated is not None and most is not None else stated
    made = stage.attempt(*placed[:3], placed.call._replace(model=model, max_output=lowered), fallback)
    return InsteadSays(model, made.error is None, made.wish.amount, fallback.tried.get(model, str(made.error or "")))


# -- what each budget says ---------------------------------------------------------------------------------------------


def _budgets(stage: Rehearsal, own: Rehearsed, placed: _Placed) -> Iterator[BudgetSays]:
    """The budgets that are touched, in the order in which they are asked."""
    subjects = [(rule, subject) for rule in stage.rules if (subject := rule.subject(stage.tags)) is not None]
    steers = [[steer for _, steer in stage.coverage.steers.on(*each)] for each in subjects]
    limits = [stage.coverage.steers.limit(*each, stage.now_ms) for each in subjects]
    if stage.own is not None:
        subjects.append((stage.own.rule, stage.own.subject.partition("#")[0]))
        steers.append([stage.own.steer])
        limits.append(stage.own.limit_at(stage.now_ms))
    rows = zip(subjects, steers, limits, own.hold.accounts, stage.balances, strict=True)
    for each, steered, limit, account, balance in rows:
        said = _said(stage, each, steered, limit, balance)
        yield _verdict(stage, said, own, placed, (account, balance))


def _said(stage: Rehearsal, subject: Subject, steers: Sequence[Steer], limit: int | None, it: Balance) -> BudgetSays:
    """How a budget stands, whatever the call is."""
    rule, paused = subject[0], any(steer.paused for steer in steers)
    state = state_of(limit, it.settled, it.held, paused=paused, unit=rule.unit)
    own = stage.own is not None and rule is stage.own.rule
    return BudgetSays(
        "users" if own else rule.name,
        unescape(subject[1]),
        rule.unit,
        rule.enforce,
        rule.period.name,
        rule.period.timezone,
        limit,
        rule.limit,
        it.settled,
        it.held,
        left_of(limit, it.settled, it.held, state),
        None,
        None,
        True,
        resets_ms=rule.window(stage.now_ms).resets_ms,
        paused=paused,
        steered=tuple(line for steer in steers for line in _steered(steer, rule.unit, stage.now_ms)),
        warn_at=rule.warn_at,
        fallback=rule.fallback,
        degrade_at=rule.degrade_at,
    )


def _verdict(
    stage: Rehearsal, said: BudgetSays, own: Rehearsed, placed: _Placed, asked: tuple[Account, Balance]
) -> BudgetSays:
    """What a budget says to what the call asks it for, by the one rule that stores follow."""
    account, balance = asked
    wanted = own.wish.wanted(account.unit) if account.unit != "parallel" else own.hold.wanted("parallel")
    unknown = account.unit == "dollars" and own.plan.unpriced and not own.plan.assumed
    if not placed.endpoint.opaque:
        said = replace(said, wanted=None if unknown else wanted.amount, least=None if unknown else wanted.least)
    if said.paused:
        return replace(said, fits=False, why=next(iter(said.steered), "it is paused"))
    if unknown and isinstance(own.error, UnpricedModelError) and account.limit is not None:
        return said if account.enforce == "observe" else replace(said, fits=False, why=_UNPRICED)
    if own.projection is None and not placed.endpoint.opaque:
        return said  # nothing would be held, so it is not asked
    found = granted(own.hold, [(account, balance.settled, balance.held)])
    if not isinstance(found, Refusal):
        return replace(said, warns=tuple(_warns(said, account, balance, wanted.amount)))
    least = wanted.amount if wanted.least is None else wanted.least
    room_s = stage.shell.run(room_in_s(stage.books, found, least, stage.now_ms))
    room_ms = None if room_s is None else stage.now_ms + round(room_s * 1000)
    return replace(said, fits=False, why=_why(said, found, least), room_at_ms=room_ms)


def _why(said: BudgetSays, found: Refusal, least: int) -> str:
    if found.account.enforce == "soft":
        return f"its limit is reached: {readable_in(said.spent, said.unit)} is spent"
    if found.account.unit == "parallel":
        return f"{said.held:,} of {readable_in(said.limit, said.unit)} are in flight"
    only = "; more is only held by calls in flight" if found.busy else ""
    return f"{readable_in(least, said.unit)} needed, {readable_in(said.left, said.unit)} left{only}"


def _warns(said: BudgetSays, account: Account, balance: Balance, wanted: int) -> Iterator[float]:
    """The parts of its limit that are not reached yet, and may be by the call."""
    mark = Mark(account, said.warn_at, NO_NEWS) if said.warn_at and account.limit else None
    for part in said.warn_at if mark is not None else ():
        assert mark is not None
        if balance.settled < mark.amount(part) <= balance.settled + wanted:
            yield part


def _steered(steer: Steer, unit: Unit, now_ms: int) -> Iterator[str]:
    """What people changed of a budget, a sentence each."""
    if steer.paused:
        yield "paused" + (f" by {steer.by}" if steer.by else "") + (f" ({steer.note})" if steer.note else "")
    if steer.unit != unit:
        return
    if steer.limit is not None and (steer.limit_until_ms is None or now_ms < steer.limit_until_ms):
        until = "" if steer.limit_until_ms is None else f" until {moment_text(steer.limit_until_ms)}"
        yield f"its limit was set to {readable_in(steer.limit, unit)}{until}"
    if steer.extra_at(now_ms):
        until = "" if steer.extra_until_ms is None else f" until {moment_text(steer.extra_until_ms)}"
        yield f"{readable_in(steer.extra, unit)} was added{until}"


# -- what is not touched -----------------------------------------------------------------------------------------------


def _untouched(rules: Sequence[Budget], stage: Rehearsal) -> Iterator[BudgetUntouched]:
    tags = stage.tags
    for rule in rules:
        if rule.subject(tags) is None:
            yield BudgetUntouched(rule.name, next(_why_not(rule, tags)))
    if "user" not in tags:
        yield BudgetUntouched("users", "the call names no user")
    elif stage.own is None:
        yield BudgetUntouched("users", f"{tags['user']} has no budget of their own")


def _why_not(rule: Budget, tags: Mapping[str, str]) -> Iterator[str]:
    """Why a rule does not cover a call: what comes first."""
    for tag, pattern in rule.match.items():
        value = tags.get(tag)
        if value is None:
            yield f"it is for {tag}={pattern}, and the call has no tag {tag!r}"
        elif not fnmatchcase(value, pattern):
            yield f"it is for {tag}={pattern}, and the call has {tag}={value}"
    for tag in rule.per:
        if tag not in tags:
            yield f"it counts by {tag}, and the call has no tag {tag!r}"
