"""
Run the tests of the interception against other versions of the SDKs, each in an environment of its own.

    python tests/run_sdk_versions.py [NAME...]        # "openai-2.54.0"

The environments are kept under `.cache/`, so that only the first run downloads anything. Exits with 1 if a test fails.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OPENAI = (
    "test_matrix.py",
    "test_streams.py",
    "test_install.py",
    "test_sockets.py",
    "test_hosts.py",
    "test_attempts.py",
)

RUNS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "openai-2.54.0": (("openai==2.54.0",), OPENAI),
    "openai-3.3.1": (("openai==3.3.1",), OPENAI),
    "boto3-1.40": (("boto3>=1.40,<1.41", "aioboto3>=15,<16"), ("test_bedrock_sdk.py",)),
}
"""
What is installed, and which tests run: of openai the oldest that is supported, and the last before the SDK's recent
surfaces came; of boto3 the oldest, with aioboto3, whose aiobotocore is older than the one of the suite.
"""

NEEDED = ("pytest>=8", "pytest-asyncio>=1", "pytest-xdist>=3.6")


def main() -> int:
    """Run them all; 1 if any has failures."""
    uv = Path(sys.executable).parent / "uv"
    failed = 0
    for name in sys.argv[1:] or RUNS:
        packages, files = RUNS[name]
        began = time.monotonic()
        home = ROOT / ".cache" / name
        python = home / "bin" / "python"
        print(f"{name}: ", end="", flush=True)
        if not python.exists():
            subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, home], check=True)
        wanted = [*packages, "-e", f"{ROOT}[redis,postgres]", *NEEDED]  # conftest.py knows all stores
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *wanted], check=True)
        tests = [str(ROOT / "tests/sdks" / file) for file in files]
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
