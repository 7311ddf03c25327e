"""Our own answer to a case: read by the dialect, as in the gateway, and charged by its price."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from pointsman.conformance.cases import Case, Provider
from pointsman.dialects.dialect import Decoder, Dialect, Tap
from pointsman.dialects.registry import dialect_of
from pointsman.domain.billing import billing_of
from pointsman.domain.content import ToolCall
from pointsman.domain.money import from_usd
from pointsman.domain.request import ChatRequest
from pointsman.domain.usage import NO_USAGE, Lane, Price, Rates, Usage, filled


def price_of(words: Mapping[str, Any]) -> Price:
    """Turn a case's price, in USD, into ours."""
    batch: Rates | None = None
    lanes: list[Lane] = []
    for tier, rates in words.get("tiers", {}).items():
        if tier == "batch":
            batch = _rates(rates)
        else:
            lanes.append(Lane(tier, _rates(rates)))
    return Price(
        _rates(words),
        version="conformance",
        steps=tuple((step["above"], _rates(step)) for step in words.get("steps", ())),
        batch=batch,
        lanes=tuple(lanes),
        search_nano=from_usd(Decimal(words.get("search_usd", "0"))),
        request_nano=from_usd(Decimal(words.get("request_usd", "0"))),
        by_bill=bool(words.get("by_bill")),
    )


def _rates(words: Mapping[str, Any]) -> Rates:
    def nano(name: str) -> int | None:
        usd = words.get(name + "_usd")
        return None if usd is None else from_usd(Decimal(usd))

    parts = ("reasoning", "audio_input", "audio_cached", "audio_output", "image_input")
    return Rates.of(
        nano("input") or 0,
        nano("output") or 0,
        nano("cached"),
        nano("cache_write"),
        nano("cache_write_1h"),
        **{part: nano(part) for part in (*parts, "image_output")},
    )


def _dialect(provider: Provider) -> Dialect:
    return dialect_of(provider.dialect, billing_of(provider.provider))


def _estimate(case: Case, content_bytes: int) -> Usage:
    return Usage(case.request.expected_input, -(-content_bytes // 4), estimated=True)


def whole(provider: Provider, case: Case) -> tuple[Usage, Usage]:
    """The usage of the whole answer: passed through, and read."""
    assert case.whole is not None
    dialect = _dialect(provider)
    body = case.whole.encode()
    chat = dialect.parse_reply(body)
    size = 0
    for part in chat.parts:
        said = part.name + part.arguments if isinstance(part, ToolCall) else part.text
        size += len(said.encode())
    passed, _ = dialect.check_reply(body)
    read = None if chat.usage is NO_USAGE else chat.usage
    estimate = _estimate(case, size)
    return filled(passed, estimate), filled(read, estimate)


def streamed(provider: Provider, case: Case, pieces: Iterable[bytes]) -> tuple[Usage, Usage]:
    """The usage of the stream, come in `pieces`: passed through, and read."""
    dialect = _dialect(provider)
    request = ChatRequest(case.request.model, (), stream=True)
    tap, decoder = dialect.tap(request), dialect.decoder()
    for piece in pieces:
        tap.feed(piece)
        decoder.feed(piece)
    if not case.cut:
        tap.eof()
        decoder.eof()
    return _settled(case, tap), _settled(case, decoder)


def _settled(case: Case, stream: Tap | Decoder) -> Usage:
    return filled(stream.usage, _estimate(case, stream.content_bytes), is_final=stream.ended)


def answer(price: Price, usage: Usage) -> dict[str, object]:
    """What is compared: the usage's fields, and its cost."""
    told: dict[str, object] = {
        name: getattr(usage, name) for name in usage.__struct_fields__ if name != "flags"
    }
    told["flags"] = list(usage.flags)
    told["cost_nano"] = price.cost(usage)
    return told
