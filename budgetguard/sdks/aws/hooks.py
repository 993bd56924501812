"""
What is patched in botocore and aiobotocore, for the services that have models.

`seam` has the wrappers. It is imported with botocore: a program that never asks AWS has no use for Bedrock's API.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any, Final

from ..calling import call, call_async
from ..hooks import wrap

CLIENTS: Final = "one of boto3 or aioboto3 for Bedrock"
"""What can be guarded, as an error names it."""


def senders_in(client: Any) -> Sequence[Any]:
    """The client itself, if it is one of botocore for a service that has models; else nothing."""
    if not any(base.__name__ == "BaseClient" and base.__module__ == "botocore.client" for base in type(client).__mro__):
        return ()
    from .api import BEDROCK

    return (client,) if client.meta.service_model.service_name in BEDROCK.operations else ()


def _clients(module: ModuleType) -> None:
    from .seam import begin

    wrap(module.BaseClient, "_make_api_call", partial(call, begin))


def _clients_async(module: ModuleType) -> None:
    from .seam import begin

    wrap(module.AioBaseClient, "_make_api_call", partial(call_async, begin))


def _endpoints(module: ModuleType) -> None:
    from .seam import sent

    wrap(module.Endpoint, "_send", sent)


def _endpoints_async(module: ModuleType) -> None:
    from .seam import sent_async

    wrap(module.AioEndpoint, "_send", sent_async)


def _events(module: ModuleType) -> None:
    from .bodies import close_events, iterate_events

    wrap(module.EventStream, "__iter__", iterate_events)
    wrap(module.EventStream, "close", close_events)


def _events_async(module: ModuleType) -> None:
    from .bodies import iterate_events_async

    wrap(module.AioEventStream, "__aiter__", iterate_events_async)


HOOKS: Final[Mapping[str, Callable[[ModuleType], None]]] = {
    "botocore.client": _clients,
    "botocore.endpoint": _endpoints,
    "botocore.eventstream": _events,
    "aiobotocore.client": _clients_async,
    "aiobotocore.endpoint": _endpoints_async,
    "aiobotocore.eventstream": _events_async,
}
"""What is patched in which module."""
