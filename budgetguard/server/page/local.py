"""
`budgetguard ui`: the page of a store on this machine, for whoever started it.

It listens on loopback only, and loopback is for everybody on the machine: so it is entered with a ticket that is good
once. A browser is told of it in a file that only its owner may read, as the arguments of a program are everybody's.
"""

from __future__ import annotations

import tempfile
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

from ...errors import ConfigError
from ...stores import shown
from .. import logs
from ..app import App
from ..serve import listen_on, run_until_told
from .door.door import Tickets
from .links import HOME

HOST = "127.0.0.1"
_PAGE = (
    '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={url}"><title>budgetguard</title>'
)


@dataclass(frozen=True, slots=True)
class UiSettings:
    """What `budgetguard ui` was told."""

    store: str
    project: str = "default"
    port: int = 0
    browser: bool = True


def serve_ui(settings: UiSettings, say: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C. Raises `ConfigError` for a store that has no page of its own here."""
    if settings.store.startswith(("http:", "https:")):
        url = shown(settings.store).partition("?")[0].rstrip("/")
        raise ConfigError(f"--store: the server that hosts it has a page of its own: open {url}{HOME}/")
    if settings.store.startswith("memory:"):
        raise ConfigError("--store memory://: what is in the memory of a program is not seen from outside; name a file")
    logs.set_up("warning")
    listening = listen_on(HOST, settings.port)
    port = listening.getsockname()[1]

    def address(ticket: str) -> str:
        return f"http://{HOST}:{port}{HOME}/enter/{ticket}"

    tickets = Tickets(lambda ticket: say(f"It is open. To open it elsewhere, once: {address(ticket)}"))
    app = App(settings.store, project=settings.project, tickets=tickets)
    try:
        say(f"The page, to be opened once (Ctrl-C ends it): {address(tickets.ticket)}")
        with _told_a_browser(address(tickets.ticket), wanted=settings.browser):
            run_until_told(app, listening)
    finally:
        listening.close()
        app.close()


@contextmanager
def _told_a_browser(url: str, *, wanted: bool) -> Iterator[None]:
    """Have a browser open an address that no other user of the machine is told of."""
    if not wanted:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="budgetguard-ui-") as directory:  # its owner's alone
        file = Path(directory, "open.html")
        file.touch(mode=0o600)
        file.write_text(_PAGE.format(url=escape(url)), "utf-8")
        webbrowser.open(f"file://{quote(str(file))}")
        yield
