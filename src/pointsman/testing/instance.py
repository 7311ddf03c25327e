"""The smallest value that fits a JSON Schema: what a model with structured output would say."""

from __future__ import annotations

from pointsman.domain.content import Json, JsonObject

_DEPTH = 32
"""Where a recursive schema is left with null, which only optional fields survive."""


def smallest(schema: Json, root: JsonObject | None = None, depth: int = 0) -> Json:
    """Build a minimal instance: const, enum, default, $ref, anyOf, required, items and bounds.

    `root` is the schema that `$ref` points into. Patterns and formats are not solved.
    """
    if not isinstance(schema, dict) or depth > _DEPTH:
        return None
    base = schema if root is None else root
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    options = schema.get("enum")
    if isinstance(options, list) and options:
        return options[0]
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return smallest(_resolve(reference, base), base, depth + 1)
    for word in ("anyOf", "oneOf", "allOf"):
        ways = schema.get(word)
        if isinstance(ways, list) and ways:
            if word == "allOf":
                return smallest(_merged(ways), base, depth + 1)
            return smallest(ways[0], base, depth + 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema else "string"
    build = _BUILDERS.get(str(kind))
    return build(schema, base, depth) if build else None


def _object(schema: JsonObject, root: JsonObject, depth: int) -> Json:
    properties = schema.get("properties")
    required = schema.get("required")
    names = required if isinstance(required, list) else []
    known = properties if isinstance(properties, dict) else {}
    return {str(name): smallest(known.get(str(name), {}), root, depth + 1) for name in names}


def _array(schema: JsonObject, root: JsonObject, depth: int) -> Json:
    count = schema.get("minItems")
    length = count if isinstance(count, int) else 0
    return [smallest(schema.get("items", {}), root, depth + 1) for _ in range(length)]


def _string(schema: JsonObject, root: JsonObject, depth: int) -> Json:
    least = schema.get("minLength")
    most = schema.get("maxLength")
    text = "text".ljust(least, ".") if isinstance(least, int) else "text"
    return text[:most] if isinstance(most, int) else text


def _integer(schema: JsonObject, root: JsonObject, depth: int) -> Json:
    bounds = (
        ("minimum", 0),
        ("exclusiveMinimum", 1),
        ("maximum", 0),
        ("exclusiveMaximum", -1),
    )
    for word, shift in bounds[:2]:
        least = schema.get(word)
        if isinstance(least, int | float) and least + shift > 0:
            return int(-(-least // 1)) + shift
    for word, shift in bounds[2:]:
        most = schema.get(word)
        if isinstance(most, int | float) and most + shift < 0:
            return int(most // 1) + shift
    return 0


def _boolean(schema: JsonObject, root: JsonObject, depth: int) -> Json:
    return True


def _merged(ways: list[Json]) -> JsonObject:
    properties: JsonObject = {}
    required: list[Json] = []
    merged: JsonObject = {}
    for way in ways:
        if isinstance(way, dict):
            merged.update(way)
            known = way.get("properties")
            names = way.get("required")
            properties.update(known if isinstance(known, dict) else {})
            required.extend(names if isinstance(names, list) else [])
    return {**merged, "properties": properties, "required": required}


def _resolve(reference: str, root: JsonObject) -> Json:
    found: Json = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        if part:
            found = found.get(part) if isinstance(found, dict) else None
    return found


_BUILDERS = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _integer,
    "number": _integer,
    "boolean": _boolean,
}
