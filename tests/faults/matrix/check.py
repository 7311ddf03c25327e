"""Compare what happened in a cell with what is right; say every difference in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matrix.fault import (
    DEADLINE,
    PATIENT,
    SIDES,
    TEXT,
    Cell,
    ClientFault,
    Expect,
    Fault,
    Side,
    Told,
    Tried,
)
from matrix.reading import Got, Read, read_stream, read_whole
from matrix.sites import Sites
from matrix.under_test import Inside
from pointsman.domain.usage import Usage
from pointsman.ledger.entries import Attempt, LedgerEntry
from pointsman.testing.journal import JournalEntry
from pointsman.testing.tokens import split_tokens

OVERRUN_S = 0.25
"""What a request may last beyond its deadline."""
CANCEL_S = 0.25
"""Within which a provider is left after its client has gone."""

UNREACHED = frozenset(
    {"refused", "black_hole", "dns", "dns_hangs", "tls_expired", "tls_wrong_name", "tls_unknown",
     "tls_deaf", "tls_resets"}
)  # fmt: skip
"""Places where no request arrives."""


def differences(
    cell: Cell,
    expects: Sequence[Expect],
    got: Sequence[Got],
    inside: Inside | None,
    sites: Sites,
    lag_s: float,
) -> Iterator[str]:
    for turn, (expect, answer) in enumerate(zip(expects, got, strict=True)):
        for wrong in (*_client_side(cell, expect, answer), *_time(cell, expect, answer, lag_s)):
            yield f"{'second request: ' if turn else ''}{wrong}"
    calls = _calls(cell, sites)
    yield from _providers_side(cell, expects, got, calls, lag_s)
    if inside is not None:
        yield from _inside(cell, expects, got, inside, calls)


def _client_side(cell: Cell, expect: Expect, got: Got) -> Iterator[str]:
    if expect.gone:
        return
    if got.broken:
        yield "the connection broke in the answer"
    told = expect.told
    if told is not None and expect.said is None:
        yield from _refusal(cell, told, got)
        return
    if got.status != 200:
        yield f"status {got.status}, right is 200: {got.body[:200]!r}"
        return
    read = (
        read_stream(cell.client, got.body) if cell.streamed else read_whole(cell.client, got.body)
    )
    yield from read.faults
    if "x-should-retry" in got.headers:
        yield "x-should-retry beside a 200"
    if told is not None:
        yield from _broken_off(cell, expect, told, got, read)
    else:
        yield from _answer(cell, expect, got, read)


def _refusal(cell: Cell, told: Told, got: Got) -> Iterator[str]:
    if got.status != told.status:
        yield f"status {got.status}, right is {told.status}: {got.body[:200]!r}"
        return
    read = read_whole(cell.client, got.body)
    yield from read.faults
    yield from _error(cell, told, read, got)
    retry = got.headers.get("x-should-retry")
    if retry != ("true" if told.should_retry else "false"):
        yield f"x-should-retry {retry}, right is {told.should_retry}"
    after = got.headers.get("retry-after")
    if told.retry_after is None:
        if after is not None:
            yield f"retry-after {after}, right is none"
        return
    least, most = told.retry_after
    if after is None or not after.isdecimal() or not least <= int(after) <= most:
        yield f"retry-after {after}, right is {least} to {most}"


def _error(cell: Cell, told: Told, read: Read, got: Got) -> Iterator[str]:
    error = read.error
    if error is None:
        yield f"no error in the body: {got.body[:200]!r}"
        return
    is_openai = cell.client == "openai"
    kind = told.types[0 if is_openai else 1]
    if error.get("type") != kind:
        yield f"error type {error.get('type')}, right is {kind}"
    if is_openai and error.get("code") != told.code:
        yield f"code {error.get('code')}, right is {told.code}"
    if not isinstance(error.get("message"), str) or not error["message"]:
        yield "an error without a message"
    if "x-pointsman-request-id" in got.headers and (
        read.request_id != got.headers["x-pointsman-request-id"]
    ):
        yield f"request_id {read.request_id!r} in the body is not the header's"


def _broken_off(cell: Cell, expect: Expect, told: Told, got: Got, read: Read) -> Iterator[str]:
    if read.ends != ["error"]:
        yield f"a stream that ends in {read.ends or 'nothing'}, right is one error event"
        return
    yield from _error(cell, told, read, got)
    assert expect.said is not None
    side = expect.tried[-1].who
    tokens = split_tokens(TEXT[side])
    least, most = expect.said
    if read.text not in {"".join(tokens[:count]) for count in range(least, most + 1)}:
        yield f"content {read.text!r}, right are the first {least} to {most} tokens of {side}"


def _answer(cell: Cell, expect: Expect, got: Got, read: Read) -> Iterator[str]:
    side = expect.tried[-1].who
    if cell.streamed and read.ends != ["proper"]:
        yield f"a stream that ends in {read.ends or 'nothing'}, right is its proper end"
    if read.text != TEXT[side]:
        yield f"content {read.text!r}, right is {side}'s answer"
    if read.finish != expect.finish:
        yield f"finish {read.finish}, right is {expect.finish}"
    named = got.headers.get("x-pointsman-deployment")
    if named is not None and named != cell.deployment(side):
        yield f"x-pointsman-deployment {named}, right is {cell.deployment(side)}"


def _time(cell: Cell, expect: Expect, got: Got, lag_s: float) -> Iterator[str]:
    fault = cell.fault
    times = fault.times if isinstance(fault, Fault) else PATIENT
    deadline = times.total_s
    if isinstance(fault, Fault) and fault.timeout_s is not None:
        deadline = min(deadline, fault.timeout_s)
    if got.seconds > deadline + OVERRUN_S + lag_s:
        yield f"took {got.seconds:.2f} s, the deadline is {deadline:g} s"
    if expect.told == DEADLINE and got.seconds < deadline - 0.1:
        yield f"deadline_exceeded after {got.seconds:.2f} of {deadline:g} s"


def _calls(cell: Cell, sites: Sites) -> dict[Side, list[JournalEntry]]:
    return {
        side: [
            entry
            for entry in sites.provider(cell, side).journal.calls
            if entry.model == cell.model(side)
        ]
        for side in SIDES
    }


def _providers_side(
    cell: Cell,
    expects: Sequence[Expect],
    got: Sequence[Got],
    calls: dict[Side, list[JournalEntry]],
    lag_s: float,
) -> Iterator[str]:
    where = cell.fault.where if isinstance(cell.fault, Fault) else "plain"
    for side, entries in calls.items():
        right = sum(tried.who == side for expect in expects for tried in expect.tried)
        if side == "a" and where in UNREACHED:
            right = 0
        if len(entries) != right:
            yield f"{side} was called {len(entries)} times, right is {right}"
    for expect, answer in zip(expects, got, strict=True):
        if expect.gone and answer.left_at is not None and calls["a"]:
            cancelled = calls["a"][-1].cancelled_at
            if cancelled is None:
                yield f"the provider's call ended by {calls['a'][-1].ended} after its client left"
            elif cancelled - answer.left_at > CANCEL_S + lag_s:
                yield f"the provider was left {cancelled - answer.left_at:.3f} s after the client"


def _inside(
    cell: Cell,
    expects: Sequence[Expect],
    got: Sequence[Got],
    inside: Inside,
    calls: dict[Side, list[JournalEntry]],
) -> Iterator[str]:
    if inside.in_flight:
        yield f"{inside.in_flight} attempts are still under way"
    tried = [each for expect in expects for each in expect.tried]
    for side in SIDES:
        effect, streak = inside.effects[side]
        right = expects[-1].a if side == "a" else expects[-1].b
        if effect != right:
            yield f"{side}'s breaker: {effect}, right is {right}"
        failed = sum(each.who == side for each in tried)
        if right == "hard" and effect == "hard" and streak != failed:
            yield f"{side}'s breaker counts {streak} in a row, right are {failed}"
    if isinstance(cell.fault, ClientFault):
        if any(entry.attempts for entry in inside.entries):
            yield "the ledger has attempts of a request that is its client's mistake"
        return
    if len(inside.entries) != len(expects):
        yield f"{len(inside.entries)} ledger entries, right are {len(expects)}"
        return
    billed = {side: iter(entries) for side, entries in calls.items()}
    for expect, answer, entry in zip(expects, got, inside.entries, strict=True):
        yield from _entry(expect, answer, entry)
        listed = [f"{each.deployment[-1]} {each.outcome}" for each in entry.attempts]
        right_list = [f"{each.who} {each.outcome}" for each in expect.tried]
        if listed != right_list:
            yield f"the ledger's attempts {listed}, right are {right_list}"
            continue
        count = answer.headers.get("x-pointsman-attempts")
        if count is not None and int(count) != len(right_list):
            yield f"x-pointsman-attempts {count}, right is {len(right_list)}"
        for each, attempt in zip(expect.tried, entry.attempts, strict=True):
            call = next(billed[each.who], None)
            yield from _books(each, attempt, Usage() if call is None else call.billed)
    return


def _entry(expect: Expect, got: Got, entry: LedgerEntry) -> Iterator[str]:
    status, code = 200, ""
    told = expect.told
    if expect.gone:
        status, code = 499, "client_closed"
    elif told is not None:
        status = 200 if expect.said is not None else told.status
        code = told.code
    if entry.status != status:
        yield f"the ledger says status {entry.status}, right is {status}"
    if entry.error_code != code:
        yield f"the ledger says {entry.error_code!r}, right is {code!r}"
    if (entry.outcome == "ok") != (told is None and not expect.gone):
        yield f"the ledger's outcome is {entry.outcome}"
    if entry.cost_nano != sum(attempt.cost_nano or 0 for attempt in entry.attempts):
        yield "the ledger's cost is not the sum of its attempts'"


def _books(tried: Tried, attempt: Attempt, billed: Usage) -> Iterator[str]:
    usage = attempt.usage
    where = f"usage of {tried.who} ({tried.outcome})"
    if tried.books == "nothing":
        if usage != Usage():
            yield f"{where}: {usage}, right is none"
        if billed != Usage():
            yield f"{where}: the provider billed {billed}, and the cell says that nothing was done"
    elif tried.books == "exact":
        ours = (usage.input, usage.output, usage.cached, usage.reasoning, usage.estimated)
        right = (billed.input, billed.output, billed.cached, billed.reasoning, False)
        if ours != right:
            yield f"{where}: {ours}, right is what was billed: {right}"
    elif tried.books == "zero":
        if usage != Usage():
            yield f"{where}: {usage}, right is the 0 that was told"
    elif tried.books == "told":
        if usage.estimated or usage.input != billed.input or usage.output < billed.output:
            yield f"{where}: {usage}, right is what was told, and at least {billed}"
        if usage.cached > usage.input or usage.reasoning > usage.output:
            yield f"{where}: {usage} has parts that are larger than the whole"
    elif not usage.estimated or usage.input <= 0:
        yield f"{where}: {usage}, right is an estimate that is not nothing"
    elif billed.output and tried.outcome == "ok" and usage.output <= 0:
        yield f"{where}: {usage}, output was billed: {billed.output}"
    if usage.total and not attempt.cost_nano:
        yield f"{where}: {usage} costs nothing"
