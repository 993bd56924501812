"""
Who is told of budgets, and of what: the table `[alerts]` becomes the sinks of every project's herald.

    [alerts]
    slack = "env:SLACK_WEBHOOK"          # or discord; an incoming webhook's URL is a secret
    webhook = {url = "https://ops.example.com/budgets", secret = "env:WEBHOOK_SECRET"}
    email = {host = "smtp.example.com", port = 587, sender = "budgets@example.com", to = ["ops@example.com"]}
    off = ["spike"]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, get_args

from .....alerts.options import WHATS, Alerts
from .....alerts.sinks.base import Log, Sink
from .....alerts.sinks.mail import Email, Tls
from .....alerts.sinks.webhook import Webhook
from .....errors import ConfigError
from ..secrets import Secrets
from ..stanzas import Stanza

_ELSEWHERE: Final = "https://example.com/secret"
"""What stands for an address that is a secret, where secrets are not there."""


def read_alerts(stanza: Stanza, secrets: Secrets) -> Alerts:
    """What the table says; what is wrong is noted at its key."""
    sinks: list[Sink] = []
    for key, made in _SINKS.items():
        for inner in _several(stanza, key):
            sink = made(inner, secrets)
            inner.close()
            sinks += [] if sink is None else [sink]
    if stanza.flag("log", False):
        sinks.append(Log())
    off = stanza.texts("off", wanted='a list of alerts, such as ["spike"]')
    for what in off:
        if what not in WHATS:
            stanza.wrong("off", f"{what!r} is no alert: there are {', '.join(WHATS)}")
    stanza.close()
    return Alerts(sinks, [what for what in off if what in WHATS])


def _several(stanza: Stanza, key: str) -> Iterator[Stanza]:
    """Each sink of a kind: one, or a list of them; a text is an address."""
    said = stanza.take(key)
    listed = said if isinstance(said, list) else [] if said is None else [said]
    for number, each in enumerate(listed, 1):
        if isinstance(each, str | dict):
            where = key if len(listed) == 1 else f"{key}[{number}]"
            yield stanza.below(each if isinstance(each, dict) else {"url": each}, where)
        else:
            stanza.wrong(key, 'write an address as "env:NAME", or a table')


def _webhook(inner: Stanza, secrets: Secrets) -> Sink | None:
    url, secret = _address(inner, secrets), _secret(inner, secrets, "secret")
    timeout_s = inner.seconds("timeout_s", 10.0, 120.0)
    return None if url is None else _made(inner, lambda: Webhook(url, secret, timeout_s=timeout_s))


def _slack(inner: Stanza, secrets: Secrets) -> Sink | None:
    url = _address(inner, secrets)
    return None if url is None else _made(inner, lambda: Webhook(url, style="slack"))


def _discord(inner: Stanza, secrets: Secrets) -> Sink | None:
    url = _address(inner, secrets)
    return None if url is None else _made(inner, lambda: Webhook(url, style="discord"))


def _email(inner: Stanza, secrets: Secrets) -> Sink | None:
    host, sender = inner.text("host", wanted="the name of a mail server"), inner.text("sender", wanted="an address")
    port = inner.whole("port", 587, 1, 65_535)
    to = inner.peek("to")
    said = (inner.text("to"),) if isinstance(to, str) else inner.texts("to", wanted='addresses: ["ops@example.com"]')
    user, password = inner.text("user") or None, _secret(inner, secrets, "password")
    tls: Any = inner.choice("tls", get_args(Tls), "starttls")
    if password is None and not secrets.needed:
        user = None
    return _made(inner, lambda: Email(host, port, sender, said, user, password, tls))


def _address(inner: Stanza, secrets: Secrets) -> str | None:
    """An address, which may be a secret, as those of Slack are; `None` where there is none."""
    said = inner.text("url", wanted='an address, or "env:NAME" where it is a secret')
    if not inner.has("url"):
        inner.wrong("url", "it is missing: write where to")
    if not said.startswith(("env:", "file:")):
        return said or None
    found = secrets.read(inner, "url", said)
    return _ELSEWHERE if found is None and not secrets.needed else found


def _secret(inner: Stanza, secrets: Secrets, key: str) -> str | None:
    said = inner.text(key, wanted='"env:NAME" or "file:PATH"')
    return secrets.read(inner, key, said) if said else None


def _made(inner: Stanza, make: Callable[[], Sink]) -> Sink | None:
    try:
        return make()
    except ConfigError as error:
        inner.wrong("", str(error))
        return None


_SINKS: Final[Mapping[str, Callable[[Stanza, Secrets], Sink | None]]] = {
    "webhook": _webhook,
    "slack": _slack,
    "discord": _discord,
    "email": _email,
}
