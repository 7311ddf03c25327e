"""What may be kept: requests that have one answer, and answers that are whole.

An answer that is kept is given to others, so a bad one is a hundred bad ones. Whatever is not
plainly a whole answer to the question, by the provider's own word, is not kept. The reasons are
words, for tests and logs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson

from pointsman.domain.content import Text, ToolCall
from pointsman.domain.outcome import FAILURES, Outcome
from pointsman.domain.reply import ChatReply
from pointsman.domain.request import ChatRequest, Request
from pointsman.domain.usage import ALARMING
from pointsman.ledger.entries import Attempt
from pointsman.routing.besides import ACTING_FIELDS, NESTED

LOST_FIELDS: Final = frozenset({"logprobs", "top_logprobs", "modalities", "audio", "prediction"})
"""Fields that ask for more than text and tool calls: an answer told again would lack it."""
WHOLE: Final = frozenset({"stop", "stop_sequence"})


def why_not_asked(request: Request) -> str:
    """Why no cache is asked about a request; "" where it is."""
    if not isinstance(request, ChatRequest):
        return "not a chat"
    if request.choices != 1:
        return "several answers"
    names = request.extra.keys()
    if not names.isdisjoint(LOST_FIELDS):
        return "more than text"
    if not names.isdisjoint(ACTING_FIELDS | NESTED) or any(
        "type" in t.extra for t in request.tools
    ):
        return "the provider acts"
    return ""


def why_not_kept(
    request: ChatRequest,
    reply: ChatReply,
    outcome: Outcome,
    attempts: Sequence[Attempt],
    *,
    tools: bool,
) -> str:
    """Why an answer is not kept; "" where it is. `attempts` are all that the call made."""
    if outcome.kind != "ok" or outcome.http_status != 200 or outcome.code:
        return "failed"
    if any(each.ttft_s is not None and each.outcome in FAILURES for each in attempts):
        return "continued"  # Two models' halves.
    usage = outcome.usage
    if not ALARMING.isdisjoint(usage.flags) or (usage.estimated and not usage.output):
        return "odd usage"
    calls = any(isinstance(part, ToolCall) for part in reply.parts)
    if calls and not tools:
        return "calls tools"
    if reply.finish not in WHOLE and not (calls and reply.finish == "tool_calls"):
        return f"finished by {reply.finish}"
    if calls:
        return "" if all(map(_is_object, _arguments(reply))) else "broken tool call"
    text = "".join(part.text for part in reply.parts if isinstance(part, Text))
    if not text.strip():
        return "empty"
    wanted = request.response_format
    if wanted is not None and wanted.kind != "text" and not _is_json(text):
        return "not the JSON asked for"
    return ""


def answering(attempts: Sequence[Attempt], deployment: str) -> Attempt | None:
    """The attempt that gave the answer; a hedge that it left behind may stand after it."""
    for attempt in reversed(attempts):
        if attempt.outcome == "ok" and attempt.deployment == deployment:
            return attempt
    return None


def _arguments(reply: ChatReply) -> list[str]:
    return [part.arguments for part in reply.parts if isinstance(part, ToolCall)]


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _is_object(text: str) -> bool:
    return not text or (text.lstrip().startswith("{") and _is_json(text))
