"""What is said when an SDK is imported whose calls are not seen: once a process, and nothing is imported for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Final

from .table import UNSEEN, UnseenSDK

log = logging.getLogger("budgetguard")

_said: set[str] = set()


def _say(sdk: UnseenSDK, module: ModuleType) -> None:
    if sdk.package in _said:
        return
    _said.add(sdk.package)
    log.warning(
        "%s is imported, and its calls are not seen here: no budget counts or stops them. Instead: %s",
        sdk.package,
        sdk.instead,
    )


HOOKS: Final[Mapping[str, Callable[[ModuleType], None]]] = {each.module: partial(_say, each) for each in UNSEEN}
"""What is called for which module."""
