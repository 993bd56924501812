"""
What may be done with a budget that runs: a page that asks, with the budget as it is, and the form that does it.

Both are at the same address, which says what is to be done with which budget; so they work without scripts, and what
was refused stands above the same form again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ....budgets.rules import unescape
from ....budgets.steering.audit import Author, whoami
from ....budgets.steering.office import Steering
from ....errors import BudgetGuardError, ConfigError
from ....reports.shown.budgets import BudgetShown, BudgetsQuery
from ...api.access.steerable import rules_aimed
from ..view import Look, Shown, Went
from .budgets import kind_of, label_of, target_of

_MOST_LOOKED_AT = 200


@dataclass(frozen=True, slots=True)
class Verb:
    """One thing that may be done, and what its page says."""

    title: str
    """ "Pause {}", of the budget's name."""
    told: str
    """What will be so, in a sentence."""
    button: str
    act: Callable[[Steering, str, Mapping[str, str]], str]
    """Does it; what holds from now on."""
    fields: tuple[str, ...] = ()
    """Of "limit", "until" and "amount"; every form has a note."""
    is_grave: bool = False


def _raise(office: Steering, target: str, form: Mapping[str, str]) -> str:
    until = form.get("until", "").strip() or None
    return office.raise_limit(target, form.get("limit", ""), until=until, note=_note(form)).told


def _top_up(office: Steering, target: str, form: Mapping[str, str]) -> str:
    return office.top_up(target, form.get("amount", ""), note=_note(form)).told


VERBS: Mapping[str, Verb] = MappingProxyType(
    {
        "raise": Verb(
            "Change the limit of {}",
            "This limit holds in the place of the rule's from the next call on, in every process.",
            "Change the limit",
            _raise,
            ("limit", "until"),
        ),
        "top-up": Verb(
            "Top up {}",
            "This is added to the limit once, until its period is over.",
            "Top up",
            _top_up,
            ("amount",),
        ),
        "pause": Verb(
            "Pause {}",
            "Every call that touches it is refused from now on, in every process, until it is resumed. Calls in flight "
            "go on to their end.",
            "Pause",
            lambda office, target, form: office.pause(target, note=_note(form)).told,
            is_grave=True,
        ),
        "resume": Verb(
            "Resume {}",
            "Calls pass again, as far as its limit goes.",
            "Resume",
            lambda office, target, form: office.resume(target, note=_note(form)).told,
        ),
        "reset": Verb(
            "Reset {}",
            "It begins again with nothing spent. The history, the statement and the charts keep what was spent.",
            "Reset",
            lambda office, target, form: office.reset(target, note=_note(form)).told,
            is_grave=True,
        ),
        "remove": Verb(
            "Undo the changes of {}",
            "What was raised, topped up and paused by hand is taken back: it is as its rule says. A reset stays one.",
            "Undo the changes",
            lambda office, target, form: office.remove(target, note=_note(form)).told,
            is_grave=True,
        ),
        "take-away": Verb(
            "Remove {}",
            "The user has no budget of their own from now on; rules go on to hold. The history stays.",
            "Remove the budget",
            lambda office, target, form: office.take_away(target, note=_note(form)),
            is_grave=True,
        ),
    }
)
"""By the word that the address has."""


def ask(look: Look) -> Shown:
    """The page that asks."""
    return _page(look, "")


def steer(look: Look) -> Shown | Went:
    """Do it, and go back to the budgets; what is refused is said above the same form."""
    verb, target = VERBS.get(look.said("verb")), look.said("target")
    if verb is None or not target:
        return _page(look, "")
    try:
        rules = rules_aimed(look.project.own, look.project.store, look.project.name, target)
        told = verb.act(Steering(look.project.users, author_of(look), rules=rules), target, look.form)
    except BudgetGuardError as error:
        return _page(look, str(error))
    return Went(look.place.link("budgets", search=_search_of(target)), told)


def author_of(look: Look) -> Author:
    """Who the audit says it was: the key's alias, or its prefix; without keys, whose machine it is."""
    caller = look.caller
    return Author(caller.alias or caller.prefix or whoami(), "page")


def _page(look: Look, problem: str) -> Shown:
    name, target = look.said("verb"), look.said("target")
    verb = VERBS.get(name)
    if verb is None or not target:
        raise ConfigError(f"verb={name!r}, target={target!r}: choose what to do in the list of budgets")
    row = _row_of(look, target)
    label = target if row is None else label_of(row)
    data = {
        "verb": verb,
        "row": row,
        "label": label,
        "kind": kind_of,
        "problem": problem,
        "form": look.form,
        "now_ms": look.now_ms,
        "unit": "dollars" if row is None else row.unit,
        "is_all": row is None,
    }
    return Shown("steering/ask.html", data, title=verb.title.format(label))


def _row_of(look: Look, target: str) -> BudgetShown | None:
    """The books of the target, where it is one budget of one subject."""
    budget = target.partition("/")[0]
    query = BudgetsQuery(search=_search_of(target), budget=budget, limit=_MOST_LOOKED_AT)
    found = look.reports.budgets(query, fresh=True)
    return next((row for row in found.rows if target_of(row) == target), None)


def _search_of(target: str) -> str:
    """What finds it in the list, which is searched by names as people write them."""
    budget, _, subject = target.partition("/")
    return unescape(subject or budget)


def _note(form: Mapping[str, str]) -> str:
    return form.get("note", "").strip()
