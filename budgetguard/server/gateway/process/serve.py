"""`budgetguard gateway`: the gateway as a process that listens, alone or by several workers."""

from __future__ import annotations

import logging
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from ....errors import ConfigError
from ....ledger import new_id
from ... import logs
from ...keys import KeyRing
from ...projects import Projects
from ..config.resolve import Configuration
from .settings import GatewaySettings
from .worker import BACKLOG, serve_on
from .workers import Workers, bound

log = logging.getLogger("budgetguard.server")


def serve_gateway(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or Ctrl-C; calls under way are finished. Raises `ConfigError` for what cannot be."""
    settings.require_sound()
    logs.set_up(settings.log_level)
    configuration = settings.load()
    with _taken(settings) as listening:
        keyless, port = _is_keyless(settings), listening.getsockname()[1]

        def say() -> None:
            _say(settings, port, configuration, keyless)

        if settings.workers == 1:
            serve_on(listening, settings, configuration, say)
        else:
            with tempfile.TemporaryDirectory(prefix="budgetguard-") as shared:
                Workers(settings, port, shared, say).run()
    log.info("stopped")


@contextmanager
def _taken(settings: GatewaySettings) -> Iterator[socket.socket]:
    """The port, that nobody else has: a socket that listens on it, or, for workers, one that keeps it for theirs."""
    try:
        made = _listening(settings)
        if settings.workers > 1:
            port = made.getsockname()[1]
            made.close()  # it was to find out whether another has the port, who may share it without being asked
            made = bound(settings, port)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--host {settings.host} --port {settings.port}: cannot be listened on ({error})") from error
    with made:
        yield made


def _listening(settings: GatewaySettings) -> socket.socket:
    return socket.create_server((settings.host, settings.port), family=settings.family, backlog=BACKLOG)


def _is_keyless(settings: GatewaySettings) -> bool:
    """Whether nobody has a key; raises `StoreError` where the store cannot be asked, or takes nothing."""
    projects = Projects(settings.store)
    try:
        projects.own.release(new_id())  # it changes nothing, but goes the way that each call's hold goes
        return not settings.open_mode and next(KeyRing(projects.own).all(), None) is None
    finally:
        projects.close()


def _say(settings: GatewaySettings, port: int, configuration: Configuration, keyless: bool) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    names = ", ".join(configuration.upstreams) or "none"
    log.info("listening", extra={"url": f"http://{host}:{port}/v1", "store": settings.store.partition(":")[0]})
    log.info("upstreams", extra={"upstreams": names})
    if settings.open_mode:
        log.warning(
            "OPEN MODE: no key is asked for; every program on this machine may call models by this gateway, and change "
            "every budget. Leave --open out, and create keys, for anything but a trial."
        )
    if keyless:
        log.warning("there is no key yet, so nobody is answered: budgetguard keys create PROJECT --scope call")
