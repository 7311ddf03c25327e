"""Measure `decide` over 10 and 50 deployments: p50 and p99 in µs, as JSON.

Run: python bench/decide.py [--rounds 20000]. One thread, every call timed by itself in the
thread's own CPU time (neighbours on the machine do not count), garbage collection on as in
service; the states change between calls so that nothing can be remembered.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import time
from collections.abc import Mapping

from pointsman.domain.content import Message, Text
from pointsman.domain.deployment import TIERS, Deployment, Limits
from pointsman.domain.request import ChatRequest, RouteOptions
from pointsman.domain.usage import Price, Rates
from pointsman.routing.features import features_of
from pointsman.routing.policy import compile_policy, decide, explain
from pointsman.routing.signals import DeploymentState, RequestFeatures
from pointsman.routing.spec import PolicySpec
from pointsman.routing.tokens import estimate_text


def pool(size: int) -> tuple[Deployment, ...]:
    return tuple(
        Deployment(
            name=f"provider{i % 7}/model-{i}",
            provider=f"provider{i % 7}",
            model=f"model-{i}",
            tier=TIERS[i % 3],
            dialect="openai",
            price=Price(Rates.of((1 + i) * 10**8, (4 + i) * 10**8), "bench"),
            limits=Limits(context_tokens=128_000, output_tokens=16_000, max_in_flight=64),
            capabilities=frozenset({"chat", "tools", "json", "json_schema"}),
            weight=1.0 + i % 3,
        )
        for i in range(size)
    )


def states_of(
    deployments: tuple[Deployment, ...], rng: random.Random
) -> dict[str, DeploymentState]:
    return {
        deployment.name: DeploymentState(
            in_flight=rng.randrange(20),
            ttft_s=0.2 + rng.random(),
            per_token_s=0.005 + rng.random() / 50,
            samples=rng.randrange(3, 200),
            headroom=0.5 + rng.random() / 2,
        )
        for deployment in deployments
    }


def percentile(values: list[int], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] / 1000


def measure(size: int, strategy: str, rounds: int) -> Mapping[str, float]:
    rng = random.Random(1)
    deployments = pool(size)
    policy = compile_policy(PolicySpec(strategy=strategy), deployments)
    features = RequestFeatures(
        input_tokens=900,
        output_tokens=210,
        max_output_tokens=1000,
        needs=frozenset({"chat"}),
        remaining_s=60.0,
        session="session-1",
        upper_tokens=4000,
    )
    worlds = [states_of(deployments, rng) for _ in range(16)]
    spent: list[int] = []
    clock = time.thread_time_ns
    for turn in range(rounds + 500):
        states = worlds[turn % 16]
        started = clock()
        decide(policy, "auto", features, deployments, states, rng, turn)
        spent.append(clock() - started)
    spent = spent[500:]
    return {"p50_us": percentile(spent, 0.5), "p99_us": percentile(spent, 0.99)}


def per_call_us(call: object, rounds: int) -> float:
    assert callable(call)
    spent: list[int] = []
    for _ in range(rounds):
        started = time.thread_time_ns()
        call()
        spent.append(time.thread_time_ns() - started)
    return percentile(spent, 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20_000)
    rounds = parser.parse_args().rounds
    found: dict[str, object] = {"python": platform.python_version(), "rounds": rounds}
    for size in (10, 50):
        for strategy in ("tiers", "hybrid", "load", "sticky"):
            found[f"decide_{size}_{strategy}"] = measure(size, strategy, rounds)
    deployments = pool(10)
    policy = compile_policy(PolicySpec(), deployments)
    request = ChatRequest("auto", (Message("user", (Text("Where is my parcel? " * 40),)),))
    options = RouteOptions()
    features = features_of(request, options, policy.needs, 0.0, 60.0)
    decision = decide(policy, "auto", features, deployments, {}, random.Random(1))
    text = "Where is my parcel? " * 500
    found["features_800_chars_us"] = per_call_us(
        lambda: features_of(request, options, policy.needs, 0.0, 60.0), 2000
    )
    found["estimate_10k_chars_us"] = per_call_us(lambda: estimate_text(text), 2000)
    found["explain_10_us"] = per_call_us(lambda: explain(decision), 2000)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
