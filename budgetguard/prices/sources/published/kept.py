"""
Lists in files: genai-prices' own data, LiteLLM's map, and a dated copy of either that an update keeps.

What was fetched is read and checked before it is kept, and kept whole or not at all: an update that fails changes
nothing.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ....errors import ConfigError
from .. import list as pricelist
from ..odd import costs, oddity, suspicious
from .litellm import MappedModel, MappedPrice, PriceMap, is_map, read_map, read_price, speaks, stated, told

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import Provider

log = logging.getLogger("budgetguard")

TIMEOUT_S: Final = 30
"""Without a word of the server's."""
WHOLE_S: Final = 300
MOST_BYTES: Final = 100_000_000
"""In all: a list has some megabytes, and what goes on and on is none."""

_OLD: Final = timedelta(days=30)
"""After which nobody seems to renew a list that somebody began to renew."""

_FEWEST: Final = 0.5
"""Which part of the installed list's models a newer one has at least; one with less was cut off on its way."""


class PublishedList(NamedTuple):
    """A list that was read from a file."""

    snapshot: DataSnapshot
    models: int
    fetched: datetime | None = None
    """When it was fetched, where it says so."""
    origin: str = ""
    """The URL that it is from."""
    unread: str = ""
    """What of it was not read, in words."""
    over_installed: bool = False
    """Whether what it does not know is on it from the installed list."""


def default_path() -> Path:
    """Where the list is kept that `budgetguard prices update` fetches: in the user's data, for all their programs."""
    home = Path.home()
    if sys.platform == "darwin":
        data = home / "Library/Application Support"
    elif sys.platform == "win32":
        data = Path(os.environ.get("LOCALAPPDATA") or home / "AppData/Local")
    else:
        data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    return data / "budgetguard" / "price-list.json"


def read_list(path: Path, *, alone: bool = False) -> PublishedList:
    """
    The list in a file; `alone`: of LiteLLM's map, only what stands there.

    Raises `ConfigError` for one that is not there, or that cannot be used.
    """
    found = parse(_text_of(path), str(path), alone=alone)
    if found.unread and not alone:
        log.warning("%s: %s", path, found.unread)
    if found.fetched is not None and (age := datetime.now(UTC) - found.fetched) > _OLD:
        log.warning("%s: this price list is %d days old: budgetguard prices update fetches another", path, age.days)
    return found


def _text_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        hint = "budgetguard prices update fetches it" if path == default_path() else "check the path"
        raise ConfigError(f"{path}: there is no such price list; {hint}") from None
    except OSError as error:
        raise ConfigError(f"{path}: the price list cannot be read ({error.strerror}); check the path") from error


def _loaded(text: bytes, where: str) -> Any:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: the price list is not JSON ({error}); fetch it again") from error
    return data


def parse(text: bytes, where: str, *, alone: bool = False) -> PublishedList:
    """The list in a JSON text; raises `ConfigError` where there is none, or a price of it cannot be meant."""
    data = _loaded(text, where)
    fetched, origin = None, ""
    if isinstance(data, dict) and "budgetguard_fetched" in data:
        fetched, origin, data = _moment(data["budgetguard_fetched"]), str(data.get("from", "")), data.get("list")
    if is_map(data):
        return _mapped(read_map(data), alone)._replace(fetched=fetched, origin=origin)
    if isinstance(data, list):
        return _listed(data, where)._replace(fetched=fetched, origin=origin)
    raise ConfigError(
        f"{where}: this is no price list: neither genai-prices' data (a list of providers) nor LiteLLM's "
        "model_prices_and_context_window.json (names, each with litellm_provider)"
    )


def entry_of(path: Path, name: str) -> Mapping[str, Any]:
    """What LiteLLM's map in a file says that a model costs, in its words; raises `ConfigError` if it says nothing."""
    data = _loaded(_text_of(path), str(path))
    if not is_map(data):
        raise ConfigError(f"{path}: this is not LiteLLM's map of prices (model_prices_and_context_window.json)")
    entry = data.get(name)
    price = read_price(entry) if isinstance(entry, dict) else MappedPrice()
    if not price.prices:
        raise ConfigError(f"{path}: it has no price for {name!r} that can be read; its names are LiteLLM's")
    limits = {key: entry[key] for key in ("max_output_tokens", "max_input_tokens") if key in entry}
    return {key: value for key, value in stated(entry) if speaks(key)} | limits


def fetch(url: str) -> bytes:
    """The text at a URL; raises `ConfigError` if it does not come."""
    import httpx2

    text, until = bytearray(), monotonic() + WHOLE_S
    try:
        with httpx2.stream("GET", url, timeout=TIMEOUT_S, follow_redirects=True) as reply:
            reply.raise_for_status()
            for piece in reply.iter_bytes():
                text += piece
                if len(text) > MOST_BYTES or monotonic() > until:
                    break
            else:
                return bytes(text)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise ConfigError(f"{url}: the price list could not be fetched ({error!r}); the one before is kept") from error
    most = f"{MOST_BYTES:,} bytes, or did not come in {WHOLE_S} seconds"
    raise ConfigError(f"{url}: the price list is more than {most}; the one before is kept")


