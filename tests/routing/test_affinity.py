"""Who read a beginning: chains of hashes, and the table that remembers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pointsman.domain.call import Caller
from pointsman.domain.content import Message, Text, Tool
from pointsman.domain.deployment import Deployment, Tier
from pointsman.domain.request import ChatRequest, EmbeddingsRequest, Source
from pointsman.domain.usage import Price, Rates
from pointsman.routing.affinity import BLOCK_BYTES, MOST_BLOCKS, Readers, chain_of, kept
from pointsman.routing.decision import Candidate, Decision
from pointsman.routing.policy import compile_policy, decide
from pointsman.routing.signals import DeploymentState, RequestFeatures
from pointsman.routing.spec import PolicySpec

ANN = Caller(key="ann", tenant="north")
SYSTEM = Message("system", (Text("You answer for the railway. " * 100),))


def asked(*texts: str, tools: tuple[Tool, ...] = ()) -> ChatRequest:
    said = tuple(Message("user", (Text(text),)) for text in texts)
    return ChatRequest("auto", (SYSTEM, *said), tools=tools)


def test_a_conversation_that_goes_on_keeps_its_links() -> None:
    first = chain_of(asked("when does it leave? " * 100), ANN)
    longer = chain_of(asked("when does it leave? " * 100, "and from where? " * 100), ANN)
    assert 0 < len(first) < len(longer)
    assert longer[: len(first)] == first


def test_another_beginning_shares_no_link() -> None:
    tools = (Tool("timetable", "look up " * 200),)
    assert not set(chain_of(asked("x" * 5000), ANN)) & set(
        chain_of(asked("x" * 5000, tools=tools), ANN)
    )


def test_two_conversations_share_what_they_have_in_common() -> None:
    one, other = chain_of(asked("a" * 9000), ANN), chain_of(asked("b" * 9000), ANN)
    common = [link for link in one if link in other]
    assert common == list(one[: len(common)])
    assert 0 < len(common) < len(one)


def test_tenants_never_share_a_link() -> None:
    request = asked("the same text " * 500)
    others = (
        Caller(key="ann", tenant="south"),
        Caller(key="ann"),
        Caller(key="bob"),
        Caller(key="north"),
    )
    chains = [set(chain_of(request, caller)) for caller in (ANN, *others)]
    assert len(set.union(*chains)) == sum(map(len, chains))


def test_keys_of_one_tenant_share_their_links() -> None:
    request = asked("the same text " * 500)
    assert chain_of(request, ANN) == chain_of(request, Caller(key="bob", tenant="north"))


def test_a_short_prompt_and_texts_to_embed_have_no_chain() -> None:
    assert chain_of(ChatRequest("auto", (Message("user", (Text("hi"),)),)), ANN) == ()
    assert chain_of(EmbeddingsRequest("m", ("x" * 9000,), Source("openai", b"")), ANN) == ()


def test_a_chain_is_bounded_and_takes_any_text() -> None:
    assert len(chain_of(asked("\ud800 lone and é\0" * 200_000), ANN)) == MOST_BLOCKS


def test_the_longest_beginning_wins() -> None:
    readers = Readers()
    whole = chain_of(asked("a" * 9000), ANN)
    readers.remember(whole[:2], "short", 0.0)
    assert readers.find(whole, 1.0) == ("short", 2 * BLOCK_BYTES)
    readers.remember(whole, "long", 1.0)
    readers.remember(whole[:2], "short", 2.0)
    assert readers.find(whole, 3.0) == ("long", len(whole) * BLOCK_BYTES)
    assert readers.find(whole[:2], 3.0) == ("short", 2 * BLOCK_BYTES)
    assert readers.find((), 3.0) is None


def test_what_was_read_long_ago_is_forgotten() -> None:
    readers = Readers(ttl_s=10.0)
    chain = chain_of(asked("a" * 9000), ANN)
    readers.remember(chain, "one", 0.0)
    assert readers.find(chain, 9.9) == ("one", len(chain) * BLOCK_BYTES)
    assert readers.find(chain, 10.0) is None


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 16)), max_size=60))
def test_the_table_is_bounded_and_drops_the_longest_unused(uses: list[tuple[int, int]]) -> None:
    readers = Readers(most=20)
    order: dict[bytes, None] = {}
    for number, length in uses:
        chain = tuple(b"%d/%d" % (number, place) for place in range(length))
        readers.remember(chain, str(number), 0.0)
        for link in chain:
            order.pop(link, None)
            order[link] = None
    held = list(order)[-20:]
    assert len(readers) == len(held)
    assert all(readers.find((link,), 0.0) is not None for link in held)


@given(
    st.lists(st.floats(0.01, 1.0), min_size=1, max_size=6),
    st.integers(0, 5),
    st.floats(0.0, 1.0),
)
def test_kept_odds_are_odds(raw: list[float], place: int, share: float) -> None:
    odds = [each / sum(raw) for each in raw]
    place %= len(odds)
    mixed = kept(odds, place, share)
    assert abs(sum(mixed) - 1) < 1e-9
    assert mixed[place] == (1.0 if len(odds) == 1 else pytest.approx(share))
    if share == 1.0:
        assert mixed == [1.0 if i == place else 0.0 for i in range(len(odds))]


# What a decision makes of it.


def deployment(
    name: str, cents: int | None = 0, *, cached: int | None = None, tier: Tier = "workhorse"
) -> Deployment:
    """`cents` per thousand tokens of input, `cached` of cached input; None has no price."""
    rates = None if cents is None else Rates.of(cents * 10**10, 0, (cached or cents) * 10**10)
    return Deployment(
        name,
        "p",
        name,
        tier,
        "openai",
        None if rates is None else Price(rates, "test"),
        capabilities=frozenset({"chat"}),
    )


def decision(
    deployments: Sequence[Deployment],
    states: Mapping[str, DeploymentState],
    reader: str,
    spec: PolicySpec | None = None,
    *,
    size: int = 8 * BLOCK_BYTES,
    seed: int = 0,
) -> Decision:
    features = RequestFeatures(2000, 100, 0, needs=frozenset({"chat"}), read_by=(reader, size))
    policy = compile_policy(spec or PolicySpec(strategy="latency", explore=0.0), deployments)
    return decide(policy, "r", features, deployments, states, Random(seed))


def state(seconds: float = 1.0, **more: float) -> DeploymentState:
    return DeploymentState(ttft_s=seconds, per_token_s=0.0, samples=9, **more)  # type: ignore[arg-type]


A, B, C = deployment("a"), deployment("b"), deployment("c")


def test_a_conversation_goes_where_its_beginning_was_read_and_says_so() -> None:
    found = decision((A, B), {"a": state(1.0), "b": state(1.9)}, "b")
    assert [each.deployment.name for each in found.candidates] == ["b", "a"]
    assert found.picker == "affinity"
    assert found.propensity == 1.0
    assert "picked by affinity with probability 1.00" in found.why
    assert "its beginning was read there before" in found.why


@pytest.mark.parametrize(
    ("fast", "slow"),
    [
        (state(1.0), state(2.1)),
        (state(1.0), state(1.0, in_flight=2)),
        (state(1.0), state(1.0, waiting=2)),
        (state(1.0), state(1.0, penalty_s=5.0)),
        (state(1.0), state(0.6, in_flight=1, waiting=2)),
        (state(1.0), state(1.0, headroom=0.4)),
        (state(1.0), state(1.0, cold_s=5.0)),
    ],
)
def test_one_that_would_take_more_than_twice_as_long_is_left(
    fast: DeploymentState, slow: DeploymentState
) -> None:
    found = decision((A, B), {"a": fast, "b": slow}, "b")
    assert found.candidates[0].deployment.name == "a"
    assert found.picker == "best"


def test_one_that_is_out_or_gone_is_left() -> None:
    found = decision((A, B), {"a": state(), "b": state(share=0.0)}, "b")
    assert (found.candidates[0].deployment.name, found.picker) == ("a", "best")
    assert decision((A, B), {}, "z").picker == "best"


def test_one_on_its_way_back_gets_its_share() -> None:
    states = {"a": state(), "b": state(share=0.25), "c": state(9.0)}
    first = [
        decision((A, B, C), states, "b", seed=seed).candidates[0].deployment.name
        for seed in range(400)
    ]
    assert 70 <= first.count("b") <= 130
    assert first.count("c") == 0
    one = decision((A, B, C), states, "b", seed=1)
    chances = {"a": 0.75, "b": 0.25}
    assert abs(one.propensity - chances[one.candidates[0].deployment.name]) < 1e-9


def test_a_dearer_one_is_left_unless_its_cache_makes_up_for_it() -> None:
    cheap, dear = deployment("cheap", 10), deployment("dear", 12)
    spec = PolicySpec(strategy="hybrid", weights={"cost": 0.5, "latency": 0.5}, explore=0.0)
    states = {"cheap": state(), "dear": state()}
    assert decision((cheap, dear), states, "dear", spec).picker != "affinity"
    saving = deployment("dear", 12, cached=1)
    assert decision((cheap, saving), states, "dear", spec).picker == "affinity"
    # Of a short beginning too little is saved.
    assert decision((cheap, saving), states, "dear", spec, size=BLOCK_BYTES).picker != "affinity"
    unknown = deployment("dear", None)
    assert decision((cheap, unknown), states, "dear", spec).picker != "affinity"
    assert decision((unknown, cheap), states, "cheap", spec).picker == "affinity"


def test_what_an_operator_prefers_is_not_overruled() -> None:
    """A conversation that a failure drove to the second in order comes back to the first."""
    spec = PolicySpec(strategy="static", order=("a", "b"))
    assert decision((A, B), {}, "b", spec).candidates[0].deployment.name == "a"
    assert decision((A, B), {}, "a", spec).picker == "affinity"
    better = deployment("better", tier="frontier")
    spec = PolicySpec(strategy="hybrid", weights={"quality": 1}, explore=0.0)
    assert decision((better, A), {}, "a", spec).candidates[0].deployment.name == "better"


names = st.sampled_from("abcd")
states_ = st.builds(
    DeploymentState,
    in_flight=st.integers(0, 6),
    waiting=st.integers(0, 6),
    ttft_s=st.none() | st.floats(0.05, 5.0),
    per_token_s=st.none() | st.floats(0.0, 0.1),
    samples=st.integers(0, 10),
    headroom=st.sampled_from([0.0, 0.2, 1.0]),
    share=st.sampled_from([0.0, 0.1, 1.0]),
    penalty_s=st.sampled_from([0.0, 5.0]),
)


@given(
    st.dictionaries(names, states_, min_size=1),
    names,
    st.sampled_from(["latency", "load", "cost", "round_robin", "random", "hybrid"]),
    st.integers(0, 1000),
)
def test_affinity_keeps_to_whom_the_filters_and_twice_the_time_allow(
    states: dict[str, DeploymentState], reader: str, strategy: str, seed: int
) -> None:
    deployments = tuple(deployment(name) for name in sorted(states))
    spec = PolicySpec(strategy=strategy, explore=0.05)
    found = decision(deployments, states, reader, spec, seed=seed)
    if not found.candidates:
        return
    chosen = found.candidates[0].deployment.name
    passed = {each.deployment.name for each in found.candidates}
    assert chosen not in {each.deployment.name for each in found.rejected}
    assert 0 < found.propensity <= 1
    if found.picker != "affinity":
        return
    assert reader in passed
    share = states[reader].share
    if chosen == reader:
        assert found.propensity >= share - 1e-9
    else:
        assert share < 1
        return

    def work(candidate: Candidate) -> float:
        own = states[candidate.deployment.name]
        assert candidate.seconds is not None
        return (candidate.seconds + own.penalty_s) * (own.in_flight + own.waiting + 1)

    best = max(found.candidates, key=lambda each: each.score)
    if best.deployment.name != reader and states[best.deployment.name].headroom == 1.0:
        # The hundredth of a second is what times are floored with.
        assert work(found.candidates[0]) <= 2.05 * work(best) + 0.2


@given(st.dictionaries(names, states_, min_size=1), st.integers(0, 100))
def test_without_a_reader_nothing_changes(states: dict[str, DeploymentState], seed: int) -> None:
    deployments = tuple(deployment(name) for name in sorted(states))
    policy = compile_policy(PolicySpec(strategy="load"), deployments)
    features = RequestFeatures(2000, 100, 0, needs=frozenset({"chat"}))
    plain = decide(policy, "r", features, deployments, states, Random(seed))
    other = replace(features, read_by=("nobody", 9000))
    assert decide(policy, "r", other, deployments, states, Random(seed)) == plain
