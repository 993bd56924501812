"""
The floor: requests of httpx and httpx2 to a model, by hand or by an SDK that no seam above knows.

`families` says which requests are ours, `hooks` is what is patched.
"""

from __future__ import annotations

from typing import Final

MODULES: Final = ("httpx", "httpx2")
"""What `hooks` patches: the seam is imported with the first of them."""
