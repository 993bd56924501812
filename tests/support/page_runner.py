"""
The Python blocks of one page, run in order in one namespace, as a reader would type them.

    python -m tests.support.page_runner < blocks.json

A provider is on loopback where the environment names those of real life; a gateway, a server and a Valkey are where a
page says that one runs on this machine. Of a block that is followed by what it prints, that is compared: `...` is
anything.
"""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import ExitStack, redirect_stdout
from fnmatch import fnmatchcase

from budgetguard.testing import FakeProvider

PATIENCE = "?reserve_s=10&settle_s=10"
"""A busy machine is not what a page is about."""

Block = tuple[int, str, str | None]
"""The number of lines above it, its text, and what it is said to print."""


def keys(provider: FakeProvider) -> dict[str, str]:
    """What programs read to find their provider."""
    openais = {f"{name}_API_BASE": provider.base_url for name in ("ANTHROPIC", "GROQ", "OPENROUTER")}
    return {
        **openais,
        **{f"{name}_API_KEY": "none" for name in ("OPENAI", "ANTHROPIC", "GROQ", "OPENROUTER", "GEMINI")},
        "OPENAI_BASE_URL": provider.base_url,
        "ANTHROPIC_BASE_URL": provider.root_url,
        "GOOGLE_GEMINI_BASE_URL": provider.root_url,
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": provider.root_url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }


def gateway(provider: FakeProvider, _stack: ExitStack) -> str:
    """`make gateway`."""
    from budgetguard.server.gateway.config.resolve import Configuration
    from tests.support.gateway import ServedGateway

    return f"127.0.0.1:{ServedGateway(Configuration.demo(provider.root_url)).port}"


def server(_provider: FakeProvider, stack: ExitStack) -> str:
    """`make serve`."""
    from tests.support.hosting import Hosted

    hosted = Hosted("sqlite:///hosted.db")
    stack.callback(hosted.stop)
    return f"http://127.0.0.1:{hosted.port}{PATIENCE}"


def valkey(_provider: FakeProvider, _stack: ExitStack) -> str:
    """A server that is on the machine."""
    from tests.support.servers import running

    return f"{running('valkey')}{PATIENCE}"


SERVICES = {"localhost:4000": gateway, "http://localhost:8080": server, "valkey://localhost:6379/0": valkey}


def main() -> None:
    """Run the page on stdin."""
    page, blocks = json.load(sys.stdin)
    with FakeProvider() as provider, ExitStack() as stack:
        os.environ |= keys(provider)
        for named, started in SERVICES.items():
            if any(named in text for _line, text, _shown in blocks):
                place = started(provider, stack)
                blocks = [(line, text.replace(named, place), shown) for line, text, shown in blocks]
        space = {"__name__": "__main__"}
        for line, text, shown in blocks:
            printed = io.StringIO()
            with redirect_stdout(sys.stdout if shown is None else printed):
                exec(compile("\n" * line + text, page, "exec"), space)
            if shown is not None:
                compare(page, line, printed.getvalue(), shown)


def compare(page: str, line: int, printed: str, shown: str) -> None:
    """Whether a block prints what stands below it."""
    wanted, got = shown.splitlines(), printed.splitlines()
    alike = [fnmatchcase(a, b.replace("[", "[[]").replace("...", "*")) for a, b in zip(got, wanted, strict=False)]
    if len(got) != len(wanted) or not all(alike):
        raise AssertionError(f"{page}:{line} does not print what it says:\n{printed}\ninstead of\n{shown}")


if __name__ == "__main__":
    main()
