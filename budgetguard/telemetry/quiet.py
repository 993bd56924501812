"""What is wrong with telemetry stops no call, and delays no answer: it is said in the log."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from logging import getLogger
from typing import ParamSpec, TypeVar

from ..concurrency.interrupts import raise_interruption

log = getLogger("budgetguard")

P = ParamSpec("P")
T = TypeVar("T")

_said: set[str] = set()


def quietly(do: Callable[P, T]) -> Callable[P, T | None]:
    """Have what a function raises be said, once for each kind: nothing of this may stop a call, or delay its answer."""

    @wraps(do)
    def done(*args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return do(*args, **kwargs)
        except Exception as error:
            raise_interruption(error)
            kind = f"{do.__qualname__} {type(error).__qualname__}"
            if kind not in _said:
                _said.add(kind)
                log.exception("OpenTelemetry could not be told of a call; calls go on")
            return None

    return done
