"""The estimator: near o200k_base for every kind of text, and bounded from above."""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pointsman.domain.content import (
    Audio,
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from pointsman.domain.request import ChatRequest, EmbeddingsRequest, Source
from pointsman.routing.tokens import (
    SAMPLE_BYTES,
    TokenScale,
    estimate_output,
    estimate_request,
    estimate_text,
    upper_bound,
)

SAMPLES = [
    json.loads(line)
    for line in (Path(__file__).parent / "token_samples.jsonl").read_text("utf-8").splitlines()
]
"""Texts written for this test and not used for the fit, with their exact o200k_base counts."""


def chat(*parts: Part, **changes: object) -> ChatRequest:
    request = ChatRequest("auto", (Message("user", parts or (Text("Hello"),)),))
    return replace(request, **changes)


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample["kind"] for sample in SAMPLES])
def test_a_text_is_estimated_within_a_quarter(sample: dict[str, str | int]) -> None:
    exact = int(sample["tokens"])
    assert abs(estimate_text(str(sample["text"])) - exact) <= 0.25 * exact


def test_over_all_kinds_of_text_the_mean_error_is_below_an_eighth() -> None:
    errors = [abs(estimate_text(sample["text"]) / sample["tokens"] - 1) for sample in SAMPLES]
    assert sum(errors) / len(errors) < 0.125


def test_nothing_is_no_token_and_anything_is_at_least_one() -> None:
    assert estimate_text("") == 0
    assert estimate_text("a") == estimate_text(" ") == estimate_text("漢") == 1


def test_the_prompt_counts_and_not_the_longest_answer() -> None:
    """The trap of a known router: 3,000 characters were priced as `max_tokens` of them."""
    request = chat(Text("where is my parcel " * 150), max_tokens=10)
    assert 500 < estimate_request(request) < 800
    assert estimate_output(request, "chat", 600) == 10


def test_a_long_text_is_sampled_and_still_right() -> None:
    paragraph = str(SAMPLES[0]["text"]) + "\n"
    once = estimate_text(paragraph * 20) / 20
    many = 40 * SAMPLE_BYTES // len(paragraph)
    assert estimate_text(paragraph * many) == pytest.approx(once * many, rel=0.03)


def test_capitals_in_a_row_are_not_free() -> None:
    assert estimate_text("A" * 400) > 60


@given(st.text(max_size=400))
def test_the_estimate_of_a_request_never_exceeds_its_upper_bound_by_much(text: str) -> None:
    request = chat(Text(text))
    assert 0 < upper_bound(request) <= 8 + 4 * max(1, len(text))
    assert estimate_request(request) <= 2 * upper_bound(request)


@given(st.text(max_size=200), st.text(max_size=200))
def test_more_text_never_costs_fewer_tokens_than_its_first_half_by_much(a: str, b: str) -> None:
    assert estimate_text(a + " " + b) >= 0.8 * estimate_text(a) - 3


def test_the_upper_bound_is_the_bytes_and_eight_a_message() -> None:
    request = ChatRequest(
        "auto", (Message("system", (Text("漢字"),)), Message("user", (Text("abc"),)))
    )
    assert upper_bound(request) == 6 + 1 + 3 + 16


def test_tools_images_files_and_sound_weigh_by_their_stated_rules() -> None:
    plain = estimate_request(chat())
    tool = Tool(
        "find", "Find a parcel", {"type": "object", "properties": {"id": {"type": "string"}}}
    )
    assert estimate_request(chat(tools=(tool,))) > plain + 20
    assert estimate_request(chat(Image(url="https://a/b.png"))) == 1105 + 4
    assert estimate_request(chat(Image(url="https://a/b.png", detail="low"))) == 85 + 4
    assert estimate_request(chat(Document(file_id="f"))) == 3000 + 4
    assert estimate_request(chat(Document(data="A" * 4000))) == 1500 + 4
    assert estimate_request(chat(Document(text="Hello"))) == plain
    ten_seconds_of_wav = "A" * (10 * 32_000 * 4 // 3)
    assert estimate_request(chat(Audio(ten_seconds_of_wav, "wav"))) == pytest.approx(324, abs=2)


def test_a_tool_schema_may_be_a_read_only_view() -> None:
    schema = MappingProxyType({"type": "object"})
    assert estimate_request(chat(tools=(Tool("find", "", schema),))) > 12


def test_an_answer_schema_thoughts_calls_and_results_count() -> None:
    plain = estimate_request(chat())
    form = ResponseFormat("json_schema", schema={"type": "object", "required": ["a", "b"]})
    assert estimate_request(chat(response_format=form)) > plain
    said = "The parcel is in the northern depot."
    call = ToolCall("1", "find", json.dumps({"where": said}))
    result = ToolResult("1", (Text(said), Image(url="https://a/b.png")))
    for part in (Thinking(said), call):
        assert estimate_request(chat(part)) >= estimate_text(said)
    assert estimate_request(chat(result)) > 1105 + estimate_text(said)


def test_embeddings_count_texts_and_token_lists() -> None:
    request = EmbeddingsRequest("e", ("hello world", (1, 2, 3)), Source("openai", b""))
    assert estimate_request(request) == estimate_text("hello world") + 3
    assert upper_bound(request) == 11 + 3
    assert estimate_output(request, "chat", 10) == 0


def test_a_lone_surrogate_does_not_break_the_estimate() -> None:
    assert estimate_text("\ud800 broken") > 0
    assert upper_bound(chat(Text("\ud800"))) == 11


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 210),
        ({"max_tokens": 50}, 50),
        ({"choices": 3}, 630),
        ({"max_tokens": 50, "choices": 2}, 100),
        ({"tools": (Tool("find"),)}, 150),
        ({"reasoning": Reasoning(effort="high")}, 8210),
        ({"reasoning": Reasoning(budget_tokens=1000)}, 710),
        ({"reasoning": Reasoning(enabled=False)}, 210),
        ({"reasoning": Reasoning(effort="high"), "max_tokens": 1000}, 1000),
    ],
)
def test_the_expected_answer_follows_what_was_asked(
    changes: dict[str, object], expected: int
) -> None:
    assert estimate_output(chat(**changes), "chat", 100) == expected


def test_a_translation_is_as_long_as_its_text() -> None:
    assert estimate_output(chat(), "translation", 1000) == 1100


def test_a_scale_learns_a_models_own_tokens() -> None:
    scale = TokenScale()
    for _ in range(30):
        scale = scale.observe(1000, 1300)
    assert scale.ratio == pytest.approx(1.3)
    assert scale.apply(1000) == 1300
    assert scale.samples == 30


def test_a_scale_forgets_nothing_at_once_and_ignores_noise() -> None:
    scale = TokenScale(1.2, 50)
    assert scale.observe(1000, 100_000).ratio == pytest.approx(1.2 + 0.1 * 2.8)
    assert scale.observe(3, 30) is scale
    assert scale.observe(1000, 0) is scale


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(-5, 10**6)), max_size=30))
def test_a_scale_stays_within_its_range(seen: list[tuple[int, int]]) -> None:
    scale = TokenScale()
    for estimated, actual in seen:
        scale = scale.observe(estimated, actual)
    assert 0.25 <= scale.ratio <= 4
