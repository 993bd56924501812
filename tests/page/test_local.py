"""`budgetguard ui`: the page of a file on this machine, for whoever started it and nobody else on it."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from budgetguard.ledger import Store
from budgetguard.server.page.door.door import Tickets
from tests.support import ROOT
from tests.support.browsing import Browsing
from tests.support.commands import exit_code

ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)(/ui/enter/[\w-]{43})")


class Local:
    """`budgetguard ui` as a process."""

    def __init__(self, directory: Path, url: str, *options: str, **environ: str) -> None:
        self.told = directory / "told"
        command = [sys.executable, "-m", "budgetguard.cli", "ui", "--store", url, "--project", "shop", *options]
        with self.told.open("w") as told:
            self.process = subprocess.Popen(
                command, stdout=told, stderr=told, cwd=directory, env={**os.environ, "PYTHONPATH": str(ROOT), **environ}
            )

    def addresses(self, count: int = 1) -> list[tuple[int, str]]:
        """The addresses that it has printed, once there are so many."""
        until = time.monotonic() + 60
        while len(found := ADDRESS.findall(self.told.read_text())) < count:
            assert self.process.poll() is None, self.told.read_text()
            assert time.monotonic() < until, self.told.read_text()
            time.sleep(0.05)
        return [(int(port), path) for port, path in found]


@pytest.fixture
def local(tmp_path: Path, books_url: str, shop: Store) -> Iterator[Local]:
    """One that is running, without a browser."""
    shop.put_terms("users/ann", None)
    made = Local(tmp_path, books_url, "--no-browser")
    yield made
    made.process.kill()
    made.process.wait(10)


def test_its_address_opens_the_page_once(local: Local) -> None:
    """Loopback is for everybody on the machine: whoever comes later with the same address stays outside."""
    [(port, path)] = local.addresses()
    mine, other = Browsing(port), Browsing(port)
    assert other.get("/ui/keys").path.startswith("/ui/sign-in")
    assert mine.get(path).status in (200, 500)
    assert mine.get("/ui/keys").path == "/ui/keys"
    assert other.get(path).status == 403
    assert other.get("/ui/keys").path.startswith("/ui/sign-in")
    assert other.get("/v1/users", **{"budgetguard-project": "shop"}).status == 401
    assert len(local.addresses(2)) == 2, "there is another for another browser"
    assert path not in local.addresses(2)[1]


def test_another_name_does_not_lead_to_it(local: Local) -> None:
    """A site may make its name lead to this machine."""
    [(port, path)] = local.addresses()
    assert Browsing(port, host="evil.example").get(path).status == 403
    assert Browsing(port).get(path, follow=False).status == 303, "the ticket was not spent"


def test_ctrl_c_ends_it(local: Local) -> None:
    """Also while somebody looks."""
    [(port, path)] = local.addresses()
    Browsing(port).get(path)
    local.process.send_signal(signal.SIGINT)
    assert local.process.wait(20) == 0


def test_a_browser_is_told_in_a_file_of_its_owner(tmp_path: Path, books_url: str, shop: Store) -> None:
    """The arguments of a program can be read by everybody: the address is in none."""
    shop.put_terms("users/ann", None)
    seen = tmp_path / "seen"
    program = tmp_path / "browser"
    program.write_text(
        '#!/bin/sh\nfile="${1#file://}"\n{ echo "$1"; stat -c %a "$file"; cat "$file"; }'
        f" > {seen}.part\nmv {seen}.part {seen}\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    made = Local(tmp_path, books_url, BROWSER=f"{program} %s")
    until = time.monotonic() + 60
    while not seen.exists():
        assert time.monotonic() < until, made.told.read_text()
        time.sleep(0.05)
    [(_, path)] = made.addresses()
    made.process.send_signal(signal.SIGINT)
    made.process.wait(20)
    argument, mode, page = seen.read_text().split("\n", 2)
    assert argument.startswith("file:///")
    assert path not in argument
    assert mode == "600"
    assert path in page
    assert not Path(argument.removeprefix("file://")).exists(), "and the file is gone with it"


def test_a_hosted_store_has_a_page_of_its_own(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said where."""
    assert exit_code("ui", "--store", "https://ann:secret@budgets.example/") == 2
    said = capsys.readouterr().err
    assert "open https://" in said
    assert "budgets.example/ui/" in said
    assert "secret" not in said


def test_a_file_that_is_not_there_is_not_made(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty page would look like an answer."""
    assert exit_code("ui", "--store", "sqlite:///nothing.db") == 2
    assert "is not there" in capsys.readouterr().err
    assert not (here / "nothing.db").exists()


def test_of_two_who_show_a_ticket_one_comes_in() -> None:
    """Also where they show it at once: it is compared and replaced under a lock."""
    issued: list[str] = []
    tickets = Tickets(issued.append)
    first = tickets.ticket
    assert [tickets.enter(first, f"visit {number}") for number in range(2)] == [True, False]
    assert tickets.is_inside("visit 0")
    assert not tickets.is_inside("visit 1")
    assert issued == [tickets.ticket]


def test_a_store_that_is_away_is_a_page_that_says_so(tmp_path: Path) -> None:
    """Not two words without a frame: who looks in an incident has to see that it is the store."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        away = Local(tmp_path, f"redis://127.0.0.1:{nobody.getsockname()[1]}/0", "--no-browser")
        try:
            [(port, path)] = away.addresses()
            looking = Browsing(port)
            looking.get(path)
            found = looking.get("/ui/overview")
        finally:
            away.process.kill()
            away.process.wait(10)
    assert found.status == 503
    assert "the store behind this server cannot do it now" in found.text
    assert "<html" in found.text
    assert "Traceback" not in away.told.read_text()
