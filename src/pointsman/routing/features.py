"""What a policy may know of a request, read from the request itself.

Content is read only as far as a policy asks (`Questions`): a route without content rules pays
nothing for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pointsman.domain.content import (
    Audio,
    Document,
    Image,
    Message,
    Text,
    ToolResult,
)
from pointsman.domain.request import ChatRequest, EmbeddingsRequest, RouteOptions
from pointsman.routing.besides import besides_of, sent_bytes
from pointsman.routing.classify import language_of, sensitivity_of, task_of
from pointsman.routing.signals import PLAIN, RequestFeatures, Task
from pointsman.routing.tokens import estimate_output, measure, texts_of

CLASSIFIED_CHARS: Final = 8_000
"""Task and language are judged by the last user message, its first and last half of this."""
SENSITIVE_CHARS: Final = 256_000
"""Sensitivity is judged by this much text, the newest messages first and the system prompt
always; what lies beyond is not read."""


@dataclass(frozen=True, slots=True)
class Questions:
    """What a policy wants to know of the content; each answer costs time."""

    task: bool = False
    language: bool = False
    sensitivity: bool = False


NO_QUESTIONS: Final = Questions()


def features_of(
    request: ChatRequest | EmbeddingsRequest,
    options: RouteOptions,
    policy_needs: Questions,
    now: float,
    deadline: float,
) -> RequestFeatures:
    """Read the features of a request; `now` and `deadline` are the clock's seconds.

    The caller's `sensitive: true` counts as "declared". `sensitive: false` does not switch the
    operator's own check off.
    """
    chat = isinstance(request, ChatRequest)
    task: Task = "chat"
    language = "und"
    if policy_needs.task or policy_needs.language:
        text = said_last(request)
        if policy_needs.task:
            task = task_of(text)
        if policy_needs.language:
            language = language_of(text)
    sensitive = ""
    if options.sensitive:
        sensitive = "declared"
    elif policy_needs.sensitivity:
        sensitive = sensitivity_of(all_said(request))
    tokens, upper = measure(request)
    needs = needs_of(request)
    return RequestFeatures(
        input_tokens=tokens,
        output_tokens=estimate_output(request, task, tokens),
        max_output_tokens=(request.max_tokens or 0) if isinstance(request, ChatRequest) else 0,
        needs=needs | options.require,
        task=task,
        language=language,
        sensitive=sensitive,
        streaming=request.stream if chat else False,
        prefer=options.prefer,
        residency=options.residency,
        allow=options.allow,
        max_cost_nano=options.max_cost_nano,
        remaining_s=deadline - now,
        session=options.session or (request.user if isinstance(request, ChatRequest) else None),
        tags=options.tags,
        upper_tokens=upper,
        sent_bytes=sent_bytes(request) if isinstance(request, ChatRequest) else 0,
        besides=besides_of(request, needs) if isinstance(request, ChatRequest) else PLAIN,
    )


def needs_of(request: ChatRequest | EmbeddingsRequest) -> frozenset[str]:
    """Find the capabilities that the request's own content makes hard constraints."""
    if isinstance(request, EmbeddingsRequest):
        return frozenset({"embeddings"})
    needs = {"chat"}
    if request.tools:
        needs.add("tools")
        if request.parallel_tools:
            needs.add("parallel_tools")
    if request.response_format is not None and request.response_format.kind != "text":
        needs.add(request.response_format.kind)
    if request.reasoning is not None and request.reasoning.enabled:
        needs.add("reasoning")
    kinds: set[type] = {type(part) for message in request.messages for part in message.parts}
    if ToolResult in kinds:
        kinds.update(
            type(inner)
            for message in request.messages
            for part in message.parts
            if isinstance(part, ToolResult)
            for inner in part.parts
        )
    if len(kinds) > 1 or Text not in kinds:
        needs.update(need for kind, need in NEED_OF_PART.items() if kind in kinds)
    return frozenset(needs)


NEED_OF_PART: Final[dict[type, str]] = {Image: "vision", Document: "documents", Audio: "audio"}


def said_last(request: ChatRequest | EmbeddingsRequest) -> str:
    """Return the text of the last user message that has any, cut to CLASSIFIED_CHARS."""
    if isinstance(request, EmbeddingsRequest):
        return _cut(next((text for text in request.inputs if isinstance(text, str)), ""))
    for message in reversed(request.messages):
        if message.role == "user":
            said = "\n".join(part.text for part in message.parts if isinstance(part, Text))
            if said:
                return _cut(said)
    return ""


def all_said(request: ChatRequest | EmbeddingsRequest) -> str:
    """Return all text of a request (system, user, assistant, tools), at most SENSITIVE_CHARS."""
    if isinstance(request, EmbeddingsRequest):
        return "\n".join(text for text in request.inputs if isinstance(text, str))[:SENSITIVE_CHARS]
    order: list[Message] = [each for each in request.messages if each.role == "system"]
    order += [each for each in reversed(request.messages) if each.role != "system"]
    return "\n".join(texts_of(order))[:SENSITIVE_CHARS]


def _cut(text: str) -> str:
    half = CLASSIFIED_CHARS // 2
    return text if len(text) <= CLASSIFIED_CHARS else f"{text[:half]}\n{text[-half:]}"
