"""
Run an SDK's own tests twice, alone and with every call guarded, and compare test by test.

    python tests/run_sdk_suite.py [--gateway] [SDK [VERSION [PATH...]]]

The tests come with the SDK's source distribution. Everything is kept under `.cache/`. Tests that ask for a mock server
on port 4010 find none and fail in both runs alike; so do the few that need a checkout of the SDK's repository.

With `--gateway` it is those tests that are run, twice: straight to a server that answers with what each expects, and by
a gateway before it, which knows the key in their code, and holds a hard budget for it.

Exits with 1 if any test has another outcome when it is guarded.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
sys.path.insert(0, str(ROOT))

from tests.support.before_gateway import BeforeGateway  # noqa: E402  # this file is run as a script
from tests.support.typed_server import TypedServer  # noqa: E402

NOTHING: Mapping[str, str] = {}
KINDS = ("assistants", "audio", "batches", "containers", "conversations", "evals", "files", "fine_tuning")
KINDS += ("messages.batches", "realtime", "responses", "threads", "uploads", "vector_stores", "videos")
"""Operations that cost what nobody can read, which a gateway passes on for a key that is allowed them."""


class Suite(NamedTuple):
    """The tests of one SDK."""

    name: str
    """Its distribution."""
    version: str
    extras: str
    needed: tuple[str, ...]
    """What its tests import beside it."""
    left_out: tuple[str, ...] = ()
    """What needs a mock server, or tests the SDK's own repository."""
    options: tuple[str, ...] = ()
    """Options of pytest's that the SDK's own settings have, and its tests need."""
    tests: str = "tests"
    """Where they are in its source."""
    inside: bool = False
    """Whether they are a part of the package: it is then the source's own copy that is tested."""
    keys: tuple[str, ...] = ()
    """What its tests have for keys."""
    passed: tuple[str, ...] = ()
    """The tests of operations that a gateway passes on."""
    but: str = ""
    """Which of these are of other operations, as an expression of pytest's."""


COMMON = (
    "pytest",
    "pytest-asyncio",
    "pytest-xdist",
    "respx",
    "dirty-equals",
    "inline-snapshot",
    "time-machine",
    "rich",
)
SUITES = {
    suite.name: suite
    for suite in (
        Suite(
            "openai",
            "3.54.0",
            "aiohttp,realtime,datalib",
            ("Pillow", "azure-identity", "botocore", "trio", "griffe", "nest_asyncio", "importlib-metadata"),
            (
                "tests/api_resources",
                "tests/test_uv_workflows.py",
                "tests/lib/test_fine_tuning_positional_arguments.py",
            ),
            keys=("My API Key", "My Admin API Key"),
            passed=(
                *("chat/test_completions.py", "test_completions.py", "test_responses.py", "responses", "audio"),
                *("test_embeddings.py", "test_moderations.py", "test_images.py", "test_batches.py", "test_files.py"),
                "test_uploads.py",
            ),
            # Chats that OpenAI keeps; and what names no model, but leaves the choice, and so the price, to OpenAI.
            but="test_completions and (_retrieve or _update or _list or _delete) or test_responses and create_overload"
            " or test_images and (edit_overload or create_variation and not with_all_params) or test_input_tokens",
        ),
        Suite(
            "anthropic",
            "2.14.0",
            "aiohttp,vertex,google_cloud,aws,bedrock,mcp,webhooks",
            (
                "hypothesis",
                "griffe",
                "http-snapshot[httpx]==0.1.9",
                "packaging",
                "importlib-metadata",
                "opentelemetry-sdk",
            ),
            ("tests/api_resources",),
            ("-p", "tests._alias_httpx"),
            keys=("my-anthropic-api-key",),
            passed=("test_messages.py", "messages", "beta/test_messages.py", "beta/messages"),
            but="nothing_else",
        ),
        Suite(
            "google-genai",
            "3.6.1",
            "aiohttp,httpx",
            ("Pillow", "requests", "sentencepiece", "protobuf", "google-cloud-aiplatform"),
            ("google/genai/tests/public_samples", "google/genai/tests/shared"),
            ("-o", "consider_namespace_packages=true"),
            tests="google/genai/tests",
            inside=True,
        ),
    )
}


