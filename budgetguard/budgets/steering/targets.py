"""What a steer is aimed at: "users/ann", "team/red", or "team" for all of a rule's subjects."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import NamedTuple

from ...errors import ConfigError
from ..rules import USERS, Budget, escape, unescape


class SteerTarget(NamedTuple):
    """A rule, or one subject of it; or a user's own budget, which has no rule but its own."""

    budget: str
    """The name of the rule; "users" for a user's own."""
    subject: str = ""
    """As keys have it: each value escaped, commas between them; "": all of the rule's."""
    rule: Budget | None = None

    @property
    def user(self) -> str | None:
        """Whose own budget it is."""
        return unescape(self.subject) if self.rule is None else None

    @property
    def stem(self) -> str:
        """How it is named in the terms of steers, and in commands."""
        name = escape(self.budget)
        return f"{name}/{self.subject}" if self.subject else name

    @property
    def shown_subject(self) -> str:
        """Whose it is, for people."""
        return unescape(self.subject)


def find_target(said: str, rules: Sequence[Budget]) -> SteerTarget:
    """What is meant; raises `ConfigError`, which names what is near, for a rule that nobody declared."""
    name, slash, rest = said.partition("/")
    raw, name = name, unescape(name)
    if slash and f"{name}/" == USERS and rest:
        return SteerTarget("users", _segment(rest))
    by_name = {each.name: each for each in rules}
    rule = by_name.get(name) or by_name.get(raw)
    if rule is None and said in by_name:  # a rule's name may have a slash
        rule, rest = by_name[said], ""
    if rule is None:
        raise ConfigError(f"{said!r}: {_what_there_is(said, name, rules)}")
    if not rest:
        return SteerTarget(rule.name, "", rule)
    if not rule.per:
        raise ConfigError(f"{said!r}: {rule.name!r} is one budget for all calls that it covers: say {rule.name}")
    values = rest.split(",") if len(rule.per) > 1 else [rest]
    if len(values) != len(rule.per):
        raise ConfigError(f"{said!r}: {rule.name!r} counts by {', '.join(rule.per)}: say {rule.name}/{_example(rule)}")
    return SteerTarget(rule.name, ",".join(map(_segment, values)), rule)


def _segment(said: str) -> str:
    """A name in a key: as keys and we ourselves write it, or else as it is, also where that only looks like escapes."""
    name = unescape(said)
    return said if escape(name) == said else escape(said)


def _what_there_is(said: str, name: str, rules: Sequence[Budget]) -> str:
    if name == "users":
        return "say whose, as in users/ann"
    near = get_close_matches(name.casefold(), [rule.name.casefold() for rule in rules], 1)
    meant = next((rule.name for rule in rules if near and rule.name.casefold() == near[0]), None)
    if meant is not None:
        return f"there is no rule {name!r}: did you mean {said.replace(said.partition('/')[0], escape(meant), 1)!r}?"
    if "/" not in said and not rules:
        return f"no rule was declared here yet; a user's own budget is users/{escape(said)}"
    known = (
        f"the rules that programs declared are {', '.join(rule.name for rule in rules)}" if rules else "none is known"
    )
    return f"there is no rule {name!r}: {known}; a user's own budget is users/ann"


def _example(rule: Budget) -> str:
    return ",".join(f"<{tag}>" for tag in rule.per)
