"""
Who caught a refusal: your own code, a package that went on without its model, or a web framework that answered it.

Python does not say that an error was handled; the frame that it unwound to last does. What a web framework catches ends
the request with a response, by the application's own handler if there is one, so there is nothing more to say. What
another package catches is lost.

A task ends where its coroutine does: what `asyncio.gather` and task groups hand on unwound no frame of whoever waits.
So frames that only ever hand on, those of the SDKs, of event loops and our own, are looked past.
"""

from __future__ import annotations

from types import FrameType
from typing import Final

from ..errors import BudgetExceededError
from ..sdks.speakeasy.packages import PACKAGES as SPEAKEASY_PACKAGES
from ..sdks.stainless.packages import PACKAGES

ANSWERING: Final = frozenset(
    {
        *("starlette", "fastapi", "litestar", "quart", "sanic", "blacksheep", "aiohttp", "tornado", "robyn"),
        *("django", "rest_framework", "ninja", "flask", "flask_restful", "flask_restx", "flask_smorest", "apiflask"),
        *("werkzeug", "falcon", "bottle", "pyramid", "cherrypy", "connexion", "strawberry", "graphql", "grpc"),
    }
)
"""The packages in which an error becomes the response to a request."""

_HANDING_ON: Final = frozenset(
    {
        *(package.name.partition(".")[0] for package in (*PACKAGES, *SPEAKEASY_PACKAGES)),
        *("cohere", "httpx", "httpx2", "huggingface_hub", "ollama", "zai", "zhipuai"),
        *("anyio", "asgiref", "eventlet", "gevent", "outcome", "trio", "wrapt"),
        __name__.partition(".")[0],
    }
)
"""The packages that keep no refusal to themselves."""


def caught_by(refusal: BudgetExceededError) -> str:
    """The installed package, by its top-level name, that a refusal unwound to last; "" for code of your own."""
    unwound = refusal.__traceback__
    while unwound is not None and package_of(unwound.tb_frame) in _HANDING_ON:
        unwound = unwound.tb_next
    if unwound is None:
        return ""
    path = unwound.tb_frame.f_code.co_filename.replace("\\", "/")
    return package_of(unwound.tb_frame) if "/site-packages/" in path or "/dist-packages/" in path else ""


def is_lost(refusal: BudgetExceededError, home: str) -> bool:
    """Whether a package swallowed a refusal and went on, or made another error of it; `home` is your own package."""
    return caught_by(refusal) not in {"", home, *ANSWERING}


def package_of(frame: FrameType) -> str:
    """The top-level package whose code a frame runs."""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
