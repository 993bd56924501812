"""
Models: a table of the file says by which name programs ask, and which upstreams are asked for what.

An entry is what the file says, with its upstreams found; `resolve` makes a route of it for the name that was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, get_args

from .model import Strategy, Target, Upstream
from .stanzas import Stanza, meant, shown

WILD = frozenset("*?[")
LONGEST = 256
"""Characters that the name of a model may have."""
_MOST_S = 86_400.0
_MOST_WEIGHT = 1_000_000


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """What the file says of a name, or of all that match a glob."""

    name: str
    targets: tuple[Target, ...]
    strategy: Strategy = "order"
    fallbacks: tuple[str, ...] = ()
    over_budget: tuple[str, ...] = ()
    """What is asked where a budget has no room for it; `fallbacks` are for upstreams that fail."""
    degrade_at: float | None = None
    attempts: int = 3
    deadline_s: float = 600.0
    retry_unknown: bool = False

    @property
    def glob(self) -> bool:
        """Whether the name is a pattern."""
        return not WILD.isdisjoint(self.name)

    @property
    def width(self) -> tuple[int, int]:
        """How much a pattern leaves open: the most specific comes first when sorted by it."""
        return (-sum(letter not in WILD for letter in self.name), self.name.count("*"))

    def sent(self, target: Target, model: str) -> str:
        """What a model is called at a candidate: a star in its name there stands for what the pattern's star does."""
        if target.model is None:
            return model
        return target.model.replace("*", model[len(self.name) - 1 :]) if self.glob else target.model

    def asked(self, target: Target, sent: str) -> str | None:
        """By which name programs ask for what a candidate sells by that one; `None`: by none."""
        if target.model is not None:
            stem = target.model[:-1]
            sent = self.name[:-1] + sent[len(stem) :] if sent.startswith(stem) else ""
        return sent if sent and self.fits(sent) else None

    def fits(self, model: str) -> bool:
        """Whether it is meant by a name."""
        return fnmatchcase(model, self.name) if self.glob else model == self.name


def usable(name: str) -> bool:
    """Whether a text can be the name of a model: short, and without what cannot be seen."""
    return 0 < len(name) <= LONGEST and name.isprintable() and name == name.strip()


def read_model(stanza: Stanza, upstreams: Mapping[str, Upstream | None]) -> ModelEntry | None:
    """The entry of a table; `None` if it cannot be one. An upstream that is `None` has remarks of its own."""
    name = stanza.text("name", wanted='what programs ask for, such as "gpt-4o" or "gpt-4o*"')
    if not stanza.has("name"):
        stanza.wrong("name", 'it is missing: write what programs ask for, such as name = "gpt-4o"')
    elif name and not usable(name):
        stanza.wrong("name", f"a name of a model has at most {LONGEST} characters")
    raw = stanza.take("upstreams")
    listed = raw if isinstance(raw, list) else []
    if not listed:
        stanza.wrong("upstreams", 'none is named: write a list of them, such as ["openai"]')
    targets = [target for number, each in enumerate(listed, 1) if (target := _target(stanza, number, each, upstreams))]
    entry = ModelEntry(
        name=name,
        targets=tuple(targets),
        strategy=stanza.choice("strategy", get_args(Strategy), "order"),  # type: ignore[arg-type]
        fallbacks=stanza.texts("fallbacks", wanted='a list of models, such as ["gpt-4o-mini"]'),
        over_budget=stanza.texts("over_budget", wanted='a list of models, such as ["gpt-4o-mini"]'),
        degrade_at=stanza.part("degrade_at"),
        attempts=stanza.whole("attempts", 3, 1, 100),
        deadline_s=stanza.seconds("deadline_s", 600.0, _MOST_S),
        retry_unknown=stanza.flag("retry_unknown", False),
    )
    stanza.close(
        {
            "fallback": "write fallbacks for when its upstreams fail, over_budget for when a budget has no room for it",
            "aliases": 'write them below [aliases], as in fast = "gpt-4o"',
            "model": 'write it in upstreams, as in {use = "openai", model = "..."}',
        }
    )
    _doubts(stanza, entry)
    return entry if usable(name) and targets else None


def _target(stanza: Stanza, number: int, raw: Any, upstreams: Mapping[str, Upstream | None]) -> Target | None:
    """A candidate: the name of an upstream, or a table with more."""
    inner = stanza.below(raw if isinstance(raw, dict) else {"use": raw}, f"upstreams[{number}]")
    use = inner.text("use", wanted="the name of an upstream")
    model = inner.text("model", wanted="what the model is called there") or None
    weight = inner.whole("weight", 1, 0, _MOST_WEIGHT)
    inner.close()
    upstream = upstreams.get(use)
    if not inner.has("use"):
        inner.wrong("use", 'it is missing: write {use = "openai", model = "..."}')
    elif model is not None and "*" in model and not _starred(stanza.peek("name"), model):
        inner.wrong("model", 'a star stands for that of the name: both have one, at their end, as in "groq/*" and "*"')
    elif use and use not in upstreams:
        known = ", ".join(upstreams) or "none"
        inner.wrong("use", f"no upstream is called {shown(use)}{meant(use, upstreams)}: there are {known}")
    if upstream is None:
        return None
    return Target(upstream, model, weight)


def _starred(name: Any, model: str) -> bool:
    """Whether the stars of two names can stand for the same."""
    return all(isinstance(each, str) and each.endswith("*") and WILD.isdisjoint(each[:-1]) for each in (name, model))


def _doubts(stanza: Stanza, entry: ModelEntry) -> None:
    """What can be used, and is hardly meant."""
    weights = [target.weight for target in entry.targets]
    if entry.strategy == "weighted" and 0 in weights:
        stanza.doubt("upstreams", "a weight of 0 is never asked first" if any(weights) else "every weight is 0")
    if entry.strategy not in {"weighted", "least_busy"} and any(weight != 1 for weight in weights):
        stanza.doubt("strategy", f'weights count for nothing with "{entry.strategy}": write strategy = "weighted"')
    if entry.name in entry.fallbacks:
        stanza.doubt("fallbacks", "it is its own fallback, and was asked by then: leave it out")
    if entry.degrade_at is not None and not entry.over_budget:
        stanza.wrong("degrade_at", 'say which model is asked from then on: over_budget = ["gpt-4o-mini"]')
    doubled = [target[:2] for target in entry.targets]
    if len(set(map(repr, doubled))) < len(doubled):
        stanza.doubt("upstreams", "one is named twice for the same model")
