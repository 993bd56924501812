"""SDKs whose calls no seam sees: said once when one is imported, and named by `budgetguard doctor`."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import budgetguard
from budgetguard.providers.table import by_prefix
from budgetguard.sdks.stainless.packages import PACKAGES
from budgetguard.sdks.unseen import hooks
from budgetguard.sdks.unseen.table import UNSEEN
from tests.support.commands import exit_code


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Installs a package of a name that is unseen: it is there, and has nothing in it."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(hooks, "_said", set())
    before = set(sys.modules)

    def made(package: str, module: str) -> None:
        home = tmp_path.joinpath(*module.split("."))
        home.mkdir(parents=True)
        (home / "__init__.py").write_text("")
        about = tmp_path / f"{package.replace('-', '_')}-1.2.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
        importlib.invalidate_caches()

    yield made
    for name in set(sys.modules) - before:
        del sys.modules[name]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "its calls are not seen" in record.getMessage()]


@pytest.mark.parametrize("first", ["patch", "import"])
def test_one_that_is_imported_under_patch_is_warned_of_once(
    first: str, install: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """Its calls would spend without a budget, and nobody would know; but nobody wants to read it at every patch."""
    install("xai-sdk", "xai_sdk")
    if first == "patch":
        budgetguard.patch()
        assert warnings(caplog) == []
    importlib.import_module("xai_sdk")
    budgetguard.patch()
    [said] = warnings(caplog)
    assert said.startswith("xai-sdk is imported")
    assert 'budgetguard.completion(model="xai/...")' in said
    budgetguard.unpatch()
    budgetguard.patch()
    assert len(warnings(caplog)) == 1
    assert {record.name for record in caplog.records if record.levelno == logging.WARNING} == {"budgetguard"}


def test_a_program_that_guards_nothing_is_told_nothing(
    install: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """It promised nobody a budget."""
    install("dashscope", "dashscope")
    importlib.import_module("dashscope")
    assert warnings(caplog) == []


def test_patch_imports_none_of_them(install: Callable[..., None]) -> None:
    """What is installed and not used costs nothing."""
    install("claude-agent-sdk", "claude_agent_sdk")
    budgetguard.patch()
    assert "claude_agent_sdk" not in sys.modules


def test_doctor_names_those_that_are_installed(
    install: Callable[..., None], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is imported, and with what to do instead."""

    def found() -> list[dict[str, str]]:
        exit_code("doctor", "--json")
        return [each for each in json.loads(capsys.readouterr().out) if each["check"] == "unseen"]

    assert [each["state"] for each in found()] == ["ok"]
    install("claude-agent-sdk", "claude_agent_sdk")
    [finding] = found()
    assert finding["state"] == "warn"
    assert finding["text"].startswith("claude-agent-sdk 1.2: its calls are not seen")
    assert "max_budget_usd=" in finding["text"]
    install("cohere", "cohere.client_async")
    assert any(each["text"].startswith("cohere 1.2: its calls are not seen") for each in found()), "5 and later are"


def test_no_row_is_of_an_sdk_that_is_guarded() -> None:
    """A warning that is not true is the last one that is read."""
    guarded = {each.name for each in PACKAGES}
    assert guarded.isdisjoint(each.module for each in UNSEEN)
    assert len({each.package for each in UNSEEN}) == len({each.module for each in UNSEEN}) == len(UNSEEN)


def test_what_is_advised_is_there() -> None:
    """A provider that is named instead can be asked, and a package that is installed here is imported as it is said."""
    for each in UNSEEN:
        _, _, rest = each.instead.partition('completion(model="')
        assert not rest or rest.partition("/")[0] in by_prefix()
    known = packages_distributions()
    for each in UNSEEN:
        homes = known.get(each.module.partition(".")[0], [])
        assert "." in each.module or homes in ([], [each.package])
