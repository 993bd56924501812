"""
The gateway as a process, or as several on one port: how it begins, what it does at a signal, how it ends.

Real processes over real sockets; the provider is in the test.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from budgetguard.server.keys import KeyRing
from budgetguard.server.projects import OWN
from budgetguard.stores import open_store
from budgetguard.testing import FakeProvider, Plan, Request
from tests.support import ROOT
from tests.support.gateway import CLAUDE, GEMINI, MESSAGES, MODEL
from tests.support.hosting import Process
from tests.support.tasks import until

CHAT: dict[str, Any] = {"model": MODEL, "messages": MESSAGES, "max_tokens": 100}
PATH = "/v1/chat/completions"
FILE = """
[[upstream]]
name = "demo"
base = "{base}/v1"
anthropic = "{base}/v1"
gemini = "{base}/v1beta"
prices = "openai"
key = "env:DEMO_KEY"

[[model]]
name = "{model}"
upstreams = [{{ use = "demo", model = "gpt-4o-mini" }}]

[[budget]]
name = "all"
limit = 10
"""


def gateway(store: str, *arguments: str, port: int = 0, **environ: str) -> Process:
    """One that asks for no key, with a file or without."""
    told = {"DEMO_KEY": "sk-upstream-secret", **environ}
    return Process(store, *arguments, port=port, verb="gateway", **told)


class Held:
    """A provider whose answers wait while they are held back."""

    def __init__(self) -> None:
        self.going = threading.Event()
        self.going.set()

    def __call__(self, _request: Request) -> Plan:
        self.going.wait(30)
        return Plan(tokens=20)


@pytest.fixture
def held() -> Iterator[tuple[Held, FakeProvider]]:
    plan = Held()
    with FakeProvider(plan) as provider:
        yield plan, provider
        plan.going.set()


@pytest.fixture
def file(tmp_path: Path, held: tuple[Held, FakeProvider]) -> Path:
    """A gateway's configuration, with one model `first`."""
    made = tmp_path / "gateway.toml"
    made.write_text(FILE.format(base=held[1].root_url, model="first"))
    return made


def begin(served: Process, body: Any, provider: FakeProvider) -> http.client.HTTPConnection:
    """Send a call, and wait until the provider has it."""
    seen = len(provider.requests)
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    connection.request("POST", PATH, json.dumps(body), {"content-type": "application/json"})
    assert until(lambda: len(provider.requests) > seen, 30)
    return connection


def workers_of(pid: int) -> list[int]:
    """The processes that a gateway has started to serve."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    told = [(int(each), Path(f"/proc/{each}/cmdline").read_bytes()) for each in children]
    return [child for child, line in told if b"resource_tracker" not in line]


def alive(pid: int) -> bool:
    """Whether a process runs; who waits to be buried does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def entries(url: str, project: str = "default") -> list[Any]:
    """What is on the books."""
    with contextlib.closing(open_store(url, namespace=project)) as store:
        assert store.check() == []
        return list(store.entries())


def test_the_command_of_make_gateway_answers_in_an_empty_folder_without_a_key(tmp_path: Path) -> None:
    """Whoever tries it has, in seconds and without an account, an answer by each API, its cost, and a budget."""
    [line] = [each for each in (ROOT / "Makefile").read_text().splitlines() if "budgetguard gateway --open" in each]
    assert "--store" in line
    assert "--port" in line
    with gateway(f"sqlite:///{tmp_path}/a.db", "--open") as served:
        assert served.ask("GET", "/health")[0] == served.ask("GET", "/ready")[0] == 200
        status, answer, headers = served.ask("POST", PATH, CHAT)
        assert (status, bool(answer["choices"][0]["message"]["content"])) == (200, True)
        assert float(headers["x-budgetguard-cost"]) > 0
        status, answer, headers = served.ask("POST", "/v1/messages", {**CHAT, "model": CLAUDE})
        assert (status, answer["type"], float(headers["x-budgetguard-cost"]) > 0) == (200, "message", True)
        contents = {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"maxOutputTokens": 100}}
        status, answer, headers = served.ask("POST", f"/v1beta/models/{GEMINI}:generateContent", contents)
        assert (status, float(headers["x-budgetguard-cost"]) > 0) == (200, True)
        assert served.ask("GET", f"/v1/calls/{headers['x-budgetguard-call']}")[0] == 200
        assert len(served.ask("GET", "/v1/models")[1]["data"]) > 100
        status, refused, _ = served.ask("POST", PATH, {**CHAT, "model": "gpt-4", "max_tokens": 8000, "n": 9})
        assert (status, "everybody" in refused["error"]["message"]) == (402, True)
        assert "budgetguard_gateway_spend_dollars_total{" in served.ask("GET", "/metrics")[1].decode()
        assert served.stop() == 0
        assert "Traceback" not in served.log()
    assert len(entries(f"sqlite:///{tmp_path}/a.db")) == 3