def main() -> int:
    """Run them all, compare, report."""
    asked = [each for each in sys.argv[1:] if each != "--gateway"]
    suite = SUITES[asked[0] if asked else "openai"]
    if len(asked) < len(sys.argv) - 1:
        return by_gateway(suite._replace(version=asked[1]) if len(asked) > 1 else suite, asked[2:])
    if len(asked) > 1:
        suite = suite._replace(version=asked[1])
    paths = asked[2:] or [suite.tests, *(f"--ignore={path}" for path in suite.left_out)]
    source, python = _source(suite), _environment(suite)
    alone = _outcomes("alone", suite, source, python, paths)
    counted = CACHE / f"calls-{suite.name}-{suite.version}.txt"
    counted.unlink(missing_ok=True)
    plugin = ["-p", "budgetguard_patch_plugin", "--calls", str(counted)]
    guarded = _outcomes("guarded", suite, source, python, [*plugin, *paths])
    calls = sum(int(line) for line in counted.read_text().split()) if counted.exists() else 0
    different = _different(alone, guarded)
    print(f"{suite.name} {suite.version}: {len(alone)} tests, {dict(Counter(alone.values()))} alone;", end=" ")
    print(f"{calls} calls were guarded; {len(different)} tests have another outcome")
    return 1 if different or not calls else 0


def by_gateway(suite: Suite, paths: list[str]) -> int:
    """Run the tests that ask a server, straight and by a gateway; compare, report."""
    source, python = _source(suite), _environment(suite)
    paths = paths or [f"tests/api_resources/{each}" for each in suite.passed]
    with TypedServer() as server:
        known = {"ANSWERS_URL": server.url, "ANSWERS_SDK": suite.name, "TEST_API_BASE_URL": server.url}
        options = ["-p", "typed_answers", "-k", f"not ({suite.but})", *paths]
        alone, straight = _outcomes("straight", suite, source, python, options, known), server.asked
        with BeforeGateway(
            sys.executable, server.url, keys=suite.keys, limit="9000000", prices={"*": (1, 1)}, endpoints=KINDS
        ) as gateway:
            known["TEST_API_BASE_URL"] = gateway.url
            passed = _outcomes("by the gateway", suite, source, python, options, known)
            asked = server.asked - straight
            problems = gateway.log().count('"level": "error"')
    different = _different(alone, passed)
    print(f"{suite.name} {suite.version}: {len(alone)} tests, {dict(Counter(alone.values()))} straight;", end=" ")
    print(f"{straight} requests, {asked} by the gateway, which had {problems} errors;", end=" ")
    print(f"{len(different)} tests have another outcome")
    return 1 if different or not asked or problems else 0


def _different(before: Mapping[str, str], after: Mapping[str, str]) -> Sequence[str]:
    """The tests that have another outcome; each is said."""
    found = [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]
    for name in found:
        print(f"DIFFERENT {name}: {before.get(name)} alone, {after.get(name)} guarded")
    return found


def _source(suite: Suite) -> Path:
    folder, name = CACHE / "sdk", f"{suite.name.replace('-', '_')}-{suite.version}"
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{name}.tar.gz"
    if not archive.exists():
        _say(f"fetching the source of {suite.name} {suite.version}")
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", suite.name]
        wanted = [*options, "--dest", str(folder), f"{suite.name}=={suite.version}"]
        subprocess.run([sys.executable, "-m", "pip", "download", *wanted], check=True)
    source = folder / name
    if not source.exists():
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
    return source


def _environment(suite: Suite) -> Path:
    home = CACHE / f"suite-{suite.name}-{suite.version}"
    python = home / "bin" / "python"
    uv = Path(sys.executable).parent / "uv"
    if not python.exists():
        _say(f"making an environment for {suite.name} {suite.version}")
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, home], check=True)
    wanted = [f"{suite.name}[{suite.extras}]=={suite.version}", "-e", str(ROOT), *COMMON, *suite.needed]
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *wanted], check=True)
    return python


def _outcomes(
    name: str, suite: Suite, source: Path, python: Path, paths: list[str], more: Mapping[str, str] = NOTHING
) -> dict[str, str]:
    _say(f"running the tests {name}")
    report = CACHE / f"suite-{suite.name}-{name.replace(' ', '-')}.xml"
    report.unlink(missing_ok=True)
    quiet = ["-o", "addopts=", "-q", "-n", "2", "--tb=no", "--no-summary", "-p", "no:cacheprovider"]
    options = [*quiet, *suite.options, f"--junit-xml={report}"]
    # Else the source tree's own copy of the package is not on the path: the installed one is tested.
    path = os.pathsep.join([str(ROOT / "tests" / "sdk"), *([str(source)] if suite.inside else [])])
    subprocess.run(
        [python, "-m", "pytest", *options, *paths],
        cwd=source,
        env={**os.environ, "GOOGLE_API_KEY": "none", "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **more},
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
