"""What a cell of the matrix is made of: a fault, the modes it is met in, and what must follow.

Theory. A fault is data: what the first deployment does, what the second one does, and for each
of the four modes (whole or streamed, fallback off or on) the one right end. What is expected is
written down here and in the catalogue as literals, after the failure catalogue and the client
contract of the specification; nothing of it is computed by the code under test.

Deployments are `a`, which is asked first, and `b`. In one half of the cells `a` speaks OpenAI's
dialect and `b` Anthropic's, in the other half it is the other way round; with both of the
clients' dialects that makes every pair of pass-through and translation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from pointsman.testing.plays import Step
from pointsman.testing.tokens import split_tokens

Wire = Literal["openai", "anthropic"]
Side = Literal["a", "b"]
WIRES: tuple[Wire, ...] = ("openai", "anthropic")
SIDES: tuple[Side, ...] = ("a", "b")

TEXT: dict[Side, str] = {
    "a": 'Ja – „grün“ 🚂 one two three four five, "six"\n\\seven eight nine ten eleven.',
    "b": 'Nein – „blau“ 🛤 uno due tre quattro cinque, "sei"\n\\sette otto nove dieci undici.',
}
"""What each deployment answers: characters of one to four bytes, quotes, a line end."""

Effect = Literal["neutral", "hard", "cool", "credential"]
"""What the cell leaves behind at a deployment's breaker: nothing, a failure in a row, a track
that is cooling down, or a count against the credential."""

Books = Literal["exact", "told", "estimate", "zero", "nothing"]
"""What an attempt's usage in the ledger must be. exact: what the provider billed. told: what it
said, which is not what it billed. estimate: marked as one, and not nothing. zero: it said that
it was nothing. nothing: no work was done."""

Place = Literal[
    "plain", "refused", "black_hole", "dns", "dns_hangs",
    "tls", "tls_expired", "tls_wrong_name", "tls_unknown", "tls_deaf", "tls_resets",
]  # fmt: skip
"""Where deployment `a` is reached."""

Leaves = Literal["before content", "in the middle", "at the last byte"]


def first_tokens(side: Side, count: int) -> str:
    return "".join(split_tokens(TEXT[side])[:count])


@dataclass(frozen=True, slots=True)
class Told:
    """An error as a client meets it, as a status or inside a stream.

    types: the error's type in OpenAI's and in Anthropic's words. retry_after: the least and the
    most whole seconds, None for no such header.
    """

    status: int
    code: str
    types: tuple[str, str]
    should_retry: bool = False
    retry_after: tuple[int, int] | None = None

    def after(self, least: int, most: int | None = None) -> Told:
        return replace(self, retry_after=(least, least if most is None else most))


SERVER = ("server_error", "api_error")
INVALID = ("invalid_request_error", "invalid_request_error")
UPSTREAM_ERROR = Told(502, "upstream_error", SERVER)
UPSTREAM_PROTOCOL = Told(502, "upstream_protocol", SERVER)
UPSTREAM_TIMEOUT = Told(504, "upstream_timeout", ("timeout_error", "timeout_error"))
RATE_LIMITED = Told(429, "upstream_rate_limited", ("rate_limit_error", "rate_limit_error"), True)
FILTERED = Told(400, "content_filter", INVALID)
TOO_LONG = Told(400, "context_length_exceeded", INVALID)
DEADLINE = Told(504, "deadline_exceeded", ("timeout_error", "timeout_error"))
DISCONNECTED = Told(502, "upstream_disconnected", SERVER)
STALLED = Told(502, "upstream_stalled", SERVER)


@dataclass(frozen=True, slots=True)
class Tried:
    """An attempt: who was asked, how the ledger says it ended, and what it says it used."""

    who: Side
    outcome: str
    books: Books = "nothing"


GOOD_A = Tried("a", "ok", "exact")
GOOD_B = Tried("b", "ok", "exact")


@dataclass(frozen=True, slots=True)
class Expect:
    """One right end. `told` None: a proper answer, of the last that was tried.

    said: how many tokens reach the client before an error event, at least and at most; None where
    the error is a status. finish: the client's word for the end, in OpenAI's dialect. gone: the
    client left, and the ledger says so.
    """

    tried: tuple[Tried, ...] = (GOOD_A,)
    told: Told | None = None
    said: tuple[int, int] | None = None
    a: Effect = "neutral"
    b: Effect = "neutral"
    finish: str = "stop"
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """What is right with fallback off, and with it on."""

    off: Expect
    on: Expect


@dataclass(frozen=True, slots=True)
class Times:
    """A route's timeouts in seconds: a tenth and less of those in production."""

    first_content_s: float = 8.0
    idle_s: float = 8.0
    whole_s: float = 8.0
    total_s: float = 16.0


