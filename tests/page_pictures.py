"""
Photographs of the page: `make pictures` puts those that docs/page.md shows into docs/pictures.

With a directory as its argument it photographs every view there, light and dark, wide and narrow.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from budgetguard.server.keys import Grant, KeyRing
from budgetguard.server.page.views import VIEWS
from budgetguard.stores import open_store
from tests.support import ROOT
from tests.support.chromium import browser_of_the_system
from tests.support.hosting import Hosted
from tests.support.page_books import fill

SIZES = {"wide": (1280, 900), "narrow": (400, 800)}
SUBJECTS = {"subject": "tag=user&value=ann", "explorer": "by=user&and=model"}
KEPT = (
    ("overview", "wide", "light"),
    ("overview", "narrow", "dark"),
    ("budgets", "wide", "light"),
    ("subject", "wide", "light"),
    ("calls", "wide", "light"),
    ("refusals", "wide", "dark"),
)
"""What is in the documentation: few, as they are in the history for ever."""


def main(directory: Path | None) -> None:
    """Take them."""
    with tempfile.TemporaryDirectory() as books, browser_of_the_system() as browser:
        url = f"sqlite:///{books}/books.db"
        store = open_store(url, namespace="shop")
        fill(store)
        store.close()
        hosted = Hosted(url, open_mode=True, project="shop")
        for name, scope, note in (
            ("deploy", "spend", "the shop's servers"),
            ("finance", "read", "monthly"),
            ("ines", "admin", ""),
        ):
            KeyRing(hosted.app.projects.own).create("shop", scope, grant=Grant(alias=name, note=note))
        with hosted.app.projects.at_work("shop") as project:
            hosted.app.page.shelf.reports_of(project).refresh()
        try:
            for scheme in ("light", "dark"):
                for size, (width, height) in SIZES.items():
                    _take(browser, hosted.url, scheme, size, (width, height), directory)
        finally:
            hosted.stop()


def _take(browser: Any, url: str, scheme: str, size: str, area: tuple[int, int], directory: Path | None) -> None:
    viewport = {"width": area[0], "height": area[1] if directory is not None else 640}
    context = browser.new_context(viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()
    for view in VIEWS:
        if view.method != "GET" or (directory is None and (view.name, size, scheme) not in KEPT):
            continue
        page.goto(f"{url}/ui/{view.name}?project=shop&{SUBJECTS.get(view.name, '')}")
        name = f"{view.name.replace('/', '-')}-{size}-{scheme}.png"
        place = (directory or ROOT / "docs/pictures") / name
        place.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=place)
    context.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
