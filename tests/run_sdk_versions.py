"""
Run the tests of the interception against other versions of the SDKs, each in an environment of its own.

    python tests/run_sdk_versions.py [--oldest | SDK [VERSION...]]

The environments are kept under `.cache/`, so that only the first run downloads anything. Exits with 1 if a test fails.
"""

from __future__ import annotations

import subprocess
import sys
import time
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


def main() -> int:
    """Run them all, the oldest of each, or those that are asked for; 1 if any has failures."""
    if sys.argv[1:] == ["--oldest"]:
        return 1 if [row.name for row in ROWS if not _passes(row, row.versions[0])] else 0
    asked, versions = sys.argv[1:2], tuple(sys.argv[2:])
    rows = [row._replace(versions=versions or row.versions) for row in ROWS if not asked or row.name == asked[0]]
    if not rows:
        print(f"{asked[0]}: there are {', '.join(row.name for row in ROWS)}", file=sys.stderr)
    failed = [version for row in rows for version in row.versions if not _passes(row, version)]
    return 1 if failed or not rows else 0


def _passes(row: Row, version: str) -> bool:
    """Whether a row's tests hold with one version."""
    began = time.monotonic()
    print(f"{row.name} {version}: ", end="", flush=True)
    tests = [str(ROOT / "tests/sdks" / name) for name in row.tests]
    options = ["-n", "3", "-p", "no:cacheprovider", "--tb=short"]
    done = subprocess.run(
        [_python(row, version), "-m", "pytest", *options, *tests], cwd=ROOT, capture_output=True, text=True, check=False
    )
    lines = done.stdout.strip().splitlines()
    print(lines[-1] if lines else done.stderr, f"({time.monotonic() - began:.0f} s)", flush=True)
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n")
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
