"""Who decides what is played: header, script, rate limit, rules; and where they are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pointsman.errors import ConfigError
from pointsman.testing import (
    PERSONAS,
    SCENARIOS,
    Answer,
    Cut,
    Fail,
    FakeClock,
    FaultProvider,
    Hang,
    RateLimit,
    Rule,
    Slow,
    load_scenario,
)
from pointsman.testing.asked import Asked
from pointsman.testing.director import Director
from pointsman.testing.plays import read_plays

if TYPE_CHECKING:
    from tests.testing.conftest import Raw


def asked(model: str = "m", *, stream: bool = False, dialect: Any = "openai") -> Asked:
    return Asked(dialect, "chat", model, stream)


def origins(director: Director, *requests: Asked) -> list[str]:
    return [director.direct(request, None).origin for request in requests]


def test_each_step_is_for_one_request_and_models_have_their_own() -> None:
    director = Director(FakeClock())
    director.script([Fail(500), (Slow(first_byte_s=1.0), Fail(503))])
    director.script([Hang()], "special")
    assert director.scripted == 3
    assert director.direct(asked("special"), None).plays == (Hang(),)
    assert director.direct(asked("special"), None).plays == (Fail(500),)
    assert director.direct(asked("m"), None).plays == (Slow(first_byte_s=1.0), Fail(503))
    assert director.direct(asked("m"), None).plays == ()


def test_the_header_decides_above_script_and_rules() -> None:
    director = Director(FakeClock(), rules=[Rule((Fail(500),))])
    director.script([Hang()])
    direction = director.direct(asked(), '{"cut": {"after_tokens": 2}}')
    assert (direction.plays, direction.origin) == ((Cut(after_tokens=2),), "header")
    assert origins(director, asked(), asked()) == ["script", "rule"]


@pytest.mark.parametrize(
    ("rule", "played"),
    [
        (Rule((Hang(),)), "111111"),
        (Rule((Hang(),), after=2), "001111"),
        (Rule((Hang(),), until=2), "110000"),
        (Rule((Hang(),), after=1, until=3), "011000"),
        (Rule((Hang(),), times=2), "110000"),
        (Rule((Hang(),), from_s=3.0), "000111"),
        (Rule((Hang(),), until_s=3.0), "111000"),
        (Rule((Hang(),), from_s=1.0, until_s=3.0), "011000"),
        (Rule((Hang(),), model="x*"), "000000"),
        (Rule((Hang(),), model="m*"), "111111"),
        (Rule((Hang(),), dialect="anthropic"), "000000"),
        (Rule((Hang(),), stream=True), "000000"),
        (Rule((Hang(),), probability=0.0), "000000"),
    ],
)
def test_a_rule_is_played_when_its_conditions_hold(rule: Rule, played: str) -> None:
    clock = FakeClock()
    director = Director(clock, rules=[rule])
    seen = ""
    for _ in range(6):
        seen += "1" if director.direct(asked(), None).plays else "0"
        clock.advance(1.0)
    assert seen == played


def test_the_first_rule_that_holds_wins() -> None:
    rules = [Rule((Fail(500),), "a", until=1), Rule((Fail(503),), "b")]
    assert origins(Director(FakeClock(), rules=rules), asked(), asked()) == ["a", "b"]


def test_probability_is_drawn_from_the_seed() -> None:
    def drawn(seed: int) -> list[str]:
        rule = Rule((Hang(),), "half", probability=0.5)
        return origins(Director(FakeClock(), seed=seed, rules=[rule]), *[asked()] * 200)

    assert drawn(1) == drawn(1) != drawn(2)
    assert 70 < drawn(1).count("half") < 130


async def test_a_rate_limit_lets_so_many_through_and_says_when_to_come_again(
    raw_of: type[Raw],
) -> None:
    clock = FakeClock()
    async with FaultProvider(clock=clock, rate_limit=RateLimit(2, 10.0)) as provider:
        raw = raw_of(provider)
        clock.advance(2.5)
        seen = [await raw.chat(stream=False) for _ in range(3)]
        assert [each.status for each in seen] == [200, 200, 429]
        left = [each.headers["x-ratelimit-remaining-requests"] for each in seen]
        assert left == ["1", "0", "0"]
        assert seen[2].headers["retry-after"] == "8"
        assert seen[2].headers["x-ratelimit-reset-requests"] == "7.500s"
        assert seen[2].json["error"]["code"] == "rate_limit_exceeded"
        message = await raw.message()
        assert message.headers["anthropic-ratelimit-requests-remaining"] == "0"
        assert message.json["error"]["type"] == "rate_limit_error"
        clock.advance(7.5)
        assert (await raw.chat()).status == 200


async def test_the_header_works_on_the_wire_and_says_what_is_wrong_with_it(raw: Raw) -> None:
    fields = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    cut = await raw.send(fields, x_fault='[{"slow": {}}, {"fail": {"status": 503}}]')
    assert cut.status == 503
    assert (await raw.send(fields, x_fault="cut")).ending == "rst"
    for bad, said in (
        ("explode", "no play is called 'explode'"),
        ('{"cut": {"where": 1}}', "cut has no field 'where'"),
        ('{"fail": {"status": "x"}}', "$.status"),
        ("{", "not JSON"),
        ("[3]", "a play is a name"),
    ):
        seen = await raw.send(fields, x_fault=bad)
        assert seen.status == 400 and said in seen.json["error"]["message"]


async def test_a_running_provider_is_directed_over_http(raw: Raw) -> None:
    steps = [{"fail": {"status": 429}}, "cut"]
    scripted = await raw.send(json.dumps(steps).encode(), "/_provider/script")
    assert scripted.json == {"scripted": 2}
    assert (await raw.chat()).status == 429 and (await raw.chat()).ending == "rst"

    body = {"model": "special", "steps": [{"answer": {"text": "hi"}}]}
    await raw.send(body, "/_provider/script")
    assert (await raw.chat(model="special")).text == "hi"

    rules = json.dumps([{"play": {"fail": {"status": 500}}, "times": 1}]).encode()
    assert (await raw.send(rules, "/_provider/rules")).json == {"rules": 1}
    assert [(await raw.chat()).status for _ in range(2)] == [500, 200]

    await raw.send(json.dumps(["hang"]).encode(), "/_provider/script")
    await raw.send(b"", "/_provider/reset")
    assert (await raw.chat()).status == 200

    books = (await raw.send(b"", "/_provider/journal", method="GET")).json
    assert [entry["status"] for entry in books["entries"]] == [429, 0, 200, 500, 200, 200]
    assert books["open"] == 0
    assert (await raw.send(b"{}", "/_provider/script")).status == 400
    assert (await raw.send(b"{}", "/_provider/nothing")).status == 404


async def test_healing_forgets_everything(raw: Raw) -> None:
    raw.provider.script(Hang())
    raw.provider.set_rules(Rule((Fail(500),)))
    raw.provider.heal()
    assert (await raw.chat()).status == 200


SHOWN: dict[str, tuple[int, str]] = {
    # name: (status of a stream 10 s after the start, 0 for none; how the connection then is)
    "healthy": (200, "fin"),
    "workhorse": (200, "open"),
    "frontier": (200, "open"),
    "outage": (503, "fin"),
    "flapping": (500, "fin"),
    "dies_after_20": (200, "fin"),
    "recovering": (503, "fin"),
    "throttled": (200, "fin"),
    "quota": (429, "fin"),
    "bad_key": (401, "fin"),
    "filters": (400, "fin"),
    "small_context": (400, "fin"),
    "hangs": (0, "open"),
    "stalls": (200, "open"),
    "cuts": (200, "rst"),
    "truncates": (200, "fin"),
    "errors_early": (200, "fin"),
    "errors_late": (200, "fin"),
    "slow": (200, "open"),
    "drips": (0, "open"),
}


@pytest.mark.parametrize("name", SCENARIOS)
async def test_every_named_scenario_does_what_it_is_called(raw_of: type[Raw], name: str) -> None:
    clock = FakeClock()
    async with FaultProvider.of(load_scenario(name), clock=clock) as provider:
        clock.advance(10.0)
        seen = await raw_of(provider).chat("one two three four")
        status = seen.status if len(seen.wire) > 20 else 0
        assert (status, seen.ending) == SHOWN[name]


SCENARIO = """
persona: workhorse
seed: 7
models: [small, large]
rate_limit: {requests: 60, window_s: 60}
rules:
  - name: noon outage
    model: "small*"
    from_s: 10
    until_s: 20
    probability: 0.5
    play: {fail: {status: 503, headers: {retry-after: "7"}}}
  - play: [{slow: {tokens_per_second: 5}}, cut]
