"""
Run the tests of the interception against other versions of the SDKs, each in an environment of its own.

    python tests/run_sdk_versions.py [--oldest | SDK [VERSION...]]

The environments are kept under `.cache/`, so that only the first run downloads anything. Exits with 1 if a test fails.
"""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Row(NamedTuple):
    """One SDK: the versions that are tried beside the newest, which the whole suite is for."""

    name: str
    """Its distribution."""
    versions: tuple[str, ...]
    tests: tuple[str, ...]
    """Files of `tests/sdks`, or tests in them."""
    needed: tuple[str, ...] = ()
    """What those import beside it."""


ROWS = (
    Row(
        "openai",
        ("2.54.0", "3.3.1"),  # the oldest that is supported, and the last before its recent surfaces came
        (
            "test_matrix.py",
            "test_streams.py",
            "test_install.py",
            "test_sockets.py",
            "test_hosts.py",
            "test_attempts.py",
        ),
        ("websockets>=13,<16",),
    ),
    Row(
        "anthropic",
        ("0.49.0", "1.0.0"),  # the oldest that is supported, and the last whose bodies are plain JSON when it is called
        (
            "test_anthropic_sdk.py",
            "test_anthropic_batches.py",
            "test_anthropic_middleware.py",
            "test_anthropic_clouds.py",
        ),
        ("boto3>=1.28", "google-auth[requests]>=2"),
    ),
    # Whose aiobotocore is older than the suite's.
    Row("boto3", ("1.40.*",), ("test_bedrock_sdk.py",), ("aioboto3>=15,<16",)),
    Row("google-genai", ("1.20.0",), ("test_gemini_sdk.py",), ("aiohttp", "requests")),
    Row("litellm", ("1.60.0",), ("test_litellm_sdk.py",)),
    Row("websockets", ("13.1",), ("test_talks.py",), ("trustme",)),
)
NEEDED = ("pytest>=8", "pytest-asyncio>=1", "pytest-xdist>=3.6")

TOGETHER = 3
"""How many run at a time: each begins with an installation and with imports, which take one core and the disk."""


def main() -> int:
    """Run them all, the oldest of each, or those that are asked for; 1 if any has failures."""
    asked, versions = sys.argv[1:2], tuple(sys.argv[2:])
    if asked == ["--oldest"]:
        runs = [(row, row.versions[0]) for row in ROWS]
    else:
        runs = [(row, each) for row in ROWS if asked in ([], [row.name]) for each in versions or row.versions]
    if not runs:
        print(f"{asked[0]}: there are {', '.join(row.name for row in ROWS)}", file=sys.stderr)
    with ThreadPoolExecutor(TOGETHER) as pool:
        passed = list(pool.map(lambda each: _passes(*each), runs))
    return 0 if passed and all(passed) else 1


def _passes(row: Row, version: str) -> bool:
    """Whether a row's tests hold with one version."""
    began = time.monotonic()
    tests = [str(ROOT / "tests/sdks" / name) for name in row.tests]
    options = ["-n", "2", "--dist", "worksteal", "-p", "no:cacheprovider", "--tb=short"]
    done = subprocess.run(
        [_python(row, version), "-m", "pytest", *options, *tests], cwd=ROOT, capture_output=True, text=True, check=False
    )
    lines = done.stdout.strip().splitlines()
    said = [f"{row.name} {version}: {lines[-1] if lines else done.stderr} ({time.monotonic() - began:.0f} s)"]
    if done.returncode:
        said += [done.stdout, done.stderr]
    print("\n".join(said) + "\n", end="", flush=True)
    return not done.returncode


def _python(row: Row, version: str) -> Path:
    """An environment with one version."""
    uv, home = Path(sys.executable).parent / "uv", ROOT / ".cache" / f"{row.name}-{version.removesuffix('.*')}"
    python = home / "bin" / "python"
    if not python.exists():
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, home], check=True)
    ours = f"{ROOT}[redis,postgres]"  # conftest.py knows all stores
    wanted = [f"{row.name}=={version}", "-e", ours, *row.needed, *NEEDED]
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *wanted], check=True)
    return python


if __name__ == "__main__":
    sys.exit(main())
