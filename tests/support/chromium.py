"""
A browser for the page's tests: Chromium as the system has it, driven by Playwright.

`python -m tests.support.chromium` installs one where that is possible without asking anybody: as root, by apt-get.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"""How it is called, by those who ship it."""


def chromium() -> str | None:
    """Where it is; `None` if it is nowhere."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def browser_of_the_system() -> Iterator[Any]:
    """It, running without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield made
        finally:
            made.close()


def install() -> None:
    """Have it installed, if it is not there and we may; what cannot be is said, and is no error here."""
    if chromium() is not None:
        return
    if not (shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0):
        print("no chromium: the tests of the page in a browser are skipped; install one to run them", file=sys.stderr)
        return
    subprocess.run(["apt-get", "update", "--quiet"], check=False)
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(
        ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "chromium"], env=environ, check=False
    )


if __name__ == "__main__":
    install()