"""


def test_a_scenario_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "noon.yaml"
    path.write_text(SCENARIO)
    scenario = load_scenario(str(path))
    assert scenario.persona is PERSONAS["workhorse"] and scenario.seed == 7
    assert scenario.models == ("small", "large")
    assert scenario.rate_limit == RateLimit(60, 60)
    assert scenario.rules == (
        Rule(
            (Fail(503, {"retry-after": "7"}),),
            name="noon outage",
            model="small*",
            from_s=10,
            until_s=20,
            probability=0.5,
        ),
        Rule((Slow(tokens_per_second=5), Cut())),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: [{play: explode}]", "rules[0]: no play is called 'explode'"),
        ("rules: [{model: x}]", "rules[0]: says no `play`"),
        ("rules: [{play: hang, when: now}]", "rules[0]: unknown field 'when'"),
        ("rules: [{play: hang, after: soon}]", "rules[0].after: Expected `int`"),
        ("rules: {}", "rules is a list"),
        ("persona: nobody", "no persona 'nobody'"),
        ("rate_limit: {requests: 3}", "rate_limit: Object missing required field `window_s`"),
        ("speed: 3", "unknown field 'speed'"),
        ("[]", "an object is needed"),
        ("a: [", "not YAML"),
    ],
)
def test_a_scenario_that_cannot_be_is_refused_with_its_place(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refusal:
        load_scenario(str(path))
    assert said in refusal.value.message and str(path) in refusal.value.message


def test_an_unknown_scenario_is_refused_with_the_names() -> None:
    with pytest.raises(ConfigError, match="dies_after_20"):
        load_scenario("no-such-scenario")


def test_calls_in_json_are_pairs() -> None:
    plays = read_plays({"answer": {"calls": [["f", "{}"]]}}, "test")
    assert plays == (Answer(calls=(("f", "{}"),)),)