@pytest.mark.parametrize("workers", [1, 2])
def test_sighup_reads_the_file_again_and_a_wrong_one_changes_nothing(
    tmp_path: Path, held: tuple[Held, FakeProvider], file: Path, workers: int
) -> None:
    """An operator adds a model without an end to anybody's call, and a slip of the pen takes nothing away."""
    plan, provider = held
    with gateway(f"sqlite:///{tmp_path}/a.db", "--open", "--config", str(file), f"--workers={workers}") as served:
        assert served.ask("POST", PATH, {**CHAT, "model": "second"})[0] == 404
        plan.going.clear()
        under_way = begin(served, {**CHAT, "model": "first", "stream": True}, provider)
        right = file.read_text().replace('"first"', '"second"')
        file.write_text(right + "\nnonsense = [")
        os.kill(served.pid, signal.SIGHUP)
        assert until(lambda: "the one before is kept" in served.log())
        file.write_text(right)
        os.kill(served.pid, signal.SIGHUP)
        assert until(lambda: served.log().count("was read again") == workers)
        plan.going.set()
        for _ in range(8):
            assert served.ask("POST", PATH, {**CHAT, "model": "second"})[0] == 200
            assert served.ask("POST", PATH, {**CHAT, "model": "first"})[0] == 404
        with contextlib.closing(under_way):
            assert under_way.getresponse().read().endswith(b"data: [DONE]\n\n")
        assert served.log().count("the one before is kept") == 1
        assert served.stop() == 0


def test_sigterm_finishes_a_stream_and_lets_nobody_in(
    tmp_path: Path, held: tuple[Held, FakeProvider], file: Path
) -> None:
    """A restart cuts no answer off, and whoever comes meanwhile is refused at once, so that a proxy asks another."""
    plan, provider = held
    url = f"sqlite:///{tmp_path}/a.db"
    file.write_text(file.read_text() + 'period = "daily"\nlease = true\n')
    with gateway(url, "--open", "--config", str(file)) as served:
        plan.going.clear()
        stream = begin(served, {**CHAT, "model": "first", "stream": True}, provider)
        plain = begin(served, {**CHAT, "model": "first"}, provider)
        served.terminate()
        assert until(lambda: refuses(served.port))
        served.terminate()  # says nothing new
        plan.going.set()
        with contextlib.closing(stream), contextlib.closing(plain):
            assert stream.getresponse().read().endswith(b"data: [DONE]\n\n")
            answer = plain.getresponse()
            assert (answer.status, answer.getheader("connection")) == (200, "close")
        assert served.wait() == 0
    with contextlib.closing(open_store(url, namespace="default")) as store:
        assert (len(list(store.entries())), store.holds(), store.check()) == (2, [], [])


def test_who_waits_before_the_port_or_on_an_open_connection_is_answered(
    tmp_path: Path, held: tuple[Held, FakeProvider], file: Path
) -> None:
    """A proxy does not send a POST again whose connection broke: one that is on its way at the end must arrive."""
    with gateway(f"sqlite:///{tmp_path}/a.db", "--open", "--config", str(file)) as served:
        kept = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
        kept.request("GET", "/health")
        assert kept.getresponse().read()
        os.kill(served.pid, signal.SIGSTOP)
        waiting = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
        sent = json.dumps({**CHAT, "model": "first"})
        waiting.request("POST", PATH, sent, {"content-type": "application/json"})
        served.terminate()
        os.kill(served.pid, signal.SIGCONT)
        assert until(lambda: refuses(served.port))
        kept.request("POST", PATH, sent, {"content-type": "application/json"})
        with contextlib.closing(kept), contextlib.closing(waiting):
            answer = kept.getresponse()
            assert (answer.status, answer.getheader("connection")) == (200, "close")
            assert waiting.getresponse().status == 200
        assert served.wait() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_ctrl_c_does_not_wait(
    tmp_path: Path, held: tuple[Held, FakeProvider], file: Path, workers: int
) -> None:
    """Who presses it twice does not want to wait ten minutes for a model; what is under way stays held."""
    plan, provider = held
    url = f"sqlite:///{tmp_path}/a.db"
    with gateway(url, "--open", "--config", str(file), f"--workers={workers}") as served:
        plan.going.clear()
        left = begin(served, {**CHAT, "model": "first"}, provider)
        os.kill(served.pid, signal.SIGINT)
        assert until(lambda: refuses(served.port))
        os.kill(served.pid, signal.SIGINT)
        assert served.wait() == 0
        left.close()
    assert booked_or_held(url) > 0


