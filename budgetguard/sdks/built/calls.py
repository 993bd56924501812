"""
One call that is an HTTP request already, of httpx or httpx2: whoever sends it, its answer is an HTTP response.

An error status comes back as a response, too, and not as an exception: nothing of it is billed (where its host does not
say otherwise), and the caller gets it as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from ...calls import NOTHING, Dialect, Endpoint
from ...guards.admission import NO_BOUNDS
from ...guards.charge import Charge
from ...guards.guard import Guard
from ...guards.scope import Scope
from ..exchange import WORDS, ErrorReply, Exchange
from .requests import Content, is_signed, place_of, unread_again, with_body

Calling: TypeAlias = tuple[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]]
"""The function that was called, the object that it was called of, and its arguments."""


class BuiltCall(Exchange):
    """A call whose request is one of these arguments: the one at `index`, or the one called `request`."""

    index = 0
    decoded = False

    def __init__(
        self, calling: Calling, content: Content, asked: tuple[Dialect, Endpoint], guard: Guard, *, is_async: bool
    ) -> None:
        self.wrapped, self.client, args, kwargs = calling
        self.args, self.kwargs = args, kwargs
        (self.dialect, self.endpoint), self.guard, self.is_async = asked, guard, is_async
        self.given = given = args[self.index] if len(args) > self.index else kwargs["request"]
        self._own, self.form, self.unreadable = content
        located = self.dialect.located
        self.body = self._own if located is None else located(self._own, given.url.path)
        self.place = place_of(given.url)

    @property
    def unread(self) -> bool:
        """Whether the response comes back with its body unread."""
        return bool(self.kwargs.get("stream"))

    @property
    def path(self) -> str:
        """The path of its URL."""
        return str(self.given.url.path)

    @property
    def headers(self) -> Mapping[str, Any]:
        """Those of the request."""
        headers: Mapping[str, Any] = self.given.headers
        return headers

    def open(self, scope: Scope | None) -> Charge:
        """Read the request, and make its charge; one that is signed is sent as it is."""
        charge = super().open(scope)
        if charge.call.cap is not None and is_signed(self.given):
            charge.call = charge.call._replace(cap=None)
        return charge

    def is_same(self, other: Exchange) -> bool:
        """Whether another call is this one, on its way through a client within a client."""
        if other.endpoint is not self.endpoint or other.body.get("model") != self.body.get("model"):
            return False
        return all(other.body.get(name) == self.body.get(name) for name in WORDS)

    def is_beneath(self, above: Exchange) -> bool:
        """Whether the call above has this one's charge: also one that asks the same by another client."""
        return super().is_beneath(above) or self.is_same(above)

    def proceed(self) -> Any:
        """Send it, with `changes`."""
        charge = self.charge
        assert charge is not None
        changed = self.changes() if charge.bounds is not NO_BOUNDS else NOTHING
        args, kwargs = self.args, self.kwargs
        self.carried = self.given
        if changed:
            self.carried = with_body(self.given, {**self._own, **changed})
            if len(args) > self.index:
                args = (*args[: self.index], self.carried, *args[self.index + 1 :])
            else:
                kwargs = {**kwargs, "request": self.carried}
        return self._sent_async(args, kwargs) if self.is_async else self._sent(args, kwargs)

    def rewrite(self, body: Mapping[str, Any]) -> bool:
        """Take a request for the caller's that asks another model, in its URL or its JSON; not one that is signed."""
        moved = self.dialect.relocated
        path = self.path if moved is None else moved(self.path, body["model"])
        if path is None or is_signed(self.given):
            return False
        self._own = {name: body[name] for name in body if name != "model" or "model" in self._own}
        self.given, self.body = with_body(self.given, self._own, path=path), body
        if len(self.args) > self.index:
            self.args = (*self.args[: self.index], self.given, *self.args[self.index + 1 :])
        else:
            self.kwargs = {**self.kwargs, "request": self.given}
        return True

    def send(self, args: Any, kwargs: Any) -> Any:
        """Have the SDK's own function send it."""
        return self.wrapped(*args, **kwargs)

    def _sent(self, args: Any, kwargs: Any) -> Any:
        response = self.send(args, kwargs)
        if response.status_code in _GOOD:
            return response
        if self.unread and self._asks_why(response.status_code):
            response.read()
            unread_again(response)
        raise ErrorReply(response)

    async def _sent_async(self, args: Any, kwargs: Any) -> Any:
        response = await self.send(args, kwargs)
        if response.status_code in _GOOD:
            return response
        if self.unread and self._asks_why(response.status_code):
            await response.aread()
            unread_again(response)
        raise ErrorReply(response)

    def _asks_why(self, status: int) -> bool:
        """Whether what an error says matters: it may be about a field that only we sent, or be billed."""
        return bool(self.added) or status in self.billed or bool(self.fallback and self.fallback.model)


_GOOD = range(200, 300)
