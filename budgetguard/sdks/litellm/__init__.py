"""
LiteLLM: every function of it that asks a model, above all of the SDKs and HTTP clients that it asks by.

`operations` says which functions those are, `names` whom they ask, `costs` what LiteLLM knows of prices, `calls` reads
one call, `streams` its answer as it goes by, and `hooks` is what is patched.
"""

from __future__ import annotations

from typing import Final

MODULES: Final = (
    "litellm.utils",
    "litellm.litellm_core_utils.litellm_logging",
    "litellm.router",
    "litellm",
)
"""What `hooks` patches: the seam is imported with the first of them."""
