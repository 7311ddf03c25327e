"""Whatever a client says, it is answered as the contract has it, and what reaches a provider is
what was meant. 10,000 requests in CI; POINTSMAN_FUZZ multiplies them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from fuzz_bases import BASES
from fuzz_bodies import Case, cases
from fuzz_house import FuzzHouse, Told, request_of
from fuzz_knobs import SEED, Crashes, listening, many, watch_loop
from fuzz_reading import (
    MISSING,
    NotJson,
    changed_in_passing,
    found_at,
    lost_in_translation,
    misnamed,
    read,
)
from hypothesis import HealthCheck, Phase, given, seed, settings

from pointsman.dialects.registry import DIALECTS
from pointsman.domain.request import Source

SHARES = {
    "/v1/chat/completions": 5000,
    "/v1/messages": 3200,
    "/v1/messages/count_tokens": 600,
    "/v1/embeddings": 600,
    "/v1/route:explain": 600,
}
OF_STATUS = frozenset({200, 400, 402, 403, 404, 413, 417})
ASKS_NOBODY = ("/v1/messages/count_tokens", "/v1/route:explain")
OWN_DIALECT = {"first": "openai", "second": "anthropic", "third": "openai", "vectors": "openai"}
MODELS = {"first": "gpt-test", "second": "claude-test", "third": "mistral-test",
          "vectors": "embed-test"}  # fmt: skip


@dataclass
class Place:
    loop: asyncio.AbstractEventLoop
    house: FuzzHouse
    crashes: Crashes
    tally: Counter[int] = field(default_factory=Counter)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    loop = asyncio.new_event_loop()
    house = FuzzHouse()
    with listening() as crashes:
        watch_loop(loop, crashes)
        loop.run_until_complete(house.__aenter__())
        place = Place(loop, house, crashes)
        yield place
        said = ", ".join(f"{count} of {status}" for status, count in place.tally.most_common())
        print(f"seed {SEED}: {said}")
        loop.run_until_complete(house.__aexit__())
    loop.close()


def _test_of(path: str) -> Callable[[Place], None]:
    @pytest.mark.slow
    @seed(SEED)
    @settings(
        max_examples=many(SHARES[path]),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(case=cases(path))
    def test(place: Place, case: Case) -> None:
        data = request_of(case.path, case.body, list(case.headers))
        told = place.loop.run_until_complete(place.house.say(data))
        place.tally[told.status] += 1
        heard, place.crashes.heard = place.crashes.heard, []
        assert not heard, heard
        judge(case, told)

    return cast("Callable[[Place], None]", test)


test_any_chat_completion_is_answered_as_it_should_be = _test_of("/v1/chat/completions")
test_any_message_is_answered_as_it_should_be = _test_of("/v1/messages")
test_any_count_is_answered_as_it_should_be = _test_of("/v1/messages/count_tokens")
test_any_embedding_is_answered_as_it_should_be = _test_of("/v1/embeddings")
test_any_explanation_is_answered_as_it_should_be = _test_of("/v1/route:explain")


def judge(case: Case, told: Told) -> None:
    """Hold an answer to all that is promised."""
    try:
        tree: Any = read(case.body)
    except NotJson:
        tree = None
    body: Any = None
    if told.headers["content-type"] == "application/json":
        body = read(told.body)
    may_end_late = told.status == 504 and body["error"]["code"] == "deadline_exceeded"
    assert told.status in OF_STATUS or (may_end_late and _limits_time(tree, case)), told
    assert (told.status == 200) <= isinstance(tree, dict), "read what is no JSON object"
    if told.status == 200:
        _judge_answer(case, tree, told, body)
    else:
        _judge_error(case, tree, told, body)
    _judge_books(case, told)


def _limits_time(tree: Any, case: Case) -> bool:
    return any(name == b"x-request-timeout-ms" for name, _ in case.headers) or any(
        found_at(tree, name) not in (MISSING, None) for name in ("timeout", "pointsman.timeout_s")
    )


def _judge_error(case: Case, tree: Any, told: Told, body: Any) -> None:
    is_anthropic = case.path.startswith("/v1/messages") or (
        case.path == "/v1/route:explain" and any(n == b"anthropic-version" for n, _ in case.headers)
    )
    error = body["error"]
    assert error["message"] and error["type"] and error["code"], body
    assert body["request_id"] == told.headers["x-pointsman-request-id"]
    assert body["attempts"] == len(told.asked) == 0
    assert told.headers["x-should-retry"] == "false"
    if is_anthropic:
        assert body["type"] == "error"
        return
    param = error["param"]
    if param is not None and isinstance(tree, dict):
        headers = {name.decode() for name, _ in case.headers}
        wrong = misnamed(tree, headers, param, error["message"])
        assert wrong is None, f"{wrong}: {error}"


def _judge_answer(case: Case, tree: Any, told: Told, body: Any) -> None:
    if case.path in ASKS_NOBODY:
        assert isinstance(body, dict) and not told.asked
        return
    (asked,) = told.asked
    read(asked.body)
    deployment = told.headers["x-pointsman-deployment"]
    wire = "anthropic" if case.path == "/v1/messages" else "openai"
    own = OWN_DIALECT[deployment]
    if own == wire:
        speaks = case.path != "/v1/embeddings"
        passed = changed_in_passing(case.body, asked.body, MODELS[deployment], speaks=speaks)
        changes = list(passed)
        assert not changes, changes
        return
    fields = {"model": "m", **{name: value for name, value in tree.items() if name != "models"}}
    request = DIALECTS[wire].parse_request(fields, Source(wire, case.body))
    losses = list(lost_in_translation(request, own, asked.body))
    assert not losses, losses


def _judge_books(case: Case, told: Told) -> None:
    """One entry for each request that was read and let in, whatever became of it."""
    code = "" if told.status == 200 else json.loads(told.body)["error"]["code"]
    is_served = "x-pointsman-decision-id" in told.headers
    if not is_served or code in ("model_not_found", "model_not_allowed"):
        assert not told.entries
        return
    (entry,) = told.entries
    assert entry.request_id == told.headers["x-pointsman-request-id"]
    assert entry.status == told.status and entry.error_code == code
    assert len(entry.attempts) == len(told.asked)
    if told.status == 200:
        assert entry.usage.input == 3 and entry.cost_nano is not None


async def test_good_requests_are_served_so_the_judges_have_work() -> None:
    async with FuzzHouse() as house:
        for path, bases in BASES.items():
            for base in bases:
                case = Case(path, json.dumps(base).encode(), ())
                told = await house.say(request_of(path, case.body, []))
                assert told.status == 200, (base, told.body)
                judge(case, told)


@pytest.mark.parametrize(
    ("body", "status"),
    [(b'{"model":"auto"}', 500), (b'{"model":"auto"', 200), (b"{}", 503)],
)
def test_the_judge_can_say_no(body: bytes, status: int) -> None:
    headers = {"content-type": "application/json", "x-pointsman-request-id": "r"}
    told = Told(status, headers, b'{"error":{"message":"m","type":"t","code":"c"}}', [], [])
    with pytest.raises(AssertionError):
        judge(Case("/v1/chat/completions", body, ()), told)