def update(url: str, path: Path, now: datetime) -> PublishedList:
    """
    Fetch a list, check it, and keep it in a file with its date.

    Raises `ConfigError`, and leaves the file as it is, where it does not come or cannot be used.
    """
    text = fetch(url)
    found = parse(text, url)
    _compare(found, url)
    kept = {"budgetguard_fetched": now.isoformat(timespec="seconds"), "from": url, "list": json.loads(text)}
    _make_folder(path)
    replace(path, json.dumps(kept, ensure_ascii=False).encode(), "price list")
    return found._replace(fetched=now, origin=url)


def _make_folder(path: Path) -> None:
    if path == default_path():  # anybody else's is a path that somebody wrote, and may have misspelled
        with suppress(OSError):  # as writing the file will say
            path.parent.mkdir(parents=True, exist_ok=True)


def replace(path: Path, text: bytes, what: str) -> None:
    """Have a file say this, or what it said before: never a part of it. Raises `ConfigError` where it cannot be."""
    target = Path(os.path.realpath(path))
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with draft.open("xb") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        if target.exists():
            draft.chmod(target.stat().st_mode & 0o777)
        draft.replace(target)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ConfigError(f"{path}: the {what} cannot be written ({error.strerror}); check the path") from error


def _mapped(read: PriceMap, alone: bool) -> PublishedList:
    """LiteLLM's map over the installed list; models with a price that cannot be meant are left out, and said."""
    from .mapped import NOTHING, over

    installed = pricelist.source()()
    odd = {model[:2]: why for model in read.models if (why := _oddity_of(model, installed))}
    lacking = []
    if read.unpriced:
        lacking.append(f"{len(read.unpriced)} models have no price that can be read ({told(read.unpriced)})")
    if read.partly:
        lacking.append(f"some prices of {len(read.partly)} others cannot ({told(read.partly)})")
    lacking += [f"{name} is left out: {why}" for (_, name), why in odd.items()]
    kept = [model for model in read.models if model[:2] not in odd]
    unread = "; ".join(lacking) + ". None of these is free: the installed list counts, or no price is known"
    snapshot = over(NOTHING if alone else installed, kept)
    return PublishedList(snapshot, len(kept), unread=unread if lacking else "", over_installed=not alone)


def _oddity_of(model: MappedModel, installed: DataSnapshot) -> str | None:
    """What is odd about a price of the map, as it is, or beside that of the installed list."""
    prices = model.price.prices
    known = pricelist.find(installed, model.provider, model.name) if suspicious(prices) else None
    priced = known is not None and not pricelist.without_price(known)
    return oddity(prices, pricelist.prices(known, _now_ms()) if known is not None and priced else None)


def _now_ms() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


def _listed(data: list[Any], where: str) -> PublishedList:
    """genai-prices' own data."""
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import _providers_from_raw

    try:
        providers = _providers_from_raw(data)
        pricelist.check(providers)
    except (ValueError, TypeError, AttributeError, re.error) as error:  # pydantic's is a ValueError
        raise ConfigError(f"{where}: the price list cannot be read ({str(error).splitlines()[0]})") from error
    for listed in _each(providers):
        for prices in pricelist.all_prices(listed):
            if why := oddity(prices):
                raise ConfigError(f"{where}: {listed.provider} {listed.id}: {why} The list is not used")
    return PublishedList(DataSnapshot(providers, from_auto_update=True), sum(len(each.models) for each in providers))


def _compare(found: PublishedList, where: str) -> None:
    """Raises `ConfigError` for a list that cannot be a newer edition of the installed one."""
    installed = pricelist.source()()
    before = {(each.provider, each.id): each for each in _each(installed.providers)}
    if not found.over_installed and found.models < len(before) * _FEWEST:
        raise ConfigError(f"{where}: it has {found.models} models, the installed list {len(before)}: it is not used")
    for listed in _each(found.snapshot.providers):
        known = before.get((listed.provider, listed.id))
        if known is None or known.model is listed.model:
            continue
        now = pricelist.prices(known, _now_ms())
        for prices in pricelist.all_prices(listed):
            why = "it is free now, and was not." if costs(now) and not costs(prices) else oddity(prices, now)
            if why:
                raise ConfigError(f"{where}: {listed.provider} {listed.id}: {why} The list is not used")


def _each(providers: list[Provider]) -> Iterator[pricelist.Listed]:
    """Every model that has a price."""
    for provider in providers:
        for model in provider.models:
            listed = pricelist.Listed(provider.id, model)
            if not pricelist.without_price(listed):
                yield listed


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
