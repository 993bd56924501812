"""
An endpoint that bills every answer and keeps its own ledger, a caller that counts what becomes of its calls, and books.

The endpoint speaks OpenAI's protocol on loopback, writes as many tokens as it is asked for, 999 at most, and bills ten
cents for an answer of 999.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import openai

import budgetguard
from budgetguard import BudgetBusyError, BudgetExceededError, BudgetManager, PriceBook, StoreError
from budgetguard.guards.settings import Settings
from budgetguard.money import Nano
from budgetguard.testing import FakeProvider, Plan, Request

MODEL = "gpt-4o-mini"
CLAUDE, GEMINI, BEDROCK = "claude-haiku-4-5", "gemini-2.5-flash", "amazon.nova-lite-v1:0"
"""What other SDKs ask for, at the same price."""
USER = "ann"
MESSAGES = [{"role": "user", "content": "count the money"}]
INPUT = 10
"""The input tokens of MESSAGES, by the tokenizer and by the endpoint's own count alike."""

LONGEST = 999
INPUT_PRICE, OUTPUT_PRICE = 10, 100
"""Dollars per million tokens: INPUT and LONGEST tokens come to ten cents."""

ANSWER = " ".join("a" * (1 + number % 2) for number in range(LONGEST))
HEARD = 40
"""Items of a stream after which its reader goes away; the endpoint, which writes on demand, stops there too."""

LATENCY_S = 0.05
BURST = 50

GOES_ON = {"extra_headers": {"x-endpoint": "stops with its reader"}}
SAYS_NOTHING = {"extra_headers": {"x-endpoint": "says nothing"}}


class Endpoint(FakeProvider):
    """The fake provider with this price list, this latency, and answers as long as they are asked for."""

    def __init__(self) -> None:
        self.latency_s = LATENCY_S
        super().__init__(self._plan_of, prices=bill)

    def _plan_of(self, request: Request) -> Plan:
        wish = request.headers.get("x-endpoint")
        stall = {"stops with its reader": "stream", "says nothing": "headers"}.get(wish or "")
        return Plan(text=ANSWER, latency_s=self.latency_s, drop_after=HEARD, stall=stall)  # type: ignore[arg-type]


WORDS = {
    "prompt_tokens": ("completion_tokens",),
    "input_tokens": ("output_tokens",),
    "promptTokenCount": ("candidatesTokenCount", "thoughtsTokenCount"),
    "inputTokens": ("outputTokens",),
}
"""What the APIs call output, by what they call input."""


def bill(_model: str, usage: Mapping[str, Any]) -> Nano:
    """The endpoint's price list, written apart from ours: nano-dollars."""
    asked = next(name for name in WORDS if name in usage)
    made = sum(int(usage.get(name, 0)) for name in WORDS[asked])
    return int(usage[asked]) * INPUT_PRICE * 1000 + made * OUTPUT_PRICE * 1000


def price_book() -> PriceBook:
    """The same as our price book has it."""
    price = {"input": INPUT_PRICE, "output": OUTPUT_PRICE, "max_output": LONGEST}
    return PriceBook(overrides=dict.fromkeys((MODEL, CLAUDE, GEMINI, BEDROCK), price))


def ask(provider: FakeProvider, **more: Any) -> Any:
    """One call, by a client of its own."""
    with provider.client() as client:
        return client.chat.completions.create(model=MODEL, messages=MESSAGES, **more)  # type: ignore[call-overload]


@contextmanager
def acting(manager: BudgetManager) -> Iterator[BudgetManager]:
    """The process's manager for a while; in the end its accounts add up, and nothing is held."""
    budgetguard.patch(manager)
    yield manager
    budgetguard.unpatch()
    assert manager.store.check() == []
    assert manager.store.holds() == []


@contextmanager
def guarded(url: Any, project: str = "shapes") -> Iterator[BudgetManager]:
    """A patched SDK, and the books that it writes to."""
    # The endpoint writes on demand, and stops where its reader does.
    settings = Settings(abandoned="observed")
    manager = BudgetManager(project, store=url, prices=price_book(), settings=settings)
    budgetguard.patch(manager)
    try:
        yield manager
    finally:
        budgetguard.unpatch()
        manager.close()


class Books(NamedTuple):
    """Which books: the URL of the store, and the project in it."""

    url: str
    project: str


class Caller:
    """What every shape calls with: how it states a cap, and what became of its calls."""

    def __init__(self, base_url: str, stated: bool, books: Books, burst: int = BURST, key: str = "none") -> None:
        self.base_url = base_url
        self.stated = stated
        self.books = books
        self.burst = burst
        self.key = key
        self.outcomes: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._options = {"base_url": base_url, "api_key": key, "max_retries": 0}

    @property
    def is_guarded(self) -> bool:
        """Whether the guard is in its own process; else it is a gateway's, to which it has a key."""
        return self.key == "none"

    def fewer(self, burst: int) -> Caller:
        """One that counts for itself, with so many calls."""
        return Caller(self.base_url, self.stated, self.books, burst, self.key)

    def request(self, **more: Any) -> dict[str, Any]:
        """The arguments of one call."""
        cap = {"max_tokens": LONGEST} if self.stated else {}
        return {"model": MODEL, "messages": MESSAGES, "user": USER, **cap, **more}

    @contextmanager
    def outcome(self) -> Iterator[None]:
        """Count how a call ends."""
        try:
            yield
        except BudgetExceededError as error:
            self.count("busy" if isinstance(error, BudgetBusyError) else "refused")
        except (openai.APITimeoutError, TimeoutError, asyncio.CancelledError, GoneAwayError):
            self.count("broken off")
        except StoreError:
            self.count("late")
        except openai.APIStatusError as error:
            told = {402: "refused", 429: "busy", 503: "late"}.get(error.status_code, "error")
            if told == "error":
                print(f"{error.status_code}: {error}", file=sys.stderr)
            self.count(told)
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            self.count("error")
        else:
            self.count("answered")

    def count(self, outcome: str, times: int = 1) -> None:
        """Add to the outcomes, from any thread."""
        with self._lock:
            self.outcomes[outcome] += times

    def client(self, **options: Any) -> openai.OpenAI:
        """A client of its own for this caller."""
        return openai.OpenAI(**{**self._options, **options})

    def async_client(self, **options: Any) -> openai.AsyncOpenAI:
        """The async one."""
        return openai.AsyncOpenAI(**{**self._options, **options})


class GoneAwayError(Exception):
    """The caller of a stream does not want the rest of it."""
