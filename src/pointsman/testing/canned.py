"""What real providers say when they fail, in their own shapes, as seen in 2025 and 2026.

Wording and fields follow the providers' public error pages and what their users quote in public
issue trackers; names, numbers and ids in them are invented.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pointsman.domain.content import Json, JsonObject
from pointsman.testing.asked import DialectName


@dataclass(frozen=True, slots=True)
class Canned:
    """An error answer: status, headers that come with it, and its JSON."""

    status: int
    body: Json
    headers: Mapping[str, str] = field(default_factory=dict)


def openai_error(
    message: str, kind: str | None, code: str | None = None, param: str | None = None
) -> JsonObject:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def anthropic_error(kind: str, message: str) -> JsonObject:
    return {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy",
    }


_OPENAI: dict[int, JsonObject] = {
    400: openai_error("Invalid value for 'temperature'.", "invalid_request_error", None, "temp"),
    401: openai_error(
        "Incorrect API key provided: sk-****. You can find your API key at the dashboard.",
        "invalid_request_error",
        "invalid_api_key",
    ),
    402: openai_error("Insufficient Balance", "unknown_error", "invalid_request_error"),
    403: openai_error(
        "Country, region, or territory not supported",
        "request_forbidden",
        "unsupported_country_region_territory",
    ),
    404: openai_error(
        "The model does not exist or you do not have access to it.",
        "invalid_request_error",
        "model_not_found",
    ),
    408: openai_error("Request timed out.", "server_error", "timeout"),
    409: openai_error("Resource is being modified, try again.", "conflict_error"),
    413: openai_error("Request body too large.", "invalid_request_error", "request_too_large"),
    422: openai_error("Unprocessable entity.", "invalid_request_error"),
    429: openai_error(
        "Rate limit reached for requests per min (RPM): Limit 60, Used 60, Requested 1.",
        "requests",
        "rate_limit_exceeded",
    ),
    500: openai_error(
        "The server had an error while processing your request. Sorry about that!", "server_error"
    ),
    502: openai_error("Bad gateway.", "server_error"),
    503: openai_error(
        "The engine is currently overloaded, please try again later", "service_unavailable"
    ),
    504: openai_error("Upstream request timed out.", "server_error"),
}

_ANTHROPIC: dict[int, JsonObject] = {
    400: anthropic_error("invalid_request_error", "temperature: range: 0..1"),
    401: anthropic_error("authentication_error", "invalid x-api-key"),
    402: anthropic_error("billing_error", "Your organization's billing needs attention."),
    403: anthropic_error("permission_error", "Your API key may not use this resource."),
    404: anthropic_error("not_found_error", "model: unknown-model"),
    413: anthropic_error("request_too_large", "Request exceeds the maximum size"),
    429: anthropic_error(
        "rate_limit_error", "This request would exceed your organization's rate limit."
    ),
    500: anthropic_error("api_error", "Internal server error"),
    502: anthropic_error("api_error", "Bad gateway"),
    503: anthropic_error("api_error", "Service unavailable"),
    504: anthropic_error("timeout_error", "Request timed out"),
    529: anthropic_error("overloaded_error", "Overloaded"),
}

_FILTERED: JsonObject = {"filtered": True, "severity": "high"}
_SAFE: JsonObject = {"filtered": False, "severity": "safe"}

CANNED: dict[str, Canned] = {
    # Spend caps and quotas: a 429 that waiting does not cure, and so without Retry-After.
    "insufficient_quota": Canned(
        429,
        openai_error(
            "You exceeded your current quota, please check your plan and billing details.",
            "insufficient_quota",
            "insufficient_quota",
        ),
    ),
    "spend_limit": Canned(
        429,
        openai_error(
            "The enforced spend limit of this project has been reached.",
            "insufficient_quota",
            "enforced_spend_limit_reached",
        ),
    ),
    "anthropic_credit": Canned(
        400,
        anthropic_error(
            "invalid_request_error",
            "Your credit balance is too low to access the Anthropic API. "
            "Please go to Plans & Billing to upgrade or purchase credits.",
        ),
    ),
    # Content filters.
    "azure_content_filter": Canned(
        400,
        {
            "error": {
                "message": "The response was filtered due to the prompt triggering Azure OpenAI's "
                "content management policy. Please modify your prompt and retry.",
                "type": None,
                "param": "prompt",
                "code": "content_filter",
                "status": 400,
                "innererror": {
                    "code": "ResponsibleAIPolicyViolation",
                    "content_filter_result": {
                        "hate": _SAFE,
                        "jailbreak": {"filtered": False, "detected": False},
                        "self_harm": _SAFE,
                        "sexual": _SAFE,
                        "violence": _FILTERED,
                    },
                },
            }
        },
    ),
    "openai_content_policy": Canned(
        400,
        openai_error(
            "Your request was rejected as a result of our safety system.",
            "invalid_request_error",
            "content_policy_violation",
        ),
    ),
    "anthropic_content_filter": Canned(
        400,
        anthropic_error("invalid_request_error", "Output blocked by content filtering policy"),
    ),
    # Context length, in the dialects that are out there.
    "context_openai": Canned(
        400,
        openai_error(
            "This model's maximum context length is 8192 tokens. However, your messages resulted "
            "in 9001 tokens. Please reduce the length of the messages.",
            "invalid_request_error",
            "context_length_exceeded",
            "messages",
        ),
    ),
    "context_anthropic": Canned(
        400,
        anthropic_error(
            "invalid_request_error", "prompt is too long: 210403 tokens > 200000 maximum"
        ),
    ),
    "context_gemini": Canned(
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": "The input token count (1200000) exceeds the maximum number of "
                    "tokens allowed (1048576).",
                    "status": "INVALID_ARGUMENT",
                }
            }
        ],
    ),
    "context_vllm": Canned(
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 4096 tokens. However, you "
            "requested 5000 tokens (4900 in the messages, 100 in the completion). Please reduce "
            "the length of the messages or completion.",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
    ),
    "context_llamacpp": Canned(
        400,
        {
            "error": {
                "code": 400,
                "message": "request (5000 tokens) exceeds the available context size (4096 "
                "tokens), try increasing it",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 5000,
                "n_ctx": 4096,
            }
        },
    ),
    "context_mistral": Canned(
        400,
        {
            "object": "error",
            "message": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with "
            "32768 maximum context length",
            "type": "invalid_request_error",
            "param": None,
            "code": "3051",
        },
    ),
    "context_groq": Canned(
        413,
        openai_error(
            "Please reduce the length of the messages or completion.",
            "invalid_request_error",
            "context_length_exceeded",
            "messages",
        ),
    ),
}

CONTEXT_DIALECTS = tuple(name for name in CANNED if name.startswith("context_"))

_TABLES = {"openai": (_OPENAI, 500), "anthropic": (_ANTHROPIC, 500)}


def usual(dialect: DialectName, status: int) -> Json:
    """What a provider of this dialect says with `status`."""
    table, otherwise = _TABLES[dialect]
    return table.get(status, table[otherwise])


def bad_request(dialect: DialectName, message: str, param: str | None, status: int = 400) -> Json:
    """What it says of a request it cannot take."""
    if dialect == "anthropic":
        kind = "not_found_error" if status == 404 else "invalid_request_error"
        return anthropic_error(kind, message)
    code = "model_not_found" if status == 404 else None
    return openai_error(message, "invalid_request_error", code, param)


STREAM_ERRORS: dict[DialectName, dict[str, JsonObject]] = {
    "openai": {
        "overloaded": _OPENAI[503],
        "server_error": _OPENAI[500],
        "throttled": _OPENAI[429],
        "content_filter": openai_error(
            "The response was filtered.", "invalid_request_error", "content_filter"
        ),
    },
    "anthropic": {
        "overloaded": {
            "type": "error",
            "error": {"type": "overloaded_error", "message": "Overloaded"},
        },
        "server_error": {
            "type": "error",
            "error": {"type": "api_error", "message": "Internal server error"},
        },
        "throttled": {
            "type": "error",
            "error": {"type": "rate_limit_error", "message": "Rate limit reached"},
        },
        "content_filter": {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "Output blocked by content filtering policy",
            },
        },
    },
}