def booked_or_held(url: str) -> int:
    """What is settled and what is held, in nano-dollars."""
    with contextlib.closing(open_store(url, namespace="default")) as store:
        return sum(each.cost for each in store.entries()) + sum(each.amount for each in store.holds())


def refuses(port: int) -> bool:
    """Whether nobody listens there."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_store_that_takes_nothing_is_said_at_the_start(tmp_path: Path) -> None:
    """A folder of another user: a gateway that said it listens, and is ready, would refuse every call after that."""
    (tmp_path / "a.db-line").mkdir()  # where the store's lock would be
    (tmp_path / "gateway.toml").write_text('[[upstream]]\nname = "a"\nbase = "http://127.0.0.1:9/v1"\nfree = true\n')
    command = [
        sys.executable,
        "-m",
        "budgetguard.cli",
        "gateway",
        "--port",
        "0",
        "--store",
        f"sqlite:///{tmp_path}/a.db",
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "let this user write to its directory" in done.stderr
    assert "listening" not in done.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_that_another_has_is_said(tmp_path: Path, workers: int) -> None:
    """Two that share a port without a word would answer by two configurations, in turn."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "budgetguard.cli", "gateway", "--open", f"--workers={workers}", "--port", port]
        done = subprocess.run(
            [*command, "--store", f"sqlite:///{tmp_path}/a.db"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 2
    assert f"--port {port}: cannot be listened on" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_that_is_killed_loses_no_settlement_and_comes_back(
    tmp_path: Path, held: tuple[Held, FakeProvider], file: Path
) -> None:
    """Whoever has an answer has it on the books, to the nano-dollar; what was under way in the dead one stays held."""
    _, provider = held
    url, costs, lost = f"sqlite:///{tmp_path}/a.db?reserve_s=10", list[str](), list[int]()
    with gateway(url, "--open", "--config", str(file), "--workers=2") as served:
        done = threading.Event()

        def work() -> None:
            while not done.is_set():
                try:
                    status, _, headers = served.ask("POST", PATH, {**CHAT, "model": "first"})
                    assert status == 200
                    costs.append(headers["x-budgetguard-cost"])
                except (OSError, http.client.HTTPException):
                    lost.append(1)

        clients = [threading.Thread(target=work) for _ in range(6)]
        for client in clients:
            client.start()
        assert until(lambda: len(costs) > 40)
        before = workers_of(served.pid)
        assert len(before) == 2
        os.kill(before[0], signal.SIGKILL)
        seen = len(costs)
        assert until(lambda: served.log().count("Application startup complete") == 3)
        assert until(lambda: len(costs) > seen + 20)
        done.set()
        for client in clients:
            client.join()
        assert served.ask("POST", PATH, {**CHAT, "model": "first"})[0] == 200
        assert served.stop() == 0
    found = entries(url)
    answered = sum(round(float(cost) * 1e9) for cost in costs)
    each = round(float(costs[0]) * 1e9)
    assert sum(entry.cost for entry in found) >= answered + each
    assert len(found) <= len(costs) + 1 + len(lost)
    assert booked_or_held(url) >= len(provider.wait().ledger) * each


def test_a_worker_that_cannot_begin_is_tried_ever_more_seldom(
    tmp_path: Path, held: tuple[Held, FakeProvider], file: Path
) -> None:
    """A wrong file beside a dead worker neither ends the others nor takes the machine."""
    with gateway(f"sqlite:///{tmp_path}/a.db", "--open", "--config", str(file), "--workers=2") as served:
        right, begin_s = file.read_text(), time.monotonic()
        file.write_text("nonsense")
        os.kill(workers_of(served.pid)[0], signal.SIGKILL)
        assert until(lambda: "a worker cannot serve" in served.log())
        assert "Traceback" not in served.log()
        assert served.ask("POST", PATH, {**CHAT, "model": "first"})[0] == 200
        file.write_text(right)
        assert until(lambda: served.log().count("Application startup complete") == 3)
        assert served.log().count("started again") <= math.log2(time.monotonic() - begin_s + 1) + 2
        assert served.stop() == 0


def test_workers_end_with_their_parent(tmp_path: Path, held: tuple[Held, FakeProvider], file: Path) -> None:
    """A parent that is killed leaves nobody behind who has its port, and whom nothing tells to end."""
    with gateway(f"sqlite:///{tmp_path}/a.db", "--open", "--config", str(file), "--workers=2") as served:
        workers = workers_of(served.pid)
        served.kill()
        assert until(lambda: not any(map(alive, workers)))
        assert refuses(served.port)


def test_told_to_end_while_its_workers_start_it_ends(tmp_path: Path, held: tuple[Held, FakeProvider]) -> None:
    """A deployment that is taken back at once must not hang, nor leave a worker that nobody knows."""
    (tmp_path / "gateway.toml").write_text(FILE.format(base=held[1].root_url, model="first"))
    command = [sys.executable, "-m", "budgetguard.cli", "gateway", "--open", "--workers=2", "--port=0"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "DEMO_KEY": "none"}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--store", f"sqlite:///{tmp_path}/a.db"], cwd=tmp_path, env=environ, stderr=log
        )
    try:
        assert until(lambda: len(workers_of(process.pid)) == 2)
        workers = workers_of(process.pid)
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert not any(map(alive, workers))
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_any_worker_tells_what_all_counted_and_a_project_nothing_of_another(
    tmp_path: Path, held: tuple[Held, FakeProvider], file: Path
) -> None:
    """A scrape meets one of them by chance; the files that they share stay as many as there are workers."""
    url = f"sqlite:///{tmp_path}/a.db"
    with contextlib.closing(open_store(url, namespace=OWN)) as own:
        ring = KeyRing(own)
        shop, bank = (ring.create(name, "call")[1] for name in ("shop", "bank"))
        sees_shop, sees_bank = (ring.create(name, "read")[1] for name in ("shop", "bank"))

    def scrape(key: str, project: str = "shop") -> str:
        asked = {"authorization": f"Bearer {key}", "budgetguard-project": project}
        status, text, _ = served.ask("GET", "/metrics", headers=asked)
        assert status == 200, text
        return str(text.decode())

    def counted(text: str, project: str) -> float:
        rows = [line for line in text.splitlines() if line.startswith("budgetguard_gateway_calls_total{")]
        return sum(float(line.rpartition(" ")[2]) for line in rows if f'project="{project}"' in line)

    with gateway(url, "--config", str(file), "--workers=2", TMPDIR=str(tmp_path)) as served:
        begin_s = time.monotonic()
        for key in [shop] * 12 + [bank] * 5:
            asked = {"authorization": f"Bearer {key}"}
            assert served.ask("POST", PATH, {**CHAT, "model": "first"}, headers=asked)[0] == 200
        took_s = time.monotonic() - begin_s
        assert until(lambda: all(counted(scrape(sees_shop), "shop") == 12 for _ in range(4)))
        assert counted(scrape(sees_bank, "bank"), "bank") == 5
        told = scrape(sees_shop)
        assert "bank" not in told
        assert shop not in told
        timed = dict(line.rsplit(" ", 1) for line in told.splitlines() if "gateway_" in line and "_seconds_" in line)
        assert float(timed['budgetguard_gateway_upstream_seconds_count{upstream="demo"}']) == 17
        upstream_s = float(timed['budgetguard_gateway_upstream_seconds_sum{upstream="demo"}'])
        own_s = float(timed["budgetguard_gateway_own_seconds_sum"])
        assert float(timed["budgetguard_gateway_own_seconds_count"]) == 17
        assert 0 < upstream_s < took_s
        assert 0 < own_s < took_s - upstream_s
        [shared] = tmp_path.glob("budgetguard-*/counter_0.db")
        files = sorted(path.name for path in shared.parent.iterdir())
        os.kill(workers_of(served.pid)[0], signal.SIGKILL)
        assert until(lambda: served.log().count("Application startup complete") == 3)
        assert until(lambda: counted(scrape(sees_shop), "shop") == 12)
        assert sorted(path.name for path in shared.parent.iterdir()) == files
        assert served.stop() == 0
        for secret in (shop, bank, "sk-upstream-secret", MESSAGES[0]["content"]):
            assert secret not in served.log()
