"""`providers`: whom `completion(model="provider/model")` and a gateway can ask, and whose keys are set here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ...providers import table as known
from ...providers.routes import base_url
from ..common.options import JsonOption
from ..common.show import console, print_json
from ..common.tables import Column, table


def providers(as_json: JsonOption = False) -> None:
    """Whom completion(model="provider/model") reaches: keys, base URLs, and what else they speak.

    Example: budgetguard providers --json
    """
    found = list(_found(os.environ))
    if as_json:
        print_json(found)
        return
    columns = [Column("model="), Column("key"), Column("base URL"), Column("beside chat", drop=1)]
    console().print(table(columns, [_row(each) for each in found]))
    console().print(
        "A key is set where a variable is named without brackets; PROVIDER_API_BASE states another base URL."
    )


def _found(environ: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """What is known of each, and what the environment adds. Of a key, only the variable that has it."""
    for each in known.providers().values():
        yield {
            "provider": each.name,
            "title": each.title,
            "aliases": list(each.aliases),
            "key": next((name for name in each.keys if environ.get(name)), None),
            "keys": list(each.keys),
            "needs_key": not each.open,
            "base_url": _base(each, environ),
            "base_urls": list(each.bases),
            "template": each.base or None,
            "speaks": ["chat", *each.beside],
            "anthropic_base_url": each.anthropic or None,
            "gemini_base_url": each.gemini or None,
            "headers": {api: each.header(api) for api in _apis(each)},
            "prices": each.prices,
            "note": each.note or None,
        }


def _apis(provider: known.ProviderRow) -> list[str]:
    others = {"anthropic": provider.anthropic, "gemini": provider.gemini}
    return ["openai", *(api for api, base in others.items() if base)]


def _base(provider: known.ProviderRow, environ: Mapping[str, str]) -> str | None:
    """The base URL that holds here, without a password in it; `None` where nobody said enough."""
    try:
        parts = urlsplit(base_url(provider, environ))
    except ValueError:
        return None
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _row(found: Mapping[str, Any]) -> list[str]:
    key = found["key"] or ("not needed" if not found["needs_key"] else f"({found['keys'][0]})")
    own = {"anthropic": "Anthropic's messages", "gemini": "Gemini's own API"}
    speaks = [*found["speaks"][1:], *(text for api, text in own.items() if found[f"{api}_base_url"])]
    return [
        " ".join(f"{name}/" for name in (found["provider"], *found["aliases"])),
        key,
        found["base_url"] or found["template"] or f"({found['base_urls'][0]})",
        ", ".join(speaks),
    ]
