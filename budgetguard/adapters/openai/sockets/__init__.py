"""
OpenAI's conversations over WebSockets, and those of every server that speaks as it does: found by the path of a URL.

Who attaches to a Live session that others lead sees its events a second time: what it costs is counted where it is led.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ....calls import Endpoint, Socket
from .. import ENDPOINTS
from ..jobs import job
from . import realtime, seconds
from .responses import ResponsesTalk

_REALTIME: Final = Socket(
    Endpoint("realtime", "GET", "/realtime", request=realtime.request), realtime.RealtimeTalk, alone=True
)
_TRANSLATION: Final = Socket(
    Endpoint("realtime.translations", "GET", "/realtime/translations", request=seconds.request), seconds.TranslationTalk
)
_RESPONSES: Final = Socket(next(each for each in ENDPOINTS if each.name == "responses"), ResponsesTalk)
_LIVE: Final = Socket(Endpoint("live", "GET", "/live/sessions", request=seconds.request), seconds.LiveTalk, alone=True)
_ATTACHED: Final = Socket(
    Endpoint("live.sideband", "GET", "/live/sessions/{id}/attach", request=job, opaque=True), ResponsesTalk
)

_ENDS: Final[Mapping[tuple[str, ...], Socket]] = {
    ("realtime",): _REALTIME,
    ("realtime", "translations"): _TRANSLATION,
    ("responses",): _RESPONSES,
    ("live", "sessions"): _LIVE,
}


def find(path: str) -> Socket | None:
    """The conversation at the path of a URL, whatever stands before it; `None`: it is none of these."""
    segments = tuple(segment for segment in path.lower().split("/") if segment)
    if segments[-4:-2] == ("live", "sessions"):
        return {"fork": _LIVE, "attach": _ATTACHED}.get(segments[-1])
    return _ENDS.get(segments[-2:]) or _ENDS.get(segments[-1:])
