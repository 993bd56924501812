"""`/budget/*`: limits under a name, for keys and customers."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

from msgspec import UNSET, Struct

from ....api.action import Action, Ask
from ....api.dollars.fields import iso
from ....keys.limits import NO_LIMITS
from ....problems import Refused
from ..limits import limits_with, shown_limits
from ..said import IDLE, Limiting, Names, Short, Text, given, keep, require, take, told
from ..templates import Template, Templates


class TemplateFields(Limiting, kw_only=True, frozen=True):
    """What can be said of a budget."""

    budget_id: Text = UNSET


class TemplateNames(Struct, frozen=True):
    """Which budgets."""

    budgets: Names


class TemplateName(Struct, frozen=True):
    """Which budget."""

    id: Short


class TemplateAdmin:
    """The endpoints over the budgets."""

    def __init__(self, templates: Templates) -> None:
        self._templates = templates

    def new(self, ask: Ask) -> dict[str, Any]:
        """Limits under a name, for whoever is given it."""
        said = take(TemplateFields, ask.body, IDLE)
        name = given(said.budget_id) or secrets.token_hex(16)
        now = iso(ask.project.store.now_ms())
        made = Template(name, limits_with(NO_LIMITS, said), keep({}, ask.body, IDLE), now, now)
        return _row(ask, self._templates.add(ask.project.name, made))

    def update(self, ask: Ask) -> dict[str, Any]:
        """Change what is named of a budget, for those who have it as well."""
        said = take(TemplateFields, ask.body, IDLE)
        name, now = require(given(said.budget_id), "budget_id"), iso(ask.project.store.now_ms())

        def changed(before: Template) -> Template:
            extra = keep(before.extra, ask.body, IDLE)
            return replace(before, limits=limits_with(before.limits, said), extra=extra, updated=now)

        return _row(ask, self._templates.change(ask.project.name, name, changed))

    def info(self, ask: Ask) -> Any:
        """Budgets by their names; those that there are not are left out."""
        names = take(TemplateNames, ask.body).budgets
        if not names:
            raise Refused(400, "Specify list of budget id's to query. Passed in=[]", param="budgets")
        found = [self._templates.find(ask.project.name, name) for name in names]
        return [_row(ask, each) for each in found if each is not None]

    def listed(self, ask: Ask) -> Any:
        """Every budget of the project."""
        return [_row(ask, each) for each in self._templates.all(ask.project.name)]

    def delete(self, ask: Ask) -> dict[str, Any]:
        """Take a budget away; those who had it keep its limits as their own."""
        return _row(ask, self._templates.remove(ask.project.name, take(TemplateName, ask.body).id))

    def actions(self) -> list[Action]:
        """The table."""
        return [
            Action("POST", "/budget/new", self.new, dict, body=dict),
            Action("POST", "/budget/update", self.update, dict, body=dict, slow=True),
            Action("POST", "/budget/info", self.info, dict, body=dict),
            Action("GET", "/budget/list", self.listed, dict, slow=True),
            Action("POST", "/budget/delete", self.delete, dict, body=dict),
        ]


def _row(ask: Ask, template: Template) -> dict[str, Any]:
    return {
        "budget_id": template.id,
        "soft_budget": None,
        **told(template.extra),
        **shown_limits(template.limits, ask.project.store.now_ms()),
        "created_at": template.created,
        "updated_at": template.updated,
    }
