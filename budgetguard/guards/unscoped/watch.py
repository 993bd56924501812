"""
Whose a call is: asked before it is sent, as a budget that is silently not there is worse than none.

What a call lacks is known when its cover is compiled, and a call that lacks nothing comes here only on its way through
the steps. The store is asked where this process cannot know: whether any user has a budget, at the first call without a
user and once a minute while none has; where users have to be known, for the budget of one that is not, each time; and
of a budget that is known to be paused, each time, as it may have been resumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext, suppress
from difflib import get_close_matches
from functools import partial
from itertools import islice

from ...budgets.accounts import read_balances
from ...budgets.refusals import refuse_paused
from ...budgets.rules import USERS, escape, unescape
from ...concurrency.steps import Step, Steps
from ...errors import BudgetGuardError, StoreError, UnknownUserError, UnscopedCallError
from ...ledger import Balance, Refusal, Store
from ...process.state import PROCESS
from ..parts import Parts, Whose
from ..plan import CallPlan
from ..scope import Scope, note_refusal
from .callers import caller

_MOST_NAMES = 500
"""How many names are read at most to find one that is near."""


def learn_whose(parts: Parts, plan: CallPlan, asked: Whose, model: str) -> Steps[None]:
    """
    Ask the store what the plan of a call leaves in doubt; raises `UnknownUserError` where users are to be known, and
    the refusal of what is paused.
    """
    store, tags = parts.ledger.books.store, asked.tags
    if store is None:
        return
    if plan.cover.paused is not None:
        yield from _require_running(parts, store, asked, model)
    if plan.cover.unasked:
        if parts.settings.unscoped == "warn":  # one call asks: no other has to wait for a warning
            parts.plans.coverage.people(False)
        try:
            yield Step(parts.read_users, store.blocking)
        except BudgetGuardError:  # it is away, or does not show its users to everybody: the call itself says so
            parts.plans.coverage.people(False)
    elif parts.settings.users == "known" and "user" in tags:
        yield from _require_user(parts, store, tags)


def ask_terms(parts: Parts, tags: Mapping[str, str], *, needed: bool = False) -> Steps[None]:
    """Ask for what no hold tells of; where that fails, what is known of it here has to do, unless it is `needed`."""
    store = parts.ledger.books.store
    if store is not None:
        with nullcontext() if needed else suppress(StoreError):
            yield Step(partial(parts.read_terms, tags), store.blocking)


def _require_running(parts: Parts, store: Store, asked: Whose, model: str) -> Steps[None]:
    """Raise the refusal of a budget that is paused, if it still is as far as can be known."""
    tags = asked.tags
    yield from ask_terms(parts, tags)  # where the store is away, what was heard last holds
    pause = parts.plans.coverage.cover(tags).paused
    if pause is None:
        return
    balance = Balance(pause.account.key)
    with suppress(StoreError):
        [balance] = yield Step(partial(read_balances, store, [pause.account]), store.blocking)
    parts.tell_refused(Refusal(pause.account, balance, busy=False), asked, model, paused=True)
    error = refuse_paused(pause, balance, tags)
    note_refusal(asked.scope, error)
    raise error


def _require_user(parts: Parts, store: Store, tags: Mapping[str, str]) -> Steps[None]:
    try:
        yield Step(partial(parts.read_terms, tags), store.blocking)
    except StoreError:
        if parts.settings.on_store_error == "closed":
            raise
        return
    if parts.plans.coverage.cover(tags).own:
        return
    user, near = tags["user"], ""
    with suppress(BudgetGuardError):  # a key that may only spend sees nobody's name
        near = yield Step(partial(_near, store, user), store.blocking)
    meant = f"did you mean {near!r}? " if near else ""
    raise UnknownUserError(
        f"user {user!r} has no budget, and Settings(users='known') refuses who has none: {meant}"
        "create_budget gives one, or `budgetguard budget set`",
        user=user,
    )


def _near(store: Store, user: str) -> str:
    """The name that somebody with a budget has, and that is most like this one; "" if there is none."""
    names: list[str] = []
    for first in {user[:1], user[:1].swapcase()}:
        names += islice(_names(store, f"{USERS}{escape(first)}"), _MOST_NAMES)
    plain = {name.casefold(): name for name in names}
    return next((plain[name] for name in get_close_matches(user.casefold(), plain, 1)), "")


def _names(store: Store, prefix: str) -> Iterator[str]:
    for terms in store.all_terms(prefix):
        yield unescape(terms.key.removeprefix(USERS))


def require_scope(parts: Parts, plan: CallPlan, scope: Scope | None) -> None:
    """Warn once a line of the program that its calls do not say whose they are, or raise `UnscopedCallError`."""
    outside = scope is None and PROCESS.scoped
    if not plan.watched or not (outside or plan.cover.lacks):
        return
    where = caller()
    said = f"{where}: {_lacking(plan.cover.lacks) or _OUTSIDE}. {_ADVICE}"
    if parts.settings.unscoped == "refuse":
        raise UnscopedCallError(said)
    parts.notices.warn_once(f"unscoped {where}", "%s", said)


_OUTSIDE = "this call is outside of every scope, so no limit of the scopes that this program uses holds for it"
_ADVICE = (
    "Wrap the call in `with budgetguard.budget(user=...)`; into a thread, take the scope along with "
    "carry_scope(function) or patch(threads=True); Settings(unscoped='allow') lets it pass"
)


def _lacking(lacks: Mapping[str, str]) -> str:
    """What a call lacks, as a sentence; "" for nothing."""
    if not lacks:
        return ""
    budgets = [
        "the users' own budgets" if name == "users" else f"budget {name!r}" for name in dict.fromkeys(lacks.values())
    ]
    return f"this call names no {' and no '.join(lacks)}, so {' and '.join(budgets)} cannot hold for it"
