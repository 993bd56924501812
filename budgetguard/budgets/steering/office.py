"""
The verbs by which people change budgets that run, in one place: for commands, the API, the page and Python.

    office = Steering(users, Author("ann", "page"))       # users: that of the project, `Project.users` of a server
    office.raise_limit("team/red", "500", until="end of month", note="launch")
    office.top_up("users/bob", 5)
    office.pause("team", note="incident 12")              # every team
    office.resume("team"); office.reset("team/red"); office.remove("team/red")

A target is "users/<name>", a rule that a program declared, or one subject of it, "rule/subject"; a name alone is a
user's where no rule has it. Amounts are in the
unit of its budget: dollars as `Budget` takes them, else whole numbers. Each verb is one atomic change of terms, so two
people at once lose nothing; it holds from the very next call in every process; it is in the audit; and it returns a
`SteerDone`, whose `told` is a sentence for people. Raises `ConfigError` for what cannot be (a target that nobody knows
is told with what is near), `UnknownUserError`, `ContendedError` and `StoreError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import islice
from typing import Any, TypeAlias

from ...errors import ConfigError, UnknownUserError
from ...ledger import Millis, Unit, show_amount
from ...money import MAX_AMOUNT, Money
from ..accounts import read_balances
from ..rules import Budget, UserBudget, terms_key
from ..said.checks import parse_limit
from ..users import Users, insist, told_of
from .audit import Author, Changed, write_down
from .declared import declared
from .known import Steers
from .moments import moment_text, until_ms
from .steers import NO_STEER, STEERS, Steer, write_steers
from .targets import SteerTarget, find_target

MOST_NOTE = 500
_MOST_USERS = 10_000
_TOLD = ("by", "note")


@dataclass(frozen=True, slots=True)
class SteerDone:
    """What a verb came to."""

    target: SteerTarget
    before: Steer
    after: Steer
    limit: int | None
    """The limit that holds now, in the unit; `None`: none. Of a whole rule, that of who is not steered alone."""
    unit: Unit
    told: str
    """What holds from now on, for people."""
    change: Changed
    """What the audit has of it."""


class Steering:
    """The verbs, for one author. `rules` are those that are known beside the declared ones, as a file has them."""

    def __init__(self, users: Users, author: Author, *, rules: Sequence[Budget] = ()) -> None:
        self._users = users.by(author)
        self._store = users.store
        self._author = author
        self._rules = tuple(rules)

    def target(self, said: str) -> SteerTarget:
        """What is meant by a name, that of a user who has a budget among them; raises `ConfigError`."""
        known = {rule.name: rule for rule in (*declared(self._store), *self._rules)}
        if "/" not in said and said not in known and self._users.find(said) is not None:
            return find_target(terms_key(said), ())
        try:
            aim = find_target(said, list(known.values()))
        except ConfigError as error:
            near = None if "/" in said or "did you mean" in str(error) else _near_user(said, self._users)
            if near is None:
                raise
            raise ConfigError(f"{said!r}: no budget has that name: did you mean {near!r}?") from error
        if aim.user is not None and self._users.find(aim.user) is None and (near := _near_user(aim.user, self._users)):
            raise UnknownUserError(
                f"no budget was created for user {aim.user!r}: did you mean {near!r}?", user=aim.user
            )
        return aim

    def raise_limit(
        self, target: str, limit: Money | float | str, *, until: object = None, note: str = ""
    ) -> SteerDone:
        """Put this limit in the rule's place, until a moment ("2h", "2027-01-31", "end of month") or for good."""
        aim, now_ms = self.target(target), self._store.now_ms()
        rule = self._rule(aim)
        amount = parse_limit(limit, rule.unit)
        end_ms = None if until is None else until_ms(until, now_ms, rule.period.timezone)
        said = f"its limit is {show_amount(amount, rule.unit)}"
        said += "" if end_ms is None else f" until {moment_text(end_ms)}"
        return self._steer(
            aim,
            "raise",
            note,
            lambda it, *_: _in_unit(it, rule, limit=amount, limit_until_ms=end_ms),
            lambda it: (
                said + (f", and {show_amount(extra, rule.unit)} beside" if (extra := it.extra_at(now_ms)) else "")
            ),
        )

    def top_up(self, target: str, amount: Money | float | str, *, note: str = "") -> SteerDone:
        """Add this much to the limit once: until its period is over."""
        aim, now_ms = self.target(target), self._store.now_ms()
        more = parse_limit(amount, self._rule(aim).unit, name="amount")

        def more_of(it: Steer, rule: Budget, ruled: int | None) -> Steer:
            it = _in_unit(it, rule)
            whole, limit = it.extra_at(now_ms) + more, it.limit_at(ruled, now_ms)
            if limit is None:
                raise ConfigError(
                    f"{aim.stem}: it has no limit, so there is nothing to top up; raise_limit gives it one"
                )
            if limit + more > MAX_AMOUNT:
                raise ConfigError(f"amount={amount!r}: with it the limit is beyond what a store can book")
            return _in_unit(it, rule, extra=whole, extra_until_ms=_period_end(rule, now_ms))

        def said(it: Steer) -> str:
            until = "" if it.extra_until_ms is None else f" until {moment_text(it.extra_until_ms)}"
            unit = self._rule(aim).unit
            return f"{show_amount(it.extra, unit)} {'is' if unit == 'dollars' else 'are'} added to its limit{until}"

        return self._steer(aim, "top up", note, more_of, said)

    def pause(self, target: str, *, note: str = "") -> SteerDone:
        """Refuse every call that touches it, whatever its enforce, until it is resumed."""
        return self._steer(
            self.target(target),
            "pause",
            note,
            lambda it, *_: replace(it, paused=True, by=self._author.who, note=note),
            lambda _: "it is paused: no call passes until it is resumed",
        )

    def resume(self, target: str, *, note: str = "") -> SteerDone:
        """Let calls pass again."""
        return self._steer(
            self.target(target),
            "resume",
            note,
            lambda it, *_: replace(it, paused=False, by=self._author.who, note=note),
            lambda _: "calls pass again, as far as its limit goes",
        )

    def reset(self, target: str, *, note: str = "") -> SteerDone:
        """Begin again with nothing spent; the history stays."""
        aim = self.target(target)
        if self._rule(aim).unit == "parallel":
            raise ConfigError(
                f"{aim.stem}: it counts the calls in flight, of which nothing is spent that could be reset"
            )
        return self._steer(
            aim,
            "reset",
            note,
            lambda it, *_: replace(it, epoch=it.epoch + 1),
            lambda _: "it begins again with nothing spent; the history stays",
        )

    def remove(self, target: str, *, note: str = "") -> SteerDone:
        """Take back what was raised, topped up and paused; a reset stays one."""
        return self._steer(
            self.target(target),
            "unsteer",
            note,
            lambda it, *_: replace(NO_STEER, epoch=it.epoch),
            lambda _: "it is as its rule says again",
        )

    def take_away(self, target: str, *, note: str = "") -> str:
        """Take a user's own budget away, the history stays; what holds from now on, for people."""
        aim = self.target(target)
        if aim.user is None:
            raise ConfigError(f"{aim.stem}: it is a rule: take it out of the program or the file that has it")
        self._users.remove(aim.user, note=note)
        return f"{aim.stem}: the user has no budget of their own any more; the history stays"

    # -- how they are done ---------------------------------------------------------------------------------------

    def _rule(self, aim: SteerTarget) -> Budget:
        return self._users.get(aim.user).rule if aim.user is not None else _known(aim)

    def _steer(
        self,
        aim: SteerTarget,
        what: str,
        note: str,
        changed: _Change,
        said: Callable[[Steer], str],
    ) -> SteerDone:
        if len(note) > MOST_NOTE:
            raise ConfigError(f"note: at most {MOST_NOTE} letters are kept, these are {len(note)}")
        do, now_ms = self._steer_user if aim.user is not None else self._steer_rule, self._store.now_ms()
        rule, before, after, told, limit = do(aim, changed, now_ms)
        subject = aim.shown_subject
        change = Changed(self._author.who, self._author.via, what, aim.budget, subject, told[0], told[1], note)
        change = write_down(self._store, change, now_ms)
        text = f"{aim.stem}: {said(after)}" + ("" if after.paused else self._short(aim, rule, limit, now_ms))
        return SteerDone(aim, before, after, limit, rule.unit, text, change)

    def _steer_user(self, aim: SteerTarget, changed: _Change, now_ms: Millis) -> _Done:
        """Of a user's own budget, whose epoch is beside its steer."""
        assert aim.user is not None
        was: list[UserBudget] = []

        def steered(own: UserBudget) -> UserBudget:
            was[:] = [own]
            made = changed(replace(own.steer, epoch=own.epoch), own.rule, own.rule.limit)
            return replace(own, epoch=made.epoch, steer=replace(made, epoch=0), updated_s=self._users.clock())

        now = self._users.swap(aim.user, steered)
        pair = [replace(own.steer, epoch=own.epoch) for own in (*was, now)]
        return now.rule, pair[0], pair[1], (told_of(was[0]), told_of(now)), now.limit_at(now_ms)

    def _steer_rule(self, aim: SteerTarget, changed: _Change, now_ms: Millis) -> _Done:
        """Of a rule or one of its subjects; what people changed of the whole rule goes before what is said of one."""
        rule = _known(aim)

        def attempt() -> tuple[Steer, Steer, int | None] | None:
            known = Steers.of(self._store.terms(STEERS))
            before = known.by_stem.get(aim.stem, NO_STEER)
            after = changed(before, rule, known.limit(rule, "", now_ms) if aim.subject else rule.limit)
            text = write_steers({**known.by_stem, aim.stem: after})
            put = self._store.put_terms(STEERS, text, expected=known.version)
            if put is None:
                return None
            steers = Steers.of(put)
            self._users.coverage.take_steers(steers)
            return before, after, steers.limit(rule, aim.subject, now_ms)

        before, after, limit = insist(attempt, f"{aim.stem}: its steers are")
        return rule, before, after, (_told(rule, before), _told(rule, after)), limit

    def _short(self, aim: SteerTarget, rule: Budget, limit: int | None, now_ms: Millis) -> str:
        """That a limit is spent already, for people; "" if it is not, or is that of many."""
        if limit is None or (not aim.subject and rule.per):
            return ""
        if aim.user is not None:
            account = self._users.get(aim.user).account(now_ms)
        else:
            account = Steers.of(self._store.terms(STEERS)).account(rule, aim.subject, now_ms)
        [balance] = read_balances(self._store, [account])
        if balance.settled < limit or not balance.settled:
            return ""
        spent = show_amount(balance.settled, rule.unit)
        return f". {spent} is spent already, so no call passes: top it up, or reset it"


