"""
The board and the alerts of docs/monitoring, against a real Prometheus that scrapes real servers with traffic.

A query that names a metric or a label that is not there finds nothing, and says so to nobody.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import prometheus_client
import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager
from budgetguard.guards.settings import Settings
from budgetguard.testing import FakeProvider, Plan
from tests.support import ROOT
from tests.support.gateway import MESSAGES, MODEL, ServedGateway, configured, upstream
from tests.support.hearing import listening
from tests.support.prometheus import Scraping, is_there, scraping

HOME = ROOT / "docs/monitoring"
RULES = HOME / "alerts.yml"
BOARD = json.loads((HOME / "grafana.json").read_text("utf-8"))
ALERTS = re.findall(r"^      - alert: (\w+)$", RULES.read_text("utf-8"), re.MULTILINE)
PAGE = (ROOT / "docs/monitoring.md").read_text("utf-8")

pytestmark = pytest.mark.skipif(
    not is_there() and not os.environ.get("CI"), reason="there is no Prometheus on this machine: install one"
)


def queries() -> list[tuple[str, str]]:
    """Those of the board, with the names of their panels; its variables are filled in as Grafana does."""
    filled = {"$__rate_interval": "60s", "$__range": "5m", "$project": ".*"}
    found = []
    for panel in BOARD["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"]
            for name, value in filled.items():
                query = query.replace(name, value)
            found.append((panel["title"], query))
    return found


class Traffic:
    """A gateway and a program, and what they do all day."""

    def __init__(self, gateway: ServedGateway, provider: FakeProvider) -> None:
        self._gateway, self._key = gateway, gateway.key("shop")
        self._sdk = provider.client(max_retries=0)
        rules = [
            Budget("free", 1, per=("user",)),
            Budget("calls", 100_000, "daily", unit="requests"),
            Budget("small", 0, match={"user": "bob"}),
        ]
        settings = Settings(abandoned="observed")
        self._program = BudgetManager("shop", store=gateway.url, budgets=rules, settings=settings)
        budgetguard.patch(self._program)
        with budgetguard.budget(user="ann"):
            self._open = self._ask(stream=True, max_tokens=500)

    def round(self) -> None:
        """A little of everything."""
        for model, cap in ((MODEL, 50), ("gpt-4o", 200), (MODEL, 16_000), ("two/gpt-4o-mini", 50), ("nothing", 9)):
            body = {"model": model, "messages": MESSAGES, "max_tokens": cap}
            self._gateway.ask("/v1/chat/completions", body, key=self._key)
        self._gateway.ask("/v1/nothing", key=self._key)
        self._gateway.ask("/v1/spend?since=never", key=self._key)
        for user in ("ann", "bob"):
            with budgetguard.budget(user=user), suppress(BudgetExceededError):
                self._ask(max_tokens=20)

    def _ask(self, **more: Any) -> Any:
        return self._sdk.chat.completions.create(model=MODEL, messages=MESSAGES, **more)

    def close(self) -> None:
        """The day is over."""
        self._open.close()
        budgetguard.unpatch()
        self._program.close()
        self._sdk.close()


@pytest.fixture
def scraped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Scraping, Traffic]]:
    """Prometheus, which scrapes a gateway and a program; and their traffic."""
    assert is_there(), "there is no Prometheus, and this is CI"
    reader = PrometheusMetricReader()
    server, thread = prometheus_client.start_http_server(0, addr="127.0.0.1")
    with listening(reader), FakeProvider() as provider, FakeProvider(Plan(status=500)) as broken:
        upstreams = upstream("one", provider.root_url), upstream("two", broken.root_url)
        rules = (Budget("house", "0.0018", fallback=MODEL),)
        with ServedGateway(configured(*upstreams, budgets=rules), f"sqlite:///{tmp_path}/books.db") as gateway:
            monkeypatch.setenv("BUDGETGUARD_KEY", gateway.key("shop", "admin"))
            traffic = Traffic(gateway, provider)
            jobs = {"budgetguard-gateway": gateway.port, "budgetguard-program": server.server_port}
            with scraping(tmp_path, jobs, RULES, key=gateway.key("shop", "read")) as made:
                yield made, traffic
            traffic.close()
    server.shutdown()
    server.server_close()
    thread.join()


def until(done: Callable[[], bool], traffic: Traffic) -> None:
    """Have traffic until something is so, or two minutes are over: a busy machine scrapes late."""
    end_s = time.monotonic() + 120
    while not done() and time.monotonic() < end_s:
        traffic.round()


class Planted(NamedTuple):
    """Series that have an alert fire: what is written for each, and after how many minutes."""

    series: dict[str, str]
    minutes: int = 20


GATEWAY = 'job="budgetguard-gateway",instance="a"'
CALLS = "budgetguard_gateway_calls_total{" + GATEWAY + ',project="shop",key="k",model="m",upstream="%s",status="%s"}'
REFUSALS = "budgetguard_gateway_refusals_total{" + GATEWAY + ',project="shop",key="k",reason="%s"}'
SPEND = (
    "budgetguard_gateway_spend_dollars_total{"
    + GATEWAY
    + ',project="shop",key="k",model="m",provider="p",upstream="u"}'
)
ENDS = "budgetguard_ends_total{" + GATEWAY + ',project="shop",end="%s"}'
PROGRAM = 'job="budgetguard-program",instance="b",otel_scope_name="budgetguard"'
REFUSED = "budgetguard_call_refusals_total{" + PROGRAM + ',budgetguard_budget="free",budgetguard_reason="%s"}'


def histogram(name: str, labels: str, slow: int) -> dict[str, str]:
    """A histogram of which so many of a hundred observations are slow."""
    row = name + "_bucket{" + labels + ',le="%s"}'
    return {row % "0.1": f"0+{100 - slow}x3000", row % "5.0": "0+100x3000", row % "+Inf": "0+100x3000"}


FIRES = {
    "BudgetguardDown": Planted({f"up{{{GATEWAY}}}": "1x5 0x60"}),
    "BudgetguardStoreAway": Planted({REFUSALS % "StoreError": "0+3x60"}),
    "BudgetguardCallsFail": Planted({CALLS % ("one", "500"): "0+10x60", CALLS % ("one", "200"): "0+90x60"}),
    "BudgetguardUpstreamCooling": Planted(
        {f'budgetguard_gateway_upstream_cooling_seconds{{{GATEWAY},upstream="one"}}': "30x60"}
    ),
    "BudgetguardSpendJumped": Planted({SPEND: "0+0.1x1440 144+1x200"}, 1440 + 90),
    "BudgetguardBudgetSpent": Planted({REFUSALS % "BudgetExceededError": "0+1x60"}),
    "BudgetguardBudgetBusy": Planted({REFUSALS % "BudgetBusyError": "0+5x60"}),
    "BudgetguardHostedBudgetSpent": Planted(
        {f'budgetguard_refusals_total{{{GATEWAY},project="shop",budget="free",room="spent"}}': "0+1x60"}
    ),
    "BudgetguardKeysRefused": Planted({CALLS % ("", "401"): "0+20x60"}),
    "BudgetguardSettledLate": Planted({ENDS % "late": "0+1x60"}),
    "BudgetguardSettledTwice": Planted({ENDS % "conflict": "0+1x60"}),
    "BudgetguardSlow": Planted(histogram("budgetguard_gateway_own_seconds", GATEWAY, 50)),
    "BudgetguardServerSlow": Planted(
        histogram("budgetguard_request_seconds", GATEWAY + ',path="/v1/reserve",status="200"', 50)
    ),
    "BudgetguardProgramStoreAway": Planted({REFUSED % "store": "0+1x60"}),
    "BudgetguardProgramBudgetSpent": Planted({REFUSED % "spent": "0+1x60"}),
    "BudgetguardGuardSlow": Planted(
        histogram("budgetguard_guard_duration_seconds", PROGRAM + ',budgetguard_phase="before"', 50)
    ),
}
"""What has each alert fire."""

WELL = {
    f"up{{{GATEWAY}}}": "1x3000",
    CALLS % ("one", "200"): "0+1000x3000",
    CALLS % ("one", "500"): "0+1x3000",
    CALLS % ("", "401"): "0+1x3000",
    REFUSALS % "model_not_found": "0+1x3000",
    REFUSALS % "BudgetBusyError": "0+0.5x3000",
    SPEND: "0+1x3000",
    ENDS % "late": "0x3000",
    ENDS % "conflict": "0x3000",
    ENDS % "released": "0+5x3000",
    f'budgetguard_gateway_upstream_cooling_seconds{{{GATEWAY},upstream="one"}}': "0x3000",
    **histogram("budgetguard_gateway_own_seconds", GATEWAY, 0),
    **histogram("budgetguard_request_seconds", GATEWAY + ',path="/v1/reserve",status="200"', 0),
    **histogram("budgetguard_guard_duration_seconds", PROGRAM + ',budgetguard_phase="before"', 0),
    REFUSED % "held": "0+1x3000",
}
"""A day on which all is well."""


def _written(planted: Planted, query: str, found: list[Any]) -> dict[str, Any]:
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in planted.series.items()],
        "promql_expr_test": [{"expr": query, "eval_time": f"{planted.minutes}m", "exp_samples": found}],
    }


def test_each_alert_fires_where_it_should_and_none_where_all_is_well(tmp_path: Path):
    """An alert that never fires is worse than none, and one that always does is not read."""
    assert sorted(FIRES) == sorted(ALERTS)
    tests = [
        _written(planted, f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})', [{"labels": "{}", "value": 1}])
        for alert, planted in FIRES.items()
    ]
    tests.append(_written(Planted(WELL, 120), "ALERTS", []))
    (tmp_path / "tests.yml").write_text(json.dumps({"rule_files": [str(RULES)], "tests": tests}))
    done = subprocess.run(
        ["promtool", "test", "rules", "tests.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


SERIES = re.compile(r"^(\w+)\{(.*)\}$")
LABEL = re.compile(r'(\w+)="')


def test_all_that_the_board_and_the_alerts_ask_of_is_told(scraped):
    """A panel or an alert that asks of what nobody tells shows an operator that all is well."""
    server, traffic = scraped
    left = dict.fromkeys(queries())
    wanted: dict[str, set[str]] = {}
    for name, labels in (SERIES.findall(series)[0] for each in FIRES.values() for series in each.series):
        wanted.setdefault(name, set()).update(set(LABEL.findall(labels)) - {"job", "instance"})

    def look() -> bool:
        for each in list(left):
            if any(not math.isnan(value) for _, value in server.ask(each[1])):
                del left[each]
        for name in list(wanted):
            if wanted[name] <= server.labels(name):
                del wanted[name]
        return not (left or wanted)

    assert len(left) > 25
    until(look, traffic)
    assert (list(left), wanted) == ([], {})
    rules = [rule for group in server.get("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"]: rule["health"] for rule in rules} == dict.fromkeys(ALERTS, "ok")


def test_the_page_says_of_each_alert_what_to_do():
    """Whoever is woken by one looks there."""
    rows = re.findall(r"^\| `(Budgetguard\w+)` \|.+\|.+\|$", PAGE, re.MULTILINE)
    assert rows == ALERTS
