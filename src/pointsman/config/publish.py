"""The file's JSON Schema (2020-12), for editors and other programs."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.config.known import Known, shipped
from pointsman.config.schema import ConfigFile
from pointsman.domain.deployment import CAPABILITIES

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(known: Known | None = None) -> dict[str, Any]:
    """Publish the schema; names of strategies, scorers and capabilities become choices."""
    known = known or shipped()
    schema = msgspec.json.schema(ConfigFile)
    parts = schema["$defs"]
    for block in parts.values():
        block["title"] = block["title"].removesuffix("Block")
    strategies = sorted(known.strategies)
    parts["RouteBlock"]["properties"]["strategy"]["enum"] = strategies
    parts["UseBlock"]["properties"]["strategy"]["anyOf"][0]["enum"] = strategies
    scorers = {"enum": sorted(known.scorers)}
    parts["RouteBlock"]["properties"]["weights"]["propertyNames"] = scorers
    parts["UseBlock"]["properties"]["weights"]["anyOf"][0]["propertyNames"] = scorers
    word = {"type": "string", "anyOf": [{"enum": list(CAPABILITIES)}, {"pattern": "^x-."}]}
    parts["RouteBlock"]["properties"]["require"]["items"] = word
    parts["WhenBlock"]["properties"]["needs"]["items"] = word
    parts["DeploymentBlock"]["properties"]["capabilities"]["anyOf"][0]["items"] = word
    return {"$schema": DIALECT, "title": "Pointsman configuration", **schema}
