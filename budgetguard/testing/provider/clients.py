"""The clients of SDKs for the fake provider: none of them retries unless it is told to."""

from __future__ import annotations

from typing import Any


class SdkClients:
    """Makes a client of each SDK for one provider."""

    @property
    def base_url(self) -> str:
        """With the "/v1" that OpenAI's clients want."""
        raise NotImplementedError

    @property
    def root_url(self) -> str:
        """Without it, as most others do."""
        raise NotImplementedError

    def client(self, **options: Any) -> Any:
        """An `openai.OpenAI` for this provider, that does not retry unless told to; close it after use."""
        from openai import OpenAI

        return OpenAI(**{"base_url": self.base_url, "api_key": "none", "max_retries": 0, **options})

    def async_client(self, **options: Any) -> Any:
        """An `openai.AsyncOpenAI` for this provider, as `client`."""
        from openai import AsyncOpenAI

        return AsyncOpenAI(**{"base_url": self.base_url, "api_key": "none", "max_retries": 0, **options})

    def anthropic(self, **options: Any) -> Any:
        """An `anthropic.Anthropic` for this provider, as `client`."""
        from anthropic import Anthropic

        return Anthropic(**{"base_url": self.root_url, "api_key": "none", "max_retries": 0, **options})

    def async_anthropic(self, **options: Any) -> Any:
        """An `anthropic.AsyncAnthropic` for this provider, as `client`."""
        from anthropic import AsyncAnthropic

        return AsyncAnthropic(**{"base_url": self.root_url, "api_key": "none", "max_retries": 0, **options})

    def gemini(self, **options: Any) -> Any:
        """A `google.genai.Client` for this provider's Gemini API; `http_options` are its own but for the URL."""
        from google.genai import Client

        plain: dict[str, Any] = {"client_args": {"verify": False}, "async_client_args": {"verify": False}}
        http = {**plain, **options.pop("http_options", {}), "base_url": self.root_url}
        return Client(**{"api_key": "none", "vertexai": False, **options, "http_options": http})

    def bedrock(self, service: str = "bedrock-runtime", **options: Any) -> Any:
        """A client of boto3 for this provider, as `client`: for Bedrock, or another service of AWS."""
        from .bedrock.client import client

        return client(self.root_url, service, **options)
