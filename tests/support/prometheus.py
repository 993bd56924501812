"""
Prometheus as the system has it: a real server that scrapes a test's own servers, and its tool for rules.

`python -m tests.support.prometheus` installs it where that is possible without asking anybody: as root, by apt-get.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("prometheus", "promtool")


def is_there() -> bool:
    """Whether both of its programs are on the path."""
    return all(shutil.which(name) for name in NAMES)


class Scraping:
    """A server that scrapes."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1/"

    def get(self, path: str, **query: str) -> Any:
        """What its API answers."""
        with urllib.request.urlopen(f"{self._url}{path}?{urllib.parse.urlencode(query)}", timeout=30) as answer:
            return json.load(answer)["data"]

    def ask(self, query: str) -> list[tuple[Mapping[str, str], float]]:
        """What a query finds now: the labels of each series, and its value."""
        found = self.get("query", query=query)
        return [(each["metric"], float(each["value"][1])) for each in found["result"]]

    def labels(self, name: str) -> set[str]:
        """The names of the labels that a metric's series have, but for those that scraping adds."""
        found = self.get("series", **{"match[]": name})
        return {label for each in found for label in each} - {"__name__", "job", "instance"}


@contextmanager
def scraping(directory: Path, jobs: Mapping[str, int], rules: Path, key: str) -> Iterator[Scraping]:
    """One that scrapes these jobs, at their ports of loopback, with a key."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = {
        "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {
                "job_name": job,
                "authorization": {"credentials": key},
                "static_configs": [{"targets": [f"127.0.0.1:{at}"]}],
            }
            for job, at in jobs.items()
        ],
    }
    (directory / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    options = {"config.file": "prometheus.yml", "storage.tsdb.path": "data", "web.listen-address": f"127.0.0.1:{port}"}
    command = ["prometheus", *(f"--{name}={value}" for name, value in options.items()), "--log.level=error"]
    process = subprocess.Popen(command, cwd=directory)
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None, "prometheus ended"
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield Scraping(port)
    finally:
        process.terminate()
        process.wait(30)


def install() -> None:
    """Have it installed, if it is not there and we may; what cannot be is said, and is no error here."""
    if is_there():
        return
    if not (shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0):
        print("no prometheus: the tests of the board and the alerts are skipped; install one", file=sys.stderr)
        return
    subprocess.run(["apt-get", "update", "--quiet"], check=False)
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "prometheus"]
    subprocess.run(command, env=environ, check=False)


if __name__ == "__main__":
    install()
