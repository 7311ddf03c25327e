"""What a provider's error means: one reading for both dialects, by table.

Providers that speak one dialect answer errors in many shapes (an `error` object or text, a bare
`message`, FastAPI's `detail`, Gemini's array, a proxy's HTML), so the shape is read leniently
and the meaning taken, in this order, from: its words about the context or the content, its code
or type, its status.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from pointsman.dialects.retry_after import duration_s, retry_after_s
from pointsman.errors import Cause, FailureKind, InvalidRequest, ProviderFailure

MAX_MESSAGE_BYTES = 2048
"""As much of a provider's words as we keep."""

KIND_OF_STATUS: Mapping[int, FailureKind] = {
    401: "refused",
    402: "refused",
    403: "refused",
    404: "refused",
    405: "refused",
    406: "refused",
    408: "unavailable",
    409: "unavailable",
    410: "refused",
    413: "context_length",
    415: "refused",
    424: "unavailable",
    425: "unavailable",
    429: "throttled",
    498: "overloaded",
    503: "overloaded",
    529: "overloaded",
}
"""498 is Groq's and 529 Anthropic's word for a lack of capacity. Other 5xx are unavailable."""

KIND_OF_WORD: Mapping[str, FailureKind] = {
    "insufficient_quota": "refused",
    "billing_hard_limit_reached": "refused",
    "billing_not_active": "refused",
    "billing_error": "refused",
    "enforced_spend_limit_reached": "refused",
    "invalid_api_key": "refused",
    "authentication_error": "refused",
    "permission_error": "refused",
    "permission_denied": "refused",
    "model_not_found": "refused",
    "not_found_error": "refused",
    "notfounderror": "refused",
    "deploymentnotfound": "refused",
    "context_length_exceeded": "context_length",
    "exceed_context_size_error": "context_length",
    "request_too_large": "context_length",
    "string_above_max_length": "context_length",
    "content_filter": "content_filter",
    "content_policy_violation": "content_filter",
    "responsibleaipolicyviolation": "content_filter",
    "data_inspection_failed": "content_filter",
    "rate_limit_error": "throttled",
    "rate_limit_exceeded": "throttled",
    "rate_limit_reached_error": "throttled",
    "too_many_requests": "throttled",
    "resource_exhausted": "throttled",
    "overloaded_error": "overloaded",
    "engine_overloaded_error": "overloaded",
    "capacity_exceeded": "overloaded",
    "service_unavailable": "overloaded",
    "timeout_error": "timeout",
}
"""Codes and types, in lower case, of OpenAI, Azure, Anthropic, Gemini, Groq, Qwen, llama.cpp."""

QUOTA_WORDS = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "billing_error",
        "enforced_spend_limit_reached",
    }
)
"""Of the words for `refused`: the account's money or quota is used up."""

_NO_MONEY = re.compile(
    r"credit balance is too low|insufficient (?:balance|credits?)", re.IGNORECASE
)
"""Anthropic's 400; DeepSeek's and OpenRouter's 402."""

JUDGED: Mapping[FailureKind, str] = {
    "content_filter": "content_filter",
    "context_length": "context_length_exceeded",
}
"""What a client is told of a verdict on its request that comes inside a stream."""

UNBILLED: frozenset[FailureKind] = frozenset(
    {"throttled", "overloaded", "refused", "content_filter", "context_length"}
)
"""Who says this before any content has done no work, also inside a 200."""

_CONTEXT = re.compile(
    r"maximum context length|context[ _]length[ _]exceeded|context window|context size"
    r"|prompt is too long|prompt too long|input is too long|input length .{0,60}exceed"
    r"|exceeds? the (?:maximum|max) (?:number of )?(?:input )?tokens|input token count"
    r"|too many tokens|prompt contains \d+ tokens|too large for model with \d+ maximum context"
    r"|(?:longer|larger) than the (?:model|maximum model|context)|reduce the length of"
    r"|max_model_len|maximum prompt length|maximum allowed number of input tokens",
    re.IGNORECASE,
)
"""OpenAI and vLLM: "maximum context length is"; Anthropic: "prompt is too long"; llama.cpp:
"exceeds the available context size"; Gemini: "input token count … exceeds the maximum number of
tokens"; Mistral: "Prompt contains 40000 tokens … too large for model with 32768 maximum context
length"; xAI: "maximum prompt length"."""

