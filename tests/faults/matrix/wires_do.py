"""Faults of the wire: connections, TLS, time, HTTP, bytes that are not the protocol, usage."""

from __future__ import annotations

from matrix.fault import (
    DEADLINE,
    DISCONNECTED,
    GOOD_B,
    STALLED,
    TEXT,
    UPSTREAM_ERROR,
    UPSTREAM_PROTOCOL,
    UPSTREAM_TIMEOUT,
    Books,
    Expect,
    Fault,
    Pair,
    Place,
    Times,
    Told,
    Tried,
    Wire,
    both_fail,
    breaks,
    fails,
    unseen,
)
from matrix.providers_say import SPACED, same
from pointsman.testing.plays import (
    Broken,
    Cut,
    Drip,
    Hang,
    Instead,
    Malformed,
    OddUsage,
    Slow,
    Truncate,
)
from pointsman.testing.tokens import count_tokens

ALL = count_tokens(TEXT["a"])
TIMED = Times(first_content_s=0.5, idle_s=0.5, whole_s=0.5, total_s=2.2)

LATE_A = Tried("a", "timeout", "estimate")
HANGS_WHOLE = Pair(Expect((LATE_A,), DEADLINE, a="hard"), Expect((LATE_A, GOOD_B), a="hard"))
"""A whole answer is waited for to the end where nobody else is left."""
HANGS_STREAM = fails("timeout", UPSTREAM_TIMEOUT, "estimate")
DIES = fails("unavailable", UPSTREAM_ERROR, "estimate")
GARBLED = fails("malformed", UPSTREAM_PROTOCOL, "estimate")


def place(name: str, row: str, where: Place, kind: str, told: Told) -> Fault:
    ends = fails(kind, told)
    return Fault(name, row, (), ends, ends, where=where)


LATE_TWICE = Expect((LATE_A, Tried("b", "timeout", "estimate")), DEADLINE, a="hard")
LATE_AFTER_CONTENT = Expect((Tried("a", "abandoned", "estimate"),), DEADLINE, (1, ALL - 1))

CONNECTIONS = (
    place("connection refused", "4", "refused", "unavailable", UPSTREAM_ERROR),
    place("connection never made", "4", "black_hole", "timeout", UPSTREAM_TIMEOUT),
    place("TLS: certificate expired", "5", "tls_expired", "unavailable", UPSTREAM_ERROR),
    place("TLS: another's name", "5", "tls_wrong_name", "unavailable", UPSTREAM_ERROR),
    place("TLS: unknown issuer", "5", "tls_unknown", "unavailable", UPSTREAM_ERROR),
    place("TLS: handshake hangs", "5", "tls_deaf", "unavailable", UPSTREAM_ERROR),
    place("TLS: handshake reset", "5", "tls_resets", "unavailable", UPSTREAM_ERROR),
    Fault("TLS: good", "5", (), unseen(), unseen(), where="tls"),
    place("no such host", "6", "dns", "unavailable", UPSTREAM_ERROR),
    place("the resolver hangs", "6", "dns_hangs", "unavailable", UPSTREAM_ERROR),
)

