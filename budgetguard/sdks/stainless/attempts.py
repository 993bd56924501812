"""
An attempt that is a call of its own: a client with middleware has one call, and as many requests as that likes.

Its middleware may send nothing, or twice, also when its call is over. So there each attempt is charged by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from .calls import GeneratedCall
from .packages import Package


class Attempt(GeneratedCall):
    """One request of a client that has middleware: it returns the response, whatever its status, and what was sent."""

    position = 0

    def __init__(
        self,
        package: Package,
        wrapped: Callable[..., Any],
        client: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        **of_call: Any,
    ) -> None:
        # Those of a call say first what is made of its reply.
        super().__init__(package, partial(_without_first, wrapped), client, (None, *args), kwargs, **of_call)
        self.prepare = None

    def observe(self, response: Any) -> None:
        """Take in the reply; an error status comes as one, too."""
        self.response = http = response[0]
        self.sent = 1
        if 200 <= http.status_code < 300:
            super().observe(http)
        elif self.charge is not None:
            self.charge.failed(free=http.status_code not in self.billed, sent=1)


def _without_first(wrapped: Callable[..., Any], _: Any, *args: Any, **kwargs: Any) -> Any:
    return wrapped(*args, **kwargs)
