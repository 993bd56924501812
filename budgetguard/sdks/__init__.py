"""Seams: where a client library is patched, and what one of its calls says and hears."""

from .install import guard_client as guard
from .install import patch as patch
from .install import unpatch as unpatch

__all__ = ["guard", "patch", "unpatch"]
