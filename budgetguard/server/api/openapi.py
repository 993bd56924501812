"""The OpenAPI document of the server, made from the table of endpoints and its structs; and a page that shows it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from ... import __version__
from ..keys import ADMIN
from ..problems import ErrorOut
from .action import Action

_REF = "#/components/schemas/{name}"
_COMMON = {
    400: "It cannot be read, or cannot be used.",
    401: "There is no key, or it is not known, or was revoked.",
    403: "This key may not do it.",
    404: "There is no such thing.",
    408: "The body did not arrive in time.",
    409: "It was changed by somebody else, or is there already.",
    413: "The body is too long.",
    422: "A field does not fit the schema.",
    429: "Too many wrong keys came from this address.",
    431: "The headers are too long.",
    500: "Something went wrong in the server.",
    503: "The store did not answer, or too many requests wait for it.",
}
_ALWAYS = (400, 401, 403, 408, 413, 429, 431, 500, 503)
_PROJECT = {
    "name": "budgetguard-project",
    "in": "header",
    "required": False,
    "description": "The project's name, percent-encoded. A key belongs to one, so it may be left out with a key.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._~-]+$", "maxLength": 100},
}


def document(endpoints: Sequence[Action]) -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    types = [kind for each in endpoints for kind in (each.body, each.answer) if kind not in {None, str, dict}]
    _, schemas = msgspec.json.schema_components([*types, ErrorOut], ref_template=_REF)
    paths: dict[str, Any] = {
        "/health": {
            "get": {
                "operationId": "health",
                "summary": "Whether the server runs. It needs no key.",
                "security": [],
                "responses": {"200": _answer("It runs.", {"type": "object"})},
            }
        }
    }
    for endpoint in endpoints:
        path = endpoint.path.replace(":path", "")
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "budgetguard",
            "version": __version__,
            "description": "Hosted budgets. Amounts under /v1/ledger, reserve, settle and balances are whole numbers "
            "in the unit of their account: tokens, requests or calls in flight where its key ends in `#tokens`, "
            "`#requests` or `#parallel`, else nano-dollars, as are `amount` and `cost`; everywhere else they are "
            "dollars. A refusal is an answer with status 200. "
            "A lone surrogate in a text is written as U+001A and its four hexadecimal digits.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }


def _operation(endpoint: Action) -> dict[str, Any]:
    doc = " ".join((endpoint.handler.__doc__ or "").split())
    made: dict[str, Any] = {
        "operationId": endpoint.handler.__name__.strip("_"),
        "summary": doc,
        "description": f"For keys of these scopes: {', '.join(sorted(endpoint.scopes | {ADMIN}))}.",
        "parameters": [] if endpoint.project_in_body else [_PROJECT],
        "responses": {str(endpoint.status): _success(endpoint)},
    }
    statuses = {*_ALWAYS, *endpoint.statuses}
    if endpoint.body is not None:
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(endpoint.body)}}}
        statuses |= {422}
    if endpoint.query is not None:
        made["parameters"] += _query_parameters(endpoint.query)
        statuses.add(422)
    for name in re.findall(r"{(\w+)", endpoint.path):
        made["parameters"].append(
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": {"type": "string", "minLength": 1, "maxLength": 500},
            }
        )
    for status in sorted(statuses):
        made["responses"][str(status)] = _answer(_COMMON[status], _ref(ErrorOut))
    return made


def _success(endpoint: Action) -> dict[str, Any]:
    if endpoint.answer is str:
        return {"description": "Done.", "content": {kind: {"schema": {"type": "string"}} for kind in endpoint.also}}
    made = _answer("Done.", _ref(endpoint.answer))
    for kind in endpoint.also:
        made["content"][kind] = {"schema": {"type": "string"}}
    return made


def _query_parameters(kind: Any) -> list[dict[str, Any]]:
    """A struct's fields as parameters."""
    (schema,), components = msgspec.json.schema_components([kind], ref_template=_REF)
    fields = components[schema["$ref"].rpartition("/")[2]]
    return [
        {
            "name": name,
            "in": "query",
            "required": name in fields.get("required", ()),
            "schema": _without_null({key: value for key, value in field.items() if key != "default"}),
        }
        for name, field in fields["properties"].items()
    ]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query string has no null: the parameter is left out instead."""
    options = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    return options[0] if len(options) == 1 else schema


def _ref(kind: Any) -> dict[str, str]:
    if kind is dict:
        return {"type": "object"}
    return {"$ref": _REF.format(name=kind.__name__)}


def _answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def page(endpoints: Sequence[Action]) -> bytes:
    """The document for people: one plain page, which loads nothing from anywhere."""
    rows = "".join(
        f"<tr><td><code>{each.method}</code></td><td><code>{each.path.replace(':path', '')}</code></td>"
        f"<td>{' '.join((each.handler.__doc__ or '').split())}</td>"
        f"<td>{', '.join(sorted(each.scopes | {ADMIN}))}</td></tr>"
        for each in endpoints
    )
    return (
        "<!doctype html><meta charset=utf-8><title>budgetguard</title>"
        "<style>body{font:15px system-ui;margin:2em auto;max-width:70em}td{padding:.3em 1em .3em 0;"
        "vertical-align:top}</style><h1>budgetguard: hosted budgets</h1>"
        "<p>Send <code>Authorization: Bearer bg_...</code>. The schemas are in <a href=openapi.json>openapi.json</a>; "
        "amounts under <code>/v1/ledger</code>, <code>reserve</code>, <code>settle</code> and <code>balances</code> "
        "are whole nano-dollars (or tokens, requests or calls in flight, where the key of an account ends in "
        "<code>#tokens</code>, <code>#requests</code> or <code>#parallel</code>), everywhere else dollars. A refusal "
        "is an answer with status 200.</p>"
        f"<table><tr><th><th><th><th align=left>for keys</tr>{rows}</table>"
    ).encode()