def _near_user(name: str, users: Users) -> str | None:
    """The target of the user whose name is near; `None` without one."""
    known = {own.user.casefold(): own.user for own in islice(users.all(), _MOST_USERS)}
    near = get_close_matches(name.casefold(), list(known), 1)
    return terms_key(known[near[0]]) if near else None


_Change: TypeAlias = Callable[[Steer, Budget, int | None], Steer]
"""What becomes of a steer, by the rule and the limit that holds without it."""

_Done: TypeAlias = tuple[Budget, Steer, Steer, tuple[Mapping[str, Any], Mapping[str, Any]], int | None]


def _in_unit(steer: Steer, rule: Budget, **amounts: int | None) -> Steer:
    """A steer with amounts in the unit of its rule; those in another one, of a rule that it was before, are over."""
    kept = steer if steer.unit == rule.unit else replace(steer.settled(), unit=rule.unit)
    return replace(kept, **amounts, unit=rule.unit)  # type: ignore[arg-type]  # not every field is an amount


def _known(aim: SteerTarget) -> Budget:
    assert aim.rule is not None
    return aim.rule


def _told(rule: Budget, steer: Steer) -> dict[str, Any]:
    """What the audit has of a rule that is steered."""
    said = {name: value for name, value in _in_unit(steer, rule).in_json().items() if name not in _TOLD}
    return {"limit": rule.limit, "unit": rule.unit, **({"steer": said} if said else {})}


def _period_end(rule: Budget, now_ms: Millis) -> Millis | None:
    """When what was topped up is over; a rolling period's length from now."""
    rolling = rule.period.rolling_ms
    return rule.window(now_ms).end_ms if rolling is None else now_ms + rolling
