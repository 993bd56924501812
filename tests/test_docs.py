"""The site of the pages: built strictly, complete, and alone on its machine; and messages that are quoted are said."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ENVIRONMENT, ROOT

ASSET = re.compile(r"""<(?:script|img|link|source|iframe)\b[^>]*?(?:src|href)=["']?(https?:)?//""", re.IGNORECASE)
IN_STYLE = re.compile(r"""(?:@import|url\()\s*["']?(?:https?:)?//""")
CHANGES = re.compile(r"%[-#0 +]*\d*(?:\.\d+)?[sdrga]|\{\w+\}")
"""Where a message is made of a pattern, what stands for something else."""


def build(source: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """As `make docs` does."""
    settings = ["-q", "-W", "--keep-going", "-c", ROOT / "docs/site", "-d", site / ".doctrees"]
    command = [sys.executable, "-m", "sphinx", *settings, source, site]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of it."""
    made = tmp_path_factory.mktemp("site")
    done = build(ROOT, made)
    assert done.returncode == 0, done.stderr
    return made


def test_the_site_has_every_page_the_reference_and_a_search(site: Path) -> None:
    """No dead link or anchor, no page that nobody finds, no name without its words; `README.md` and changelog, too."""
    first = (site / "index.html").read_text("utf-8")
    assert "README.html" in first

    python = (site / "docs/reference/python.html").read_text("utf-8")
    assert 'id="budgetguard.patch"' in python
    assert all(f'id="budgetguard.BudgetManager.{name}"' in python for name in ("create_budget", "pause", "explain"))
    assert "runs in that scope, as if by" in python
    commands = (site / "docs/reference/commands.html").read_text("utf-8")
    assert 'id="budgetguard-keys-create"' in commands
    assert "--store" in commands
    assert "how-a-budget-says-no" in (site / "docs/refusals.html").read_text("utf-8")
    assert "budgetguard.patch" in (site / "searchindex.js").read_text("utf-8")


def test_the_site_loads_nothing_from_another_machine(site: Path) -> None:
    """It is read where there is no network, and tells nobody who reads it."""
    pages = {path: path.read_text("utf-8") for path in site.rglob("*.html")}
    assert len(pages) > 40
    assert [path.name for path, text in pages.items() if ASSET.search(text)] == []
    styles = {path: path.read_text("utf-8") for path in site.rglob("*.css")}
    assert [path.name for path, text in styles.items() if IN_STYLE.search(text)] == []


def test_a_dead_link_a_dead_anchor_and_a_forgotten_page_end_the_build(tmp_path: Path) -> None:
    """Else they are found by readers."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text(
        "# One\n\n[dead](docs/gone.md) [dead](docs/two.md#gone) [alive](docs/two.md#two)\n"
    )
    (tmp_path / "docs/README.md").write_text("# Where\n\n## All\n\n* [Two](two.md)\n")
    (tmp_path / "docs/two.md").write_text("# Two\n")
    (tmp_path / "docs/three.md").write_text("# Three\n")
    done = build(tmp_path, tmp_path / "site")

    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if "WARNING" in line]
    assert len(said) == 3, said
    assert "three.md: WARNING: document isn't included in any toctree" in said[0]
    assert "'docs/gone.md'" in "".join(said)
    assert "'gone'" in "".join(said)


def texts(path: Path) -> Iterator[str]:
    """Every text of a module, with `…` for what changes in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(each.value) if isinstance(each, ast.Constant) else "…" for each in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield CHANGES.sub("…", node.value)


def test_a_message_that_troubleshooting_quotes_is_one() -> None:
    """Who searches for the words that a program said finds them; a message that is reworded takes its entry along."""
    page = (ROOT / "docs/troubleshooting.md").read_text("utf-8")
    quoted = [text for _ticks, text in re.findall(r"^### (`+)(.*)\1$", page, re.MULTILINE)]
    assert len(quoted) > 25

    said = "\n".join(text for path in (ROOT / "budgetguard").rglob("*.py") for text in texts(path))
    assert [text for text in quoted if text.strip("…").strip() not in said] == []
