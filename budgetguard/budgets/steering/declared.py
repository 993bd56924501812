"""
Declared rules: what programs are limited by, written where every reader of the store finds it.

A rule lives in a program, or in the file that it reads. Whoever makes calls by it puts it as terms, `rules/<name>`, so
that commands, pages and reports can show its limit, and a steer can be checked against it. Nothing depends on them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from ...ledger import Store
from ...money import Money
from ..periods import Period
from ..rules import Budget, escape, unescape

RULES: Final = "rules/"
"""How the keys of these terms begin."""

_PLAIN: Final = ("enforce", "on_expire", "in_flight", "lease", "unit", "degrade_at")


def declare(store: Store, rules: Sequence[Budget]) -> int:
    """Put these rules, as far as what is there differs; how many did. Raises what the store does."""
    if not rules:
        return 0
    there = {terms.key: terms.body for terms in store.all_terms(RULES)}
    wanted = {rules_key(rule.name): rule_text(rule) for rule in rules}
    different = {key: text for key, text in wanted.items() if there.get(key) != text}
    for key, text in different.items():
        store.put_terms(key, text)
    return len(different)


def declared(store: Store) -> list[Budget]:
    """The rules that programs declared, by their names; what is none is left out."""
    return list(_readable(store))


def _readable(store: Store) -> Iterator[Budget]:
    for terms in store.all_terms(RULES):
        try:
            yield read_rule(json.loads(terms.body or ""))
        except (ValueError, KeyError, TypeError, AttributeError):  # of a newer writer, or anybody's
            continue


def forget(store: Store, name: str) -> None:
    """Take a rule out that no program has any more; its books stay."""
    store.put_terms(rules_key(name), None)


def rules_key(name: str) -> str:
    """Where a rule of this name is declared."""
    return f"{RULES}{escape(name)}"


def rule_text(rule: Budget) -> str:
    """The body of its terms: all of its fields."""
    return json.dumps(
        {
            "name": escape(rule.name),  # JSON would read two lone surrogates as one character
            "limit": rule.limit,
            "period": rule.period.name,
            "timezone": rule.period.timezone,
            "match": {escape(tag): escape(glob) for tag, glob in rule.match.items()},
            "per": [escape(tag) for tag in rule.per],
            "warn_at": list(rule.warn_at),
            "fallback": [escape(model) for model in rule.fallback],
            **{name: getattr(rule, name) for name in _PLAIN},
        },
        sort_keys=True,
    )


def read_rule(data: dict[str, Any]) -> Budget:
    """The rule of a body; fields that it lacks are at their defaults, and others are not looked at."""
    unit, limit = data.get("unit", "dollars"), data["limit"]
    said = {name: data[name] for name in (*_PLAIN, "warn_at") if name in data}
    return Budget(
        unescape(data["name"]),
        Money(limit) if unit == "dollars" and limit is not None else limit,
        Period(data.get("period", "forever"), data.get("timezone", "UTC")),
        match={unescape(tag): unescape(glob) for tag, glob in data.get("match", {}).items()},
        per=[unescape(tag) for tag in data.get("per", ())],
        fallback=[unescape(model) for model in data.get("fallback", ())],
        **said,
    )
