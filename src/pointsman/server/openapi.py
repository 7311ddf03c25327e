"""The API as an OpenAPI 3.1 document: GET /openapi.json, and what a client's fuzzer reads.

It describes what Pointsman itself reads; other fields of both dialects pass to a provider of the
same dialect, so objects are open. Every status an operation can have is listed.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any, Final

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}
POSITIVE: Final[Schema] = {"type": "integer", "minimum": 1}
NUMBER: Final[Schema] = {"type": ["number", "null"]}

ERRORS: Final = {
    "400": "A request that nobody could answer as it stands",
    "401": "No API key, or an unknown one",
    "402": "A spending limit is used up",
    "403": "The API key may not use this route or deployment",
    "404": "No such model",
    "408": "The request came too slowly",
    "413": "A body above server.body_mb",
    "415": "A Content-Encoding",
    "429": "Too many requests of this key, or of everybody at every provider",
    "499": "The client left",
    "502": "Every attempt failed",
    "503": "Overloaded, shutting down, or every deployment is out",
    "504": "The deadline passed",
}
"""Of every operation that takes a body; 499 stands in logs only and is left out below."""


def _object(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required)}


def _parts(*kinds: Schema) -> Schema:
    return {"oneOf": [TEXT, {"type": "array", "items": {"anyOf": list(kinds)}, "minItems": 1}]}


TEXT_PART: Final = _object(("type", "text"), type={"const": "text"}, text=TEXT)
IMAGE_URL: Final = _object(
    ("type", "image_url"),
    type={"const": "image_url"},
    image_url=_object(("url",), url={"type": "string", "examples": ["https://example.com/a.png"]}),
)
TOOL: Final = _object(
    ("type", "function"),
    type={"const": "function"},
    function=_object(("name",), name=TEXT, description=TEXT, parameters={"type": "object"}),
)
OPTIONS: Final = _object(
    prefer={"enum": ["cost", "speed", "quality", "balanced"]},
    timeout_s={"type": "number", "exclusiveMinimum": 0},
    max_cost_usd={"type": "number", "minimum": 0, "maximum": 1_000_000},
    fallbacks={"type": "array", "items": TEXT, "maxItems": 64},
    allow={"type": "array", "items": TEXT, "maxItems": 64},
    require={"type": "array", "items": TEXT, "maxItems": 64},
    residency={"type": "string", "minLength": 1, "maxLength": 200},
    sensitive={"type": "boolean"},
    session={"type": "string", "minLength": 1, "maxLength": 200},
    max_attempts={"type": "integer", "minimum": 1, "maximum": 10},
    tags={"type": "object", "additionalProperties": TEXT},
)

OPENAI_MESSAGE: Final[Schema] = {
    "oneOf": [
        _object(
            ("role", "content"),
            role={"enum": ["system", "developer"]},
            content=_parts(TEXT_PART),
        ),
        _object(("role", "content"), role={"const": "user"}, content=_parts(TEXT_PART, IMAGE_URL)),
        _object(("role", "content"), role={"const": "assistant"}, content=TEXT),
        _object(
            ("role", "content", "tool_call_id"),
            role={"const": "tool"},
            content=TEXT,
            tool_call_id=TEXT,
        ),
    ]
}

CHAT: Final = _object(
    ("model", "messages"),
    model={"type": "string", "examples": ["auto"]},
    messages={"type": "array", "items": OPENAI_MESSAGE, "minItems": 1},
    max_tokens=POSITIVE,
    max_completion_tokens=POSITIVE,
    stream={"type": "boolean"},
    stream_options=_object(include_usage={"type": "boolean"}),
    tools={"type": "array", "items": TOOL},
    temperature=NUMBER,
    top_p=NUMBER,
    n=POSITIVE,
    seed={"type": "integer"},
    stop={"oneOf": [TEXT, {"type": "array", "items": TEXT}]},
    user=TEXT,
    models={"type": "array", "items": TEXT, "minItems": 1, "maxItems": 64},
    fallbacks={"type": "array", "items": TEXT, "maxItems": 64},
    timeout={"type": "number", "exclusiveMinimum": 0},
    max_cost_usd={"type": "number", "minimum": 0, "maximum": 1_000_000},
    pointsman={**OPTIONS, "additionalProperties": False},
)

ANTHROPIC_MESSAGE: Final = _object(
    ("role", "content"), role={"enum": ["user", "assistant"]}, content=_parts(TEXT_PART)
)
MESSAGES: Final = _object(
    ("model", "messages", "max_tokens"),
    model={"type": "string", "examples": ["auto"]},
    messages={"type": "array", "items": ANTHROPIC_MESSAGE, "minItems": 1},
    max_tokens=POSITIVE,
    system=_parts(TEXT_PART),
    stream={"type": "boolean"},
    temperature=NUMBER,
    top_p=NUMBER,
    top_k={"type": "integer"},
    stop_sequences={"type": "array", "items": TEXT},
    metadata=_object(user_id=TEXT),
    pointsman={**OPTIONS, "additionalProperties": False},
)
COUNT: Final = {**MESSAGES, "required": ["model", "messages"]}
EMBEDDINGS: Final = _object(
    ("model", "input"),
    model={"type": "string", "examples": ["embed"]},
    input={"oneOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1}]},
)

OPENAI_ERROR: Final = _object(
    ("error", "request_id", "attempts"),
    error=_object(
        ("message", "type", "code"),
        message=TEXT,
        type=TEXT,
        param={"type": ["string", "null"]},
        code={"type": ["string", "null"]},
    ),
    request_id=TEXT,
    attempts={"type": "integer", "minimum": 0},
)
ANTHROPIC_ERROR: Final = _object(
    ("type", "error", "request_id", "attempts"),
    type={"const": "error"},
    error=_object(("type", "message", "code"), type=TEXT, message=TEXT, code=TEXT),
    request_id=TEXT,
    attempts={"type": "integer", "minimum": 0},
)


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _takes(summary: str, body: str, error: str, answer: str, *, streams: bool = False) -> Schema:
    content = _json({"type": "object"})
    if streams:
        content["text/event-stream"] = {"schema": TEXT}
    faults = {
        status: {"description": what, "content": _json({"$ref": f"#/components/schemas/{error}"})}
        for status, what in ERRORS.items()
        if status != "499"
    }
    return {
        "post": {
            "summary": summary,
            "security": [{"bearer": []}, {"header": []}],
            "requestBody": {
                "required": True,
                "content": _json({"$ref": f"#/components/schemas/{body}"}),
            },
            "responses": {"200": {"description": answer, "content": content}, **faults},
        }
    }


def _gives(summary: str, *, open_to_all: bool, also: dict[str, str] | None = None) -> Schema:
    responses: Schema = {"200": {"description": summary}}
    for status, what in (also or {}).items():
        responses[status] = {"description": what}
    entry: Schema = {"summary": summary, "responses": responses}
    if not open_to_all:
        entry["security"] = [{"bearer": []}, {"header": []}]
    return {"get": entry}


@cache
def document() -> Schema:
    """Make the document."""
    openai, anthropic = "OpenAIError", "AnthropicError"
    refused = {"401": ERRORS["401"], "429": ERRORS["429"], "503": ERRORS["503"]}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pointsman",
            "version": version("pointsman"),
            "description": "OpenAI's and Anthropic's APIs on one address; docs/errors.md has the "
            "meaning of every error.",
        },
        "paths": {
            "/v1/chat/completions": _takes(
                "Answer a conversation in OpenAI's dialect",
                "Chat",
                openai,
                "The answer, whole or as events",
                streams=True,
            ),
            "/v1/messages": _takes(
                "Answer a conversation in Anthropic's dialect",
                "Messages",
                anthropic,
                "The answer, whole or as events",
                streams=True,
            ),
            "/v1/messages/count_tokens": _takes(
                "Estimate the tokens of a conversation", "Count", anthropic, "The estimate"
            ),
            "/v1/embeddings": _takes(
                "Turn texts into vectors", "Embeddings", openai, "The vectors"
            ),
            "/v1/route:explain": _takes(
                "Decide for a conversation, and call nobody", "Chat", openai, "The decision"
            ),
            "/v1/models": _gives("List what this key may ask for", open_to_all=False, also=refused),
            "/livez": _gives("Say that the process lives", open_to_all=True),
            "/readyz": _gives(
                "Say whether traffic can be served",
                open_to_all=True,
                also={"503": "It cannot; the body says why"},
            ),
            "/metrics": _gives("Metrics in Prometheus' format", open_to_all=True),
            "/openapi.json": _gives("This document", open_to_all=True),
        },
        "components": {
            "schemas": {
                "Chat": CHAT,
                "Messages": MESSAGES,
                "Count": COUNT,
                "Embeddings": EMBEDDINGS,
                openai: OPENAI_ERROR,
                anthropic: ANTHROPIC_ERROR,
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }
