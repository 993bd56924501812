"""How a request is sent otherwise than its caller wrote it: with the output cap that was held for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from ...calls import Endpoint

if TYPE_CHECKING:
    from ..charge import Charge

_MISSING: Final = object()


class Amending(Protocol):
    """A call on its way out."""

    endpoint: Endpoint
    body: Mapping[str, Any]
    """The JSON that the caller wrote."""
    ask_usage: bool
    """Whether the stream is to be asked for its usage, which the caller did not; then whether it is."""
    added: Mapping[str, Any]
    """The fields that only we send."""

    @property
    def charge(self) -> Charge | None:
        """Its charge, once it is made."""


def changes_of(self: Amending) -> Mapping[str, Any]:
    """The fields of the body that are sent otherwise: the cap and the wish for usage that the charge decided on."""
    charge, amend = self.charge, self.endpoint.amend
    assert charge is not None
    changed: dict[str, Any] = {}
    host, bounds, lower = charge.asked.host, charge.bounds, self.endpoint.lower
    stated = lower is not None and charge.call.max_output is not None
    cap = None if stated else bounds.cap
    if amend is not None and (cap is not None or self.ask_usage):
        body, takes = amend(self.body, cap, self.ask_usage, host), host.takes
        changed = {
            name: value
            for name, value in body.items()
            if value is not self.body.get(name, _MISSING) and takes(name, value)
        }
    self.ask_usage = "stream_options" in changed
    for name, value in bounds.more.items():
        if host.takes(name, value):
            changed[name] = value
    self.added = changed
    if stated and lower is not None and bounds.cap is not None:  # the caller's own: an error about it is his, too
        return {**changed, **lower(self.body, bounds.cap)}
    return changed
