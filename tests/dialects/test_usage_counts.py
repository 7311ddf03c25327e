"""Token counts: what is sane is normalised, what is not is as good as missing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.dialects.counts import (
    anthropic_usage,
    openai_usage,
    render_anthropic_usage,
    render_openai_usage,
)
from pointsman.domain.usage import INSANE, Usage


def usage(prompt: object = 10, completion: object = 5, **more: object) -> dict[str, object]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, **more}


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        (usage(), Usage(10, 5)),
        (usage(0, 0, total_tokens=0), Usage(0, 0)),
        (usage(total_tokens=15), Usage(10, 5)),
        (usage(prompt_tokens_details={"cached_tokens": 4}), Usage(10, 5, cached=4)),
        (
            usage(prompt_tokens_details={"cached_tokens": 40}),
            Usage(10, 5, cached=10, flags=("parts_clamped",)),
        ),
        (usage(prompt_tokens_details=None), Usage(10, 5)),
        (usage(prompt_tokens_details={"cached_tokens": None}), Usage(10, 5)),
        (
            usage(prompt_tokens_details={"cached_tokens": 4, "cache_write_tokens": 3}),
            Usage(10, 5, cached=4, cache_write=3),
        ),
        (usage(prompt_cache_hit_tokens=6, prompt_cache_miss_tokens=4), Usage(10, 5, cached=6)),
        (usage(cached_tokens=6), Usage(10, 5, cached=6)),
        (usage(completion_tokens_details={"reasoning_tokens": 3}), Usage(10, 5, reasoning=3)),
        (
            usage(total_tokens=115, completion_tokens_details={"reasoning_tokens": 100}),
            Usage(10, 105, reasoning=100),
        ),
        (usage(total_tokens=115), Usage(10, 105, reasoning=100)),
        (usage(completion=None, total_tokens=15), Usage(10, 5)),
        (usage(completion=None), Usage(10, 0, estimated=True)),
        (usage(prompt=None), None),
        (usage(prompt=-1), INSANE),
        (usage(completion=2**53 + 1), INSANE),
        (usage(completion=2**53), Usage(10, 2**53)),
        (usage(completion=5.0), INSANE),
        (usage(completion="5"), INSANE),
        (usage(completion=True), INSANE),
        (usage(prompt_tokens_details={"cached_tokens": -1}), INSANE),
        ({}, None),
        (None, None),
        ([], None),
        ("usage", None),
    ],
)
def test_openai_counts(reported: object, expected: Usage | None) -> None:
    assert openai_usage(reported) == expected


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        ({"input_tokens": 10, "output_tokens": 5}, Usage(10, 5)),
        ({"input_tokens": 0, "output_tokens": 0}, Usage(0, 0)),
        (
            {
                "input_tokens": 10,
                "output_tokens": 5,
                "cache_read_input_tokens": 100,
                "cache_creation_input_tokens": 30,
            },
            Usage(140, 5, cached=100, cache_write=30),
        ),
        (
            {
                "input_tokens": 10,
                "output_tokens": 5,
                "cache_creation_input_tokens": 30,
                "cache_creation": {
                    "ephemeral_5m_input_tokens": 10,
                    "ephemeral_1h_input_tokens": 20,
                },
                "output_tokens_details": {"thinking_tokens": 4},
            },
            Usage(40, 5, cache_write=10, cache_write_1h=20, reasoning=4),
        ),
        ({"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": None}, Usage(10, 5)),
        ({"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": -1}, INSANE),
        ({"input_tokens": 10}, Usage(10, estimated=True)),
        ({"input_tokens": 1.5, "output_tokens": 5}, INSANE),
        (None, None),
    ],
)
def test_anthropic_counts(reported: object, expected: Usage | None) -> None:
    assert anthropic_usage(reported) == expected


COUNT = st.integers(0, 10**9)


@given(COUNT, COUNT, COUNT, COUNT, COUNT, COUNT)
def test_what_is_written_reads_back_the_same(
    plain: int, output: int, cached: int, write: int, hour: int, reasoning: int
) -> None:
    whole = Usage(
        plain + cached + write + hour, output, cached, write, hour, min(reasoning, output)
    )
    assert anthropic_usage(render_anthropic_usage(whole)) == whole
    seen = openai_usage(render_openai_usage(whole))
    assert seen == Usage(
        whole.input, output, cached, write + hour, 0, whole.reasoning
    )  # OpenAI's shape has no place for how long the cache lives.
