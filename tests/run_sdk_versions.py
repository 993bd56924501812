"""
Run the tests of the interception against other versions of the SDK, each in an environment of its own.

    python tests/run_sdk_versions.py [VERSION...]

The environments are kept under `.cache/`, so that only the first run downloads anything. Exits with 1 if a test fails.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("2.54.0", "3.3.1")
"""The oldest that is supported, and the last before the SDK's recent surfaces came."""

TESTS = ("test_matrix.py", "test_streams.py", "test_install.py", "test_sockets.py", "test_hosts.py", "test_attempts.py")
NEEDED = ("pytest>=8", "pytest-asyncio>=1", "pytest-xdist>=3.6")


def main() -> int:
    """Run them all; the number of versions with failures."""
    uv = Path(sys.executable).parent / "uv"
    failed = 0
    for version in sys.argv[1:] or VERSIONS:
        began = time.monotonic()
        home = ROOT / ".cache" / f"openai-{version}"
        python = home / "bin" / "python"
        print(f"openai {version}: ", end="", flush=True)
        if not python.exists():
            subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, home], check=True)
        wanted = [f"openai=={version}", "-e", f"{ROOT}[redis,postgres]", *NEEDED]  # conftest.py knows all stores
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *wanted], check=True)
        tests = [str(ROOT / "tests/sdks" / name) for name in TESTS]
        options = ["-n", "3", "-p", "no:cacheprovider", "--tb=short"]
        done = subprocess.run(
            [python, "-m", "pytest", *options, *tests], cwd=ROOT, capture_output=True, text=True, check=False
        )
        lines = done.stdout.strip().splitlines()
        print(lines[-1] if lines else done.stderr, f"({time.monotonic() - began:.0f} s)", flush=True)
        if done.returncode:
            failed += 1
            print(done.stdout, done.stderr, sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
