"""Read a client's fields by type; what is of the wrong type is named by its path.

`where` is the path of the object that holds the field, with its dot: "messages[2].". A field
that is null counts as left out, as it does at OpenAI and Anthropic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from pointsman.domain.content import NOTHING, Json, JsonObject
from pointsman.errors import InvalidRequest

_NAMES: dict[type, str] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}


def wrong(param: str, expected: str, value: object) -> NoReturn:
    """Raise InvalidRequest: `param` must be `expected`."""
    found = _NAMES.get(type(value), "something else")
    raise InvalidRequest(f"{param} must be {expected}, not {found}", param=param)


def missing(param: str) -> NoReturn:
    raise InvalidRequest(f"{param} is required", param=param)


def opt_str(obj: JsonObject, key: str, where: str = "") -> str | None:
    value = obj.get(key)
    if value is None or type(value) is str:
        return value
    wrong(where + key, "a string", value)


def req_str(obj: JsonObject, key: str, where: str = "") -> str:
    value = obj.get(key)
    if type(value) is str:
        return value
    if value is None:
        missing(where + key)
    wrong(where + key, "a string", value)


def opt_bool(obj: JsonObject, key: str, where: str = "") -> bool | None:
    value = obj.get(key)
    if value is None or type(value) is bool:
        return value
    wrong(where + key, "a boolean", value)


def opt_int(obj: JsonObject, key: str, where: str = "", least: int | None = None) -> int | None:
    value = obj.get(key)
    if value is None:
        return None
    if type(value) is not int:
        wrong(where + key, "an integer", value)
    if least is not None and value < least:
        param = where + key
        raise InvalidRequest(f"{param} must be at least {least}, not {value}", param=param)
    return value


def opt_number(
    obj: JsonObject, key: str, where: str = "", least: float | None = None
) -> float | None:
    value = obj.get(key)
    if value is None:
        return None
    if type(value) is not float and type(value) is not int:
        wrong(where + key, "a number", value)
    if least is not None and value < least:
        param = where + key
        raise InvalidRequest(f"{param} must be at least {least:g}, not {value}", param=param)
    return float(value)


def opt_object(obj: JsonObject, key: str, where: str = "") -> JsonObject | None:
    value = obj.get(key)
    if value is None or type(value) is dict:
        return value
    wrong(where + key, "an object", value)


def opt_list(obj: JsonObject, key: str, where: str = "") -> list[Json] | None:
    value = obj.get(key)
    if value is None or type(value) is list:
        return value
    wrong(where + key, "an array", value)


def as_object(value: Json, param: str) -> JsonObject:
    if type(value) is dict:
        return value
    wrong(param, "an object", value)


def strings(value: Json, param: str) -> tuple[str, ...]:
    """Read a string, or an array of strings."""
    if type(value) is str:
        return (value,)
    if type(value) is not list:
        wrong(param, "a string or an array of strings", value)
    for i, item in enumerate(value):
        if type(item) is not str:
            wrong(f"{param}[{i}]", "a string", item)
    return tuple(value)  # type: ignore[arg-type]


def extra_of(obj: JsonObject, known: frozenset[str]) -> Mapping[str, Json]:
    """Return the fields beyond `known`."""
    if obj.keys() <= known:
        return NOTHING
    return {key: value for key, value in obj.items() if key not in known}
