"""`doctor`: whether everything that a budget relies on is there, and what to do if not."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Literal, TypeAlias

import typer
from rich.text import Text

from ...config import OF_TESTS, load_config, variables
from ...ledger import Examined, Store
from ...process.journal_files import waiting_in
from ...stores import file_of
from ..common.options import JsonOption, ProjectOption, StoreOption, opened
from ..common.show import console, print_json
from ..common.tables import Column, table
from .config import settings

State = Literal["ok", "warn", "fail"]
_OTHERS = ("OPENAI_BASE_URL", "OPENAI_API_KEY", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY")
"""Variables of the SDKs; their values are not shown."""
COLOURS: dict[State, str] = {"ok": "green", "warn": "yellow", "fail": "bold red"}

Checked: TypeAlias = "tuple[State, str] | Iterator[Finding]"

OLDEST_PYTHON = (3, 11)
OPENAI_MAJORS = (2, 3)
ANTHROPIC_MAJORS = (1, 2)
CLOCKS_APART_S = 2.0
TRIPS = 5
"""The fastest of so many round trips is shown: the first one connects."""
PROBE = ("gpt-4o-mini", "hello world", 2)
"""A model that every price list has, and a text of two tokens."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    state: State
    text: str


def doctor(store: StoreOption = None, name: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Check this installation; exit code 1 if something is broken.

    Example: budgetguard doctor --json
    """
    findings = list(examine(store, name))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        rows = [[Text(f.state, style=COLOURS[f.state]), Text(f.check), Text(f.text)] for f in findings]
        console().print(table([Column(""), Column("check"), Column("found")], rows))
    if any(finding.state == "fail" for finding in findings):
        raise typer.Exit(1)


def examine(store: str | None, name: str | None) -> Iterator[Finding]:
    """Every check, one after the other; a check that breaks is a finding, not an error."""
    checks: dict[str, Callable[[], Checked]] = {
        "python": _python,
        "openai": _openai,
        "patch": _patch,
        "anthropic": _anthropic,
        "unseen": _unseen,
        "prices": _prices,
        "tokens": _tokens,
        "store": lambda: _store(store, name),
        "environment": _environment,
        "config": _config,
        "settings": _settings,
    }
    for check, examined in checks.items():
        yield from _tried(check, examined)


def _tried(check: str, examined: Callable[[], Checked]) -> Iterator[Finding]:
    try:
        found = examined()
        if isinstance(found, tuple):
            yield Finding(check, *found)
        else:
            yield from found
    except Exception as error:
        yield Finding(check, "fail", f"{type(error).__name__}: {error}")


def _python() -> tuple[State, str]:
    found = f"{platform.python_implementation()} {platform.python_version()} on {platform.system()}"
    return ("ok", found) if sys.version_info >= OLDEST_PYTHON else ("fail", f"{found}: 3.11 or later is needed")


def _openai() -> tuple[State, str]:
    try:
        found = version("openai")
    except PackageNotFoundError:
        return "fail", "the openai package is not installed"
    if int(found.partition(".")[0]) not in OPENAI_MAJORS:
        return "warn", f"{found}: only 2.x and 3.x are tested"
    return "ok", found


def _patch() -> tuple[State, str]:
    from openai import _base_client, _streaming

    missing = _missing(_base_client, _streaming)
    if missing:
        return "fail", f"this openai has no {missing}: patch() cannot guard it"
    return "ok", "calls and streams of the SDK can be guarded"


def _anthropic() -> tuple[State, str]:
    """The same of the other SDK, which nobody has to have."""
    try:
        found = version("anthropic")
    except PackageNotFoundError:
        return "ok", "not installed: there is nothing of it to guard"
    from anthropic import _base_client, _streaming

    missing = _missing(_base_client, _streaming)
    if missing:
        return "fail", f"{found} has no {missing}: patch() cannot guard it"
    if int(found.partition(".")[0]) not in ANTHROPIC_MAJORS:
        return "warn", f"{found}: only 1.x and 2.x are tested"
    return "ok", f"{found}: its calls and streams can be guarded"


def _unseen() -> Iterator[Finding]:
    """The SDKs that are installed, and whose calls no budget sees: whoever uses one has to know."""
    from ...sdks.unseen.table import installed

    found = list(installed())
    for sdk, found_version in found:
        yield Finding(
            "unseen", "warn", f"{sdk.package} {found_version}: its calls are not seen. Instead: {sdk.instead}"
        )
    if not found:
        yield Finding("unseen", "ok", "no SDK is installed that is known, and whose calls are not seen")


def _missing(base_client: ModuleType, streaming: ModuleType) -> str:
    """Which of the methods that are patched an SDK does not have; "" if it has all."""
    places = [
        (base_client.SyncAPIClient, "request"),
        (base_client.AsyncAPIClient, "request"),
        (streaming.Stream, "__stream__"),
        (streaming.AsyncStream, "__stream__"),
    ]
    return ", ".join(f"{owner.__name__}.{place}" for owner, place in places if not hasattr(owner, place))


def _prices() -> tuple[State, str]:
    from ...prices.book import PriceBook

    quote = PriceBook().quote("openai", PROBE[0])
    return "ok", f"genai-prices {version('genai-prices')}; {PROBE[0]} is listed by {quote.provider}"


def _tokens() -> tuple[State, str]:
    from ...prices import tokens

    model, text, expected = PROBE
    name = tokens.encoding_name(model)
    if name is None or tokens.encoding(name) is None:
        return "warn", "tiktoken cannot be used: inputs are counted by their bytes, which is more"
    counted = tokens.count_text(text, model)
    if counted != expected:
        return "fail", f"{text!r} was counted as {counted} tokens, not {expected}"
    return "ok", f"tiktoken {version('tiktoken')}, {name}, without a network"


def _store(url: str | None, name: str | None) -> Iterator[Finding]:
    config = load_config(store=url, project=name)
    file = file_of(config.url)
    if config.store is None and file is not None and not os.path.exists(file):
        yield Finding("store", "warn", f"{config.url} is not there yet, and no other is named: no user's budget holds")
        return
    with opened(url, name) as (store, where):
        yield from _tried("store", lambda: _books(store, where))
        yield from _tried("journal", lambda: _journal(store))
        yield from _tried("rules", lambda: _rules(store))


def _books(store: Store, where: str) -> Iterator[Finding]:
    trips = []
    for _ in range(TRIPS):
        began = time.perf_counter()
        store.balances(["doctor"])
        trips.append((time.perf_counter() - began) * 1000)
    apart_s = abs(store.now_ms() / 1000 - time.time())
    accounts = sum(1 for _ in store.accounts())
    differences = store.check()
    held = len(store.holds())
    if differences:
        text = f"{where}: {len(differences)} accounts do not add up; see budgetguard check"
        yield Finding("store", "fail", text)
    else:
        text = f"{where}: {accounts} accounts add up, {held} calls under way, a round trip takes {min(trips):.1f} ms"
        yield Finding("store", "ok", text)
    if apart_s > CLOCKS_APART_S:
        text = f"{where}: its clock is {apart_s:.1f} s from ours; budgets begin and end by the store's"
        yield Finding("store", "warn", text)
    for warning in store.examine() if isinstance(store, Examined) else ():
        yield Finding("store", "warn", warning)


def _journal(store: Store) -> tuple[State, str]:
    directory = store.journal
    if directory is None:
        return "ok", "settlements for a store that is away wait in memory"
    left, living = waiting_in(directory)
    more = ""
    if living:
        lines = "1 line is" if living == 1 else f"{living} lines are"
        lands = "lands by itself if it has not" if living == 1 else "land by themselves if they have not"
        more = f" ({lines} in the files of programs that are running, and {lands})"
    if left:
        text = f"{directory}: {left} settlements wait for the store; they land when a program next uses it{more}"
        return "warn", text
    return "ok", f"{directory}: nothing waits for the store{more}"


def _rules(store: Store) -> Iterator[Finding]:
    """Whether the rules of the configuration see the calls."""
    from .rules import passed_by

    rules = load_config().budgets
    missed = list(passed_by(store, rules))
    for sentence in missed:
        yield Finding("rules", "warn", sentence)
    if not missed:
        named = f"{len(rules)} in the configuration; " if rules else ""
        yield Finding("rules", "ok", f"{named}no call of the last 7 days passed one by for the lack of a tag")


def _environment() -> tuple[State, str]:
    ours, known = sorted(name for name in os.environ if name.startswith("BUDGETGUARD_")), variables()
    unknown = [name for name in ours if name not in known and not name.startswith(OF_TESTS)]
    if unknown:
        return "warn", f"{', '.join(unknown)}: no such setting; there are {', '.join(known)}"
    others = [name for name in _OTHERS if os.environ.get(name)]
    return "ok", f"{', '.join([*ours, *others])} set" if ours or others else "nothing set"


def _config() -> tuple[State, str]:
    """Which file is read; one whose settings do nothing is better known."""
    file = load_config().file
    if file.path is None:
        return "ok", "no file with settings here, or above"
    if file.passed_over is not None:
        return "warn", f"{file.path} is read; [tool.budgetguard] in {file.passed_over} is not: move it there"
    return "ok", f"{file.path} is read; budgetguard config shows what holds"


def _settings() -> tuple[State, str]:
    """Every setting as it holds, and where it was stated."""
    found = settings(load_config())
    return "ok", ", ".join(
        f"{each.name}={each.value}" + (f" ({each.origin})" if each.origin != "default" else "") for each in found
    )
