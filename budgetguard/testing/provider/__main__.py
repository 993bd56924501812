"""`python -m budgetguard.testing.provider`: the fake provider as a program."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Sequence

from .fake import FakeProvider
from .plan import Plan


def main(argv: Sequence[str] | None = None) -> None:
    """`python -m budgetguard.testing.provider`: serve until interrupted."""
    parser = argparse.ArgumentParser(description="An OpenAI-compatible provider on loopback, for tests and demos.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8089)
    parser.add_argument("--tokens", type=int, default=8, help="output tokens an answer wants")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before an answer begins")
    parser.add_argument("--chunk", type=float, default=0.0, help="seconds before each item of a stream")
    options = parser.parse_args(argv)
    plan = Plan(tokens=options.tokens, latency_s=options.latency, chunk_s=options.chunk)
    with FakeProvider(plan, host=options.host, port=options.port) as provider:
        print(f"serving {provider.base_url}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print(f"answered {len(provider.requests)} requests", flush=True)


main()
