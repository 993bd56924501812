"""
The SDKs that Stainless generates: a row each, of what is different in it.

Signatures are the same in openai 1.0 to 3.57, anthropic 0.20 to 2.14, and the others as `tests/sdks/test_family.py` has
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from ...adapters.anthropic import DIALECT as ANTHROPIC
from ...adapters.openai import DIALECT as OPENAI
from ...calls import Dialect, Endpoint


class Package(NamedTuple):
    """One SDK."""

    name: str
    """As it is imported."""
    dialect: Dialect
    """The API that it speaks."""
    clients: str
    """Its clients, as an error names them."""
    attempt: str | None = None
    """The method of its clients that sends one attempt, and returns the response, or that and more; if it has one."""
    prepare: str | None = None
    """The method by which they ready the options of a call once, in the versions that have it."""
    beside: Dialect | None = None
    """An API that it speaks as well."""

    def dialect_of(self, endpoint: Endpoint) -> Dialect:
        """The one that has an operation."""
        if self.beside is None or self.dialect.find(endpoint.method, endpoint.path) is endpoint:
            return self.dialect
        return self.beside


PACKAGES: Final = (
    Package("openai", OPENAI, "an OpenAI or AsyncOpenAI", "_send_request"),
    Package("anthropic", ANTHROPIC, "an Anthropic or AsyncAnthropic", "_attempt_request", "_copy_and_prepare"),
    Package("groq", OPENAI, "a Groq or AsyncGroq"),
    Package("together", OPENAI, "a Together or AsyncTogether"),
    Package("cerebras.cloud.sdk", OPENAI, "a Cerebras or AsyncCerebras"),
    Package("fireworks", OPENAI, "a Fireworks or AsyncFireworks", beside=ANTHROPIC),
    Package("perplexity", OPENAI, "a Perplexity or AsyncPerplexity"),
    Package("sambanova", OPENAI, "a SambaNova or AsyncSambaNova", beside=ANTHROPIC),
    Package("writerai", OPENAI, "a Writer or AsyncWriter"),
    Package("dedalus_labs", OPENAI, "a Dedalus or AsyncDedalus"),
)

CLIENTS: Final = ", ".join(sorted(package.clients for package in PACKAGES))
"""All that can be guarded, as an error names them."""

_BASES: Final = frozenset(f"{package.name}._base_client" for package in PACKAGES)


def senders_in(client: Any) -> Sequence[Any]:
    """The client itself, if it is one of these SDKs; else nothing."""
    is_one = any(base.__name__ == "BaseClient" and base.__module__ in _BASES for base in type(client).__mro__)
    return (client,) if is_one else ()
