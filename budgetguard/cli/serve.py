"""`serve`: host budgets; and `keys create|list|rotate|revoke`: who may ask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..config import load_config
from ..errors import ConfigError
from ..stores import open_store
from .options import JsonOption, StoreOption, require_there
from .show import Column, console, print_json, table

if TYPE_CHECKING:
    from ..server.keys import Key, KeyRing

keys_app = typer.Typer(help="Keys of a hosted project: create, list, rotate, revoke.", no_args_is_help=True)

PrefixArgument = Annotated[str, typer.Argument(help="The ten characters behind bg_.")]
ScopeOption = Annotated[str, typer.Option(help="spend: reserve and settle; read: look; admin: everything.")]
_NEEDED = {"starlette", "uvicorn", "msgspec", "prometheus_client"}


def serve(
    *,
    store: StoreOption = None,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8080,
    open_mode: Annotated[bool, typer.Option("--open", help="Ask for no keys; on loopback only.")] = False,
    project: Annotated[str | None, typer.Option(help="With --open: the project of requests that name none.")] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Host budgets: a server in front of a store, until SIGTERM."""
    if log_level not in {"debug", "info", "warning", "error"}:
        raise ConfigError(f"--log-level {log_level}: use debug, info, warning or error")
    with _extra_needed():
        from ..server import serve as server
    server.serve(server.ServerSettings(load_config(store=store).url, host, port, open_mode, project, log_level))


@keys_app.command("create")
def create(
    project: Annotated[str, typer.Argument(help="The project_name.")],
    *,
    scope: ScopeOption = "spend",
    note: Annotated[str, typer.Option(help="What it is for.")] = "",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key. It is shown once: only its hash is stored."""
    ring = _ring(store, new=True)
    _print_new(*ring.create(project, scope, note), as_json=as_json)


@keys_app.command("list")
def list_(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """All keys by their prefix; nobody can show the rest of one."""
    keys = list(_ring(store).all())
    if as_json:
        print_json([_as_json(key) for key in keys])
    elif keys:
        columns = [Column(title) for title in ("prefix", "project", "scope", "created", "revoked", "note")]
        rows = [[f"bg_{k.prefix}", k.project, k.scope, k.created, k.revoked or "-", k.note or "-"] for k in keys]
        console().print(table(columns, rows))
    else:
        console().print("There is no key. Make one: budgetguard keys create PROJECT --scope admin")


@keys_app.command("rotate")
def rotate(prefix: PrefixArgument, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Make a new key for the same project and scope, and revoke the old one."""
    _print_new(*_ring(store).rotate(prefix), as_json=as_json)


@keys_app.command("revoke")
def revoke(prefix: PrefixArgument, store: StoreOption = None) -> None:
    """Refuse a key from now on; servers notice within two seconds."""
    key = _ring(store).revoke(prefix)
    console().print(f"bg_{key.prefix} of project {key.project!r} is refused from now on.")


def _print_new(key: Key, text: str, *, as_json: bool) -> None:
    if as_json:
        print_json({**_as_json(key), "key": text})
    else:
        print(text)
        console(stderr=True).print(
            f"For project {key.project!r}, scope {key.scope}. Set BUDGETGUARD_KEY to it; it is not shown again."
        )


def _as_json(key: Key) -> dict[str, Any]:
    return {
        "prefix": key.prefix,
        "project": key.project,
        "scope": key.scope,
        "created": key.created,
        "revoked": key.revoked,
        "note": key.note,
    }


def _ring(store: str | None, *, new: bool = False) -> KeyRing:
    config = load_config(store=store)
    url = config.url
    if url.startswith("memory:"):
        raise ConfigError("--store memory://: keys are kept in the server's store; name one that lasts")
    if url.startswith(("http:", "https:")):
        raise ConfigError("--store: keys are made where the store behind the server is reached; name that one's store")
    if not new:
        require_there(config)
    with _extra_needed():
        from ..server.keys import KeyRing
        from ..server.projects import OWN
    return KeyRing(open_store(url, namespace=OWN))


@contextmanager
def _extra_needed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        raise ConfigError(
            f"a server needs {error.name}: install the extra `server`, as in budgetguard-llm[server]"
        ) from error
