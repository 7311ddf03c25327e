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
LIMIT: Final[Schema] = {"type": "integer", "minimum": 0}
NUMBER: Final[Schema] = {"type": "number", "minimum": 0}
WORD: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 200}
MODEL: Final[Schema] = {"type": "string", "examples": ["auto"]}
TEXTS: Final[Schema] = {"oneOf": [TEXT, {"type": "array", "items": TEXT}]}
NAMES: Final[Schema] = {"type": "array", "items": TEXT, "maxItems": 64}
TOKENS: Final[Schema] = {"type": "array", "items": {"type": "integer"}}
SECONDS: Final[Schema] = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1e12}
DOLLARS: Final[Schema] = {"type": "number", "minimum": 0, "maximum": 1_000_000}

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

REPEATED: Final = {
    "409": "The first request with this Idempotency-Key still runs, or was too long to be kept",
    "422": "The Idempotency-Key was used with another body",
    "501": "Several workers without a ledger that is kept cannot honour an Idempotency-Key",
}
"""Of operations that may cost money."""

IDEMPOTENCY: Final[Schema] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A repetition with the same key and body is not made again for a day: it is "
    "given the first answer, with `idempotency-replayed: true`.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}


def _object(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    """Describe an object; what is not required may also be null."""
    found = {
        name: each if name in required else {"anyOf": [each, {"type": "null"}]}
        for name, each in properties.items()
    }
    return {"type": "object", "properties": found, "required": list(required)}


def _other(*known: str) -> Schema:
    """Describe what a vendor calls something else; it goes to its own dialect as it is."""
    return _object(("type",), type={"type": "string", "not": {"enum": list(known)}})


def _parts(*kinds: Schema) -> Schema:
    return {"oneOf": [TEXT, {"type": "array", "items": {"anyOf": list(kinds)}}]}


TEXT_PART: Final = _object(("type", "text"), type={"const": "text"}, text=TEXT)
IMAGE_URL: Final = _object(
    ("type", "image_url"),
    type={"const": "image_url"},
    image_url={"anyOf": [TEXT, _object(("url",), url=TEXT, detail=TEXT)]},
)
FUNCTION: Final = _object(
    ("type", "function"),
    type={"const": "function"},
    function=_object(("name",), name=TEXT, description=TEXT, parameters={"type": "object"}),
)
TOOL: Final[Schema] = {"anyOf": [FUNCTION, _other("function")]}
OPENAI_OTHER: Final = _other("text", "image_url", "input_audio", "file", "refusal")
ANTHROPIC_OTHER: Final = _other(
    *("text", "image", "document", "thinking", "redacted_thinking", "tool_use", "tool_result")
)
AGE: Final[Schema] = {"type": "number", "minimum": 0, "maximum": 31_536_000}
FLAG: Final[Schema] = {"type": "boolean"}
CACHE: Final[Schema] = {
    **_object((), **{"no-cache": FLAG, "no-store": FLAG, "ttl": AGE, "s-maxage": AGE}),
    "additionalProperties": False,
}
OPTIONS: Final[Schema] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "prefer": {"enum": ["cost", "speed", "quality", "balanced"]},
        "timeout_s": SECONDS,
        "max_cost_usd": DOLLARS,
        "fallbacks": NAMES,
        "allow": NAMES,
        "require": NAMES,
        "residency": WORD,
        "sensitive": FLAG,
        "session": WORD,
        "run": WORD,
        "cache": CACHE,
        "max_attempts": {"type": "integer", "minimum": 1, "maximum": 10},
        "tags": {"type": "object", "additionalProperties": WORD, "maxProperties": 32},
    },
}

OURS: Final[dict[str, Schema]] = {
    "models": {**NAMES, "minItems": 1},
    "fallbacks": NAMES,
    "timeout": SECONDS,
    "max_cost_usd": DOLLARS,
    "cache": CACHE,
    "pointsman": OPTIONS,
}
"""What every request may say to Pointsman itself."""


