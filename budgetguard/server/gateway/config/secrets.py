"""
Secrets and addresses as a file may state them: a key as `env:NAME` or `file:PATH`, a base URL without one in it.

A file with settings is read by many, kept in a repository and sent around: what would be a key in it is refused, and
never repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from ....prices.sources.names import is_own
from .stanzas import Stanza

HOW = 'write "env:NAME", the name of a variable, or "file:PATH", of a file that has it'
_MOST = 65_536
"""Bytes of a file with a secret."""
_LOCAL = (".internal", ".lan", ".home.arpa")
"""What names of hosts end with that no public one has."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """Where secrets are: in an environment, and in files whose relative paths begin at `home`."""

    environ: Mapping[str, str]
    home: Path = Path()
    needed: bool = True
    """Whether it is a mistake that one is not there; a file may be checked where its secrets are not."""

    def read(self, stanza: Stanza, key: str, stated: str) -> str | None:
        """The secret that the text at a key names; `None`, and a remark that has nothing of it, where there is none."""
        kind, _, name = stated.partition(":")
        if kind == "env" and name and all(letter.isalnum() or letter == "_" for letter in name):
            place, value, lacking = f"the variable {name}", self.environ.get(name, "").strip(), "is not set"
        elif kind == "file" and name:
            path = self.home / Path(name).expanduser()
            place, (value, lacking) = f"the file {path}", _content(path)
        else:
            stanza.wrong(key, f"a secret is no text of this file: {HOW}")
            return None
        if value and not (value.isascii() and value.isprintable()):
            value, lacking = "", "has more than one line of plain letters, which no header can take"
        if not value and self.needed:
            stanza.wrong(key, f"{place} {lacking}")
        return value or None


def _content(path: Path) -> tuple[str, str]:
    """The text in a file, or why there is none."""
    try:
        with path.open("rb") as file:
            return file.read(_MOST).decode("utf-8").strip(), "is empty"
    except OSError as error:
        return "", f"cannot be read ({error.strerror})"
    except ValueError:
        return "", "has no text"


def read_url(stated: str, *, insecure: bool) -> tuple[str, str]:
    """A base URL without a slash at its end, and what is wrong with it, in words that repeat no more than its host."""
    try:
        parts = urlsplit(stated)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return "", "this is no URL: write one as https://host/v1"
    if parts.scheme not in {"http", "https"} or not host or not stated.isascii() or any(map(str.isspace, stated)):
        return "", "this is no URL of a server: write one as https://host/v1"
    if parts.username is not None or parts.password is not None:
        return "", f'a name or password stands before {host!r}: leave it out, and write key = "env:NAME"'
    if parts.query or parts.fragment:
        return "", f"something stands behind ? or # at {host!r}: leave it out; headers = {{...}} sends more"
    if parts.scheme == "http" and not insecure and not _is_near(host):
        return "", f"http:// sends the key in clear to {host!r}: write https://, or insecure = true beside it"
    return urlunsplit(parts._replace(path=parts.path.rstrip("/"))), ""


def _is_near(host: str) -> bool:
    """Whether a host is this machine or in its network; a name without a dot is a neighbour's."""
    return is_own(host) or ("." not in host and ":" not in host) or host.endswith(_LOCAL)
