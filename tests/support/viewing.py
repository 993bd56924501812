"""Somebody who looks at the page's stream of events, over a socket."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any


class Viewing:
    """One open stream."""

    def __init__(self, port: int, cookies: Mapping[str, str], path: str = "/ui/events") -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
        self._connection.request("GET", path, headers={"cookie": cookie} if cookie else {})
        self._answer = self._connection.getresponse()
        self.status = self._answer.status

    def line(self) -> str:
        """The next line that is not empty; "" at the end."""
        while (line := self._answer.readline()) == b"\n":
            pass
        return line.decode().strip()

    def next(self) -> dict[str, Any]:
        """What the next event says."""
        while not (line := self.line()).startswith("data: "):
            assert line, "the stream ended"
        said: dict[str, Any] = json.loads(line.removeprefix("data: "))
        return said

    def ends(self) -> bool:
        """Whether it comes to an end by itself."""
        try:
            while self.line():
                pass
        except TimeoutError:
            return False
        finally:
            self.close()
        return True

    def close(self) -> None:
        """Look no more."""
        self._answer.close()
        self._connection.close()
