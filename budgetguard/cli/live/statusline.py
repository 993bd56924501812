"""`statusline`: one line for a prompt, for tmux, for the status bar of an editor. It starts fast."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from io import TextIOWrapper
from itertools import islice
from string import Formatter
from typing import Annotated, Any, Final, NamedTuple

import typer

from ...budgets.accounts import read_balances
from ...budgets.periods import Period
from ...budgets.rules import USERS, Budget, UserBudget, escape, terms_key, unescape
from ...budgets.running import running
from ...budgets.said.shown import on_one_line
from ...budgets.steering.declared import declared
from ...budgets.steering.states import near_from
from ...config import load_config
from ...errors import BudgetGuardError, ConfigError
from ...ledger import Millis, Query, RecordQuery, Store, Terms, Unit, id_at
from ...reports.amounts import readable as money
from ...reports.amounts import readable_in, share
from ...reports.steered import SteeredSubject, of_rule, of_user, steers_of
from .. import REFUSED
from ..common.options import ProjectOption, StoreOption, opened, readable

OWN: Final = USERS.rstrip("/")
BAR: Final = 10
MOST_USERS: Final = 500
"""Of more users nobody's own budget is told unless they are named: a prompt does not wait for all of them."""
STYLES: Final = (("32", "green"), ("33", "yellow"), ("31", "red"))
"""Of a budget with room, near its limit, and without: as a terminal and as tmux name them."""

statusline_app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
"""The command alone, which need not load the others."""


class PromptBudget(NamedTuple):
    """A budget of which the line tells."""

    name: str
    subject: str
    unit: Unit
    spent: int
    held: int
    limit: int
    paused: bool
    near: float
    """The part of the limit from which on it is near it."""

    @property
    def used(self) -> float:
        """The part of the limit that is spent."""
        return self.spent / self.limit if self.limit else 1.0

    @property
    def is_over(self) -> bool:
        """Whether it refuses every call."""
        return self.paused or self.spent >= self.limit


class Ink(NamedTuple):
    """How names and colours are written where the line is shown."""

    tmux: bool
    colored: bool

    def name(self, text: str) -> str:
        """A name that commands nobody: tmux runs what is behind a #."""
        plain = on_one_line(text)
        return plain.replace("#", "##") if self.tmux else plain

    def paint(self, text: str, style: int) -> str:
        """A text in one of the colours of `STYLES`."""
        if not self.colored:
            return text
        code, word = STYLES[style]
        return f"#[fg={word}]{text}#[default]" if self.tmux else f"\x1b[{code}m{text}\x1b[0m"


UserOption = Annotated[str | None, typer.Option(help="What this user spent, and their budgets.", callback=readable)]
BudgetOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="This budget; otherwise the fullest of those that are for all, or of a few users."
    ),
]
FormatOption = Annotated[
    str | None, typer.Option("--format", metavar="TEXT", help="Such as '{spent_today} {left} {percent} {bar}'.")
]
ColorOption = Annotated[str, typer.Option(help="auto, always or never.")]
TmuxOption = Annotated[bool, typer.Option("--tmux", help="Colours as tmux writes them.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing where the store cannot be read.")]
CheckOption = Annotated[bool, typer.Option("--check", help="Exit with 3 where the budget is spent or paused.")]


@statusline_app.command()
def statusline(
    *,
    user: UserOption = None,
    budget: BudgetOption = None,
    format_: FormatOption = None,
    color: ColorOption = "auto",
    tmux: TmuxOption = False,
    quiet: QuietOption = False,
    check: CheckOption = False,
    store: StoreOption = None,
    name: ProjectOption = None,
) -> None:
    """
    One line: what was spent today (UTC), a budget, and how many calls were refused today.

    Example: budgetguard statusline --user ann --format '{spent_today} {percent}'
    """
    names, ink = _require_fields(format_), _ink(color, tmux=tmux)
    try:
        with opened(store, name) as (books, _):
            line = PromptLine(books, load_config(store=store, project=name).budgets, user, budget, ink)
            text = line.usual() if format_ is None else format_.format_map({each: FIELDS[each](line) for each in names})
            over = check and line.budget is not None and line.budget.is_over
    except BudgetGuardError:
        if not quiet:
            raise
        return
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a dot that the locale does not have is no reason to break a prompt
    print(text)
    if over:
        raise typer.Exit(REFUSED)


