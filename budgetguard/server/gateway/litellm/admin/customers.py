"""`/customer/*`, and `/end_user/*` as they were called: whom a program calls models for, below its key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from ....api.action import Action, Ask
from ....keys import Owner
from ....problems import Refused
from ..limits import limits_with, sum_of_money
from ..office import Office, book_before, missing, page_of
from ..rows import customer_rows
from ..said import IDLE, Limiting, Names, Short, Text, given, keep, take, unable
from ..templates import Templates

_IDLE = IDLE | {"default_model"}
_KIND: Any = "end_user"


class CustomerFields(Limiting, kw_only=True, frozen=True):
    """What can be said of a customer."""

    user_id: Short
    alias: Text = UNSET
    blocked: bool | UnsetType | None = UNSET
    budget_id: Text = UNSET
    spend: Any = UNSET


class CustomerNames(Struct, frozen=True):
    """Which customers."""

    user_ids: Names


class EndUserQuery(Struct, frozen=True):
    """Which customer."""

    end_user_id: Short


class CustomersQuery(Struct, frozen=True):
    """Which page, and whose names have a text in them."""

    page: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    page_size: Annotated[int, Meta(ge=1, le=100)] = 50
    search: Short | None = None


class CustomerAdmin:
    """The endpoints over an office."""

    def __init__(self, office: Office, templates: Templates) -> None:
        self._office = office
        self._templates = templates

    def new(self, ask: Ask) -> dict[str, Any]:
        """A customer, with a budget of their own or one that has a name."""
        said, project = take(CustomerFields, ask.body, _IDLE), ask.project.name
        if given(said.max_budget) is not None and given(said.budget_id) is not None:
            raise Refused(422, "Set either 'max_budget' or 'budget_id', not both.", param="budget_id")
        if self._office.owners.find(project, _KIND, said.user_id) is not None:
            told = f"Customer already exists, passed user_id={said.user_id}. Please pass a new user_id."
            raise Refused(400, told, "bad_request", param="user_id")
        before = sum_of_money(given(said.spend), "spend")
        made = self._put(ask, said, ask.body)
        book_before(ask.project.store, _KIND, made.name, made.limits, before)
        return customer_rows(ask.project.store, [made])[0]

    def info(self, ask: Ask) -> dict[str, Any]:
        """One customer, and what was spent for them."""
        found = self._office.owner(ask.project.name, _KIND, ask.query.end_user_id, "end_user_id")
        return customer_rows(ask.project.store, [found])[0]

    def update(self, ask: Ask) -> dict[str, Any]:
        """Change what is named of a customer; what is `null` stays, as LiteLLM has it."""
        raw = {name: value for name, value in ask.body.items() if value is not None}
        said = take(CustomerFields, raw, _IDLE)
        self._office.owner(ask.project.name, _KIND, said.user_id, "user_id")
        return customer_rows(ask.project.store, [self._put(ask, said, raw)])[0]

    def delete(self, ask: Ask) -> dict[str, Any]:
        """Forget customers and their limits; the history stays."""
        names = self._all_there(ask)
        for name in names:
            self._office.owners.remove(ask.project.name, _KIND, name)
        told = f"Successfully deleted customers with ids: {names}"
        return {"deleted_customers": len(names), "message": told}

    def block(self, ask: Ask) -> dict[str, Any]:
        """Refuse calls for these customers, whether anything is known of them or not."""
        names = take(CustomerNames, ask.body).user_ids
        blocked = [self._set_blocked(ask, name, blocked=True) for name in dict.fromkeys(names)]
        return {"blocked_users": customer_rows(ask.project.store, blocked)}

    def unblock(self, ask: Ask) -> dict[str, Any]:
        """Let calls for these customers through again; who of them is blocked still: nobody."""
        for name in self._all_there(ask):
            self._set_blocked(ask, name, blocked=False)
        return {"blocked_users": []}

    def listed(self, ask: Ask) -> Any:
        """The customers of the project, by name, page by page."""
        asked: CustomersQuery = ask.query
        wanted = (asked.search or "").casefold()
        found = (
            each
            for each in self._office.owners.all(ask.project.name, _KIND)
            if wanted in each.name.casefold() or wanted in each.alias.casefold()
        )
        return customer_rows(ask.project.store, page_of(found, asked.page, asked.page_size)[0])

    def _put(self, ask: Ask, said: CustomerFields, raw: dict[str, Any]) -> Owner:
        project = ask.project.name

        def changed(owner: Owner) -> Owner:
            extra = keep(owner.extra, raw, _IDLE | {"budget_id"})
            limits = self._templates.given(project, limits_with(owner.limits, said), owner.extra, extra)
            if any(each.model for each in limits.dollars):
                raise unable("model_max_budget")
            alias = owner.alias if said.alias is UNSET else said.alias or ""
            blocked = owner.blocked if given(said.blocked) is None else said.blocked is True
            return replace(owner, limits=limits, extra=extra, alias=alias, blocked=blocked)

        return self._office.owners.change(project, _KIND, said.user_id, changed)

    def _set_blocked(self, ask: Ask, name: str, *, blocked: bool) -> Owner:
        return self._office.owners.change(ask.project.name, _KIND, name, lambda owner: replace(owner, blocked=blocked))

    def _all_there(self, ask: Ask) -> Sequence[str]:
        """The customers that are named; raises `Refused` (404) before anything is done."""
        names = list(dict.fromkeys(take(CustomerNames, ask.body).user_ids))
        gone = [name for name in names if self._office.owners.find(ask.project.name, _KIND, name) is None]
        if gone:
            raise missing(f"End User Id(s)={', '.join(gone[:5])[:500]} do not exist in db", "user_ids")
        return names

    def actions(self) -> list[Action]:
        """The table, under both names."""
        return [
            action
            for stem in ("/customer", "/end_user")
            for action in (
                Action("POST", f"{stem}/new", self.new, dict, body=dict),
                Action("GET", f"{stem}/info", self.info, dict, query=EndUserQuery),
                Action("POST", f"{stem}/update", self.update, dict, body=dict),
                Action("POST", f"{stem}/delete", self.delete, dict, body=dict),
                Action("POST", f"{stem}/block", self.block, dict, body=dict),
                Action("POST", f"{stem}/unblock", self.unblock, dict, body=dict),
                Action("GET", f"{stem}/list", self.listed, dict, query=CustomersQuery, slow=True),
            )
        ]
