"""Judge a cell as one may judge any gateway: by its client's side and the providers' journals.

Theory. Much of what our own cells hold us to is ours alone: codes, headers, breakers, the ledger,
the third attempt. A peer promises none of that and is not asked for it. What remains is what every
client counts on, and each rule below says why. Where a difference is a matter of taste (500 or
502, an error event or a broken connection) both are right; where a gateway gets to a proper answer
by another way than ours, that is right too. We are judged by the same rules beside it.

The words, worst first:

no answer      the connection closed without one. A client cannot tell what happened.
hang           the answer took longer than the route's deadline and a margin: its caller waits.
fake answer    a 200 that says neither what a provider answered nor that it failed. Nobody retries.
silent cut     a stream that was cut and ends as if it were whole: a half answer is taken for one.
garbled        a stream in which a client meets bytes that are not the protocol: its parser breaks.
wrong status   a failure that blames one who did nothing: 401 and 403 say that the client's key is
               bad, 400 and 422 that its request is; 5xx for a bad request has SDKs repeat it.
lost           an error where a proper answer could be had: nothing had been sent and the fallback
               was there, or the provider's answer was good.
extra attempts more than three calls for one request: two deployments, no retries configured.
left running   the provider was still at work two seconds after the client left: it is paid for.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from matrix.fault import TEXT as TEXTS
from matrix.fault import Cell, ClientFault, Expect, Fault, Times
from matrix.reading import Got, Read, read_stream, read_whole
from pointsman.testing.journal import JournalEntry
from pointsman.testing.plays import Broken, Instead

Word = Literal[
    "ok", "continued", "no answer", "hang", "fake answer", "silent cut", "garbled", "wrong status",
    "lost", "extra attempts", "left running",
]  # fmt: skip
RIGHT: frozenset[Word] = frozenset({"ok", "continued"})
"""continued: after a cut another deployment went on, within the same answer."""

PATIENCE_S = 25.0
"""How long a client waits for a peer: beyond every deadline of the matrix."""
MARGIN_S = 2.0
LEFT_S = 2.0
MOST_CALLS = 3
UNNAMED = "an error under the name"
DROPPED = (UNNAMED, "half an event at the end")
"""What a client's SDK drops without a word."""
BLAMES_KEY = frozenset({401, 403})
BLAMES_REQUEST = frozenset({400, 422})


@dataclass(frozen=True, slots=True)
class Verdict:
    word: Word
    why: str = ""

    @property
    def is_right(self) -> bool:
        return self.word in RIGHT


OK = Verdict("ok")


def judged(
    cell: Cell, got: Got, calls: Sequence[JournalEntry], times: Times, lag_s: float
) -> Verdict:
    """Judge what came of a cell. calls: those of both deployments, ended or open."""
    fault, expect = cell.fault, cell.expect
    if expect.gone:
        return _left(got, calls, lag_s)
    if got.seconds > min(times.total_s + MARGIN_S + lag_s, PATIENCE_S):
        return Verdict("hang", f"{got.seconds:.1f} s of {times.total_s:g}")
    if got.status == 0:
        return Verdict("no answer")
    if isinstance(fault, ClientFault):
        return _mistake(cell, fault, got)
    verdict = _answered(cell, fault, expect, got, calls)
    if verdict.is_right and len(calls) > MOST_CALLS:
        return Verdict("extra attempts", f"{len(calls)} calls")
    return verdict


def _left(got: Got, calls: Sequence[JournalEntry], lag_s: float) -> Verdict:
    """Tokens that nobody reads are paid for; a provider that was never asked costs nothing."""
    for call in calls:
        is_over = call.ended != "lost" and call.ended_at - (got.left_at or 0.0) <= LEFT_S + lag_s
        if got.left_at and not is_over:
            return Verdict("left running")
    return OK


def _mistake(cell: Cell, fault: ClientFault, got: Got) -> Verdict:
    """A client's own mistake. How strict to be is taste: what can be read may be passed on for the
    provider to judge. What cannot be read, or names no model, key or path, can only be refused."""
    if got.status >= 500:
        return Verdict("wrong status", f"{got.status} for a client's mistake")
    is_refusal = 400 <= got.status < 500
    if not is_refusal and not _may_pass(fault, cell.route):
        return Verdict("fake answer", f"{got.status} for what cannot be answered")
    if fault.told.status == 401 and got.status not in BLAMES_KEY:
        return Verdict("wrong status", f"{got.status} for a bad key")
    return OK


