"""What a request says to Pointsman itself: taken out of the body before anyone else sees it.

In the body: `models` and `fallbacks` (names, in order), `timeout` (seconds), `max_cost_usd`,
`cache` (an object with `no-cache`, `no-store`, `ttl` and `s-maxage`, both in seconds), and the
object `pointsman` with `prefer`, `timeout_s`, `max_cost_usd`, `fallbacks`, `allow`,
`require`, `residency`, `sensitive`, `session`, `run`, `max_attempts`, `tags`, `cache`. In headers:
`cache-control` (`no-cache`, `no-store`, `max-age`), `x-request-timeout-ms`,
`x-pointsman-prefer`, `-session`, `-run`, `-app`, `-user`, `-tags` (a=b,c=d), and `-criticality`,
which is read before the body.
Tags also come from `metadata.tags` where it is an object of texts. An unknown field of
`pointsman` is an error: a misspelt limit must not be no limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import cast

import msgspec
import orjson

from pointsman.dialects.strict_json import splice
from pointsman.domain.call import CRITICALITIES, Caller, Criticality
from pointsman.domain.content import Json, JsonObject
from pointsman.domain.money import from_usd
from pointsman.domain.request import Preference, RouteOptions
from pointsman.errors import InvalidRequest
from pointsman.server.cache_control import cache_of_header, read_cache

PREFERENCES = ("cost", "speed", "quality", "balanced")
TOP_LEVEL = ("pointsman", "models", "fallbacks", "timeout", "max_cost_usd", "cache")
"""Top-level body fields that are ours; no dialect we speak has any of these names."""

NO_OPTIONS = RouteOptions()

MOST_TAGS = 32
MOST_TAG_CHARS = 200


class Asked(msgspec.Struct, frozen=True, gc=False):
    """What is left of a request for the dialect, and what was said to us."""

    fields: JsonObject
    body: bytes
    options: RouteOptions
    app: str | None = None
    user: str | None = None


def criticality_of(headers: Mapping[bytes, bytes], caller: Caller) -> Criticality:
    """Say how much the request matters where there is not room for all: as much as its key, or
    less if it says so. Raises InvalidRequest."""
    said = headers.get(b"x-pointsman-criticality")
    if said is None:
        return caller.criticality
    word = said.decode("latin-1").strip()
    if word not in CRITICALITIES:
        raise InvalidRequest(
            f"x-pointsman-criticality: {word[:40]!r} is none of {', '.join(CRITICALITIES)}",
            param="x-pointsman-criticality",
        )
    return max(word, caller.criticality, key=CRITICALITIES.index)


def take_options(fields: JsonObject, body: bytes, headers: Mapping[bytes, bytes]) -> Asked:
    """Split a request; raise InvalidRequest naming the field."""
    found: dict[str, object] = {}
    ours = [name for name in TOP_LEVEL if name in fields]
    if ours:
        fields = dict(fields)
        taken = {name: fields.pop(name) for name in ours}
        found = _from_body(taken)
        if (models := found.pop("models", None)) is not None:
            names = cast("tuple[str, ...]", models)
            asked = fields.setdefault("model", names[0])
            if others := tuple(name for name in names if name != asked):
                found.setdefault("fallbacks", others)
        body = splice(body, dict.fromkeys(ours))
    metadata = fields.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("tags"), dict):
        found.setdefault("tags", _tags(metadata["tags"], "metadata.tags"))
        # Providers refuse values in metadata that are objects: they are ours alone.
        rest = {name: value for name, value in metadata.items() if name != "tags"}
        fields = {**fields, "metadata": rest}
        if not rest:
            del fields["metadata"]
        body = splice(body, {"metadata": orjson.dumps(rest) if rest else None})
    app = user = None
    for name, value in headers.items():
        if name == b"x-request-timeout-ms":
            found["timeout_s"] = _positive(_number(value, "x-request-timeout-ms"), name) / 1000
        elif name == b"cache-control":
            if (said := cache_of_header(value)) is not None:
                found.setdefault("cache", said)
        elif name.startswith(b"x-pointsman-"):
            text = value.decode("latin-1").strip()
            match name[12:]:
                case b"prefer":
                    found["prefer"] = _preference(text, "x-pointsman-prefer")
                case b"session":
                    found["session"] = text
                case b"run":
                    found["run"] = _text(text, "x-pointsman-run")
                case b"app":
                    app = text[:MOST_TAG_CHARS]
                case b"user":
                    user = text[:MOST_TAG_CHARS]
                case b"tags":
                    found["tags"] = _tag_list(text)
                case _:
                    pass  # Headers may come from proxies that know nothing of us.
    if not found:
        return Asked(fields, body, NO_OPTIONS, app, user)
    return Asked(fields, body, RouteOptions(**found), app, user)  # type: ignore[arg-type]


def _from_body(taken: Mapping[str, Json]) -> dict[str, object]:
    found: dict[str, object] = {}
    ours = taken.get("pointsman")
    if ours is None:
        ours = {}
    if not isinstance(ours, dict):
        raise InvalidRequest("pointsman: must be an object", param="pointsman")
    for name, value in ours.items():
        read = READERS.get(name)
        if read is None:
            raise InvalidRequest(
                f"pointsman.{name[:80]}: unknown field; known are {', '.join(sorted(READERS))}",
                param=f"pointsman.{name[:80]}",
            )
        key, converted = read(value, f"pointsman.{name}")
        found[key] = converted
    for name in ("timeout", "max_cost_usd", "fallbacks", "cache"):
        if name in taken and taken[name] is not None:
            key, converted = READERS[name](taken[name], name)
            found.setdefault(key, converted)
    models = taken.get("models")
    if models is not None:
        names = _names(models, "models")
        if not names:
            raise InvalidRequest("models: name at least one", param="models")
        found["models"] = names
    return found


def _number(value: object, param: str) -> float:
    if isinstance(value, bytes):
        try:
            return float(value)
        except ValueError:
            value = value.decode("latin-1")[:40]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f"{param}: must be a number, not {value!r}", param=param)
    return float(value)


def _positive(number: float, param: str | bytes) -> float:
    if not 0 < number < 1e12:
        name = param if isinstance(param, str) else param.decode()
        raise InvalidRequest(f"{name}: must be above 0, not {number:g}", param=name)
    return number


def _seconds(value: Json, param: str) -> tuple[str, object]:
    return "timeout_s", _positive(_number(value, param), param)


def _max_cost(value: Json, param: str) -> tuple[str, object]:
    number = _number(value, param)
    if not 0 <= number <= 1e6:
        raise InvalidRequest(f"{param}: must be dollars from 0 to 1000000", param=param)
    return "max_cost_nano", from_usd(Decimal(str(number)))


def _names(value: Json, param: str) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > 64:
        raise InvalidRequest(f"{param}: must be a list of at most 64 names", param=param)
    names = []
    for index, name in enumerate(value):
        if not isinstance(name, str):
            raise InvalidRequest(f"{param}[{index}]: must be a text", param=f"{param}[{index}]")
        names.append(name)
    return tuple(names)


def _preference(value: Json, param: str) -> Preference:
    if value not in PREFERENCES:
        raise InvalidRequest(
            f"{param}: {str(value)[:40]!r} is none of {', '.join(PREFERENCES)}", param=param
        )
    return cast(Preference, value)


def _text(value: Json, param: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MOST_TAG_CHARS:
        raise InvalidRequest(f"{param}: must be a text of 1 to {MOST_TAG_CHARS}", param=param)
    return value


def _attempts(value: Json, param: str) -> tuple[str, object]:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10:
        raise InvalidRequest(f"{param}: must be a whole number from 1 to 10", param=param)
    return "max_attempts", value


def _flag(value: Json, param: str) -> tuple[str, object]:
    if not isinstance(value, bool):
        raise InvalidRequest(f"{param}: must be true or false", param=param)
    return "sensitive", value


def _tags(value: Json, param: str) -> Mapping[str, str]:
    if not isinstance(value, dict) or len(value) > MOST_TAGS:
        raise InvalidRequest(f"{param}: must be an object of at most {MOST_TAGS}", param=param)
    return {_text(name, param): _text(text, f"{param}.{name[:80]}") for name, text in value.items()}


def _tag_list(text: str) -> Mapping[str, str]:
    param = "x-pointsman-tags"
    pairs: JsonObject = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = pair.partition("=")
        if not equals:
            raise InvalidRequest(f"{param}: write name=value, not {pair[:40]!r}", param=param)
        pairs[name.strip()] = value.strip()
    return _tags(pairs, param)


READERS: Mapping[str, Callable[[Json, str], tuple[str, object]]] = {
    "prefer": lambda value, param: ("prefer", _preference(value, param)),
    "timeout": _seconds,
    "timeout_s": _seconds,
    "max_cost_usd": _max_cost,
    "fallbacks": lambda value, param: ("fallbacks", _names(value, param)),
    "allow": lambda value, param: ("allow", _names(value, param)),
    "require": lambda value, param: ("require", frozenset(_names(value, param))),
    "residency": lambda value, param: ("residency", _text(value, param)),
    "sensitive": _flag,
    "session": lambda value, param: ("session", _text(value, param)),
    "run": lambda value, param: ("run", _text(value, param)),
    "max_attempts": _attempts,
    "cache": lambda value, param: ("cache", read_cache(value, param)),
    "tags": lambda value, param: ("tags", _tags(value, param)),
}
"""Readers of the `pointsman` object's fields: (value, where) -> (RouteOptions field, value)."""
