"""
LiteLLM's budgets: limits under a name, which keys and customers are given by `budget_id`.

Whoever has one has its limits as their own, so that nothing more is read when a call comes. When it changes, each of
them is changed: what is as the budget had it becomes as it has it now.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ....budgets.rules import escape
from ....budgets.users import insist
from ....ledger.as_json import plain, read
from ...keys import Owner
from ...keys.limits import NO_LIMITS, OwnerLimits
from ...problems import Refused
from .limits import following
from .office import Office, missing
from .said import told


@dataclass(frozen=True, slots=True)
class Template:
    """Limits under a name."""

    id: str
    limits: OwnerLimits = NO_LIMITS
    extra: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    updated: str = ""
    version: int = 0


class Templates:
    """The budgets of all projects, in the server's own namespace."""

    def __init__(self, office: Office) -> None:
        self._office = office

    def find(self, project: str, name: str) -> Template | None:
        """A budget by its name."""
        terms = self._office.own.terms(_key(project, name))
        if terms is None or terms.body is None:
            return None
        return replace(read(Template, json.loads(terms.body)), version=terms.version)

    def get(self, project: str, name: str) -> Template:
        """A budget by its name; raises `Refused` (404)."""
        found = self.find(project, name)
        if found is None:
            raise missing(f"Budget not found, passed budget_id={name[:200]}", "budget_id")
        return found

    def all(self, project: str) -> Iterator[Template]:
        """Every budget of a project, by name."""
        for terms in self._office.own.all_terms(_prefix(project)):
            if terms.body is not None:
                yield replace(read(Template, json.loads(terms.body)), version=terms.version)

    def add(self, project: str, template: Template) -> Template:
        """A new budget; raises `Refused` (400) where its name is taken."""
        terms = self._office.own.terms(_key(project, template.id))
        put = None
        if terms is None or terms.body is None:
            put = self._put(project, replace(template, version=0 if terms is None else terms.version))
        if put is None:
            raise Refused(400, f"Budget with id '{template.id}' already exists.", param="budget_id")
        return put

    def change(self, project: str, name: str, changed: Callable[[Template], Template]) -> Template:
        """Put what `changed` makes of a budget, and change those who have it; raises `Refused` (404)."""
        before = self.get(project, name)

        def attempt() -> Template | None:
            nonlocal before
            before = self.get(project, name)
            return self._put(project, changed(before))

        put = insist(attempt, f"budget {name!r}: it is")
        self._hand_on(project, name, before.limits, put.limits)
        return put

    def remove(self, project: str, name: str) -> Template:
        """Take a budget away; those who had it keep its limits as their own. Raises `Refused` (404)."""
        found = self.get(project, name)
        self._office.own.put_terms(_key(project, name), None)
        return found

    def given(
        self, project: str, limits: OwnerLimits, before: Mapping[str, str], now: Mapping[str, str]
    ) -> OwnerLimits:
        """
        The limits of somebody whose `extra` was `before` and is `now`, with those of the budget that it names.

        Raises `Refused` (404) for a budget that there is not, unless it was named before.
        """
        name, had = told(now).get("budget_id"), told(before).get("budget_id")
        new = NO_LIMITS if name is None else self._limits(project, name, had)
        old = NO_LIMITS if had is None or had == name else self._limits(project, had, had)
        return following(limits, old, new)

    def _limits(self, project: str, name: str, had: str | None) -> OwnerLimits:
        found = self.find(project, name) if name == had else self.get(project, name)
        return NO_LIMITS if found is None else found.limits

    def _hand_on(self, project: str, name: str, before: OwnerLimits, now: OwnerLimits) -> None:
        office = self._office
        for key in list(office.keys(project)):
            if told(key.grant.extra).get("budget_id") == name:
                office.ring.regrant(
                    key.prefix, lambda grant: replace(grant, limits=following(grant.limits, before, now))
                )

        def changed(owner: Owner) -> Owner:
            return replace(owner, limits=following(owner.limits, before, now))

        for customer in list(office.owners.all(project, "end_user")):
            if told(customer.extra).get("budget_id") == name:
                office.owners.change(project, "end_user", customer.name, changed)

    def _put(self, project: str, template: Template) -> Template | None:
        body: dict[str, Any] = plain(replace(template, version=0))
        terms = self._office.own.put_terms(_key(project, template.id), json.dumps(body), expected=template.version)
        return None if terms is None else replace(template, version=terms.version)


def _prefix(project: str) -> str:
    return f"litellm/{escape(project)}/budgets/"


def _key(project: str, name: str) -> str:
    return _prefix(project) + escape(name)
