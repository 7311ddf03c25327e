"""Features: read from the request's own content, and only as far as the policy asks."""

from __future__ import annotations

import pytest

from pointsman.domain.content import (
    Audio,
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from pointsman.domain.request import ChatRequest, EmbeddingsRequest, RouteOptions, Source
from pointsman.routing.features import (
    CLASSIFIED_CHARS,
    NO_QUESTIONS,
    SENSITIVE_CHARS,
    Questions,
    features_of,
    needs_of,
    said_last,
)
from pointsman.routing.signals import RequestFeatures

EVERYTHING = Questions(task=True, language=True, sensitivity=True)
CODE = "Schreibe eine Python-Funktion für mich, bitte"


def chat(*parts: Part) -> ChatRequest:
    return ChatRequest("auto", (Message("user", parts or (Text("Hello"),)),))


def features(
    request: ChatRequest | EmbeddingsRequest,
    options: RouteOptions = RouteOptions(),  # noqa: B008
    questions: Questions = EVERYTHING,
) -> RequestFeatures:
    return features_of(request, options, questions, now=100.0, deadline=130.0)


@pytest.mark.parametrize(
    ("request_", "needs"),
    [
        (chat(), {"chat"}),
        (chat(Image(url="https://a/b.png")), {"chat", "vision"}),
        (chat(ToolResult("1", (Image(url="https://a/b.png"),))), {"chat", "vision"}),
        (chat(Document(file_id="f")), {"chat", "documents"}),
        (chat(Audio("AA", "wav")), {"chat", "audio"}),
        (ChatRequest("a", (), tools=(Tool("f"),)), {"chat", "tools"}),
        (
            ChatRequest("a", (), tools=(Tool("f"),), parallel_tools=True),
            {"chat", "tools", "parallel_tools"},
        ),
        (ChatRequest("a", (), tools=(Tool("f"),), parallel_tools=False), {"chat", "tools"}),
        (ChatRequest("a", (), parallel_tools=True), {"chat"}),
        (ChatRequest("a", (), response_format=ResponseFormat("json")), {"chat", "json"}),
        (
            ChatRequest("a", (), response_format=ResponseFormat("json_schema")),
            {"chat", "json_schema"},
        ),
        (ChatRequest("a", (), response_format=ResponseFormat()), {"chat"}),
        (ChatRequest("a", (), reasoning=Reasoning(effort="low")), {"chat", "reasoning"}),
        (ChatRequest("a", (), reasoning=Reasoning(enabled=False)), {"chat"}),
        (EmbeddingsRequest("e", ("x",), Source("openai", b"")), {"embeddings"}),
    ],
)
def test_content_makes_hard_needs(
    request_: ChatRequest | EmbeddingsRequest, needs: set[str]
) -> None:
    assert needs_of(request_) == needs


def test_what_the_caller_requires_comes_on_top() -> None:
    found = features(chat(), RouteOptions(require=frozenset({"x-legal"})))
    assert found.needs == {"chat", "x-legal"}


def test_content_is_read_only_where_the_policy_asks() -> None:
    request = chat(Text(CODE + " password=hunter22"))
    asked = features(request)
    assert (asked.task, asked.language, asked.sensitive) == ("code", "de", "secret")
    unasked = features(request, questions=NO_QUESTIONS)
    assert (unasked.task, unasked.language, unasked.sensitive) == ("chat", "und", "")


def test_the_last_thing_a_user_said_tells_task_and_language() -> None:
    request = ChatRequest(
        "auto",
        (
            Message("system", (Text("You are a translator. Translate everything."),)),
            Message("user", (Text("Translate this."),)),
            Message("assistant", (ToolCall("1", "look", "{}"),)),
            Message("user", (Text(CODE),)),
            Message("assistant", (ToolCall("2", "look", "{}"),)),
            Message("user", (ToolResult("2", (Text("what the tool gave"),)),)),
        ),
    )
    found = features(request)
    assert (found.task, found.language) == ("code", "de")


def test_a_long_message_is_cut_in_its_middle() -> None:
    text = said_last(chat(Text("Anfang " + "x" * 50_000 + " Ende")))
    assert len(text) == CLASSIFIED_CHARS + 1
    assert text.startswith("Anfang") and text.endswith("Ende")


@pytest.mark.parametrize("role", ["system", "user", "assistant"])
def test_a_secret_is_found_wherever_it_stands(role: str) -> None:
    messages = [Message("system", (Text("Be kind."),)), Message("user", (Text("Hello"),))]
    messages.insert(1, Message(role, (Text("DB_PASSWORD=hunter22x"),)))  # type: ignore[arg-type]
    assert features(ChatRequest("auto", tuple(messages))).sensitive == "secret"


def test_a_secret_in_a_tool_call_or_result_is_found() -> None:
    call = ToolCall("1", "login", '{"password": "hunter22x"}')
    assert features(chat(call)).sensitive == "secret"
    assert features(chat(ToolResult("1", (Text("mail bob@acme.io"),)))).sensitive == "pii"


def test_the_newest_text_is_read_first_where_there_is_too_much() -> None:
    filler = Message("user", (Text("x " * (SENSITIVE_CHARS // 2)),))
    secret = Message("user", (Text("password=hunter22x"),))
    assert features(ChatRequest("a", (filler, secret))).sensitive == "secret"
    assert features(ChatRequest("a", (secret, filler))).sensitive == ""


def test_the_callers_word_counts_one_way_only() -> None:
    secret = chat(Text("password=hunter22x"))
    assert features(chat(), RouteOptions(sensitive=True)).sensitive == "declared"
    assert features(secret, RouteOptions(sensitive=False)).sensitive == "secret"


def test_time_money_session_and_limits_are_passed_on() -> None:
    request = ChatRequest("a", (), max_tokens=77, stream=True, user="bob")
    options = RouteOptions(prefer="speed", max_cost_nano=5, allow=("a/*",), residency="eu")
    found = features(request, options)
    assert found.remaining_s == 30.0
    assert (found.max_output_tokens, found.streaming, found.session) == (77, True, "bob")
    assert (found.prefer, found.max_cost_nano, found.allow) == ("speed", 5, ("a/*",))
    assert found.residency == "eu"
    assert features(request, RouteOptions(session="s")).session == "s"
    assert features(chat()).max_output_tokens == 0


def test_embeddings_are_read_too() -> None:
    request = EmbeddingsRequest("e", ("mail bob@acme.io", (1, 2)), Source("openai", b""))
    found = features(request)
    assert found.sensitive == "pii"
    assert (found.output_tokens, found.max_output_tokens) == (0, 0)
