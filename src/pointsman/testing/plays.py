"""What a provider can be told to do with one request: to answer, and everything that goes wrong.

A play is one frozen record; a step, for one request, is one play or several that work together
(`(Slow(tokens_per_second=20), Cut(after_tokens=5))`). The same records come as JSON, in the
header `x-fault`, in scenario files and over `/_provider/script`: `{"cut": {"after_tokens": 5}}`,
`"hang"`, or a list of such. Positions: `after_tokens` counts generated tokens, `at_byte` bytes of
the body, `at_wire_byte` bytes of the whole response with its head and framing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Literal, TypeAlias

import msgspec

from pointsman.domain.content import Json, JsonObject
from pointsman.errors import ConfigError

Finish = Literal["stop", "length", "tool_calls", "stop_sequence", "content_filter", "refusal"]


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer properly, with whatever is stated here instead of what would be derived.

    cached and cache_write: input tokens that came from, or went to, the provider's cache.
    model: another model's name in the answer than the one asked for.
    """

    text: str | None = None
    thinking: str | None = None
    calls: tuple[tuple[str, str], ...] | None = None
    """Tool calls as (name, arguments as JSON text); an empty one forbids them."""
    finish: Finish | None = None
    cached: int = 0
    cache_write: int = 0
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Slow:
    """Take time, in seconds; None leaves the persona's own. `tokens_per_second` 0 is at once."""

    first_byte_s: float | None = None
    first_token_s: float | None = None
    tokens_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class Fail:
    """Answer with an error status. The body is `body`, or `canned` (a name in `canned.CANNED`),
    or what a provider of the request's dialect says with that status. `retry_at_s` adds a
    Retry-After that is an HTTP date, so many seconds from now."""

    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    canned: str | None = None
    retry_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class Instead:
    """Answer 200 with something that is no answer. `gzip`: one that is compressed, unasked.
    `answer`: a whole one, for a `content_type` that does not fit, or where a stream was asked."""

    what: Literal[
        "error", "html", "empty", "empty_choices", "null", "text", "array", "wrong_type",
        "no_content", "other_dialect", "gzip", "answer",
    ] = "error"  # fmt: skip
    body: str | None = None
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Hang:
    """Stop sending: for ever, or for `seconds` and then go on. Without a position: at once,
    before any work; a provider that works and then says nothing is `at_wire_byte=0`.
    `after_head`: once the status line and headers are out. `ping_every_s`: say that it is still
    there, by pings that carry no content; only in a stream, and not at a byte of the wire."""

    seconds: float | None = None
    ping_every_s: float | None = None
    after_head: bool = False
    after_tokens: int | None = None
    at_byte: int | None = None
    at_wire_byte: int | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """Lose the connection by `rst` or a clean `fin`; without a position at once."""

    how: Literal["rst", "fin"] = "rst"
    after_head: bool = False
    after_tokens: int | None = None
    at_byte: int | None = None
    at_wire_byte: int | None = None


@dataclass(frozen=True, slots=True)
class Truncate:
    """End the HTTP body properly, after `after_tokens` tokens, without the protocol's own end.
    A whole answer loses the second half of its JSON."""

    after_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """Send an error event inside a 200 stream, and end. None: before anything else; 0: after the
    opening events (role, message_start, ping) and before content. A whole answer becomes a 200
    with an error body. `done`: send the protocol's end marker after it all the same."""

    after_tokens: int | None = 0
    kind: Literal["overloaded", "server_error", "throttled", "content_filter"] = "overloaded"
    done: bool = False


