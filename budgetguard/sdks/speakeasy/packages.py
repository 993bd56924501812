"""
The SDKs that Speakeasy generates: a row each.

Signatures are the same in mistralai 1.5 to 3.7 and openrouter 1.3, as far as they are used here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from ...adapters.gemini import DIALECT as GEMINI
from ...adapters.mistral import DIALECT as MISTRAL
from ...adapters.openai import DIALECT as OPENAI
from ...calls import Dialect, Endpoint


class SpeakeasyPackage(NamedTuple):
    """One SDK."""

    name: str
    """As it is imported; its `basesdk` has the method that every call passes."""
    dialects: tuple[Dialect, ...]
    """The APIs that it speaks, the narrowest first."""

    def find(self, method: str, path: str) -> tuple[Dialect, Endpoint] | None:
        """The operation of a request."""
        found = ((dialect, dialect.find(method, path)) for dialect in self.dialects)
        return next(((dialect, endpoint) for dialect, endpoint in found if endpoint is not None), None)


PACKAGES: Final = (
    SpeakeasyPackage("mistralai.client", (MISTRAL, OPENAI)),
    SpeakeasyPackage("mistralai.azure.client", (MISTRAL, OPENAI)),
    SpeakeasyPackage("mistralai.gcp.client", (MISTRAL, OPENAI)),
    SpeakeasyPackage("mistralai", (MISTRAL, OPENAI)),  # 1.x, and the two packages that were its companions
    SpeakeasyPackage("mistralai_azure", (MISTRAL, OPENAI)),
    SpeakeasyPackage("mistralai_gcp", (MISTRAL, OPENAI)),
    SpeakeasyPackage("openrouter", (OPENAI,)),
    SpeakeasyPackage("google.genai._gaos", (GEMINI,)),  # interactions, beside what `google/` has
)

CLIENTS: Final = "a Mistral, an OpenRouter"
"""All that can be guarded one by one, as an error names them."""

_BASES: Final = frozenset(f"{package.name}.basesdk" for package in PACKAGES)


def senders_in(client: Any) -> Sequence[Any]:
    """What a client of one of these SDKs shares with its parts, by which they are known; nothing for another object."""
    is_one = any(base.__name__ == "BaseSDK" and base.__module__ in _BASES for base in type(client).__mro__)
    return (client.sdk_configuration,) if is_one else ()