class PromptLine:
    """What the line may tell: each is read from the store when it is asked for."""

    def __init__(
        self,
        store: Store,
        rules: Sequence[Budget],
        user: str | None,
        named: str | None,
        ink: Ink,
    ) -> None:
        self.store = store
        self.user = user
        self._rules = rules
        self._named = named
        self.ink = ink
        self._now_ms = store.now_ms()

    def spent(self, period: str) -> str:
        """What was spent since a period began."""
        tags = {} if self.user is None else {"user": self.user}
        totals = self.store.totals((), Query(since_ms=self._since_ms(period), tags=tags))
        return money(sum(each.cost for each in totals))

    @cached_property
    def refused(self) -> int:
        """How many calls were refused today."""
        found = self.store.noted(RecordQuery("refusal", after=id_at(self._since_ms("daily"))))
        said = [_said(each.body) for each in found]
        return sum([each.get("count", 1) for each in said if self.user in {None, each.get("user")}])

    @cached_property
    def budget(self) -> PromptBudget | None:
        """The fullest of those that are meant; raises `ConfigError` where none has the name that was given."""
        found = list(self._meant())
        if self._named is not None and not found:
            raise ConfigError(f"--budget {self._named!r}: no budget with a limit is called so here")
        return max(found, key=lambda each: (each.is_over, each.used), default=None)

    def amount(self, of: Callable[[PromptBudget], int]) -> str:
        """An amount of the budget."""
        return "" if self.budget is None else readable_in(of(self.budget), self.budget.unit)

    def painted(self, text: Callable[[PromptBudget], str]) -> str:
        """A text about the budget in the colour of how full it is."""
        each = self.budget
        if each is None:
            return ""
        return self.ink.paint(text(each), 2 if each.is_over else int(each.used >= each.near))

    def usual(self) -> str:
        """The line, if nobody says otherwise."""
        parts = [f"{FIELDS['project'](self)} {self.spent('daily')} today"]
        if self.budget is not None:
            spent, limit = FIELDS["spent"](self), FIELDS["limit"](self)
            parts.append(f"{FIELDS['budget'](self)} {spent} of {limit} ({FIELDS['percent'](self)})")
        if self.refused:
            parts.append(f"{self.refused:,} refused")
        return " · ".join(parts)

    def _since_ms(self, period: str) -> Millis:
        return Period(period).window(self._now_ms).start_ms or 0

    def _meant(self) -> Iterator[PromptBudget]:
        given = {rule.name for rule in self._rules}
        rules = [*self._rules, *[rule for rule in declared(self.store) if rule.name not in given]]
        subjects = list(self._subjects(rules))
        yield from self._read(subjects)
        if subjects or self.user is not None:
            return
        warn_at = {rule.name: rule.warn_at for rule in rules}
        for each in running(self.store, rules, self._now_ms):
            if each.limit is not None and self._named in {None, each.rule}:
                paused, near = each.state == "paused", near_from(warn_at.get(each.rule, ()))
                yield PromptBudget(each.rule, each.subject, each.unit, each.spent, each.held, each.limit, paused, near)
        if self._named in {None, OWN}:
            owns = list(islice(self.store.all_terms(USERS), MOST_USERS + 1))
            yield from self._read(self._owns(owns)) if len(owns) <= MOST_USERS else ()

    def _subjects(self, rules: Sequence[Budget]) -> Iterator[SteeredSubject]:
        """Those that are for all, or of the user; found by their keys, however many others there are."""
        steers = steers_of(self.store)
        for rule in rules:
            if self._named in {None, rule.name}:
                if not rule.per and (self.user is None or self._named is not None):
                    yield of_rule(steers, rule, "", self._now_ms)
                elif self.user is not None and tuple(rule.per) == ("user",):
                    yield of_rule(steers, rule, escape(self.user), self._now_ms)
        if self.user is not None and self._named in {None, OWN}:
            terms = self.store.terms(terms_key(self.user))
            yield from self._owns([terms] if terms is not None else [])

    def _owns(self, found: Iterable[Terms]) -> list[SteeredSubject]:
        """Users' own budgets."""
        texts = [(each.body, each.version) for each in found if each.body is not None]
        return [of_user(UserBudget.from_text(body, version), self._now_ms) for body, version in texts]

    def _read(self, subjects: Sequence[SteeredSubject]) -> Iterator[PromptBudget]:
        """Budgets with their books; not those that only count."""
        balances = read_balances(self.store, [each.account for each in subjects])
        for each, books in zip(subjects, balances, strict=True):
            if each.limit is not None:
                rule, spent, held = each.rule, books.settled, books.held
                whose, near = unescape(each.subject), near_from(rule.warn_at)
                yield PromptBudget(rule.name, whose, rule.unit, spent, held, each.limit, each.paused, near)


def _said(body: str) -> dict[str, Any]:
    """What a record says; one that says nothing is a refusal all the same."""
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _bar(each: PromptBudget) -> str:
    full = min(round(each.used * BAR), BAR)
    return "█" * full + "░" * (BAR - full)


def _named(each: PromptBudget) -> str:
    return f"{each.name}/{each.subject}" if each.subject else each.name


FIELDS: Final[Mapping[str, Callable[[PromptLine], str]]] = {
    "project": lambda line: line.ink.name(line.store.namespace),
    "user": lambda line: line.ink.name(line.user or ""),
    "spent_today": lambda line: line.spent("daily"),
    "spent_month": lambda line: line.spent("monthly"),
    "refused": lambda line: f"{line.refused:,}",
    "budget": lambda line: "" if line.budget is None else line.ink.name(_named(line.budget)),
    "spent": lambda line: line.amount(lambda each: each.spent),
    "held": lambda line: line.amount(lambda each: each.held),
    "left": lambda line: line.amount(lambda each: max(each.limit - each.spent - each.held, 0)),
    "limit": lambda line: line.amount(lambda each: each.limit),
    "percent": lambda line: line.painted(lambda each: share(each.used)),
    "bar": lambda line: line.painted(_bar),
}
"""What a format may name."""


def _require_fields(text: str | None) -> list[str]:
    """The fields that a format names; raises `ConfigError` for others."""
    try:
        parsed = list(Formatter().parse(text or ""))
    except ValueError as error:
        raise ConfigError(f"--format {text!r}: {error}; write {{{{ for a brace") from None
    names = [name for _, name, _, _ in parsed if name is not None]
    plain = not any(spec or conversion for _, _, spec, conversion in parsed)
    if not plain or not FIELDS.keys() >= set(names):
        raise ConfigError(f"--format {text!r}: the fields are {', '.join(f'{{{name}}}' for name in FIELDS)}")
    return names


def _ink(color: str, *, tmux: bool) -> Ink:
    """How the line is written."""
    if color not in {"auto", "always", "never"}:
        raise ConfigError(f"--color {color!r}: use auto, always or never")
    if color == "auto":
        terminal = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        return Ink(tmux, colored=tmux or terminal)
    return Ink(tmux, colored=color == "always")
