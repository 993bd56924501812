"""
Run OpenAI's own tests of its SDK twice, alone and with every call guarded, and compare test by test.

    python tests/run_sdk_suite.py [VERSION] [PATH...]

The tests come with the SDK's source distribution. Everything is kept under `.cache/`. Tests that ask for a mock server
on port 4010 find none and fail in both runs alike; so do the few that need a checkout of the SDK's repository.
Exits with 1 if any test has another outcome when it is guarded.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
LATEST = "3.54.0"
NEEDED = (
    "pytest", "pytest-asyncio", "pytest-xdist", "Pillow", "inline-snapshot", "azure-identity", "botocore", "trio",
    "griffe", "rich", "respx", "dirty-equals", "nest_asyncio", "importlib-metadata", "time-machine",
)  # fmt: skip
EXTRAS = "aiohttp,realtime,datalib"

NOT_ABOUT_CALLS = (
    "tests/api_resources",
    "tests/test_uv_workflows.py",
    "tests/lib/test_fine_tuning_positional_arguments.py",
)
"""What needs the mock server, or tests the SDK's own repository."""


def main() -> int:
    """Run both, compare, report."""
    version = sys.argv[1] if len(sys.argv) > 1 else LATEST
    paths = sys.argv[2:] or ["tests", *(f"--ignore={path}" for path in NOT_ABOUT_CALLS)]
    source, python = _source(version), _environment(version)
    alone = _outcomes("alone", source, python, paths, [])
    counted = CACHE / f"calls-{version}.txt"
    counted.unlink(missing_ok=True)
    plugin = ["-p", "budgetguard_patch_plugin", "--calls", str(counted)]
    guarded = _outcomes("guarded", source, python, paths, plugin)
    calls = sum(int(line) for line in counted.read_text().split()) if counted.exists() else 0
    different = {name: (alone.get(name), guarded.get(name)) for name in alone.keys() | guarded.keys()}
    different = {name: pair for name, pair in different.items() if pair[0] != pair[1]}
    for name, (before, after) in sorted(different.items()):
        print(f"DIFFERENT {name}: {before} alone, {after} guarded")
    print(f"openai {version}: {len(alone)} tests, {dict(Counter(alone.values()))} alone;", end=" ")
    print(f"{calls} calls were guarded; {len(different)} tests have another outcome")
    return 1 if different or not calls else 0


def _source(version: str) -> Path:
    folder = CACHE / "sdk"
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"openai-{version}.tar.gz"
    if not archive.exists():
        _say(f"fetching the source of openai {version}")
        options = [
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--no-binary",
            "openai",
            "--dest",
            str(folder),
        ]
        subprocess.run([sys.executable, "-m", "pip", "download", *options, f"openai=={version}"], check=True)
    source = folder / f"openai-{version}"
    if not source.exists():
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
    return source


def _environment(version: str) -> Path:
    home = CACHE / f"suite-{version}"
    python = home / "bin" / "python"
    uv = Path(sys.executable).parent / "uv"
    if not python.exists():
        _say(f"making an environment for openai {version}")
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, home], check=True)
    wanted = [f"openai[{EXTRAS}]=={version}", "-e", str(ROOT), *NEEDED]
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *wanted], check=True)
    return python


def _outcomes(name: str, source: Path, python: Path, paths: list[str], plugin: list[str]) -> dict[str, str]:
    _say(f"running the tests {name}")
    report = CACHE / f"suite-{name}.xml"
    report.unlink(missing_ok=True)
    options = [
        "-o",
        "addopts=",
        "-q",
        "-n",
        "2",
        "--tb=no",
        "--no-summary",
        "-p",
        "no:cacheprovider",
        f"--junit-xml={report}",
    ]
    # The source tree's own copy of the package is not on the path: the installed one is tested.
    subprocess.run(
        [python, "-m", "pytest", *options, *plugin, *paths],
        cwd=source,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests" / "sdk"), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    outcomes: dict[str, str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        bad = [child.tag for child in case if child.tag in {"failure", "error", "skipped"}]
        outcomes[f"{case.get('classname')}::{case.get('name')}"] = bad[0] if bad else "passed"
    return outcomes


_started = time.monotonic()


def _say(text: str) -> None:
    print(f"[{time.monotonic() - _started:4.0f} s] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