MalformedKind = Literal[
    # Legal, if unusual: a good client does not notice.
    "crlf", "mixed_newlines", "bom", "comments", "no_space", "two_data_lines", "split_utf8",
    "unknown_event", "id_and_retry", "no_done", "after_done",
    # Not the protocol.
    "bad_json", "not_utf8", "wrong_shape", "huge_line", "nan", "deep",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Malformed:
    """Send odd or broken events. A broken one comes after `after_tokens` tokens; the rest of the
    stream then goes on as if nothing had been."""

    kind: MalformedKind = "bad_json"
    after_tokens: int = 1


UsageKind = Literal[
    "missing", "null", "zero", "twice", "twice_growing", "cumulative", "early", "negative", "huge",
    "string", "float", "only_total", "wrong_total", "cached", "cached_above_input", "reasoning",
    "reasoning_above_output", "empty_object", "not_an_object", "unasked",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class OddUsage:
    """Report usage oddly. What is *billed* stays true, except that `cached` and `reasoning` are
    honest splits: half of the input was cached, half of the output was reasoning."""

    kind: UsageKind = "missing"


@dataclass(frozen=True, slots=True)
class Broken:
    """Speak broken HTTP around an answer that is itself right."""

    kind: Literal[
        "bad_status_line", "not_http", "bad_header", "length_short", "length_long", "bad_chunk",
        "no_last_chunk", "length_and_chunked", "two_lengths", "garbage_after", "close_after",
        "huge_header", "many_headers", "close_delimited", "informational", "announced_close",
    ] = "bad_status_line"  # fmt: skip


@dataclass(frozen=True, slots=True)
class Drip:
    """Send `size` bytes every `every_s` seconds, from the first byte of the head on."""

    every_s: float = 1.0
    size: int = 1


Play: TypeAlias = (
    Answer | Slow | Fail | Instead | Hang | Cut | Truncate | ErrorEvent | Malformed | OddUsage
    | Broken | Drip
)  # fmt: skip
Step: TypeAlias = "Play | Sequence[Play]"

PLAYS: dict[str, type[Play]] = {
    "answer": Answer,
    "slow": Slow,
    "fail": Fail,
    "instead": Instead,
    "hang": Hang,
    "cut": Cut,
    "truncate": Truncate,
    "error_event": ErrorEvent,
    "malformed": Malformed,
    "odd_usage": OddUsage,
    "broken": Broken,
    "drip": Drip,
}
_NAMES = {kind: name for name, kind in PLAYS.items()}


def as_plays(step: Step) -> tuple[Play, ...]:
    """Make a tuple of a step that may be a single play."""
    return tuple(step) if isinstance(step, Sequence) else (step,)


def read_plays(value: Json, where: str) -> tuple[Play, ...]:
    """Read a step from JSON: a name, `{name: {field: value}}`, or a list of these.

    Raises ConfigError that says `where` and lists what would have been allowed.
    """
    if isinstance(value, list):
        return tuple(play for item in value for play in read_plays(item, where))
    if isinstance(value, str):
        value = {value: {}}
    if not isinstance(value, dict) or not value:
        raise ConfigError(f"{where}: a play is a name or an object such as {{'hang': {{}}}}")
    return tuple(_read_play(name, stated, where) for name, stated in value.items())


def _read_play(name: str, stated: Json, where: str) -> Play:
    kind = PLAYS.get(name)
    if kind is None:
        raise ConfigError(f"{where}: no play is called {name!r}; there are {', '.join(PLAYS)}")
    stated = {} if stated is None else stated
    if not isinstance(stated, dict):
        raise ConfigError(f"{where}: {name} takes an object of fields")
    known = [item.name for item in fields(kind)]
    for key in stated:
        if key not in known:
            raise ConfigError(f"{where}: {name} has no field {key!r}; it has {', '.join(known)}")
    try:
        return msgspec.convert(stated, type=kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {name}: {error}") from error


def describe(play: Play) -> JsonObject:
    """Write a play as `read_plays` reads it, defaults left out."""
    stated: JsonObject = {}
    values = asdict(play)
    for item in fields(play):
        value = values[item.name]
        default = item.default_factory() if item.default_factory is not MISSING else item.default
        if value != default:
            stated[item.name] = [list(pair) for pair in value] if item.name == "calls" else value
    return {_NAMES[type(play)]: stated}
