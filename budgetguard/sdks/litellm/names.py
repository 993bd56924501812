"""
Whom a call of LiteLLM's asks: the provider by the name that its prices have, the model by the name that it has there,
and the host.

LiteLLM's own function for it is asked, as `completion` asks it: a prefix, a deployment, an alias, a URL.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from ...concurrency.interrupts import raise_interruption
from ...prices.sources.published.litellm import SELLERS

_PRICED_AS: Final[Mapping[str, str]] = {
    **SELLERS,
    "anthropic_text": "anthropic",
    "vertex_ai": "google",
    "vertex_ai_beta": "google",
}
"""LiteLLM's names of providers whose prices are known by another one."""

_WAYS: Final = ("responses/", "gpt5_series/", "o_series/")
"""What stands before a model to say by which API it is to be asked."""

_SERVERS: Final = frozenset({"openai", "text-completion-openai", "custom_openai", "hosted_vllm", "openai_like", "vllm"})
"""Its names for whoever speaks OpenAI's protocol: with a URL, the host says who that is."""

_HOSTS: Final[Mapping[str, str]] = {
    "openai": "api.openai.com",
    "text-completion-openai": "api.openai.com",
    "anthropic": "api.anthropic.com",
}
"""Where those are asked that need no URL."""

_URLS: Final = ("OPENAI_BASE_URL", "OPENAI_API_BASE")
"""By which variables the environment says where "openai" is."""


class Whom(NamedTuple):
    """Whom a call asks."""

    model: str
    """As its provider calls it."""
    provider: str | None
    """Whose prices count; `None` where nobody knows whose server it is."""
    litellms: str
    """What LiteLLM calls the provider."""
    host: str
    """"" if that is not known."""
    port: int | None
    azure: bool

    @property
    def is_programs_own(self) -> bool:
        """Whether a handler of the program's own answers: what that asks is counted by itself."""
        return self.litellms == _OWN


_OWN: Final = "custom"


def whom(litellm: ModuleType, arguments: Mapping[str, Any]) -> Whom:
    """Whom a call with these arguments asks. Never raises: what LiteLLM cannot tell, it will say itself."""
    model = arguments.get("model") or arguments.get("deployment_id") or ""
    model = model if isinstance(model, str) else ""
    url = arguments.get("api_base") or arguments.get("base_url")
    named = arguments.get("custom_llm_provider")
    if not named and arguments.get("azure") is True:
        named = "azure"
    try:
        model, litellms, _key, base = litellm.get_llm_provider(model=model, custom_llm_provider=named, api_base=url)
    except Exception as error:
        raise_interruption(error)
        litellms, base = named or "", None
    if litellms in _own_handlers(litellm):
        return Whom(model, None, _OWN, "", None, azure=False)
    for way in _WAYS:
        model = model.removeprefix(way)
    url = url or base or _default_url(litellm, litellms)
    provider: str | None = _PRICED_AS.get(litellms, litellms) or None
    if provider == "aws" or litellms.startswith("sagemaker"):
        model = model.rpartition("/")[2] if not model.startswith("arn:") else model
    host, port = _split(url)
    return Whom(model, provider, litellms, host or _HOSTS.get(litellms, ""), port, azure=litellms.startswith("azure"))


def speaks_openai(asked: Whom) -> bool:
    """Whether its host, and not its name, says whose prices count."""
    return asked.litellms in _SERVERS


def _own_handlers(litellm: ModuleType) -> frozenset[str]:
    """The providers that the program itself is."""
    listed = vars(litellm).get("custom_provider_map") or ()
    return frozenset(str(each.get("provider")) for each in listed if isinstance(each, Mapping))


def _default_url(litellm: ModuleType, provider: str) -> Any:
    if provider not in {"openai", "text-completion-openai"}:
        return None
    return vars(litellm).get("api_base") or next(filter(None, map(os.environ.get, _URLS)), None)


def _split(url: Any) -> tuple[str, int | None]:
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        return parts.hostname or "", parts.port
    except ValueError:
        return "", None
