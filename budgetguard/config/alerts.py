"""
`[alerts]` of the file: who is told, and of what.

    [alerts]
    slack = "env:SLACK_WEBHOOK"                                     # or discord; an incoming webhook's URL
    webhook = { url = "https://ops.example.com/budgets", secret = "env:WEBHOOK_SECRET" }
    email = { host = "smtp.example.com", port = 587, sender = "budgets@example.com", to = ["ops@example.com"],
              user = "budgets", password = "env:SMTP_PASSWORD" }
    log = true                                                      # the log, beside these
    off = ["spike"]

A text "env:NAME" is what that variable holds: a file is no place for secrets. It is looked for when somebody is to be
told, so that a command which tells nobody does without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any, Final

from ..alerts.options import Alerts
from ..alerts.sinks.base import Log, Sink
from ..alerts.sinks.mail import Email
from ..alerts.sinks.webhook import Webhook
from ..errors import ConfigError
from .file import ConfigFile

FROM_ENVIRONMENT: Final = "env:"

_NOT_SAID: Final = frozenset({"sleep", "clock"})
"""Fields of sinks that are for programs."""


def read_alerts(file: ConfigFile, environ: Mapping[str, str]) -> Alerts:
    """What the file says; raises `ConfigError` that names the key."""
    table, at = file.data.get("alerts", {}), f"{file.at} [alerts]"
    if not isinstance(table, dict):
        raise ConfigError(f"{file.at} alerts: write them as a table below [alerts]")  # an address may be a secret
    known = sorted([*_SINKS, "log", "off"])
    unknown = next((key for key in table if key not in known), None)
    if unknown is not None:
        raise ConfigError(f"{at}: {unknown!r} is nothing of alerts: there are {', '.join(known)}")
    sinks: list[Sink] = []
    for key, made in _SINKS.items():
        given = table.get(key, [])
        each_given = given if isinstance(given, list) else [given]
        sinks += [_sink(f"{at} {key}", made, each, environ) for each in each_given]
    if not isinstance(table.get("log", False), bool):
        raise ConfigError(f"{at} log={table['log']!r}: true or false is needed")
    if table.get("log"):
        sinks.append(Log())
    try:
        return Alerts(sinks, table.get("off", ()))
    except ConfigError as error:
        raise ConfigError(f"{at}: {error}") from error


def _sink(where: str, made: Callable[..., Sink], given: Any, environ: Mapping[str, str]) -> Sink:
    if not isinstance(given, str | dict):
        raise ConfigError(f"{where}: a URL, or a table, is needed")
    said = {"url": given} if isinstance(given, str) else given
    _require_keys(where, made, said)
    try:
        return made(**{name: _value(name, value, environ) for name, value in said.items()})
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _require_keys(where: str, made: Callable[..., Sink], said: Mapping[str, Any]) -> None:
    known = {name: each for name, each in signature(made).parameters.items() if name not in _NOT_SAID}
    unknown = [name for name in said if name not in known]
    missing = [name for name, each in known.items() if each.default is each.empty and name not in said]
    if unknown:
        raise ConfigError(f"{where}: {unknown[0]!r} is nothing of it: there are {', '.join(known)}")
    if missing:
        raise ConfigError(f"{where}: {missing[0]} is missing")


def _value(where: str, value: Any, environ: Mapping[str, str]) -> Any:
    """What is written, or what the variable holds that is named."""
    if not isinstance(value, str) or not value.startswith(FROM_ENVIRONMENT):
        return value
    name = value.removeprefix(FROM_ENVIRONMENT)
    found = environ.get(name)
    if not found:
        raise ConfigError(f"{where} = {value!r}: {name} is not set in the environment")
    return found


def _slack(url: str) -> Webhook:
    return Webhook(url, style="slack")


def _discord(url: str) -> Webhook:
    return Webhook(url, style="discord")


_SINKS: Final[Mapping[str, Callable[..., Sink]]] = {
    "webhook": Webhook,
    "slack": _slack,
    "discord": _discord,
    "email": Email,
}
