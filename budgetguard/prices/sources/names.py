"""
Names of models: what they have in common, and what to write for one that nobody knows.

A name with a date is its family's where the list has that and not the date. What is meant by a misspelled one is only
looked for when the error is read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import date

_DATED = (
    re.compile(r"(.+)-(20\d\d)-(\d\d)-(\d\d)"),
    re.compile(r"(.+)[-@](20\d\d)(\d\d)(\d\d)"),
    re.compile(r"(.+)-()(\d\d)(\d\d)"),
)
"""The family and the date: gpt-4o-2024-08-06, claude-3-5-haiku-20241022 or, at Google, ...@20241022, gpt-4-0613."""

_SIZES = ("-1024",)
"""What could be a day, and is the size of something."""

_NEAR, _ALIKE = 3, 0.72
"""How many names are offered, and how alike they have to be (1: the same)."""


def family(name: str) -> str | None:
    """The name without the date at its end; `None` for one that has none. A fine-tuned model has no family."""
    if name.startswith("ft:") or name.endswith(_SIZES):
        return None
    for dated in _DATED:
        if match := dated.fullmatch(name):
            base, year, month, day = match.groups()
            try:
                date(int(year or 2000), int(month), int(day))
            except ValueError:
                return None
            return str(base)
    return None


def is_profile(asked: str, answered: str) -> bool:
    """
    Whether the name asked for is that of the answer's model in a place, as Bedrock's are, which may have a price of its
    own: global.anthropic.claude-opus-5-v1:0.
    """
    _place, dot, rest = asked.partition(f".{answered}")
    return bool(dot) and (not rest or rest.startswith(("-v", ":", "@")))


def unknown(model: str, provider: str | None) -> str:
    """What is said of a model without a price, before any advice."""
    if not model:
        return "the request names no model, so that its price cannot be known: state model= in the call"
    return f"no price is known for model {model!r} at {provider or 'this host'}"


def advice(model: str, known: Iterable[str], host: str) -> str:
    """What may be meant by a name that has no price, and the line to add if nothing of that is."""
    if not model:
        return ""
    known = {*known}
    near, said = _near(model, known), ""
    if near:
        said = f". Did you mean {' or '.join(map(repr, near))}?"
    if is_own(host):
        said += (
            f"{'' if near else '.'} {host} is this machine or its network: if the model is your own, and no proxy "
            f"there asks one that is billed, say that it is free:\n\n{_lines('free', model, {'free': True})}"
        )
    said += "\n\nElse say" if said else ". Say"
    prices: dict[str, object] = {"input": "0.00", "output": "0.00"}
    other = near[0] if near else _example(model, known)
    return (
        f"{said} what it costs, in dollars per million tokens, on the command line or in the program:\n\n"
        f"{_lines('set', model, prices, '--input 0.00 --output 0.00')}\n\n"
        f"If it is another name of a model, a deployment's say:\n\n"
        f"{_lines('alias', model, {'alias_of': other}, other)}\n\n"
        "Settings(unpriced='assume') takes the dearest price of the provider instead, unpriced='count' lets it pass."
    )


def is_own(host: str) -> bool:
    """Whether a host is this machine, or in a network that is not the public one."""
    from ipaddress import ip_address

    name = host.strip("[]").rstrip(".").lower()
    if name in {"localhost", "host.docker.internal"} or name.endswith((".local", ".localhost")):
        return True
    try:
        return ip_address(name).is_private
    except ValueError:
        return False


def _near(model: str, known: Iterable[str], most: int = _NEAR, alike: float = _ALIKE) -> list[str]:
    from difflib import get_close_matches

    name = model.strip().lower()
    return get_close_matches(name, sorted({*known} - {name}), most, alike)


def _example(model: str, known: Collection[str]) -> str:
    """A model that is sold where the call was to go, to stand in a line for the one that is meant."""
    return "gpt-4o" if "gpt-4o" in known else next(iter(_near(model, known, 1, 0)), "gpt-4o")


def _lines(verb: str, model: str, entry: dict[str, object], more: str = "") -> str:
    """One line for a shell, and one for a program."""
    from shlex import quote

    if not model.isprintable():  # a shell has no plain way to write it
        return f"    budgetguard.patch(prices={ {model: entry}!r})"
    option = "-- " if model.startswith("-") else ""
    command = f"    budgetguard prices {verb} {option}{quote(model)} {more}".rstrip()
    return f"{command}\n    budgetguard.patch(prices={ {model: entry}!r})"
