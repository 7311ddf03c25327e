"""A question, as the cache knows it: what would have to be the same for an answer to serve again.

Theory. A key that leaves out one field that changes the answer gives somebody another's answer.
So the key is made of the whole request in its neutral form, and what is left out is listed: how the
answer is delivered (stream or whole, in which dialect) and who is answered for statistics. To it
come whose it is (a tenant, or a key without one: their questions never meet), which route it goes
by, and the *epoch*, the digest of the configuration: another price, model or rule is another
epoch, and what was answered before serves no more.

The key is an HMAC, so that neither a tenant nor who reads a shared store can make or test one.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

import msgspec

from pointsman.domain.call import Caller
from pointsman.domain.content import Json, Message, Text
from pointsman.domain.request import ChatRequest, RouteOptions

MOST_BYTES: Final = 1024 * 1024
"""Longer requests are not kept: they hardly ever come twice, and cost milliseconds to digest."""

NOT_OF_THE_ANSWER: Final = frozenset(
    {
        *("metadata", "service_tier", "safety_identifier", "stream_options"),
        *("prompt_cache_key", "prompt_cache_retention"),
    }
)
"""Fields of a body that say how it is billed, filed or delivered, not what is answered."""


class Question(msgspec.Struct, frozen=True, gc=False):
    """`key` is that of the whole question. `setting` is that of everything but the last words of
    the user, and `words` are those: what a question may be like another in."""

    key: bytes
    setting: bytes
    words: str


def whose(caller: Caller) -> str:
    """Whose answers these are. Keys without a tenant share with nobody."""
    return f"key {caller.key}" if caller.tenant is None else f"tenant {caller.tenant}"


def question_of(
    request: ChatRequest, options: RouteOptions, caller: Caller, place: str, secret: bytes
) -> Question | None:
    """`place` is route and epoch. None where the request is too long, or cannot be written down."""
    if request.source is not None and len(request.source.body) > MOST_BYTES:
        return None
    last = request.messages[-1] if request.messages else None
    words = _words(last)
    before = request.messages if words is None else request.messages[:-1]
    try:
        setting = _encoder.encode(
            (whose(caller), place, _options(options), _rest(request), before, words is None)
        )
    except (TypeError, ValueError, OverflowError):
        return None
    digest = hmac.new(secret, setting, hashlib.sha256)
    said = hmac.new(
        secret, digest.digest() + (words or "").encode("utf-8", "surrogatepass"), "sha256"
    )
    return Question(said.digest(), digest.digest(), words or "")


def _words(message: Message | None) -> str | None:
    """The text of a user's message that is nothing but one text; else None."""
    if message is None or message.role != "user" or len(message.parts) != 1:
        return None
    (part,) = message.parts
    if not isinstance(part, Text) or part.extra or message.extra or message.name is not None:
        return None
    return part.text


def _options(options: RouteOptions) -> tuple[object, ...]:
    """What decides who answers; not how long it may take, or what it may cost."""
    return (
        options.prefer,
        options.fallbacks,
        options.allow,
        sorted(options.require),
        options.residency,
        options.sensitive,
    )


def _rest(request: ChatRequest) -> tuple[object, ...]:
    """All of a request but its messages."""
    extra = {name: value for name, value in request.extra.items() if name not in NOT_OF_THE_ANSWER}
    source = request.source
    # Fields without a neutral meaning mean something in one dialect alone.
    dialect = source.dialect if source is not None and (extra or source.headers) else ""
    return (
        request.max_tokens,
        request.tools,
        request.tool_choice,
        request.parallel_tools,
        request.response_format,
        request.reasoning,
        request.temperature,
        request.top_p,
        request.top_k,
        request.stop,
        request.seed,
        request.choices,
        extra,
        dialect,
        {} if source is None else dict(source.headers),
    )


def _plain(value: object) -> Json:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a request holds a {type(value).__name__}")


_encoder: Final = msgspec.json.Encoder(order="deterministic", enc_hook=_plain)
