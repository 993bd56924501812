"""
The wrappers of botocore's methods: a call of one of the services that have models, and each request of it.

Every call of a client, old or new, of boto3's or aioboto3's sessions, passes `_make_api_call` once, with its retries
inside; every request passes the endpoint's `_send`. Calls of other services cost one look into a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from ...calls import Endpoint
from ..calling import acting_for, attempt, attempt_async, say_uncounted
from ..exchange import Exchange, charging
from ..hooks import unbound
from .api import BEDROCK
from .calls import OperationCall


def begin(wrapped: Any, instance: Any, args: Any, kwargs: Any, *, is_async: bool) -> OperationCall | None:
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
    return request.charged(held=held)


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


def sent(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """`attempt` where a request goes out."""
    if instance is None:
        return unbound(sent, wrapped, args, kwargs)
    request = charging.get()
    return attempt(wrapped, request.client, args, kwargs) if _sends(request, instance) else wrapped(*args, **kwargs)


async def sent_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """The same where that is awaited."""
    if instance is None:
        return await unbound(sent_async, wrapped, args, kwargs)
    request = charging.get()
    if not _sends(request, instance):
        return await wrapped(*args, **kwargs)
    return await attempt_async(wrapped, request.client, args, kwargs)


def _sends(request: Exchange | None, endpoint: Any) -> TypeGuard[OperationCall]:
    """Whether what an endpoint sends is an attempt of the call that is on its way here."""
    return type(request) is OperationCall and request.client._endpoint is endpoint
