"""The sidebar: the lists of `docs/README.md`, which is the one place where a page is named."""

from __future__ import annotations

import re
from pathlib import Path

MAP = "docs/README.md"
_PAGE = re.compile(r"^\* \[([^]]+)\]\(([^)#]+\.md)\)", re.MULTILINE)


def sections(text: str) -> dict[str, list[tuple[str, str]]]:
    """Title and path of each page, from the repository's root, below its heading."""
    found: dict[str, list[tuple[str, str]]] = {}
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        pages = [(title.replace("`", ""), _from_root(path)) for title, path in _PAGE.findall(part)]
        if pages:
            found[part.splitlines()[0]] = pages
    return found


def sidebar(root: Path) -> str:
    """The same as hidden tables of contents."""
    text = "\n\n```{toctree}\n:hidden:\n\nAll pages </docs/README>\n```\n"
    for caption, pages in sections((root / MAP).read_text("utf-8")).items():
        lines = "\n".join(f"{title} </{path.removesuffix('.md')}>" for title, path in pages)
        text += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```\n"
    return text


def _from_root(path: str) -> str:
    parts: list[str] = ["docs"]
    for part in path.split("/"):
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)
