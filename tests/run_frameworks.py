"""
Run the frameworks that ask by a guarded SDK, each in its own environment: plain, streamed, in a tool loop, refused.

    python tests/run_frameworks.py [--gateway] [NAME...]

Against the public fake provider: what it bills is in the books to the nano-dollar, and a refusal is one attempt, after
which `find_budget_error` finds it. With `--gateway` nothing is patched: each asks a gateway before that provider. The
environments are kept under `.cache/`. Exits with 1 if a run fails.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("pytest>=8", "pytest-asyncio>=1")

FRAMEWORKS: Final[Mapping[str, Sequence[str]]] = {
    "openai-agents": ("openai-agents>=0.2",),
    "langchain": ("langchain>=1", "langgraph>=1", "langchain-openai", "langchain-anthropic", "langchain-google-genai"),
    "pydantic-ai": ("pydantic-ai-slim[openai,anthropic,google]>=1",),
    "instructor": ("instructor>=1.10", "anthropic"),
    # Its package for Anthropic does not work with anthropic 1.x and later.
    "llama-index": ("llama-index-core", "llama-index-llms-openai", "llama-index-llms-anthropic", "anthropic<1"),
    "crewai": ("crewai",),
    "dspy": ("dspy",),
    "smolagents": ("smolagents[openai,litellm]",),
}
"""What each needs, by name; its runs are in `tests/frameworks/`."""


def main() -> int:
    """Run them all; 1 if any has a failure."""
    failed, asked = [], sys.argv[1:]
    plugin = "gateway_plugin" if "--gateway" in asked else "plugin"
    for name in [each for each in asked if each != "--gateway"] or FRAMEWORKS:
        began = time.monotonic()
        print(f"{name}: ", end="", flush=True)
        done = _run(name, _environment(name), plugin)
        versions = _versions(done.stdout)
        lines = done.stdout.strip().splitlines()
        print(f"{lines[-1] if lines else done.stderr} ({time.monotonic() - began:.0f} s) {versions}", flush=True)
        if done.returncode:
            failed.append(name)
            print(done.stdout, done.stderr, sep="\n")
    return 1 if failed else 0


def _environment(name: str) -> Path:
    home = ROOT / ".cache/frameworks" / name
    python, uv = home / "bin/python", Path(sys.executable).parent / "uv"
    if not python.exists():
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, home], check=True)
    wanted = [*FRAMEWORKS[name], "-e", str(ROOT), *NEEDED]
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *wanted], check=True)
    return python


def _run(name: str, python: Path, plugin: str) -> subprocess.CompletedProcess[str]:
    tests = ROOT / "tests/frameworks" / f"{name.replace('-', '_')}_runs.py"
    # Without the project's own conftest.py, which knows stores that are not installed here; warnings are theirs.
    options = ["--noconftest", "-p", f"tests.frameworks.{plugin}", "-o", "filterwarnings=", "-p", "no:cacheprovider"]
    return subprocess.run(
        [python, "-m", "pytest", *options, "--tb=short", tests],
        cwd=ROOT,
        env={
            **os.environ,
            "BUDGETGUARD_TEST_GATEWAY": sys.executable,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "CREWAI_DISABLE_TELEMETRY": "true",
        },
        capture_output=True,
        text=True,
        check=False,
    )


def _versions(output: str) -> str:
    """What the plugin said is installed."""
    found = re.search(r"^versions: (.*)$", output, re.MULTILINE)
    return found[1] if found else ""


if __name__ == "__main__":
    sys.exit(main())
