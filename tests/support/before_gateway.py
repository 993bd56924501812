"""
`budgetguard gateway` as a process of another environment, before an upstream of the test's.

The tests of other projects run where they are installed, and the gateway where its own packages are. A key that they
have in their code is let in by its digest, so that nothing of theirs is changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from tests.support import ROOT

PROJECT = "suite"
UNITS = ("input_characters", "input_audio_seconds", "images/standard/1024x1024", "web_searches", "code_executions")
_KEYS = f"""
import json, sys
from budgetguard.server.keys import Grant, KeyRing, OwnerLimits
from budgetguard.server.keys.limits import allowance
from budgetguard.server.projects import OWN
from budgetguard.stores import open_store
url, digests, limit, endpoints = json.loads(sys.argv[1])
ring = KeyRing(open_store(url, namespace=OWN))
limits = OwnerLimits((allowance(limit),))
for digest in digests:
    ring.adopt(digest, {PROJECT!r}, grant=Grant(endpoints=tuple(endpoints), limits=limits))
print(ring.create({PROJECT!r}, "admin")[1])
"""


class BeforeGateway:
    """A gateway that is started with `python`, whose `keys` have `limit` dollars each."""

    def __init__(
        self,
        python: str,
        root: str,
        *,
        keys: Iterable[str],
        limit: str,
        prices: Mapping[str, tuple[int, int]],
        endpoints: Iterable[str] = (),
        more: str = "",
        api: str = "/v1",
    ) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="budgetguard-suite-")
        home = Path(self._directory.name)
        self.store = f"sqlite:///{home}/budgets.db?synchronous=normal"
        digests = [hashlib.sha256(key.encode()).hexdigest() for key in keys]
        asked = json.dumps([self.store, digests, limit, list(endpoints)])
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "UPSTREAM_KEY": "sk-of-the-upstream"}
        made = subprocess.run([python, "-c", _KEYS, asked], env=environment, check=True, capture_output=True, text=True)
        self._admin = made.stdout.strip()
        lines = [
            more,
            "[[upstream]]",
            'name = "up"',
            'key = "env:UPSTREAM_KEY"',
            "insecure = true",
            'prices = "openai"',
        ]
        lines += [f'base = "{root}{api}"', f'anthropic = "{root}/v1"', f'gemini = "{root}/v1beta"', 'beside = "all"']
        for model in prices:
            lines += ["[[model]]", f'name = "{model}"', 'upstreams = ["up"]']
        for model, (input_, output) in prices.items():
            lines += [f'[prices.models."{model}"]', f"input = {input_}", f"output = {output}", "max_output = 4000"]
            lines += [f'"{unit}" = 0.01' for unit in UNITS]
        (home / "gateway.toml").write_text("\n".join(lines))
        self._log = home / "log"
        command = [python, "-m", "budgetguard.cli", "gateway", "--config", str(home / "gateway.toml")]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [*command, "--store", self.store, "--port", "0"], stderr=log, env=environment, cwd=home
            )
        self.url = self._listening()

    def _listening(self) -> str:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for line in self._log.read_text().splitlines():
                if '"listening"' in line:
                    url: str = json.loads(line)["url"].removesuffix("/v1")
                    try:
                        urllib.request.urlopen(f"{url}/health", timeout=5).close()
                    except OSError:
                        break
                    return url
            assert self._process.poll() is None, self._log.read_text()
            time.sleep(0.02)
        raise AssertionError(f"the gateway did not listen: {self._log.read_text()}")

    def refusals(self) -> int:
        """How many requests it has answered without asking an upstream, by its own metrics."""
        asked = urllib.request.Request(f"{self.url}/metrics", headers={"authorization": f"Bearer {self._admin}"})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(
            int(float(line.rpartition(" ")[2]))
            for line in lines
            if line.startswith("budgetguard_gateway_refusals_total{")
        )

    def log(self) -> str:
        """What it wrote."""
        return self._log.read_text()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._directory.cleanup()
