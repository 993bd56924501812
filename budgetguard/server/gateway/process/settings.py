"""What `budgetguard gateway` was told, and what of it cannot be."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from ....errors import ConfigError
from ...keys.finding.loopback import is_loopback
from ..config.resolve import Configuration


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What `budgetguard gateway` was told. `load` reads the configuration, also again."""

    load: Callable[[], Configuration]
    store: str
    host: str = "127.0.0.1"
    port: int = 4000
    open_mode: bool = False
    project: str | None = None
    workers: int = 1
    drain_s: int = 600
    """How long calls under way may take when the gateway is told to end."""
    log_level: str = "info"

    @property
    def family(self) -> socket.AddressFamily:
        """That of the address to listen on."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def require_sound(self) -> None:
        """Raise `ConfigError` for what cannot be."""
        if self.open_mode and not is_loopback(self.host):
            raise ConfigError(f"--open, --host {self.host}: without keys a gateway is for this machine only: 127.0.0.1")
        memory = self.store.startswith("memory:")
        if memory and not self.open_mode:
            raise ConfigError("--store memory://: keys are kept in the store, so one in memory has none; add --open")
        if memory and self.workers > 1:
            raise ConfigError("--workers: processes share budgets in a store; memory:// is one process's own")
        if self.store.startswith(("http:", "https:")):
            raise ConfigError(
                "--store: a gateway stands before a store, not before another server; name that one's store"
            )
        if self.workers > 1 and not hasattr(socket, "SO_REUSEPORT"):
            raise ConfigError("--workers: this system has no SO_REUSEPORT: run several gateways behind a load balancer")
