"""One request of a browser, answered in a thread: the door, then the view, then HTML, CSV or JSON of what it shows."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

from ... import __version__
from ...reports.reports import Reports
from ...reports.written import csv_lines, in_json
from ...stores import projects_in
from ..api.endpoint import problem_of
from ..keys import Caller
from ..problems import NOT_FOUND, Refused
from .answer import HTML, PageAnswer, new_nonce, went_to
from .door.door import Door, Visitor
from .door.told import told_cookie, told_in
from .door.visits import FORM_TOKEN, PageVisit, require_own_form
from .drawing import draw, static_file
from .links import HOME, ViewPlace
from .shelf import Shelf
from .view import Look, PageServer, Shown, View, Went

log = logging.getLogger("budgetguard.server")

SIGN_IN, SIGN_OUT, ENTER, STATIC = "sign-in", "sign-out", "enter/", "static/"
_CSV, _JSON = "text/csv; charset=utf-8", "application/json"
_STORE_AWAY = 500
"""From this status on, an answer is made without asking the store."""
_MOST_PROJECTS = 200
_READ_S = 5.0
"""How long a download waits for the history that it adds up."""
_NOBODY = Caller(None, "", "")


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What a browser asks, read."""

    method: str
    path: str
    """Behind `/ui/`."""
    query_string: bytes
    headers: Mapping[str, str]
    visit: PageVisit
    form: Mapping[str, str] = field(default_factory=dict)


