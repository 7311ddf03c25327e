"""What strict budgets set aside is a bound: of every count, of every price, of every request."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pointsman.domain.billing import billing_of
from pointsman.domain.content import (
    Audio,
    Document,
    Image,
    Message,
    Part,
    Text,
    Thinking,
    Tool,
    ToolResult,
)
from pointsman.domain.deployment import Deployment, Limits
from pointsman.domain.money import MOST_NANO
from pointsman.domain.request import ChatRequest, RouteOptions, Source
from pointsman.domain.usage import Lane, Price, Rates, Usage
from pointsman.routing.features import NO_QUESTIONS, features_of
from pointsman.routing.plausible import plausible
from pointsman.routing.signals import COLD, Besides, RequestFeatures
from pointsman.routing.upper import (
    IMAGE_BOUND,
    LEFT_TOKENS,
    PREAMBLE,
    TOOLS_PREAMBLE,
    dearest,
    left_cost,
    upper_usage,
    worst_cost,
)

USD = 1_000_000_000
RATE = st.integers(0, 50 * USD)
MAYBE = st.none() | RATE

RATES = st.builds(
    Rates.of,
    RATE,
    RATE,
    *(MAYBE, MAYBE, MAYBE),
    reasoning=MAYBE,
    audio_input=MAYBE,
    audio_cached=MAYBE,
    audio_output=MAYBE,
    image_input=MAYBE,
    image_output=MAYBE,
)
STEPS = st.lists(st.tuples(st.integers(0, 5_000), RATES), max_size=2).map(
    lambda steps: tuple(sorted(steps, key=lambda step: step[0]))
)
PRICES = st.builds(
    lambda rates, steps, lane, lane_steps, search, request: Price(
        *(rates, "test", steps),
        lanes=(Lane("priority", lane, lane_steps),),
        search_nano=search,
        request_nano=request,
    ),
    *(RATES, STEPS, RATES, STEPS, st.integers(0, 10**8), st.integers(0, 10**8)),
)
COUNT = st.integers(0, 6_000)


@st.composite
def usages(draw: st.DrawFn, most: Usage) -> Usage:
    """Any usage within `most`, its parts within their wholes."""

    def part(of: int) -> int:
        return draw(st.integers(0, max(of, 0)))

    heard, seen = part(most.audio_input), part(most.image_input)
    text = part(most.input - most.audio_input - most.image_input)
    audio_cached = part(heard)
    cached = audio_cached + part(text)
    written = part(text + audio_cached - cached)
    hour = part(text + audio_cached - cached - written)
    output = part(most.output)
    reasoning = part(output)
    spoken = part(output - reasoning)
    return Usage(
        input=text + heard + seen,
        output=output,
        cached=cached,
        cache_write=written,
        cache_write_1h=hour,
        reasoning=reasoning,
        audio_input=heard,
        audio_cached=audio_cached,
        audio_output=spoken,
        image_input=seen,
        image_output=part(output - reasoning - spoken),
        searches=part(most.searches),
        tier=draw(st.sampled_from(["", most.tier])),
    )


@settings(max_examples=500, deadline=None)
@given(st.data(), PRICES, COUNT, COUNT, COUNT, COUNT, st.integers(0, 3), st.booleans())
def test_no_usage_within_the_bounds_costs_more(
    data: st.DataObject,
    price: Price,
    text: int,
    heard: int,
    seen: int,
    output: int,
    searches: int,
    priority: bool,
) -> None:
    most = Usage(
        input=text + heard + seen,
        output=output,
        audio_input=heard,
        image_input=seen,
        searches=searches,
        tier="priority" if priority else "",
    )
    used = data.draw(usages(most))
    assert 0 <= price.cost(used) <= dearest(price, most)


@settings(max_examples=200, deadline=None)
@given(st.data(), RATES, COUNT, COUNT)
def test_what_cannot_be_cached_is_not_set_aside_for(
    data: st.DataObject, rates: Rates, text: int, output: int
) -> None:
    most = Usage(input=text, output=output)
    used = replace(data.draw(usages(most)), cache_write=0, cache_write_1h=0)
    price = Price(rates, "test")
    unwritten = dearest(price, most, may_write=False, for_an_hour=False)
    assert price.cost(used) <= unwritten <= dearest(price, most)


STOPS = billing_of("openai")


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.data(), PRICES, st.integers(0, 3_000), st.integers(1, 3), st.booleans())
def test_no_stream_that_was_left_costs_more_than_what_was_seen_bounds(
    data: st.DataObject, price: Price, seen_bytes: int, choices: int, is_long: bool
) -> None:
    """However many tokens the bytes were, and whatever was on its way."""
    allowed = 5_000 if is_long else 100
    tier = data.draw(st.sampled_from(["", "priority"]))
    besides = Besides(choices=choices, tier=tier, caches="1h")
    asking = RequestFeatures(10, 10, allowed, upper_tokens=500, besides=besides)
    left = model(price=price, billing=STOPS)
    bound = left_cost(asking, left, COLD, seen_bytes)
    assert bound is not None and bound <= (worst_cost(asking, left, COLD) or 0)
    within = upper_usage(asking, left, COLD)
    made = min(within.output, seen_bytes + choices * LEFT_TOKENS)
    assert price.cost(data.draw(usages(replace(within, output=made)))) <= bound


@pytest.mark.parametrize(
    ("changes", "besides", "needs"),
    [
        ({"billing": billing_of("groq")}, Besides(), ()),
        ({"billing": billing_of("openrouter")}, Besides(), ()),
        ({"billing": billing_of("nobody knows it")}, Besides(), ()),
        ({"capabilities": frozenset({"chat", "reasoning"})}, Besides(), ()),
        ({"capabilities": frozenset({"chat", "audio"})}, Besides(), ()),
        ({}, Besides(is_open=True), ()),
        ({}, Besides(is_unseen=True), ()),
        ({}, Besides(), ("reasoning",)),
        ({"price": None}, Besides(), ()),
    ],
    ids=[
        *("billed to its end", "nobody says", "a provider nobody knows", "it thinks", "it speaks"),
        *("it acts", "a prediction", "told to think", "unpriced"),
    ],
)
def test_what_was_seen_bounds_nothing_where_more_may_be_made(
    changes: dict[str, object], besides: Besides, needs: tuple[str, ...]
) -> None:
    asking = RequestFeatures(10, 10, 100, frozenset(needs), upper_tokens=500, besides=besides)
    assert left_cost(asking, replace(model(billing=STOPS), **changes), COLD, 40) is None
    assert left_cost(
        replace(asking, needs=frozenset(), besides=Besides()), model(billing=STOPS), COLD, 40
    )


def test_fields_that_bill_what_is_not_said_are_known() -> None:
    for field in ("prediction", "modalities", "functions"):
        assert features(asked(Text("abc"), extra={field: []})).besides.is_unseen
    assert not features(asked(Text("abc"), extra={"logprobs": True})).besides.is_unseen


def model(name: str = "m", **changes: object) -> Deployment:
    made = Deployment(
        *("d", "p", name, "workhorse", "openai"),
        price=Price(Rates.of(1 * USD, 10 * USD), "test", search_nano=10**7),
        limits=Limits(context_tokens=100_000, output_tokens=4_000),
    )
    return replace(made, **changes)


def asked(*parts: Part, body: bytes = b"", dialect: str = "openai", **more: object) -> ChatRequest:
    source = Source(dialect, body)
    return ChatRequest("auto", (Message("user", parts),), source=source, **more)  # type: ignore[arg-type]


def features(request: ChatRequest) -> RequestFeatures:
    return features_of(request, RouteOptions(), NO_QUESTIONS, 0.0, 60.0)


def most(request: ChatRequest, deployment: Deployment | None = None) -> Usage:
    return upper_usage(features(request), deployment or model(), COLD)


def test_text_is_bounded_by_its_bytes_and_answers_by_their_number() -> None:
    assert most(asked(Text("abc"), max_tokens=50)) == Usage(input=3 + 8 + PREAMBLE, output=50)
    assert most(asked(Text("abc"), max_tokens=50, choices=3)).output == 150
    assert most(asked(Text("abc"))).output == 4_000


def test_what_stands_in_unknown_fields_is_in_the_body() -> None:
    request = asked(Text("abc"), body=b"x" * 5_000, extra={"prediction": {"content": "y"}})
    assert most(request).input == 5_000 + PREAMBLE
    with_file = asked(Image(data="A" * 4_000), body=b"x" * 5_000)
    assert most(with_file).input < 1_600 + 8 + PREAMBLE + IMAGE_BOUND + 1_000
    assert most(asked(Thinking("", redacted="z" * 300), body=b"z" * 400)).input >= 400


def test_tools_have_a_preamble() -> None:
    plain = most(asked(Text("abc"))).input
    with_tool = most(asked(Text("abc"), tools=(Tool("f"),))).input
    assert with_tool > plain + TOOLS_PREAMBLE


@pytest.mark.parametrize(
    ("name", "bound"),
    [("claude-opus-5-5", 5_000), ("gemini-4-argon", 2_300), ("gpt-4o-mini", IMAGE_BOUND)],
)
def test_an_image_is_bounded_by_its_model(name: str, bound: int) -> None:
    shown = (Image(url="https://a/b.png"), ToolResult("1", (Image(data="AA"),)))
    assert most(asked(*shown), model(name)).image_input == 2 * bound


def test_sound_is_bounded_by_its_bytes() -> None:
    a_minute_of_opus = Audio("A" * (60 * 750 * 4 // 3), "opus")
    assert most(asked(a_minute_of_opus)).audio_input >= 60 * 32


@pytest.mark.parametrize("file", [Document(file_id="f"), Document(data="AAAA")])
def test_a_file_may_fill_the_context(file: Document) -> None:
    assert most(asked(file)).input == 100_000
    assert most(asked(Document(text="short"))).input < 200


def test_a_provider_that_searches_reads_and_answers_once_a_turn() -> None:
    search = Tool("web_search", extra={"type": "web_search_20260209", "max_uses": 3})
    used = most(asked(Text("abc"), tools=(search,), max_tokens=50))
    assert (used.input, used.output, used.searches) == (400_000, 200, 3)
    for unbounded in (
        asked(Text("abc"), tools=(Tool("w", extra={"type": "web_search_20260209"}),)),
        asked(Text("abc"), extra={"web_search_options": {}}),
        asked(Text("abc"), extra={"extra_body": {"google": {"tools": [{"google_search": {}}]}}}),
    ):
        assert most(unbounded).searches == 10
    thinks = {"extra_body": {"google": {"thinking_config": {"include_thoughts": True}}}}
    assert most(asked(Text("abc"), extra=thinks)).searches == 0
    nobody = asked(Text("abc"), extra={"mcp_servers": [], "container": None})
    assert most(nobody).searches == 0


def test_reasoning_that_no_limit_covers_may_fill_the_context() -> None:
    thinker = model(capabilities=frozenset({"chat", "reasoning"}), limits=Limits(100_000))
    request = asked(Text("abc"), max_tokens=50)
    assert most(request, thinker).output == 50
    assert most(request, replace(thinker, billing=billing_of("xai"))).output == 100_000


def test_a_dearer_tier_is_set_aside_for_where_it_is_asked_for() -> None:
    lane = Lane("priority", Rates.of(2 * USD, 20 * USD))
    deployment = model(price=Price(Rates.of(1 * USD, 10 * USD), "test", lanes=(lane,)))
    plain = worst_cost(features(asked(Text("abc"), max_tokens=50)), deployment, COLD)
    dear = asked(Text("abc"), max_tokens=50, extra={"service_tier": "priority"})
    assert plain is not None
    assert worst_cost(features(dear), deployment, COLD) == 2 * plain


def test_only_what_is_marked_is_written_to_anthropics_cache() -> None:
    price = Price(Rates.of(4 * USD, 20 * USD, USD // 5, 5 * USD, 8 * USD), "test")
    claude = model("claude-opus-5-5", dialect="anthropic", price=price)

    def worst(body: bytes) -> int:
        request = asked(Text("a" * 936), body=body, dialect="anthropic", max_tokens=1)
        found = worst_cost(features(request), claude, COLD)
        assert found is not None
        return found

    tokens = 936 + 8 + PREAMBLE
    out = 20_000
    assert worst(b"{}") == tokens * 4_000 + out
    assert worst(b'{"cache_control":{"type":"ephemeral"}}') == tokens * 5_000 + out
    assert worst(b'{"cache_control":{"ttl":"1h"}}') == tokens * 8_000 + out


def test_an_unknown_price_has_no_bound_and_an_absurd_one_is_held() -> None:
    request = features(asked(Text("abc"), max_tokens=50))
    assert worst_cost(request, model(price=None), COLD) is None
    absurd = Price(Rates.of(10**24, 10**24), "test")
    assert worst_cost(request, model(price=absurd), COLD) == MOST_NANO


# What is reported, held to what is possible.


ASKED = RequestFeatures(10, 20, 100, upper_tokens=100)
DEPLOYMENT = model()


@pytest.mark.parametrize(
    ("told", "right"),
    [
        (Usage(20, 30), Usage(20, 30)),
        (Usage(200, 3_000), Usage(200, 3_000)),  # Above its bounds, and possible.
        (
            Usage(10**9, 30, cached=10**8),
            Usage(100 + PREAMBLE, 30, estimated=True, flags=("too_large",)),
        ),
        (Usage(20, 10**9), Usage(20, 100, estimated=True, flags=("too_large",))),
        (
            Usage(20, 30, searches=10**6),
            Usage(20, 30, estimated=True, flags=("too_large",)),
        ),
        (Usage(20, 30, tier="turbo"), Usage(20, 30, tier="turbo", flags=("tier_unpriced",))),
        (Usage(20, 30, told_nano=900_000_000), Usage(20, 30, told_nano=900_000_000)),
        (Usage(20, 30, told_nano=2 * 10**9), Usage(20, 30, flags=("cost_insane",))),
    ],
)
def test_what_is_impossible_is_held_to_the_bound(told: Usage, right: Usage) -> None:
    assert plausible(told, ASKED, DEPLOYMENT, COLD) == right


def test_several_answers_and_turns_may_use_more() -> None:
    many = replace(ASKED, besides=Besides(choices=4))
    told = Usage(20, 300_000)
    assert plausible(told, many, DEPLOYMENT, COLD) == told
    assert plausible(told, ASKED, DEPLOYMENT, COLD).flags == ("too_large",)


@given(st.builds(Usage, COUNT, COUNT, searches=st.integers(0, 10**9)))
def test_what_is_held_never_costs_more_than_it_did(told: Usage) -> None:
    price = DEPLOYMENT.price
    assert price is not None
    held = plausible(told, ASKED, DEPLOYMENT, COLD)
    assert price.cost(held) <= price.cost(told)
