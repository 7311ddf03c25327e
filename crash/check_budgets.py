"""A6: replicas that race for budgets, with two thousand requests under way at once."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Mapping

from chaos.check import Check, Findings
from chaos.client import chat
from chaos.world import World

from crash.evidence import Evidence, read_logs
from crash.house import House, key_of
from crash.invariants import check
from crash.runs import recount
from pointsman.testing.persona import Persona
from pointsman.wal import note as notes
from pointsman.wal.record import DISPATCH, read_dispatch

CENT = 10_000_000
DOLLAR = 100 * CENT
TOKENS = 100
KEYS = 20
AT_ONCE = 2_000
WHO: Mapping[str, Mapping[str, str]] = {
    f"k{n:02d}": {"team": "wide" if n < KEYS // 2 else "narrow"} for n in range(KEYS)
}
BUDGETS = (
    {"name": "keys", "scope": "key", "limit_usd": 1, "window": "month"},
    {"name": "wide", "scope": "team", "match": ["wide"], "limit_usd": 12, "window": "month"},
    {"name": "narrow", "scope": "team", "match": ["narrow"], "limit_usd": 6, "window": "month"},
)
"""Ten keys of $1 under $12, which never binds, and ten under $6, which does."""


async def a6(world: World, findings: Findings) -> None:
    async with House(
        world.folder,
        seed=world.seed,
        budgets=BUDGETS,
        who=WHO,
        prices={"m0": (0, CENT // TOKENS), "m1": (0, CENT // TOKENS)},
        persona=Persona(first_token_s=0.2),
        settings={"server": {"max_in_flight": 4096, "queue_wait_s": 1, "lag_shed_s": 5}},
    ) as house:
        await house.start_all()
        house.watch()
        each = max(150, round(220 * world.scale))
        asked = [name for name in WHO for _ in range(each)]
        world.rng.shuffle(asked)
        statuses: Counter[str] = Counter()
        refused: list[tuple[float, str]] = []
        room = asyncio.Semaphore(AT_ONCE)
        # Of a longest answer all is used: what is held is what it costs.
        body = chat("word " * (TOKENS + 50), max_tokens=TOKENS)

        async def one(number: int, name: str) -> None:
            async with room:
                answer = await house.replicas[number % 3].ask(
                    "/v1/chat/completions",
                    body,
                    headers={"authorization": f"Bearer {key_of(name)}"},
                    timeout_s=60,
                )
            statuses[answer.error or f"{answer.status} {answer.code}".strip()] += 1
            if answer.status == 402:
                refused.append((time.time(), name))

        began = time.monotonic()
        await asyncio.gather(*(one(n, name) for n, name in enumerate(asked)))
        lasted = time.monotonic() - began
        evidence = await recount(house)
        findings.note("requests", len(asked))
        findings.note("answers", " ".join(f"{k}:{n}" for k, n in sorted(statuses.items())))
        findings.note("a_second", len(asked) / lasted)
        findings.expect(
            set(statuses) <= {"200", "402 budget_exceeded"}, f"answers {dict(statuses)}"
        )
        _judge(house, evidence, refused, findings)
        for each_ in check(evidence).violations:
            findings.failures.append(str(each_))


def _judge(
    house: House, evidence: Evidence, refused: list[tuple[float, str]], findings: Findings
) -> None:
    entries = {entry.seq: entry for entry in evidence.entries}
    billed: Counter[str] = Counter()
    cost = {
        each.attempt_id: evidence.price(each.model, each.billed.input, each.billed.output)
        for each in evidence.journal
    }
    for attempt in evidence.attempts:
        billed[entries[attempt.entry].key] += cost.get(attempt.id, 0)
    teams: Counter[str] = Counter()
    for name, amount in billed.items():
        teams[WHO[name]["team"]] += amount
    over = sum(max(0, billed[name] - DOLLAR) for name in WHO)
    over += max(0, teams["wide"] - 12 * DOLLAR) + max(0, teams["narrow"] - 6 * DOLLAR)
    wide = [billed[name] / DOLLAR for name in WHO if WHO[name]["team"] == "wide"]
    used = min(*wide, teams["narrow"] / (6 * DOLLAR))
    false = _false_denials(house, refused)
    findings.note("overspend_nano", over)
    findings.note("least_utilisation", used)
    findings.note("mean_utilisation", (sum(wide) + 10 * teams["narrow"] / (6 * DOLLAR)) / 20)
    findings.note("denials", len(refused))
    findings.note("false_denials", false)
    findings.expect(over == 0, f"overspent by {over}")
    findings.expect(used >= 0.95, f"only {used:.1%} of a budget used")
    findings.expect(false == 0, f"{false} denials with more than 10 % left")


def _false_denials(house: House, refused: list[tuple[float, str]]) -> int:
    """Refusals before which less than nine tenths of both its budgets were held, by the logs."""
    held: defaultdict[str, list[float]] = defaultdict(list)
    for log in read_logs(house.kept):
        for record in log.records:
            if record.kind == DISPATCH:
                held[notes.decode(read_dispatch(record).note).key].append(record.at)
    count = 0
    for at, name in refused:
        team = WHO[name]["team"]
        own = sum(moment <= at for moment in held[name]) * CENT
        all_ = sum(
            sum(moment <= at for moment in held[each]) for each in WHO if WHO[each]["team"] == team
        )
        cap = (12 if team == "wide" else 6) * DOLLAR
        count += own < 0.9 * DOLLAR and all_ * CENT < 0.9 * cap
    return count


CHECKS = (
    Check(
        "A6",
        "three replicas, 2,000 requests of $0.01 at once against 20 keys of $1.00, ten of them "
        "under a team's $6.00",
        "overspend 0; utilisation >= 95 %; no denial with more than 10 % left",
        a6,
        40,
    ),
)
