"""
Upstreams: a table of the file, or a provider whose key the environment has, becomes an `Upstream`.

What a table leaves out is the provider's, as `providers.toml` has it. Where only one base URL is stated, the others go
with it if they were at the same host, and are gone if not: no key is sent to where the operator did not say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, get_args
from urllib.parse import urlsplit, urlunsplit

from ....errors import ConfigError
from ....providers.routes import base_url, first
from ....providers.table import USUAL_HEADER, ProviderRow, by_prefix, providers
from .model import Api, Upstream
from .secrets import HOW, Secrets, read_url
from .stanzas import Stanza, shown, shown_key

APIS: Final[tuple[Api, ...]] = get_args(Api)
VERSION = "2023-06-01"
"""Anthropic's API version where a request names none (docs.anthropic.com, API versioning)."""
CREDENTIALS = frozenset({"authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", "proxy-authorization"})
"""Headers that say who somebody is: none of a caller's goes on, and none of an upstream's stands in a file."""
FRAMING = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect"})
"""Headers that are of one connection alone."""

_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
_HEADER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")
_VERSIONS: Final[Mapping[Api, str]] = {"openai": "/v1", "anthropic": "/v1", "gemini": "/v1beta"}
_BESIDE = ("responses", "completions", "embeddings", "images", "audio", "moderations", "batches", "realtime", "files")
_MOST_S = 86_400.0


def read_upstream(stanza: Stanza, secrets: Secrets) -> Upstream | None:
    """The upstream of a table; `None` if it cannot be one."""
    name = _name(stanza)
    row = _row(stanza)
    insecure = stanza.flag("insecure", False)
    bases = _bases(stanza, row, secrets.environ, insecure=insecure)
    headers = _headers(stanza, row, bases, secrets)
    made = Upstream(
        name=name,
        provider="" if row is None else row.name,
        prices=stanza.text("prices", wanted="the provider whose prices count, such as 'openai'") or None,
        bases=bases,
        headers=headers,
        beside=_beside(stanza, row),
        prefix=stanza.text("prefix", "" if row is None else row.prefix),
        free=stanza.flag("free", False),
        connect_s=stanza.seconds("connect_s", 10.0, _MOST_S),
        read_s=stanza.seconds("read_s", 600.0, _MOST_S),
    )
    stanza.close({"base_url": "write it as base", "api_base": "write it as base", "api_key": f"write it as key: {HOW}"})
    return made if name and bases else None


def of_environment(environ: Mapping[str, str]) -> Iterator[Upstream | str]:
    """An upstream for each provider whose key is set, or the sentence that says what it lacks."""
    for row in providers().values():
        key = first(row.keys, environ)
        if key is None or not key.isascii() or not key.isprintable():
            continue
        try:
            base = base_url(row, _of_parts(row, environ))
        except ConfigError as error:
            yield f"{first_name(row.keys, environ)} is set, and yet {row.name} is not asked: {error}"
            continue
        bases = {"openai": base.rstrip("/"), **_others(row, base, environ)}
        yield Upstream(
            name=row.name,
            provider=row.name,
            bases=bases,
            headers={api: _sent(api, row.header(api), key) for api in bases},
            beside=frozenset(row.beside),
            prefix=row.prefix,
        )


def first_name(names: tuple[str, ...], environ: Mapping[str, str]) -> str | None:
    """The first of these variables that is set to something."""
    return next((name for name in names if environ.get(name, "").strip()), None)


def _name(stanza: Stanza) -> str:
    name = stanza.text("name", wanted='a name of its own, such as "openai"')
    if not stanza.has("name"):
        stanza.wrong("name", 'it is missing: write a name of its own, such as name = "openai"')
    elif name and (not _NAME.issuperset(name) or len(name) > 64):
        stanza.wrong("name", "letters, digits, - _ and . make a name, at most 64 of them")
    return name


def _row(stanza: Stanza) -> ProviderRow | None:
    return by_prefix().get(stanza.choice("provider", by_prefix(), ""))


def _bases(stanza: Stanza, row: ProviderRow | None, environ: Mapping[str, str], *, insecure: bool) -> dict[Api, str]:
    """The base URL of each API, by the table first and by the provider's row behind it."""
    stated = _stated(stanza, row, environ, insecure=insecure)
    if row is None:
        if not any(map(stanza.has, ("base", "anthropic", "gemini", "provider"))):
            stanza.wrong("", "nobody knows where it is: write provider = one of `budgetguard providers`, or base = URL")
        return stated
    said = _of_parts(row, environ)
    said |= {names[0]: text for part, names in row.parts.items() if (text := stanza.text(part))}
    base = stated.get("openai")
    if base is None and not stanza.has("base"):
        try:
            base = base_url(row, said).rstrip("/")
        except ConfigError as error:
            if not stated:
                stanza.wrong(
                    "base", f"it is missing: {error}. In this file it is {' or '.join(['base', *row.parts])} = ..."
                )
            return stated
    return {} if base is None else {"openai": base, **_others(row, base, said), **stated}


def _stated(stanza: Stanza, row: ProviderRow | None, environ: Mapping[str, str], *, insecure: bool) -> dict[Api, str]:
    """The base URLs that the table has, or names the variable of, each with the version that its paths begin with."""
    found: dict[Api, str] = {}
    for api in APIS:
        key = "base" if api == "openai" else api
        text = stanza.text(key, wanted="a base URL, such as https://host/v1")
        if text.startswith("env:") and (variable := text.removeprefix("env:")) not in environ:
            stanza.wrong(key, f"the variable {variable} is not set")
            continue
        text = environ.get(text.removeprefix("env:"), text).strip() if text.startswith("env:") else text
        url, lacking = read_url(text, insecure=insecure) if text else ("", "")
        if lacking:
            stanza.wrong(key, lacking)
        elif url:
            found[api] = _versioned(api, url, row)
    return found