def _may_pass(fault: ClientFault, route: str) -> bool:
    if fault.told.status in (401, 404, 405):
        return False
    body = fault.body.replace(b"@", b"", 1).replace(b"$", route.encode(), 1)
    try:
        fields = json.loads(body, parse_int=str)
    except RecursionError:
        return True
    except ValueError:
        return False
    return isinstance(fields, dict) and fields.get("model") == route


def _answered(
    cell: Cell, fault: Fault, expect: Expect, got: Got, calls: Sequence[JournalEntry]
) -> Verdict:
    read = read_stream(cell.client, got.body) if cell.streamed else None
    if got.status != 200:
        return _refused(cell, fault, expect, got.status, {call.status for call in calls})
    if read is None:
        said = read_whole(cell.client, got.body)
        if said.text in _answers(fault):
            return _finish(expect, said)
        if got.broken:
            return Verdict("no answer", "the connection broke in the answer")
        return Verdict("fake answer", f"{got.body[:160]!r}")
    return _streamed(cell, fault, expect, got, read)


def _answers(fault: Fault) -> set[str]:
    """What a proper answer says. A provider may wrap one oddly; to unwrap it is no mistake."""
    wrapped = isinstance(fault.first, Instead) and fault.first.what in ("gzip", "answer")
    return {*TEXTS.values(), "hi"} if wrapped else set(TEXTS.values())


def _refused(
    cell: Cell, fault: Fault, expect: Expect, status: int, heard: Collection[int]
) -> Verdict:
    """An error status instead of an answer: was an answer to be had, and who is blamed? A 400 that
    a provider itself gave may be passed on: what it meant by it stands only in its words."""
    if expect.told is None and not _may_fail(cell, fault, expect):
        return Verdict("lost", str(status))
    if status in BLAMES_KEY:
        return Verdict("wrong status", f"{status}, and the client's key is good")
    if expect.told is not None and 400 <= expect.told.status < 500 and expect.told.status != 429:
        if status >= 500:
            return Verdict("wrong status", f"{status}, and the request is at fault")
    elif status in BLAMES_REQUEST and status not in heard:
        return Verdict("wrong status", f"{status}, and the request is good")
    return OK


def _may_fail(cell: Cell, fault: Fault, expect: Expect) -> bool:
    """Whether an error is as right as the answer that we give: after our third attempt, or where
    the provider's HTTP is broken and nobody else can be asked."""
    if len(expect.tried) > 2:
        return True
    plays = fault.first if isinstance(fault.first, Sequence) else (fault.first,)
    return not cell.fallback and any(isinstance(play, Broken) for play in plays)


def _streamed(cell: Cell, fault: Fault, expect: Expect, got: Got, read: Read) -> Verdict:
    """A 200 stream: whole, or it says that it failed. A connection that breaks says so too."""
    is_told = got.broken or (read.ends[:1] == ["error"] and _is_named(cell, read))
    if read.text in _answers(fault) and not is_told:
        return _finish(expect, read)
    if cell.fallback and _is_continued(read):
        return Verdict("continued")
    if is_told:
        if expect.told is None and not read.text and not _may_fail(cell, fault, expect):
            return Verdict("lost", "an error event before any content")
        if expect.told is None and read.text:
            return Verdict("lost", "an error event in a good answer")
        return OK
    garbled = [each for each in read.faults if not each.startswith(DROPPED)]
    if garbled:
        return Verdict("garbled", garbled[0])
    if read.text:
        return Verdict("silent cut", f"ends {read.ends}, finish {read.finish}: {read.text!r}")
    return Verdict("fake answer", f"an empty stream, ends {read.ends}: {got.body[-200:]!r}")


def _is_named(cell: Cell, read: Read) -> bool:
    """Anthropic's SDK skips what does not come as `event: error`; OpenAI's looks at the data."""
    unnamed = any(each.startswith(UNNAMED) for each in read.faults)
    return cell.client == "openai" or not unnamed


def _is_continued(read: Read) -> bool:
    """The beginning of the first answer, then the second one: a continuation by one who has
    nothing to continue with."""
    before, whole, after = read.text.partition(TEXTS["b"])
    return bool(before and whole and not after) and TEXTS["a"].startswith(before)


def _finish(expect: Expect, read: Read) -> Verdict:
    """A cut by length or filter that is told as a normal end is a half answer taken for one."""
    is_cut = expect.finish != "stop" and read.text == TEXTS[expect.tried[-1].who]
    if is_cut and read.finish == "stop":
        return Verdict("silent cut", f"finish {read.finish}, right is {expect.finish}")
    return OK
