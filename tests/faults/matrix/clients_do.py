"""What clients do wrong, and how they leave."""

from __future__ import annotations

from matrix.fault import (
    INVALID,
    TOO_LONG,
    ClientFault,
    Expect,
    Fault,
    Pair,
    Told,
    Tried,
)
from pointsman.testing.plays import Hang, Slow

BAD = Told(400, "invalid_request", INVALID)
NOBODY = ("authentication_error", "authentication_error")
NOT_FOUND = ("not_found_error", "not_found_error")

REST = b'@"model":"$","max_tokens":50'
HI = b'"messages":[{"role":"user","content":"hi"}]'
GOOD = b"{" + REST + b"," + HI + b"}"


def with_field(field: bytes) -> bytes:
    return b"{" + REST + b"," + HI + b"," + field + b"}"


def saying(content: bytes) -> bytes:
    return b"{" + REST + b',"messages":[{"role":"user","content":' + content + b"}]}"


def bad(name: str, row: str, body: bytes, told: Told = BAD) -> ClientFault:
    return ClientFault(f"client: {name}", row, told, body)


BODIES = (
    bad("no body", "24", b""),
    bad("no JSON", "24", b"hello"),
    bad("half a body", "24", GOOD[:-3]),
    bad("an array", "24", b"[]"),
    bad("null", "24", b"null"),
    bad("not UTF-8", "24", saying(b'"\xff\xfe"')),
    bad("a lone surrogate", "24", saying(b'"\\ud800"')),
    bad("a NUL byte", "24", saying(b'"a\x00b"')),
    bad("NaN", "24", with_field(b'"temperature":NaN')),
    bad("Infinity", "24", with_field(b'"temperature":Infinity')),
    bad("1e999", "24", with_field(b'"temperature":1e999')),
    bad("a number of 5,000 digits", "24", with_field(b'"seed":' + b"9" * 5000)),
    bad("a key twice", "25", with_field(b'"model":"other"')),
    bad("a nested key twice", "25", b"{" + REST
        + b',"messages":[{"role":"user","role":"user","content":"hi"}]}'),
    bad("100 levels", "23", with_field(b'"metadata":' + b"[" * 100 + b"]" * 100)),
    bad("100,000 levels", "23", with_field(b'"metadata":' + b"[" * 100_000 + b"]" * 100_000)),
    bad("no model", "24", b"{" + HI + b',"max_tokens":50}'),
    bad("model is a number", "24", b'{"model":7,"max_tokens":50,' + HI + b"}"),
    bad("no messages", "24", b"{" + REST + b"}"),
    bad("messages is a text", "24", b"{" + REST + b',"messages":"hi"}'),
    bad("messages is empty", "24", b"{" + REST + b',"messages":[]}'),
    bad("a message is a number", "24", b"{" + REST + b',"messages":[7]}'),
    bad("a role nobody knows", "24", b"{" + REST
        + b',"messages":[{"role":"wizard","content":"hi"}]}'),
    bad("content is a number", "24", saying(b"7")),
    bad("a content block is a number", "24", saying(b"[7]")),
    bad("temperature is a text", "24", with_field(b'"temperature":"hot"')),
    bad("stream is a text", "24", b'{"model":"$","max_tokens":50,"stream":"yes",' + HI + b"}"),
    bad("max_tokens is a text", "24", b'{@"model":"$","max_tokens":"many",' + HI + b"}"),
    bad("max_tokens is negative", "24", b'{@"model":"$","max_tokens":-1,' + HI + b"}"),
    bad("tools is an object", "24", with_field(b'"tools":{}')),
    bad("a tool is a text", "24", with_field(b'"tools":["hammer"]')),
    bad("timeout is negative", "24", with_field(b'"timeout":-1')),
    bad("a limit in words", "24", with_field(b'"max_cost_usd":"much"')),
    bad("an option nobody knows", "24", with_field(b'"pointsman":{"prefr":"cost"}')),
    bad("too large", "22", saying(b'"' + b"a" * 1_100_000 + b'"'),
        Told(413, "body_too_large", ("invalid_request_error", "request_too_large"))),
    bad("a conversation too long for all", "16", saying(b'"' + b"word " * 150_000 + b'"'),
        TOO_LONG),
    bad("a model nobody knows", "24", GOOD.replace(b"$", b"nothing-like-it"),
        Told(404, "model_not_found", NOT_FOUND)),
)  # fmt: skip

MANNERS = (
    ClientFault("client: no key", "26", Told(401, "missing_api_key", NOBODY), GOOD,
                (("authorization", ""),)),
    ClientFault("client: a wrong key", "26", Told(401, "invalid_api_key", NOBODY), GOOD,
                (("authorization", "Bearer sk-wrong-000000000000"),)),
    ClientFault("client: a body with an encoding", "22",
                Told(415, "unsupported_encoding", INVALID), GOOD,
                (("content-encoding", "gzip"),)),
    ClientFault("client: GET", "26", Told(405, "method_not_allowed", INVALID), method="GET"),
    ClientFault("client: a path that is none", "26", Told(404, "not_found", NOT_FOUND), GOOD,
                path="/v1/messages/nonsense"),
)  # fmt: skip

GONE = Expect((Tried("a", "abandoned", "estimate"),), gone=True)
LEFT = Pair(GONE, GONE)
STAYED = Pair(Expect(), Expect())

LEAVING = (
    Fault("client leaves before content", "21", Hang(), LEFT, LEFT, leaves="before content"),
    Fault(
        "client leaves in the middle",
        "21",
        Slow(tokens_per_second=15),
        None,
        LEFT,
        leaves="in the middle",
    ),
    Fault("client leaves at the last byte", "21", (), STAYED, STAYED, leaves="at the last byte"),
)

CLIENTS_DO = (*BODIES, *MANNERS, *LEAVING)