_CONTENT = re.compile(
    r"content management policy|content filtering policy|content[ _]policy[ _]violation"
    r"|usage policy|usage policies|safety system|flagged by|blocked by .{0,40}(?:safety|policy)",
    re.IGNORECASE,
)

_CREDENTIAL = re.compile(
    r"credit balance is too low|api[_ ]key[_ ](?:not valid|invalid)|api key not valid"
    r"|(?:incorrect|invalid) api key|invalid model|model .{0,80}(?:not found|does not exist)",
    re.IGNORECASE,
)
"""400s that tell against our account or model name, not against the caller's words (Anthropic,
Gemini, xAI, Mistral)."""

_SECRET = re.compile(r"\b(sk|pk|gsk|xai|key|AIza|Bearer )[-_ ]?[\w*.-]{8,}")


@dataclass(frozen=True, slots=True)
class Said:
    """What a provider said went wrong. `words` are its code, type and status, lower case."""

    message: str
    words: tuple[str, ...] = ()
    code: str | None = None
    param: str | None = None
    status: int | None = None
    retry_s: float | None = None


def kind_of(said: Said, status: int) -> FailureKind | None:
    """Return how the provider failed, or None where the caller's request is at fault."""
    if status in (429, 529):
        return _by_word(said, ("refused", "overloaded")) or KIND_OF_STATUS[status]
    if (status < 500 and status not in (401, 402, 404)) or _by_word(said, ("context_length",)):
        if _by_word(said, ("context_length",)) or _CONTEXT.search(said.message):
            return "context_length"
        if _by_word(said, ("content_filter",)) or _CONTENT.search(said.message):
            return "content_filter"
    if status in (400, 422):
        if _CREDENTIAL.search(said.message):
            return "refused"
        return _by_word(said, ("refused", "throttled", "overloaded"))
    if status >= 500:
        return (
            _by_word(said, ("overloaded", "throttled"))
            or KIND_OF_STATUS.get(status)
            or "unavailable"
        )
    return KIND_OF_STATUS.get(status, "refused" if status >= 400 else "unavailable")


def cause_of(said: Said, status: int | None, kind: FailureKind) -> Cause:
    """Tell a used-up quota from a refused credential."""
    if kind != "refused":
        return ""
    words = not QUOTA_WORDS.isdisjoint(said.words)
    return "quota" if status == 402 or words or _NO_MONEY.search(said.message) else ""


def _by_word(said: Said, among: tuple[FailureKind, ...]) -> FailureKind | None:
    for word in said.words:
        kind = KIND_OF_WORD.get(word)
        if kind in among:
            return kind
    return None


def read_answer(
    status: int, headers: Mapping[str, str], body: bytes
) -> ProviderFailure | InvalidRequest:
    """Read an error answer. `headers` have lower-case names."""
    said = read_body(body)
    kind = kind_of(said, status)
    message = said.message or f"the provider answered {status}"
    if kind is None:
        return InvalidRequest(
            message, status=status, code=said.code or InvalidRequest.code, param=said.param
        )
    wait = retry_after_s(headers, None)
    return ProviderFailure(
        kind,
        message,
        http_status=status,
        retry_after_s=said.retry_s if wait is None else wait,
        maybe_billed=status >= 500 or status == 408,
        body=body[:MAX_MESSAGE_BYTES],
        cause=cause_of(said, status, kind),
    )


def fields_of(data: bytes) -> dict[str, Any]:
    """Read the whole of an event that was decoded in part; parts that were skipped may be
    broken. Raise ProviderFailure("malformed") then."""
    try:
        fields = orjson.loads(data)
    except ValueError:
        raise malformed("the provider's stream has an event that is not JSON") from None
    return fields if type(fields) is dict else {}