def _request(*required: str, **properties: Schema) -> Schema:
    """Describe a request's body: it names its model as `model` or as the first of `models`."""
    body = _object(("model", *required), model=MODEL, **properties, **OURS)
    named = [{"required": ["model"]}, {"required": ["models"]}]
    return {**body, "required": list(required), "anyOf": named}


CALL: Final = _object(
    ("id", "function"),
    id=TEXT,
    type={"const": "function"},
    function=_object(("name",), name=TEXT, arguments={"type": ["string", "object"]}),
)
CALLS: Final[Schema] = {"type": "array", "items": {"anyOf": [CALL, _other("function")]}}
SAID: Final = _parts(TEXT_PART, IMAGE_URL, OPENAI_OTHER)
OPENAI_MESSAGE: Final[Schema] = {
    "oneOf": [
        _object(("role",), role={"enum": ["system", "developer"]}, content=SAID),
        _object(("role", "content"), role={"const": "user"}, content=SAID),
        _object(("role",), role={"const": "assistant"}, content=SAID, tool_calls=CALLS),
        _object(("role", "tool_call_id"), role={"const": "tool"}, content=SAID, tool_call_id=TEXT),
    ]
}

CHAT: Final = _request(
    "messages",
    messages={"type": "array", "items": OPENAI_MESSAGE, "minItems": 1},
    max_tokens=LIMIT,
    max_completion_tokens=LIMIT,
    stream=FLAG,
    stream_options=_object(include_usage=FLAG),
    tools={"type": "array", "items": TOOL},
    temperature=NUMBER,
    top_p=NUMBER,
    n={"type": "integer", "minimum": 1},
    seed={"type": "integer"},
    stop=TEXTS,
    user=TEXT,
)

ANTHROPIC_MESSAGE: Final = _object(
    ("role", "content"),
    role={"enum": ["user", "assistant"]},
    content=_parts(TEXT_PART, ANTHROPIC_OTHER),
)
MESSAGES: Final = _request(
    "messages",
    "max_tokens",
    messages={"type": "array", "items": ANTHROPIC_MESSAGE, "minItems": 1},
    max_tokens=LIMIT,
    system=_parts(TEXT_PART, ANTHROPIC_OTHER),
    stream=FLAG,
    temperature=NUMBER,
    top_p=NUMBER,
    top_k={"type": "integer"},
    stop_sequences=TEXTS,
    metadata=_object(user_id=TEXT),
)
COUNT: Final = {**MESSAGES, "required": ["messages"]}
EMBEDDINGS: Final = _request(
    "input",
    input={
        "oneOf": [
            TEXT,
            {**TOKENS, "minItems": 1},
            {"type": "array", "items": {"anyOf": [TEXT, TOKENS]}, "minItems": 1},
        ]
    },
)

OPENAI_ERROR: Final = _object(
    ("error", "request_id", "attempts"),
    error=_object(
        ("message", "type", "code"),
        message=TEXT,
        type=TEXT,
        param=TEXT,
        code=TEXT,
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


def _takes(
    summary: str,
    body: str,
    error: str,
    answer: str,
    *,
    streams: bool = False,
    is_billed: bool = False,
) -> Schema:
    content = _json({"type": "object"})
    if streams:
        content["text/event-stream"] = {}
    faults = {
        status: {"description": what, "content": _json({"$ref": f"#/components/schemas/{error}"})}
        for status, what in (ERRORS | (REPEATED if is_billed else {})).items()
        if status != "499"
    }
    return {
        "post": {
            **({"parameters": [IDEMPOTENCY]} if is_billed else {}),
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
                is_billed=True,
            ),
            "/v1/messages": _takes(
                "Answer a conversation in Anthropic's dialect",
                "Messages",
                anthropic,
                "The answer, whole or as events",
                streams=True,
                is_billed=True,
            ),
            "/v1/messages/count_tokens": _takes(
                "Estimate the tokens of a conversation", "Count", anthropic, "The estimate"
            ),
            "/v1/embeddings": _takes(
                "Turn texts into vectors", "Embeddings", openai, "The vectors", is_billed=True
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
