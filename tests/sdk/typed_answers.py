"""
A pytest plugin for the SDK's own tests of its resources: the server that they ask for answers with what each expects.

Those tests want a mock server that makes its answers of the API's specification, which is not published with the SDK.
The SDK itself knows the type of each answer: before a request is sent, the server is told an example of it, by a way
beside the request, which is sent as it is, wherever it goes.
"""

from __future__ import annotations

import importlib
import json
import os
import typing
import urllib.request
from collections.abc import Callable
from datetime import date, datetime
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union

SERVER = os.environ["ANSWERS_URL"]
SDK = os.environ["ANSWERS_SDK"]
_DEEPEST = 12


def pytest_configure(config: Any) -> None:
    """Have every request of the SDK's clients announced."""
    base = importlib.import_module(f"{SDK}._base_client")
    for kind in (base.SyncAPIClient, base.AsyncAPIClient):
        kind.request = _announced(kind.request)


def _announced(request: Callable[..., Any]) -> Callable[..., Any]:
    def announce(client: Any, cast_to: Any, options: Any, *args: Any, **kwargs: Any) -> Any:
        said = {"method": options.method.upper(), "path": options.url.partition("?")[0], "body": example(cast_to)}
        told = urllib.request.Request(f"{SERVER}/-/answers", json.dumps(said).encode(), method="PUT")
        urllib.request.urlopen(told, timeout=10).close()
        return request(client, cast_to, options, *args, **kwargs)

    return announce


def example(kind: Any, deep: int = 0) -> Any:
    """The shortest JSON that is read as a type."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if hasattr(kind, "__value__"):
        return example(kind.__value__, deep)
    if hasattr(kind, "model_fields") and not (origin and origin in (list, dict)):
        fields = kind.model_fields.items() if deep < _DEEPEST else ()
        return {
            field.alias or name: example(field.annotation, deep + 1) for name, field in fields if field.is_required()
        }
    if origin is Literal:
        return inner[0]
    if origin in (Union, UnionType):
        return None if NoneType in inner else example(inner[0], deep)
    if origin is not None and hasattr(origin, "model_fields"):
        return example(origin, deep)
    if str(origin) == "typing.Annotated" or origin is typing.Annotated:
        return example(inner[0], deep)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next(iter(kind)).value
    plain: dict[Any, Any] = {str: "text", int: 1, float: 1.5, bool: True, object: {}, date: "2026-01-01"}
    plain |= {datetime: "2026-01-01T00:00:00Z", bytes: "text", NoneType: None, Any: {}}
    if origin is list and deep < _DEEPEST:
        return [example(inner[0], deep + 1)]
    return plain.get(kind, [] if (origin or kind) is list else {})