def _versioned(api: Api, url: str, row: ProviderRow | None = None) -> str:
    segments = urlsplit(url).path.strip("/").split("/")
    if api == "openai":
        return url if segments != [""] else url + (_VERSIONS[api] if row is None else row.path)
    known = segments[-1:] if api == "anthropic" else segments
    return url if any(_is_version(each) for each in known) else url + _VERSIONS[api]


def _is_version(segment: str) -> bool:
    return segment[:1] == "v" and segment[1:2].isdigit()


def _of_parts(row: ProviderRow, environ: Mapping[str, str]) -> dict[str, str]:
    """
    What the environment says of where a provider is, if that is elsewhere for everybody. `OPENAI_BASE_URL` and the
    like are not asked: on a machine whose programs use the gateway, they name the gateway.
    """
    names = [name for each in row.parts.values() for name in each]
    if not row.base or row.open:
        names += row.bases
    return {name: environ[name] for name in names if name in environ}


def _others(row: ProviderRow, base: str, said: Mapping[str, str]) -> dict[Api, str]:
    """The provider's base URLs of other APIs than OpenAI's, at the host of this one if theirs is that."""
    found: dict[Api, str] = {}
    values = {part: first(names, said) or row.defaults.get(part, "") for part, names in row.parts.items()}
    usual, here = urlsplit(row.base.format_map(values)), urlsplit(base)
    own: list[tuple[Api, str]] = [("anthropic", row.anthropic), ("gemini", row.gemini)]
    for api, template in own:
        url = urlsplit(template.format_map(values))
        moved = (here.scheme, here.netloc) != (usual.scheme, usual.netloc)
        if not template or (moved and (url.netloc != usual.netloc or here.path != usual.path)):
            continue
        placed = url._replace(scheme=here.scheme, netloc=here.netloc) if moved else url
        found[api] = _versioned(api, urlunsplit(placed).rstrip("/"))
    return found


def _key(stanza: Stanza, row: ProviderRow | None, secrets: Secrets) -> str | None:
    """The key; `None` where none is sent, or none is there."""
    stated = stanza.text("key", wanted=f"a secret: {HOW}")
    if stated:
        return secrets.read(stanza, "key", stated)
    if stanza.has("key") or row is None:
        return None
    name = first_name(row.keys, secrets.environ)
    if name is not None:
        return secrets.read(stanza, "key", f"env:{name}")
    if not row.open and secrets.needed:
        stanza.wrong("key", f'it is missing: write key = "env:{row.keys[0]}", and set that variable')
    return None


def _headers(
    stanza: Stanza, row: ProviderRow | None, bases: Mapping[Api, str], secrets: Secrets
) -> dict[Api, tuple[tuple[str, str], ...]]:
    """What is sent by each API: the key in the header that takes it, and what the table states."""
    key = _key(stanza, row, secrets)
    stated = stanza.choice("header", ("bearer", "x-api-key", "api-key", "x-goog-api-key"), "")
    table = stanza.table("headers")
    more = {name.lower(): value for name, raw in table.items() if (value := _header(stanza, name, raw, secrets))}
    found: dict[Api, tuple[tuple[str, str], ...]] = {}
    for api in bases:
        usual = USUAL_HEADER[api] if row is None else row.header(api)
        found[api] = tuple({**dict(_sent(api, stated or usual, key)), **more}.items())
    return found


def _sent(api: Api, header: str, key: str | None) -> tuple[tuple[str, str], ...]:
    """The header with the key, and Anthropic's version of its API."""
    sent = [] if key is None else [("authorization", f"Bearer {key}") if header == "bearer" else (header, key)]
    return (*sent, ("anthropic-version", VERSION)) if api == "anthropic" else tuple(sent)


def _header(stanza: Stanza, name: str, raw: Any, secrets: Secrets) -> str | None:
    """The value of a header that the table states; `None`, and a remark, for what cannot be one."""
    key = f"headers.{shown_key(name)}"
    if not name or not _HEADER.issuperset(name.lower()) or name.lower() in FRAMING:
        stanza.wrong(key, "no such header can be sent: leave it out")
    elif not isinstance(raw, str) or not raw.strip() or not raw.isascii() or not raw.isprintable():
        stanza.wrong(key, "write one line of plain letters")
    elif raw.startswith(("env:", "file:")):
        return secrets.read(stanza, key, raw)
    elif _is_secret(name.lower()):
        stanza.wrong(key, f"this header is a secret: {HOW}")
    else:
        return raw.strip()
    return None


def _is_secret(header: str) -> bool:
    return header in CREDENTIALS or any(word in header for word in ("auth", "key", "token", "secret", "password"))


def _beside(stanza: Stanza, row: ProviderRow | None) -> frozenset[str] | None:
    """What it speaks beside chat: the provider's, or what the table says, which may be "all"."""
    if not stanza.has("beside"):
        return None if row is None or row.open else frozenset(row.beside)
    if stanza.take("beside") == "all":
        return None
    listed = stanza.texts("beside", wanted='"all", or a list such as ["responses", "embeddings"]')
    for word in listed:
        if word not in _BESIDE:
            stanza.wrong("beside", f"{shown(word)} is none of them: there are {', '.join(_BESIDE)}")
    return frozenset(listed)