class Desk:
    """Answers requests. `answer` waits for the store, so it is called in a thread; nothing is raised."""

    def __init__(self, views: Sequence[View], server: PageServer, door: Door, shelf: Shelf) -> None:
        self._views = {(each.method, each.name): each for each in views}
        self._listed = [each for each in views if each.listed]
        self._server = server
        self._door = door
        self._shelf = shelf

    def answer(self, asked: PageRequest) -> PageAnswer:
        """The answer to a request; a cookie is set where the browser has none yet."""
        try:
            found = self._answered(asked)
        except Exception as error:
            refused = error if isinstance(error, Refused) else problem_of(error, {})
            found = self._refused(asked, refused)
        if asked.visit.is_new and not found.kept and not any(name == b"set-cookie" for name, _ in found.headers):
            found = found.with_cookie(asked.visit.cookie())
        return found

    def watched(self, asked: PageRequest) -> str:
        """The project that somebody wants to be told of; raises `Refused` for who may not."""
        try:
            self._door.require_own_host(asked.visit)
            place = ViewPlace.read("events", asked.query_string)
            visitor = self._door.visitor(asked.visit, place.said("project"))
        except Exception as error:
            raise (error if isinstance(error, Refused) else problem_of(error, {})) from None
        if visitor is None:
            raise Refused(401, "sign in first", "authentication_error")
        project = visitor.caller.project or place.said("project") or self._first_project(visitor)
        if not project:
            raise Refused(404, "there is no project yet", code=NOT_FOUND)
        return project

    def _answered(self, asked: PageRequest) -> PageAnswer:
        self._door.require_own_host(asked.visit)
        if asked.path.startswith(STATIC):
            return _static(asked.path.removeprefix(STATIC))
        if asked.method == "POST":
            require_own_form(asked.visit, asked.headers, asked.form)
        if asked.path.startswith(ENTER) and asked.method == "GET":
            visit = self._door.enter(asked.visit, asked.path.removeprefix(ENTER))
            return went_to(f"{HOME}/").with_cookie(visit.cookie())
        if asked.path == SIGN_OUT and asked.method == "POST":
            self._door.sign_out(asked.visit)
            return went_to(f"{HOME}/{SIGN_IN}").with_cookie(asked.visit.cookie(gone=True))
        place = ViewPlace.read(asked.path, asked.query_string)
        if asked.path == SIGN_IN:
            return self._sign_in(asked, place)
        visitor = self._door.visitor(asked.visit, place.said("project"))
        if visitor is None:
            return self._nobody(asked)
        return self._seen(asked, place, visitor)

    # -- the door ------------------------------------------------------------------------------------------------

    def _sign_in(self, asked: PageRequest, place: ViewPlace) -> PageAnswer:
        if asked.method == "GET":
            return self._sign_in_page(asked, place)
        try:
            visit = self._door.sign_in(asked.visit, asked.form.get("key", ""))
        except Refused as refused:
            return self._sign_in_page(asked, place, refused)
        return went_to(_ours(asked.form.get("next", ""))).with_cookie(visit.cookie())

    def _sign_in_page(self, asked: PageRequest, place: ViewPlace, refused: Refused | None = None) -> PageAnswer:
        told = refused.message if refused is not None else ""
        wanted = asked.form.get("next") or place.said("next")
        shown = Shown("shell/sign_in.html", {"refused": told, "next": _ours(wanted), "way": self._door.way}, "Sign in")
        return self._drawn(asked, place, shown, None, status=200 if refused is None else refused.status)

    def _nobody(self, asked: PageRequest) -> PageAnswer:
        if asked.method != "GET" or asked.path.endswith((".csv", ".json")):
            raise Refused(401, "sign in first", "authentication_error")
        back = ViewPlace.read(asked.path, asked.query_string)
        return went_to(ViewPlace(SIGN_IN).url(next=back.url().removeprefix(HOME)))

    # -- views ---------------------------------------------------------------------------------------------------

    def _seen(self, asked: PageRequest, place: ViewPlace, visitor: Visitor) -> PageAnswer:
        if not asked.path:
            return went_to(place.link(self._listed[0].name))
        name, suffix = _without_suffix(asked.path)
        view = self._views.get((asked.method, name))
        if view is None and asked.method == "GET" and ("POST", name) in self._views:
            return went_to(place.link(name.partition("/")[0]))  # what a form was sent to, loaded again: its view
        if view is None:
            raise Refused(404, "there is nothing at this address", code=NOT_FOUND)
        if visitor.caller.scope not in view.scopes:
            told = f"this key is for {visitor.caller.scope} only: sign in with one of scope admin to change anything"
            raise Refused(403, told, "permission_error")
        named = place.said("project") or self._first_project(visitor)
        place = replace(place, view=name)
        with self._server.projects.using(visitor.caller, named or None) as project:
            reports = self._shelf.reports_of(project)
            now_ms = round(project.clock() * 1000)
            look = Look(project, visitor.caller, place, now_ms, self._server, reports, asked.form)
            if suffix == ".csv" and view.group == "Spend":
                _require_all_read(reports)
            shown = view.handler(look)
            if isinstance(shown, Went):
                return went_to(shown.path).with_cookie(told_cookie(asked.visit, shown.told))
            if suffix:
                return _as_data(shown, name, suffix)
            shown = replace(shown, data={"now_ms": now_ms, **shown.data})
            return self._drawn(asked, place, shown, visitor, view=view, project=project.name, status=shown.status)

    def _first_project(self, visitor: Visitor) -> str | None:
        """The project of a look that names none, where no key says it."""
        if visitor.caller.project is not None:
            return None
        known = self._choices(visitor)
        default = self._server.project
        return default if default in known or not known else known[0]

    def _choices(self, visitor: Visitor) -> list[str]:
        """The projects that may be chosen."""
        if visitor.projects:
            return list(visitor.projects)
        return sorted({*projects_in(self._server.projects.own), *self._server.projects.names()})[:_MOST_PROJECTS]

    # -- HTML ----------------------------------------------------------------------------------------------------

    def _drawn(
        self,
        asked: PageRequest,
        place: ViewPlace,
        shown: Shown,
        visitor: Visitor | None,
        *,
        view: View | None = None,
        project: str = "",
        status: int = 200,
    ) -> PageAnswer:
        nonce = new_nonce()
        told = told_in(asked.headers, asked.visit)
        context: dict[str, Any] = {
            "caller": _NOBODY if visitor is None else visitor.caller,
            "field_of_token": FORM_TOKEN,
            "has_rows": shown.rows is not None,
            "may_change": visitor is not None and visitor.caller.scope == "admin",
            "navigation": [] if visitor is None else self._navigation(place, visitor),
            "nonce": nonce,
            "place": place,
            "project": project,
            "projects": [] if visitor is None or status >= _STORE_AWAY else self._choices(visitor),
            "title": shown.title or ("" if view is None else view.title),
            "token": asked.visit.token,
            "told": told,
            "version": __version__,
            "way": self._door.way,
            "zone": place.zone,
            "zone_name": place.zone.key,
        }
        body = draw(shown.template, {**context, **shown.data}).encode("utf-8", "backslashreplace")
        answer = PageAnswer(status, body, HTML, nonce=nonce)
        return answer.with_cookie(told_cookie(asked.visit, "")) if told else answer

    def _navigation(self, place: ViewPlace, visitor: Visitor) -> list[tuple[str, list[tuple[str, str, bool]]]]:
        """The groups of the navigation: each view's title, its address, and whether it is this one."""
        groups: dict[str, list[tuple[str, str, bool]]] = {}
        for each in self._listed:
            if visitor.caller.scope in each.scopes:
                groups.setdefault(each.group, []).append((each.title, place.link(each.name), each.name == place.view))
        return list(groups.items())

    def _refused(self, asked: PageRequest, refused: Refused) -> PageAnswer:
        if asked.path.endswith((".csv", ".json")) or asked.path.startswith(STATIC):
            return PageAnswer(refused.status, f"{refused.message}\n".encode(), "text/plain; charset=utf-8")
        place = ViewPlace("", ViewPlace.read("", asked.query_string).only().query)
        visitor = self._visitor_if_any(asked)
        if visitor is None:
            place = ViewPlace("")
        data = {"status": refused.status, "message": refused.message}
        shown = Shown("shell/error.html", data, _words(refused.status))
        return self._drawn(asked, place, shown, visitor, status=refused.status)

    def _visitor_if_any(self, asked: PageRequest) -> Visitor | None:
        try:
            self._door.require_own_host(asked.visit)
            return self._door.visitor(asked.visit, "")
        except Exception:  # the answer is about another error
            return None