TIME = (
    Fault("hang before the head", "7", Hang(), HANGS_WHOLE, HANGS_STREAM, times=TIMED),
    Fault(
        "hang after the head", "7", Hang(after_head=True), HANGS_WHOLE, HANGS_STREAM, times=TIMED
    ),
    Fault(
        "hang before content, with pings",
        "7",
        Hang(after_tokens=0, ping_every_s=0.05),
        None,
        HANGS_STREAM,
        times=TIMED,
    ),
    Fault(
        "hang after four tokens",
        "8",
        Hang(after_tokens=4),
        None,
        breaks("timeout", STALLED, 4),
        times=TIMED,
    ),
    Fault(
        "hang after four tokens, with pings",
        "8",
        Hang(after_tokens=4, ping_every_s=0.05),
        None,
        breaks("timeout", STALLED, 4),
        times=TIMED,
    ),
    Fault("hang and then go on", "8", Hang(0.15, after_tokens=3), None, unseen()),
    Fault("slow, but in time", "8", Slow(0.1, 0.1, 100), unseen(), unseen()),
    Fault("a drip of bytes", "19", Drip(0.02), HANGS_WHOLE, HANGS_STREAM, times=TIMED),
    Fault("a drip that arrives in time", "19", Drip(0.001, 64), unseen(), unseen()),
    same(
        "the deadline passes in the first attempt",
        "7",
        Hang(),
        Pair(Expect((LATE_A,), DEADLINE), Expect((LATE_A,), DEADLINE)),
        timeout_s=0.6,
    ),
    Fault(
        "the deadline passes in the second attempt",
        "7",
        Hang(),
        Pair(Expect((LATE_A,), DEADLINE, a="hard"), LATE_TWICE),
        Pair(Expect((LATE_A,), UPSTREAM_TIMEOUT, a="hard"), LATE_TWICE),
        second=Hang(),
        times=Times(first_content_s=1.0, idle_s=1.0, whole_s=1.0, total_s=1.7),
    ),
    Fault(
        "both hang",
        "7",
        Hang(),
        Pair(
            Expect((LATE_A,), DEADLINE, a="hard"),
            Expect((LATE_A, Tried("b", "timeout", "estimate")), DEADLINE, a="hard", b="hard"),
        ),
        both_fail(
            ("timeout", "timeout"), (UPSTREAM_TIMEOUT, UPSTREAM_TIMEOUT), ("estimate", "estimate")
        ),
        second=Hang(),
        times=TIMED,
    ),
    Fault(
        "the deadline passes after content",
        "7",
        Slow(tokens_per_second=10),
        None,
        Pair(LATE_AFTER_CONTENT, LATE_AFTER_CONTENT),
        timeout_s=1.0,
    ),
)  # fmt: skip

CUTS = (
    *(Fault(f"{how} before the head", "9", Cut(how), DIES, DIES) for how in ("rst", "fin")),
    Fault("rst after the head", "9", Cut("rst", after_head=True), DIES, DIES),
    Fault("fin after the head", "9", Cut("fin", after_head=True), GARBLED, GARBLED),
    Fault("rst inside the head", "9", Cut("rst", at_wire_byte=30), DIES, DIES),
    Fault("fin inside the head", "9", Cut("fin", at_wire_byte=30), GARBLED, GARBLED),
    Fault("rst after role", "9", Cut("rst", after_tokens=0), None, DIES),
    Fault("fin after role", "9", Cut("fin", after_tokens=0), None, GARBLED),
    Fault(
        "rst after four tokens",
        "9",
        (SPACED, Cut("rst", after_tokens=4)),
        DIES,
        breaks("unavailable", DISCONNECTED, 1, 4),
    ),
    Fault(
        "fin after four tokens",
        "9",
        (SPACED, Cut("fin", after_tokens=4)),
        DIES,
        breaks("malformed", DISCONNECTED, 4),
    ),
    Fault("whole body cut at byte 100", "9", Cut("fin", at_byte=100), GARBLED, None),
    Fault("body ends after role", "10", Truncate(0), GARBLED, GARBLED),
    Fault(
        "body ends after one token",
        "10",
        (SPACED, Truncate(1)),
        None,
        breaks("malformed", DISCONNECTED, 1),
    ),
    Fault(
        "body ends after four tokens",
        "10",
        (SPACED, Truncate(4)),
        None,
        breaks("malformed", DISCONNECTED, 4),
    ),
    Fault(
        "all said, but no finish reason",
        "10",
        (SPACED, Truncate(999)),
        None,
        breaks("malformed", DISCONNECTED, ALL),
    ),
    Fault(
        "no message_stop",
        "10",
        (SPACED, Malformed("no_done")),
        None,
        breaks("malformed", DISCONNECTED, ALL),
        upstreams=("anthropic",),
    ),
    Fault("no [DONE]", "10", Malformed("no_done"), None, unseen(), upstreams=("openai",)),
    same(
        "both cut before content",
        "9",
        Cut("rst"),
        both_fail(
            ("unavailable", "unavailable"),
            (UPSTREAM_ERROR, UPSTREAM_ERROR),
            ("estimate", "estimate"),
            again=True,
        ),
        second=Cut("rst"),
        always=True,
    ),
    same(
        "reset, then rubbish",
        "9",
        Cut("rst"),
        Pair(
            Expect((Tried("a", "unavailable", "estimate"),), UPSTREAM_ERROR, a="hard"),
            Expect(
                (
                    Tried("a", "unavailable", "estimate"),
                    Tried("b", "malformed", "estimate"),
                    Tried("a", "unavailable", "estimate"),
                ),
                UPSTREAM_ERROR,
                a="hard",
                b="hard",
            ),
        ),
        second=Instead("html"),
        always=True,
    ),
)