PATIENT = Times()
"""For faults that are not about time: a busy machine must not look like one that is."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the matrix.

    row: of the failure catalogue. first, second: what `a` and `b` do with their first requests;
    later ones are answered properly, unless `always`. upstreams: the dialects of `a`. larger: the
    window of `b` is larger than that of `a`. leaves: when the client goes away. timeout_s: what it
    asks for. then: what a second request, right after the first, must meet.
    retries: the retry budget has something left.
    """

    name: str
    row: str
    first: Step = ()
    whole: Pair | None = None
    stream: Pair | None = None
    second: Step = ()
    where: Place = "plain"
    times: Times = PATIENT
    upstreams: tuple[Wire, ...] = WIRES
    clients: tuple[Wire, ...] = WIRES
    always: bool = False
    larger: bool = True
    leaves: Leaves | None = None
    timeout_s: float | None = None
    then: Pair | None = None
    retries: bool = True


@dataclass(frozen=True, slots=True)
class ClientFault:
    """A client's own mistake: refused before anybody is asked.

    `body` has `$` where the model's name goes. `headers` replace those of a good request.
    """

    name: str
    row: str
    told: Told
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    method: str = "POST"
    path: str = ""
    clients: tuple[Wire, ...] = WIRES


@dataclass(frozen=True, slots=True)
class Cell:
    """A fault in one mode."""

    number: int
    fault: Fault | ClientFault
    client: Wire
    upstream: Wire
    streamed: bool
    fallback: bool

    @property
    def id(self) -> str:
        how = "stream" if self.streamed else "whole"
        fallback = "fallback" if self.fallback else "alone"
        return f"{self.fault.name} [{how}, {fallback}, {self.client} client, a is {self.upstream}]"

    @property
    def route(self) -> str:
        return f"r{self.number}"

    def deployment(self, side: Side) -> str:
        return f"d{self.number}{side}"

    def model(self, side: Side) -> str:
        return f"m{self.number}{side}"

    def wire(self, side: Side) -> Wire:
        if side == "a":
            return self.upstream
        return "anthropic" if self.upstream == "openai" else "openai"

    @property
    def expect(self) -> Expect:
        fault = self.fault
        if isinstance(fault, ClientFault):
            return Expect((), fault.told)
        pair = fault.stream if self.streamed else fault.whole
        assert pair is not None
        return pair.on if self.fallback else pair.off


# The ends that most faults have.


def unseen() -> Pair:
    """Nobody notices: the answer is as good as any."""
    return Pair(Expect(), Expect())


def fails(
    kind: str, told: Told, books: Books = "nothing", effect: Effect = "hard", then: Tried = GOOD_B
) -> Pair:
    """`a` fails before its first content: alone that is told, else `b` answers unseen."""
    first = Tried("a", kind, books)
    return Pair(Expect((first,), told, a=effect), Expect((first, then), a=effect))


def both_fail(
    kinds: tuple[str, str],
    told: tuple[Told, Told],
    books: tuple[Books, Books] = ("nothing", "nothing"),
    effects: tuple[Effect, Effect] = ("hard", "hard"),
    again: bool = False,
) -> Pair:
    """Both fail; `again`: one of them, the first, is asked a last time, and fails."""
    first, second = (Tried("a", kinds[0], books[0]), Tried("b", kinds[1], books[1]))
    tried = (first, second, first) if again else (first, second)
    return Pair(
        Expect((first,), told[0], a=effects[0]), Expect(tried, told[1], a=effects[0], b=effects[1])
    )


def breaks(
    kind: str, told: Told, least: int, most: int | None = None, effect: Effect = "hard"
) -> Pair:
    """`a` fails after content: the client has been told so much, and is told of the failure."""
    said = (least, least if most is None else most)
    end = Expect((Tried("a", kind, "estimate"),), told, said, a=effect)
    return Pair(end, end)
