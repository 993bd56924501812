"""
The scripts that keep the ledger in Redis or Valkey: whole `.lua` files, each run in one round trip and atomically.

A script is sent once and then called by its digest; a server that was restarted, or told to forget its scripts, is
sent it again.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any, NamedTuple

from .errors import is_a

RESERVE = "reserve"


class Script(NamedTuple):
    """The text of a script, and its digest by which the server knows it."""

    text: bytes
    digest: str


@cache
def script(name: str) -> Script:
    """The script in `lua/<name>.lua`, with what all of them share."""
    folder = files(__package__) / "lua"
    text = (folder / f"{name}.lua").read_text("utf-8")
    text = text.replace("--{common}", (folder / "common.lua").read_text("utf-8"))
    data = text.encode()
    return Script(data, sha1(data, usedforsecurity=False).hexdigest())


def run(client: Any, name: str, prefix: bytes, *args: Any) -> Any:
    """Run a script; raises what the client raises."""
    text, digest = script(name)
    try:
        return client.execute_command("EVALSHA", digest, 1, prefix, *args)
    except Exception as error:
        if not is_a(error, "NoScriptError"):
            raise
        return client.execute_command("EVAL", text, 1, prefix, *args)
