"""
SDKs above the floor that take a refusal for a connection that broke: it is not tried again there, and stays itself.

Those of Z.ai (zai-sdk 0.2, zhipuai 2) catch whatever httpx raises, and make it an error of their own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final

from ...errors import BudgetGuardError
from ..hooks import unbound, wrap


def _request(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """A call: the error that it ends with is the refusal, if one is behind it."""
    if instance is None:
        return unbound(_request, wrapped, args, kwargs)
    try:
        return wrapped(*args, **kwargs)
    except Exception as error:
        if isinstance(error.__cause__, BudgetGuardError):
            raise error.__cause__ from None
        raise


def _retry(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """Another attempt, made while the error of the last is handled: not after a refusal."""
    if instance is None:
        return unbound(_retry, wrapped, args, kwargs)
    error = sys.exception()
    if isinstance(error, BudgetGuardError):
        raise error
    return wrapped(*args, **kwargs)


def _install(http_client: ModuleType) -> None:
    wrap(http_client.HttpClient, "request", _request)
    wrap(http_client.HttpClient, "_retry_request", _retry)


HOOKS: Final[Mapping[str, Callable[[ModuleType], None]]] = dict.fromkeys(
    ("zai.core._http_client", "zhipuai.core._http_client"), _install
)
"""What is patched in which module."""
