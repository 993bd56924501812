"""Whether a gateway's upstreams answer: each is asked for its models with its key, which costs nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

if TYPE_CHECKING:
    from ...server.gateway.config.model import Api, Upstream

_TIMEOUT_S = 10.0
_MOST_BYTES = 20_000_000
_AT_ONCE = 16


class Answered(NamedTuple):
    """What an upstream answered by one API; no word of its own is in it, as it may repeat a part of the key."""

    upstream: str
    api: str
    ok: bool
    said: str


class _NoRedirects(HTTPRedirectHandler):
    """A redirect is not followed: the key would go along."""

    def redirect_request(self, *_: Any) -> None:
        return None


def ask(upstreams: Iterable[Upstream]) -> Iterator[Answered]:
    """Ask each by every API that it speaks, several at a time; in order."""
    asked = [(upstream, api) for upstream in upstreams for api in upstream.bases]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from pool.map(lambda each: _ask(*each), asked)


def _ask(upstream: Upstream, api: Api) -> Answered:
    request = Request(f"{upstream.bases[api]}/models", headers=dict(upstream.headers.get(api, ())))
    try:
        with build_opener(_NoRedirects).open(request, timeout=_TIMEOUT_S) as answer:
            found = json.loads(answer.read(_MOST_BYTES))
        names = found.get("data", found.get("models")) if isinstance(found, dict) else found
        said = f"{len(names)} models" if isinstance(names, list) else "it answers"
        return Answered(upstream.name, api, True, said)
    except HTTPError as error:
        with error:
            return Answered(upstream.name, api, error.code == 404, _meaning(error.code))
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        told = getattr(reason, "strerror", None) or type(reason).__name__
        return Answered(upstream.name, api, False, f"it cannot be reached ({told})")
    except ValueError:
        return Answered(upstream.name, api, False, "what it answers is no list of models: is the base URL right?")


def _meaning(status: int) -> str:
    if status in {401, 403}:
        return f"{status}: it refuses the key"
    if status == 404:
        return "404: it has no list of models, so the key was not tried"
    if 300 <= status < 400:
        return f"{status}: it sends on to elsewhere: write that base URL"
    return f"{status}: it cannot answer now"
