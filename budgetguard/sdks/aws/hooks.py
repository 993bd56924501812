"""
What is patched in botocore and aiobotocore, for the services that have models.

Every call of a client, old or new, of boto3's or aioboto3's sessions, passes `_make_api_call` once, with its retries
inside; every request passes the endpoint's `_send`. Calls of other services cost one look into a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any, Final, TypeGuard

from ...calls import Endpoint
from ..calling import acting_for, attempt, attempt_async, call, call_async, say_uncounted
from ..exchange import Exchange, charging, require_scope_of
from ..hooks import unbound, wrap
from .api import BEDROCK
from .bodies import close_events, iterate_events, iterate_events_async
from .calls import OperationCall

CLIENTS: Final = "one of boto3 or aioboto3 for Bedrock"
"""What can be guarded, as an error names it."""


def is_client(client: Any) -> bool:
    """Whether something is a client of botocore for a service that has models."""
    if not any(base.__name__ == "BaseClient" and base.__module__ == "botocore.client" for base in type(client).__mro__):
        return False
    return client.meta.service_model.service_name in BEDROCK.operations


def _begin(wrapped: Any, instance: Any, args: Any, kwargs: Any, *, is_async: bool) -> OperationCall | None:
    """The call, if it costs money, some ledger covers it, and no call above has its charge."""
    client, service = instance, instance._service_model.service_name
    if service not in BEDROCK.operations:
        return None
    guard, held = acting_for(client)
    if guard is None:
        return None
    operation, given = args if len(args) == 2 else _named(*args, **kwargs)
    endpoint = _endpoint(service, operation, given)
    if endpoint is None:
        return None
    request = OperationCall(wrapped, client, operation, given, guard=guard, endpoint=endpoint, is_async=is_async)
    above = charging.get()
    if above is not None and above.carried is not None and above.is_above(request):  # one that is over has no request
        return None
    if held:
        return request
    require_scope_of(request.open(None))
    return None


def _endpoint(service: str, operation: str, given: Mapping[str, Any]) -> Endpoint | None:
    """What an operation is that costs money; one that is known to nobody is told of."""
    found = BEDROCK.operations[service].get(operation)
    if found is None and BEDROCK.is_unknown(service, operation):
        say_uncounted(service, operation)
    if found is not None and found.amend is not None and "modelId" not in given:  # botocore says so, and sends nothing
        return None
    return found


def _named(operation_name: str, api_params: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The arguments of `_make_api_call`."""
    return operation_name, api_params


def _sent(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """`attempt` where a request goes out."""
    if instance is None:
        return unbound(_sent, wrapped, args, kwargs)
    request = charging.get()
    return attempt(wrapped, request.client, args, kwargs) if _sends(request, instance) else wrapped(*args, **kwargs)


async def _sent_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """The same where that is awaited."""
    if instance is None:
        return await unbound(_sent_async, wrapped, args, kwargs)
    request = charging.get()
    if not _sends(request, instance):
        return await wrapped(*args, **kwargs)
    return await attempt_async(wrapped, request.client, args, kwargs)


def _sends(request: Exchange | None, endpoint: Any) -> TypeGuard[OperationCall]:
    """Whether what an endpoint sends is an attempt of the call that is on its way here."""
    return type(request) is OperationCall and request.client._endpoint is endpoint


def _clients(module: ModuleType) -> None:
    wrap(module.BaseClient, "_make_api_call", partial(call, _begin))


def _clients_async(module: ModuleType) -> None:
    wrap(module.AioBaseClient, "_make_api_call", partial(call_async, _begin))


def _endpoints(module: ModuleType) -> None:
    wrap(module.Endpoint, "_send", _sent)


def _endpoints_async(module: ModuleType) -> None:
    wrap(module.AioEndpoint, "_send", _sent_async)


def _events(module: ModuleType) -> None:
    wrap(module.EventStream, "__iter__", iterate_events)
    wrap(module.EventStream, "close", close_events)


def _events_async(module: ModuleType) -> None:
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
