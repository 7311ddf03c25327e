"""Thinking that we wrote for a client in Anthropic's dialect, kept away from Anthropic.

Theory. When another provider's reasoning is shown to an Anthropic client it becomes a thinking
block, and clients send such blocks back with the next turn. Anthropic answers 400 to a thinking
block whose signature it did not make. So ours carry a signature of our own, by which they are
found and taken out again on their way to any provider.
"""

from __future__ import annotations

import msgspec
import orjson

from pointsman.dialects.strict_json import join

OUR_SEAL = "pointsman-unsigned"
"""The signature of thinking blocks whose maker gave none."""

_MARK = OUR_SEAL.encode()
_BLOCKS = msgspec.json.Decoder(list[msgspec.Raw])
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def holds_our_seal(body: bytes) -> bool:
    return _MARK in body


def without_our_thinking(messages: bytes) -> bytes:
    """Take our thinking blocks out of a JSON array of messages; other bytes stay as they are."""
    kept = [left for item in _BLOCKS.decode(messages) if (left := _message(bytes(item)))]
    return b"[" + b",".join(kept) + b"]"


def _message(raw: bytes) -> bytes:
    """Return the message as it may go out; b"" if nothing is left of it."""
    if _MARK not in raw:
        return raw
    fields: dict[str, bytes | msgspec.Raw] = dict(_FIELDS.decode(raw))
    content = bytes(fields["content"])
    if not content.startswith(b"["):
        return raw
    blocks = [bytes(block) for block in _BLOCKS.decode(content)]
    kept = [block for block in blocks if _MARK not in block or not _is_ours(block)]
    if not kept:
        return b""
    fields["content"] = b"[" + b",".join(kept) + b"]"
    return join(fields)


def _is_ours(block: bytes) -> bool:
    fields = orjson.loads(block)
    return bool(fields.get("type") == "thinking" and fields.get("signature") == OUR_SEAL)