HTTP = (
    *(
        Fault(f"HTTP: {kind}", "27", Broken(kind), GARBLED, GARBLED)
        for kind in (
            "bad_status_line", "not_http", "bad_header", "bad_chunk", "length_and_chunked",
            "two_lengths", "huge_header", "many_headers",
        )
    ),
    *(
        Fault(f"HTTP: {kind}", "27", Broken(kind), unseen(), unseen())
        for kind in (
            "garbage_after", "close_after", "close_delimited", "informational", "announced_close",
        )
    ),
    Fault("HTTP: length_long", "10", Broken("length_long"), GARBLED, unseen()),
    Fault("HTTP: no_last_chunk", "10", Broken("no_last_chunk"), GARBLED, unseen()),
    Fault(
        "HTTP: length_short", "10", Broken("length_short"), GARBLED, unseen(),
        upstreams=("openai",),
    ),
    Fault(
        "HTTP: length_short, no message_stop", "10", Broken("length_short"), GARBLED,
        breaks("malformed", DISCONNECTED, ALL), upstreams=("anthropic",),
    ),
)  # fmt: skip

LEGAL = tuple(
    Fault(f"legal: {kind}", "11", Malformed(kind), unseen(), unseen())
    for kind in (
        "crlf", "mixed_newlines", "bom", "comments", "no_space", "two_data_lines", "split_utf8",
        "unknown_event", "id_and_retry", "after_done",
    )
)  # fmt: skip

BROKEN = ("bad_json", "not_utf8", "wrong_shape", "huge_line", "nan", "deep")

BYTES = (
    *LEGAL,
    *(
        Fault(
            f"{kind} before content",
            "11",
            Malformed(kind, 0),  # type: ignore[arg-type]
            unseen() if kind == "huge_line" else GARBLED,
            GARBLED,
        )
        for kind in BROKEN
    ),
    *(
        Fault(
            f"{kind} after three tokens",
            "11",
            (SPACED, Malformed(kind, 3)),  # type: ignore[arg-type]
            None,
            breaks("malformed", UPSTREAM_PROTOCOL, 3),
        )
        for kind in BROKEN
    ),
    *(
        same(f"200 with {what}", "14", Instead(what), GARBLED)
        for what in (
            "html", "empty", "empty_choices", "null", "text", "array", "wrong_type", "no_content",
            "other_dialect", "gzip",
        )
    ),
    same(
        "200, an answer that says it is HTML",
        "14",
        Instead("answer", content_type="text/html"),
        GARBLED,
    ),
    same("200 of rubbish from both", "14", Instead("html"),
         both_fail(("malformed", "malformed"), (UPSTREAM_PROTOCOL, UPSTREAM_PROTOCOL),
                   ("estimate", "estimate")),
         second=Instead("text"), always=True),
)  # fmt: skip


def used(kind: str, books: Books, upstreams: tuple[Wire, ...] = ("openai", "anthropic")) -> Fault:
    end = Expect((Tried("a", "ok", books),))
    pair = Pair(end, end)
    return Fault(f"usage: {kind}", "18", OddUsage(kind), pair, pair, upstreams=upstreams)  # type: ignore[arg-type]


USAGE = (
    *(
        used(kind, "estimate")
        for kind in (
            "missing", "null", "negative", "huge", "string", "float", "empty_object",
            "not_an_object",
        )
    ),
    used("zero", "zero"),
    *(
        used(kind, "exact")
        for kind in ("twice", "cumulative", "cached", "unasked")
    ),
    *(used(kind, "exact", ("openai",)) for kind in ("twice_growing", "reasoning", "early")),
    used("only_total", "estimate"),
    used("wrong_total", "told", ("openai",)),
    used("cached_above_input", "told", ("openai",)),
    used("cached_above_input", "estimate", ("anthropic",)),
    used("reasoning_above_output", "told", ("openai",)),
)  # fmt: skip

WIRES_DO = (*CONNECTIONS, *TIME, *CUTS, *HTTP, *BYTES, *USAGE)
