"""
The file of a gateway: read whole, and every mistake in it said in one go.

    prices = "prices.toml"                # or a table of the same form: [prices.models."my-model"]

    [gateway]                             # the fields of `GatewayOptions`
    wait_s = 2.0

    [[upstream]]
    name = "openai"
    provider = "openai"                   # of `budgetguard providers`: base URLs, header, prices; each may be said here
    key = "env:OPENAI_API_KEY"            # or "file:/run/secrets/openai"

    [[model]]
    name = "gpt-4o*"                      # what programs ask for
    upstreams = ["openai", {use = "azure-eu", model = "my-deployment", weight = 3}]
    strategy = "weighted"
    fallbacks = ["gpt-4o-mini"]

    [aliases]
    fast = "gpt-4o-mini"

    [[budget]]                            # a rule, as in budgetguard.toml
    name = "house"
    limit = 500
    period = "monthly"

    [settings]                            # as in budgetguard.toml
    abandoned = "held"

    [alerts]                              # who is told of what
    slack = "env:SLACK_WEBHOOK"
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ....budgets.rules import Budget
from ....config import read_budget
from ....config.file import ConfigFile
from ....config.forms import made_of, read_settings
from ....errors import ConfigError
from ....guards.settings import Settings
from ....prices.book import PriceBook
from . import check
from .model import Upstream
from .models import WILD, ModelEntry, read_model, usable
from .resolve import Configuration
from .secrets import Secrets
from .stanzas import Remark, Stanza, shown, shown_key
from .tables.alerts import read_alerts
from .tables.options import read_options
from .upstreams import read_upstream

_MOST_BYTES = 10_000_000
_TAKEN = frozenset({"key", "team", "user", "end_user", "users", "models", "max_budget", "scope"})
_TAKEN_STEMS = ("key ", "team ", "user ", "end_user ")
"""Before the glob in the name of somebody's dollars for some models."""


class Reading(NamedTuple):
    """What a file is: its configuration, unless something in it cannot be used, and what is to be said of it."""

    configuration: Configuration | None
    remarks: tuple[Remark, ...]

    @property
    def mistakes(self) -> list[Remark]:
        """What cannot be used."""
        return [each for each in self.remarks if each.wrong]


def load(path: Path | str, environ: Mapping[str, str] = os.environ) -> Configuration:
    """The configuration in a file; raises `ConfigError` with everything that cannot be used, a line each."""
    found = read(path, environ)
    if found.configuration is None:
        lines = "\n".join(f"  {each}" for each in found.mistakes)
        raise ConfigError(f"{path}: this cannot be used\n{lines}")
    return found.configuration


def read(path: Path | str, environ: Mapping[str, str] = os.environ, *, secrets: bool = True) -> Reading:
    """
    The file, and all that is to be said of it. Without `secrets`, it does not matter whether keys are there.

    Raises `ConfigError` for one that is no TOML.
    """
    path, remarks = Path(path), list[Remark]()
    top = Stanza(_toml(path), "", remarks)
    known = Secrets(environ, path.parent, needed=secrets)
    upstreams = _upstreams(top, known)
    entries = _entries(top, upstreams)
    aliases = _aliases(top, entries)
    budgets = tuple(_budgets(top))
    alerts = read_alerts(Stanza(top.table("alerts"), "[alerts]", remarks), known)
    options = read_options(Stanza(top.table("gateway"), "[gateway]", remarks), budgets, alerts)
    prices, settings = _prices(top, path.parent), _settings(top, path)
    top.close({"budgets": "write [[budget]]", "upstreams": "write [[upstream]]", "models": "write [[model]]"})
    if any(each.wrong for each in remarks):
        return Reading(None, tuple(remarks))
    since_s = int(path.stat().st_mtime)
    try:
        made = Configuration(
            filter(None, upstreams.values()),
            entries,
            aliases,
            options=options,
            settings=settings,
            prices=prices,
            since_s=since_s,
        )
        remarks += check.remarks(made)
    except ConfigError as error:  # of the price list, which is read with the first price
        top.wrong("prices", str(error))
        return Reading(None, tuple(remarks))
    return Reading(None if any(each.wrong for each in remarks) else made, tuple(remarks))