def _require_all_read(reports: Reports) -> None:
    """A table of sums says nowhere that some of the history is not in it: raises `Refused` (503) while that is so."""
    done = reports.refresh(budget_s=_READ_S)
    if done < 1:
        told = f"the history is being read, {done * 100:.0f} % of it so far: ask again in a moment"
        raise Refused(503, told, headers=((b"retry-after", b"5"),))


def _static(name: str) -> PageAnswer:
    found = static_file(name)
    if found is None:
        raise Refused(404, "there is no such file", code=NOT_FOUND)
    kind, body = found
    return PageAnswer(200, body, kind, kept=True)


def _as_data(shown: Shown, name: str, suffix: str) -> PageAnswer:
    if suffix == ".json" and (shown.whole is not None or shown.rows is not None):
        text = in_json(shown.rows if shown.whole is None else shown.whole)
        return PageAnswer(200, text.encode(), _JSON)
    if shown.rows is None:
        raise Refused(404, "this view has no rows to download", code=NOT_FOUND)
    body = "".join(csv_lines(shown.rows)).encode("utf-8", "backslashreplace")
    filename = f'attachment; filename="{name.replace("/", "-")}.csv"'.encode()
    return PageAnswer(200, body, _CSV, ((b"content-disposition", filename),))


def _without_suffix(path: str) -> tuple[str, str]:
    for suffix in (".csv", ".json"):
        if path.endswith(suffix):
            return path.removesuffix(suffix), suffix
    return path, ""


def _ours(wanted: str) -> str:
    """Where to look after signing in: a path of this page, whatever is asked for."""
    path, _, query = wanted.partition("?")
    parts = unquote(path).removeprefix(HOME).split("/")
    if any(not part.replace("-", "").isalnum() for part in parts if part):
        return f"{HOME}/"
    return ViewPlace.read("/".join(part for part in parts if part), query.encode("ascii", "replace")).url()


def _words(status: int) -> str:
    return {401: "Sign in first", 403: "Not allowed", 404: "Not found"}.get(status, "That did not work")
