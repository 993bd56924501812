"""SDKs that Speakeasy generates: `packages` has a row for each, `hooks` is what is patched."""

from __future__ import annotations

from typing import Final

MODULES: Final = (
    "mistralai.client.basesdk",
    "mistralai.azure.client.basesdk",
    "mistralai.gcp.client.basesdk",
    "mistralai.basesdk",
    "mistralai_azure.basesdk",
    "mistralai_gcp.basesdk",
    "openrouter.basesdk",
    "google.genai._gaos.basesdk",
)
"""What `hooks` patches: the seam is imported with the first of them."""