def _toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise ConfigError(f"{path}: it has more than {_MOST_BYTES:,} bytes: is this the file that is meant?")
        return tomllib.loads(text.decode("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; --config names another") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as TOML ({error})") from None


def _upstreams(top: Stanza, secrets: Secrets) -> dict[str, Upstream | None]:
    """Each by its name; `None` is one that cannot be used."""
    found: dict[str, Upstream | None] = {}
    for stanza, raw in top.tables("upstream"):
        made, name = read_upstream(stanza, secrets), str(raw.get("name"))
        if name in found:
            stanza.wrong("name", f"another upstream is called {shown(name)}: names are given once")
        found[name] = made
    if not top.has("upstream"):
        top.wrong("[[upstream]]", 'there is none: write one, with name = "openai" and provider = "openai"')
    return found


def _entries(top: Stanza, upstreams: Mapping[str, Upstream | None]) -> list[ModelEntry]:
    found: dict[str, ModelEntry] = {}
    for stanza, _ in top.tables("model"):
        made = read_model(stanza, upstreams)
        if made is not None and made.name in found:
            stanza.wrong("name", f"another model is called {made.name!r}: list all of its upstreams in one table")
        elif made is not None:
            found[made.name] = made
    return list(found.values())


def _aliases(top: Stanza, entries: list[ModelEntry]) -> dict[str, str]:
    found, names = dict[str, str](), {each.name for each in entries}
    table = top.table("aliases")
    for alias, model in table.items():
        if not usable(alias) or not WILD.isdisjoint(alias) or not isinstance(model, str) or not usable(model):
            top.wrong(f"[aliases] {shown_key(alias)}", 'write a name and the model that it means: fast = "gpt-4o-mini"')
        elif alias in names:
            top.wrong(f"[aliases] {alias}", "a [[model]] has this name: leave one of them out")
        elif model in table:
            top.wrong(f"[aliases] {alias}", f"{model!r} is an alias, too: write what that one means")
        else:
            found[alias] = model
    return found


def _budgets(top: Stanza) -> Any:
    names = set[str]()
    for stanza, raw in top.tables("budget"):
        try:
            made: Budget = read_budget(stanza.where, {"on_expire": "charge", **raw})
        except ConfigError as error:
            stanza.wrong("", str(error).removeprefix(f"{stanza.where}: "))
            continue
        if made.name in names:
            stanza.wrong("name", f"another budget is called {made.name!r}: names are given once")
        if made.name in _TAKEN or made.name.startswith(_TAKEN_STEMS):
            stanza.wrong("name", f"{made.name!r} is what the limits of keys and their owners are called: take another")
        names.add(made.name)
        yield made


def _prices(top: Stanza, home: Path) -> PriceBook | None:
    """The price file that is named, or what stands in the table itself, in the form of one."""
    stated = top.take("prices")
    inner = Stanza(stated if isinstance(stated, dict) else {"file": stated}, "[prices]", top.remarks)
    file, listed = inner.text("file", wanted='a price file, as in prices = "prices.toml"'), inner.text("list")
    tables: dict[str, Any] = {key: inner.table(key) for key in ("models", "deployments", "discounts", "tiers")}
    tiers = inner.texts("auto_tier", wanted='a list of service tiers, such as ["priority"]')
    inner.close()
    try:
        return PriceBook(
            overrides=tables.pop("models"),
            path=home / file if file else None,
            auto_tier=tiers if inner.has("auto_tier") else None,
            price_list=str(home / listed) if listed.endswith(".json") else listed or None,
            **tables,
        )
    except ConfigError as error:
        inner.wrong("", str(error))
        return None


def _settings(top: Stanza, path: Path) -> Settings | None:
    table = top.table("settings")
    try:
        return made_of(read_settings(ConfigFile(path, "", {"settings": table}), {}))
    except ConfigError as error:
        top.wrong("", str(error).strip())
        return None
