"""
Routes: where a model is asked for that is named "provider/model", as LiteLLM names them.

The environment is an argument. A key is never part of an error, nor of what a route shows of itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ..errors import ConfigError
from .table import MAIN, ProviderRow, by_prefix, providers

_SHOWN = 100
"""Characters of a name that an error has."""

NO_KEY = "none"
"""What is sent as the key where none is needed: clients insist on one."""


class Named(NamedTuple):
    """A model as it was named, taken apart."""

    provider: ProviderRow
    model: str
    """As the provider calls it."""


def named(model: str, *, placed: bool) -> Named:
    """
    Whose model is meant by a name, and what it is called there.

    A name without a provider is OpenAI's, and so is one whose beginning is none, where a base URL was stated
    (`placed`): it is sent as it is. Raises `ConfigError` for a provider that nobody knows.
    """
    prefix, slash, rest = model.partition("/")
    if not slash:
        return Named(providers()[MAIN], model)
    provider = by_prefix().get(prefix.lower())
    if provider is None:
        if placed:
            return Named(providers()[MAIN], model)
        raise ConfigError(_unknown(model, prefix))
    if not rest:
        raise ConfigError(f"model={model!r}: write the model behind it, as in '{prefix}/name-of-the-model'")
    return Named(provider, rest if "/" in rest else provider.prefix + rest)


def base_url(provider: ProviderRow, environ: Mapping[str, str], stated: str | None = None) -> str:
    """
    The base URL: the one stated, else that of its variables, else the provider's own. Raises `ConfigError`.

    One without a path is given the provider's: `OLLAMA_API_BASE=http://gpu:11434` is meant with "/v1".
    """
    base = stated or first(provider.bases, environ)
    if base is None:
        return _own(provider, environ)
    base = str(base)  # or the client's own kind of URL
    try:
        parts = urlsplit(base)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ConfigError(
            f"{provider.title}: the base URL of base_url= or {provider.bases[0]} is none: it begins with http:// or "
            "https://, and a host"
        )
    return base if parts.path.strip("/") else base.rstrip("/?#") + provider.path


def api_key(provider: ProviderRow, environ: Mapping[str, str]) -> str:
    """The key that the environment has. Raises `ConfigError`, which says where one is looked for."""
    key = first(provider.keys, environ)
    if key is not None:
        return key
    if provider.open:
        return NO_KEY
    usual, *others = provider.keys
    more = f" (or {', '.join(others)})" if others else ""
    token = f": {provider.token}" if provider.token else ""
    raise ConfigError(f"{provider.title} needs a key: set {usual}{more}, or pass api_key={token}")


def first(names: tuple[str, ...], environ: Mapping[str, str]) -> str | None:
    """The first of these variables that is set to something; blanks around it were not meant."""
    return next(filter(None, (environ.get(name, "").strip() for name in names)), None)


def _own(provider: ProviderRow, environ: Mapping[str, str]) -> str:
    """The provider's own base URL, with what variables say of it."""
    if not provider.base:
        note = f": {provider.note}" if provider.note else ""
        raise ConfigError(f"{provider.title} is where you have it: set {provider.bases[0]}, or pass base_url={note}")
    said: dict[str, Any] = {}
    for part, names in provider.parts.items():
        value = first(names, environ) or provider.defaults.get(part)
        if value is None:
            raise ConfigError(f"{provider.title} needs a {part}: set {' or '.join(names)}, or {provider.bases[0]}")
        if not value.replace("-", "").replace("_", "").replace(":", "").replace(".", "").isalnum():
            raise ConfigError(f"{' or '.join(names)}: {value!r} is no {part}")
        said[part] = value
    return provider.at.get(said.get("location", ""), provider.base).format_map(said)


def _unknown(model: str, prefix: str) -> str:
    return "".join(_said(model, prefix))


def _said(model: str, prefix: str) -> Iterator[str]:
    yield f"model={model[:_SHOWN]!r}: no provider is called {prefix[:_SHOWN]!r}."
    near = get_close_matches(prefix.lower(), by_prefix(), 3, 0.6) if len(prefix) <= _SHOWN else []
    if near:
        yield f" Did you mean {' or '.join(f'{each}/' for each in near)}?"
    yield f" There are {', '.join(providers())}. A name that has a slash of its own is sent as it is to the server"
    yield " that base_url= or OPENAI_BASE_URL names"
