"""What holds for every call: the table `[gateway]` becomes the options."""

from __future__ import annotations

from typing import get_args

from .....alerts.options import Alerts
from .....budgets.rules import Budget
from ..model import GatewayOptions, Tell
from ..stanzas import Stanza
from ..upstreams import CREDENTIALS, FRAMING

_MOST_BYTES = 1_000_000_000
_OVER = (400, 401, 402, 403, 422, 429)
"""Statuses that a refusal may have: 402 is plain, the others are what clients of other gateways look for."""


def read_options(stanza: Stanza, budgets: tuple[Budget, ...], alerts: Alerts | None = None) -> GatewayOptions:
    """The options of a table, and the defaults where it says nothing."""
    usual = GatewayOptions()
    made = GatewayOptions(
        wait_s=stanza.seconds("wait_s", usual.wait_s, 600.0, zero=True),
        tell=stanza.choice("tell", get_args(Tell), usual.tell),  # type: ignore[arg-type]
        over_status=_over(stanza, usual.over_status),
        ping_s=stanza.seconds("ping_s", usual.ping_s, 3_600.0, zero=True),
        most_bytes=stanza.whole("most_bytes", usual.most_bytes, 1_000, _MOST_BYTES),
        forward=_forward(stanza),
        litellm=_prefix(stanza),
        unlisted=stanza.flag("unlisted", usual.unlisted),
        budgets=budgets,
        alerts=alerts or Alerts(),
    )
    stanza.close()
    return made


def _over(stanza: Stanza, usual: int) -> int:
    value = stanza.whole("over_status", usual, 400, 499)
    if value not in _OVER:
        stanza.wrong("over_status", f"{value} means something else: write one of {', '.join(map(str, _OVER))}")
    elif value == 429:
        stanza.doubt(
            "over_status", "SDKs try a 429 again: a budget that is used up is asked in vain, several times a call"
        )
    return value


def _forward(stanza: Stanza) -> tuple[str, ...]:
    """Names of headers that go on, in lower case; none that says who a caller is."""
    names = stanza.texts("forward", wanted='a list of headers, such as ["x-request-tags"]')
    for name in names:
        if name.lower() in CREDENTIALS | FRAMING:
            stanza.wrong("forward", f"{name.lower()} never goes on to an upstream: leave it out")
        elif not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
            stanza.wrong("forward", "letters, digits and - make the name of a header")
    return tuple(name.lower() for name in names)


def _prefix(stanza: Stanza) -> str | None:
    """The prefix of LiteLLM's endpoints: "" at the root; `None` where there are none."""
    value = stanza.take("litellm")
    if value is None or value is False:
        return None
    if value is True or value in ("", "/"):
        return ""
    segments = value.split("/")[1:] if isinstance(value, str) and value.startswith("/") else []
    if not segments or not all(each and each.isascii() and each.replace("-", "").isalnum() for each in segments):
        stanza.wrong("litellm", 'write true for the root, or a prefix such as "/litellm"')
        return None
    return str(value)
