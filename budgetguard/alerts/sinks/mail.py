"""E-mail: each alert is a message, by SMTP."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias, get_args

from ...budgets.said.checks import require_choice, require_text
from ...errors import ConfigError
from ..alert import Alert
from .base import LAST_S, require_timeout
from .webhook import UndeliveredError

Tls: TypeAlias = Literal["starttls", "tls", "none"]

TIMEOUT_S = 20.0
_MOST_SUBJECT = 150


@dataclass(frozen=True, slots=True)
class Email:
    """
    A mail server, and who gets the mail.

    * `sender`, `to`: addresses; `to` may be several.
    * `user`, `password`: if the server asks for them.
    * `tls`: "starttls" (port 587), "tls" from the first byte (port 465), or "none", for a server on this machine; then
      no password is sent.

    Raises `ConfigError`.
    """

    host: str
    port: int
    sender: str
    to: str | Sequence[str]
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: Tls = "starttls"
    timeout_s: float = TIMEOUT_S

    def __post_init__(self) -> None:
        require_text(self.host, "host")
        if isinstance(self.port, bool) or not isinstance(self.port, int) or not 0 < self.port < 65_536:
            raise ConfigError(f"port={self.port!r}: a port is needed, such as 587")
        require_timeout(self.timeout_s)
        if not isinstance(self.to, str | Sequence):
            raise ConfigError(f"to={self.to!r}: an address is needed, or several")
        object.__setattr__(self, "to", (self.to,) if isinstance(self.to, str) else tuple(self.to))
        for name, address in (("sender", self.sender), *[("to", each) for each in self.to]):
            if "@" not in require_text(address, name) or any(letter in address for letter in "\r\n"):
                raise ConfigError(f"{name}={address!r}: an address is needed, such as 'budgets@example.com'")
        if not self.to:
            raise ConfigError("to=(): at least one address is needed")
        require_choice(self.tls, get_args(Tls), "tls")
        if (self.user is None) != (self.password is None):
            raise ConfigError("user, password: give both, or neither")
        if self.password is not None and self.tls == "none":
            raise ConfigError("tls='none': a password would be sent for all to read; use 'starttls' or 'tls'")

    @property
    def name(self) -> str:
        """Its server."""
        return f"email {self.host}"

    def send_last(self, alert: Alert) -> None:
        """Send it, and wait for a moment only; raises `UndeliveredError`."""
        replace(self, timeout_s=min(self.timeout_s, LAST_S)).send(alert)

    def send(self, alert: Alert) -> None:
        """Send it; raises `UndeliveredError`."""
        import smtplib
        import ssl
        from email.message import EmailMessage
        from email.utils import formatdate, make_msgid

        message = EmailMessage()
        message["From"], message["To"] = self.sender, ", ".join(self.to)
        message["Subject"] = f"[budgetguard] {' '.join(alert.text.split())}"[:_MOST_SUBJECT]
        message["Date"], message["Message-ID"] = formatdate(alert.at_ms / 1000), make_msgid(domain="budgetguard.local")
        message.set_content(f"{alert.text}\n\n{json.dumps(alert.in_json(), indent=2)}\n")
        try:
            if self.tls == "tls":
                server: smtplib.SMTP = smtplib.SMTP_SSL(
                    self.host, self.port, timeout=self.timeout_s, context=ssl.create_default_context()
                )
            else:
                server = smtplib.SMTP(self.host, self.port, timeout=self.timeout_s)
            with server:
                if self.tls == "starttls":
                    server.starttls(context=ssl.create_default_context())
                if self.user is not None and self.password is not None:
                    server.login(self.user, self.password)
                server.send_message(message)
        except (OSError, smtplib.SMTPException) as error:
            raise UndeliveredError(f"{type(error).__name__}: {_reply(error)}") from error


def _reply(error: Exception) -> str:
    """What the server said. It knows the password, and may repeat it: its words on a login are left out."""
    import smtplib

    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"it does not take the user and password ({error.smtp_code})"
    return str(error)
