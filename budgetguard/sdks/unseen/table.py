"""
The SDKs that call models, and whose calls pass by every seam: no budget counts or stops them, so they are named.

A row goes when a seam for it comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Final, NamedTuple


class UnseenSDK(NamedTuple):
    """One SDK that is not guarded."""

    package: str
    """As it is installed."""
    module: str
    """As it is imported."""
    instead: str
    """What to do, so that a budget holds."""
    before: int = 0
    """The first major version that is seen, where there is one; `module` is then one that only those before it have."""


_OWN_SDK: Final = 'use the openai SDK with base_url=, or budgetguard.completion(model="{}/...")'
_GENAI: Final = f"its makers say: use google-genai; or {_OWN_SDK}"
_BOOK: Final = "book what it costs: BudgetManager.update_cost, or BudgetManager.users.book"
_CHILD: Final = "it asks in a child process: state max_budget_usd=float(b.remaining), which it looks at between turns"

UNSEEN: Final = (
    UnseenSDK("xai-sdk", "xai_sdk", _OWN_SDK.format("xai")),
    UnseenSDK("google-cloud-aiplatform", "google.cloud.aiplatform", _GENAI.format("vertex_ai")),
    # Beneath google-generativeai and older langchain-google-genai; `vertexai` is above google-cloud-aiplatform.
    UnseenSDK("google-ai-generativelanguage", "google.ai.generativelanguage", _GENAI.format("gemini")),
    UnseenSDK("azure-ai-inference", "azure.ai.inference", _OWN_SDK.format("azure_ai")),
    UnseenSDK("dashscope", "dashscope", _OWN_SDK.format("dashscope")),
    UnseenSDK("zhipuai", "zhipuai", _OWN_SDK.format("bigmodel")),
    UnseenSDK("volcengine-python-sdk", "volcenginesdkarkruntime", _OWN_SDK.format("volcengine")),
    UnseenSDK("claude-agent-sdk", "claude_agent_sdk", _CHILD),
    UnseenSDK("claude-code-sdk", "claude_code_sdk", f"use claude-agent-sdk: {_CHILD}"),
    UnseenSDK("cohere", "cohere.client_async", "use cohere 5 or later", before=5),
    UnseenSDK("ai21", "ai21", _BOOK),
    UnseenSDK("aleph-alpha-client", "aleph_alpha_client", _BOOK),
    UnseenSDK("gigachat", "gigachat", _BOOK),
    UnseenSDK("ibm-watsonx-ai", "ibm_watsonx_ai", _BOOK),
    UnseenSDK("nlpcloud", "nlpcloud", _BOOK),
    UnseenSDK("qianfan", "qianfan", _BOOK),
    UnseenSDK("reka-api", "reka", _BOOK),
    UnseenSDK("replicate", "replicate", _BOOK),
    UnseenSDK("snowflake-ml-python", "snowflake.cortex", _BOOK),
    UnseenSDK("voyageai", "voyageai", _BOOK),
    UnseenSDK("fal-client", "fal_client", _BOOK),
    UnseenSDK("stability-sdk", "stability_sdk", _BOOK),
    UnseenSDK("assemblyai", "assemblyai", _BOOK),
    UnseenSDK("cartesia", "cartesia", _BOOK),
    UnseenSDK("deepgram-sdk", "deepgram", _BOOK),
    UnseenSDK("elevenlabs", "elevenlabs", _BOOK),
)


def installed() -> Iterator[tuple[UnseenSDK, str]]:
    """Those that are installed here, each with its version. None is imported."""
    for each in UNSEEN:
        try:
            found = version(each.package)
        except PackageNotFoundError:
            continue
        if not each.before or int(found.partition(".")[0]) < each.before:
            yield each, found