def in_stream(error: object) -> ProviderFailure:
    """Read an error that came inside a 200: the value of `error`, or the whole object."""
    said = read_error(error)
    status = said.status if said.status is not None and said.status >= 400 else None
    kind: FailureKind | None = None
    for word in said.words:
        kind = kind or KIND_OF_WORD.get(word)
    if kind is None and _CONTEXT.search(said.message):
        kind = "context_length"
    if kind is None and _CONTENT.search(said.message):
        kind = "content_filter"
    if kind is None and status is not None:
        kind = kind_of(said, status)
    kind = kind or "unavailable"
    judged = JUDGED.get(kind)
    failure = ProviderFailure(
        kind,
        said.message or "the provider sent an error without a message",
        http_status=status,
        retry_after_s=said.retry_s,
        code="upstream_error" if judged is None else judged,
        maybe_billed=kind not in UNBILLED,
        cause=cause_of(said, status, kind),
    )
    if judged is not None:
        failure.status = 400  # A verdict on this request, and no fault of the provider.
    return failure


def require_utf8(data: bytes) -> None:
    """Raise ProviderFailure("malformed") for bytes that no client could read: fields that we skip
    pass on unread."""
    try:
        data.decode()
    except UnicodeDecodeError:
        raise malformed("the provider's answer is not UTF-8") from None


def read_body(body: bytes) -> Said:
    """Find message, code and type in an error body of any shape; never raises."""
    try:
        value = orjson.loads(body)
    except ValueError:
        text = body[:MAX_MESSAGE_BYTES].decode("utf-8", "replace").strip()
        return Said("" if text[:1] == "<" else bounded(text))
    if type(value) is list and value:
        value = value[0]
    return read_error(value["error"] if type(value) is dict and value.get("error") else value)


def read_error(error: Any) -> Said:
    """Read the value of `error`, or an object that is an error itself; never raises."""
    if type(error) is str:
        return Said(bounded(error))
    if type(error) is not dict:
        return Said("")
    if type(error.get("error")) is dict:
        error = error["error"]
    message = error.get("message") or error.get("detail") or error.get("msg") or ""
    words: list[str] = []
    status: int | None = None
    inner = error.get("innererror")
    for value in (
        error.get("code"),
        error.get("type"),
        error.get("status"),
        inner.get("code") if type(inner) is dict else None,
    ):
        if type(value) is str and value.isdecimal() and len(value) == 3:
            value = int(value)
        if type(value) is int:
            status = value if status is None and 100 <= value < 600 else status
        elif type(value) is str and value:
            words.append(value[:100].lower())
    code, param = error.get("code"), error.get("param")
    return Said(
        bounded(message if type(message) is str else _json_text(message)),
        tuple(words),
        code[:100] if type(code) is str else None,
        param[:200] if type(param) is str else None,
        status,
        _retry_info(error.get("details")),
    )


def _json_text(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # Nested deeper than orjson writes.
        return ""


def _retry_info(details: object) -> float | None:
    """Read `retryDelay` of google.rpc.RetryInfo ("34s") in Gemini's error details."""
    if type(details) is not list:
        return None
    for detail in details:
        delay = detail.get("retryDelay") if type(detail) is dict else None
        if type(delay) is str:
            return duration_s(delay)
    return None


def bounded(text: str) -> str:
    """Cut to `MAX_MESSAGE_BYTES` and blot out what looks like a key."""
    text = _SECRET.sub(r"\1-…", text)
    if len(text) * 4 > MAX_MESSAGE_BYTES:
        text = text.encode("utf-8", "replace")[:MAX_MESSAGE_BYTES].decode("utf-8", "ignore")
    return text


def malformed(message: str, code: str = "upstream_protocol") -> ProviderFailure:
    return ProviderFailure("malformed", message, code=code)


def cut_short() -> ProviderFailure:
    return malformed("the provider's stream ended before its proper end", "upstream_disconnected")
