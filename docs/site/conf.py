"""
How `make docs` makes a site of the pages: Sphinx reads them as they are, in Markdown.

The repository is the source, so that a link from one page to another, or to a file of the code, is the same here and
where the repository is browsed; one that leads nowhere ends the build. Nothing is loaded from another machine.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import commands  # noqa: E402  # they lie beside this file
import navigation  # noqa: E402
import reference  # noqa: E402

from budgetguard import __version__  # noqa: E402

project = "budgetguard"
release = version = __version__
html_title = f"budgetguard {__version__}"
extensions = ["myst_parser"]
smartquotes = False

root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "docs/**/*.md", "examples/*.md"]
exclude_patterns = [".*", "build", "dist", "budgetguard", "tests", "benchmarks"]

myst_heading_anchors = 6  # those that the repository's pages have where they are browsed
suppress_warnings = ["misc.highlighting_failure"]  # a console block with JSON over several lines is only less coloured

html_theme = "furo"
html_theme_options = {"top_of_page_buttons": []}
html_copy_source = False
html_show_copyright = False
html_extra_path = ["entrance"]
html_static_path = ["static"]
html_css_files = ["wide.css"]
add_module_names = False
toc_object_entries_show_parents = "hide"
python_maximum_signature_line_length = 90


def fill(app: Any, name: str, source: list[str]) -> None:
    """Put what is generated into a page: the sidebar of the whole, the reference, the commands."""
    if name == root_doc:
        source[0] += navigation.sidebar(Path(app.srcdir))
    source[0] = commands.filled(reference.filled(source[0]))


def setup(app: Any) -> None:
    """Sphinx's own door."""
    app.connect("source-read", fill)
