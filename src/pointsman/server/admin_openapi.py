"""The admin API as an OpenAPI 3.1 document, made from what its routes declare."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final

import msgspec

from pointsman.server.admin_route import AdminRoute

_REF: Final = "#/components/schemas/{name}"
_ERRORS: Final = {
    "400": "A body or query that does not fit; `param` names the field",
    "401": "No admin token, or an unknown one",
    "403": "Your role may not do this, not to this field, or not so much",
    "404": "No such thing, or none of yours",
    "409": "It is there already, or not in a state for this",
    "429": "Too many requests without a good token",
    "503": "The store cannot be asked just now",
}


def document(routes: Sequence[AdminRoute]) -> dict[str, Any]:
    bodies = {route.takes for route in routes if route.takes is not None}
    queries = {route.asks for route in routes}
    ordered = sorted(bodies | queries, key=lambda shape: shape.__name__)
    shapes, components = msgspec.json.schema_components(ordered, ref_template=_REF)
    schema_of = dict(zip(ordered, shapes, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(
            route, schema_of, components
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pointsman: administration",
            "version": version("pointsman"),
            "description": "Keys, limits and tenants. On a listener of its own, with tokens of "
            "its own: `admin` in the configuration file.",
        },
        "paths": paths,
        "components": {
            "schemas": {**components, "Error": _ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(
    route: AdminRoute, schema_of: dict[type[Any], dict[str, Any]], components: dict[str, Any]
) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": _REF.format(name="Error")}}}
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in route.fields
    ]
    query = components[schema_of[route.asks]["$ref"].rpartition("/")[2]]
    parameters += [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in query.get("properties", {}).items()
    ]
    operation: dict[str, Any] = {
        "summary": route.summary,
        "description": f"Roles: {', '.join(sorted(route.roles))}.",
        "x-roles": sorted(route.roles),
        "x-reach": route.reach,
        "security": [{"token": []}],
        "parameters": parameters,
        "responses": {
            str(route.status): {
                "description": "Done",
                "content": {"application/json": {"schema": {"type": "object"}}},
            },
            **{status: {"description": what, "content": error} for status, what in _ERRORS.items()},
        },
    }
    if route.withheld:
        operation["x-withheld"] = {role: sorted(names) for role, names in route.withheld.items()}
    if route.takes is not None:
        content = {"application/json": {"schema": schema_of[route.takes]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


_ERROR: Final = {
    "type": "object",
    "required": ["error", "request_id"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "param": {"type": ["string", "null"]},
            },
        },
        "request_id": {"type": "string"},
    },
}
