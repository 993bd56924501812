"""A browser without scripts, over a real socket: it keeps cookies, follows redirects and sends forms as one does."""

from __future__ import annotations

import http.client
import re
from dataclasses import dataclass, field
from email.message import Message
from html import unescape
from urllib.parse import urlencode

from budgetguard.server.page.door.visits import FORM_TOKEN

_TOKEN = re.compile(rf'name="{FORM_TOKEN}" value="([0-9a-f]+)"')


@dataclass(frozen=True)
class SeenPage:
    """What came back."""

    status: int
    text: str
    headers: Message
    path: str
    """Where it was, after redirects."""

    @property
    def where(self) -> str:
        """Where it leads, if it is a redirect."""
        return self.headers.get("location", "")

    @property
    def plain(self) -> str:
        """Its text as a reader has it."""
        return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", self.text)))


@dataclass
class Browsing:
    """One browser, with its cookies."""

    port: int
    host: str = "127.0.0.1"
    cookies: dict[str, str] = field(default_factory=dict)
    token: str = ""
    """That of the last page that had a form."""

    @property
    def origin(self) -> str:
        """Of the server."""
        return f"http://{self.host}:{self.port}"

    def get(self, path: str, *, follow: bool = True, **headers: str) -> SeenPage:
        """Look at a page."""
        return self._asked("GET", path, None, headers, follow)

    def send(self, path: str, *, follow: bool = True, origin: str | None = "", **form: str) -> SeenPage:
        """Send a form, with the token of the last page unless another is given; `origin=None` sends none."""
        headers = {"content-type": "application/x-www-form-urlencoded"}
        if origin is not None:
            headers["origin"] = origin or self.origin
        return self._asked("POST", path, urlencode({FORM_TOKEN: self.token, **form}), headers, follow)

    def sign_in(self, key: str, **form: str) -> SeenPage:
        """Show a key."""
        self.get("/ui/sign-in")
        return self.send("/ui/sign-in", key=key, **form)

    def _asked(self, method: str, path: str, body: str | None, headers: dict[str, str], follow: bool) -> SeenPage:
        seen = self._once(method, path, body, headers)
        while follow and seen.status == 303:
            seen = self._once("GET", seen.where, None, {})
        return seen

    def _once(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> SeenPage:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = {"host": f"{self.host}:{self.port}", **({"cookie": cookie} if cookie else {}), **headers}
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        for each in answer.headers.get_all("set-cookie", []):
            self._keep(each)
        found = _TOKEN.search(text)
        self.token = found[1] if found else self.token
        return SeenPage(answer.status, text, answer.headers, path)

    def _keep(self, said: str) -> None:
        name, _, value = said.partition(";")[0].partition("=")
        if "max-age=0" in said.lower():
            self.cookies.pop(name, None)
        else:
            self.cookies[name] = value
