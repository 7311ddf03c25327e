"""Affinity: let a conversation go on where its beginning was read before.

Theory
------
Providers and local servers keep what they have read of a prompt for some minutes; whoever asks
again with the same beginning waits for, and often pays for, the rest only. What counts is the
longest common beginning, so a request is known by a chain of hashes: the first is that of its
first block, each next one that of a block and all before it. Two requests share as many links as
they share whole blocks, and the longest known link tells who read most of it. (After the prefix
hashing of vLLM's automatic prefix caching, in bytes instead of tokens.)

Nothing is kept of the text but hashes, and no tenant's chain can equal another's: whether a
prompt was read before is nobody else's business.

The gain ends where waiting begins: `keep` lets the deployment go that would take more than twice
as long as the one that the scores prefer, or that would cost more, or that the operator's own
preferences (quality, capability, tier, order) put lower.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Final

from pointsman.domain.call import Caller
from pointsman.domain.content import Audio, Document, Image, Text, Thinking, ToolCall, ToolResult
from pointsman.domain.request import ChatRequest, EmbeddingsRequest

BLOCK_BYTES: Final = 1024
"""About 256 tokens. OpenAI's and Anthropic's caches begin at 1,024 tokens, vLLM's at 16."""
MOST_BLOCKS: Final = 16
"""How much of a beginning is looked at; what differs only later counts as the same."""
TTL_S: Final = 300.0
"""Anthropic's cache lives 5 minutes, OpenAI's 5 to 10 (their prompt caching pages, 2025)."""
MOST_ENTRIES: Final = 10_000
"""Links kept by one route: about 3 MB."""
WORTH: Final = 2.0
"""A cached beginning saves at most about half of an answer's time: beyond twice the time of the
best it is not worth waiting for."""

Chain = tuple[bytes, ...]


def chain_of(request: ChatRequest | EmbeddingsRequest, caller: Caller) -> Chain:
    """Return the links of a request's beginning, shortest first; () below a whole block."""
    if isinstance(request, EmbeddingsRequest):
        return ()
    owner = caller.tenant if caller.tenant is not None else f"\0{caller.key}"
    link = blake2b(owner.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    links: list[bytes] = []
    held = bytearray()
    for piece in _pieces(request):
        held += piece[: BLOCK_BYTES * MOST_BLOCKS].encode("utf-8", "surrogatepass")
        held += b"\0"
        while len(held) >= BLOCK_BYTES:
            link = blake2b(held[:BLOCK_BYTES], key=link, digest_size=16).digest()
            del held[:BLOCK_BYTES]
            links.append(link)
            if len(links) == MOST_BLOCKS:
                return tuple(links)
    return tuple(links)


def _pieces(request: ChatRequest) -> Iterator[str]:
    """What a provider reads, in its order: tools stand before the conversation."""
    for tool in request.tools:
        yield f"{tool.name} {tool.description} {tool.schema}"
    for message in request.messages:
        yield message.role
        for part in message.parts:
            match part:
                case Text():
                    yield part.text
                case ToolCall():
                    yield f"{part.name} {part.arguments}"
                case ToolResult():
                    yield from (each.text for each in part.parts if isinstance(each, Text))
                case Thinking():
                    pass  # not read again by all providers
                case Image() | Document():
                    yield part.url or part.data or ""
                case Audio():
                    yield part.data


class Readers:
    """Who read which beginnings. Bounded: the longest unused is forgotten first."""

    def __init__(self, *, ttl_s: float = TTL_S, most: int = MOST_ENTRIES) -> None:
        self._ttl_s = ttl_s
        self._most = most
        self._known: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def find(self, chain: Chain, now: float) -> str | None:
        """The deployment that read the longest part of this beginning lately, or None."""
        for link in reversed(chain):
            found = self._known.get(link)
            if found is not None and now < found[1]:
                return found[0]
        return None

    def remember(self, chain: Chain, deployment: str, now: float) -> None:
        """`deployment` has read this beginning (`now` in the clock's seconds)."""
        known = self._known
        until = now + self._ttl_s
        for link in chain:
            known[link] = (deployment, until)
            known.move_to_end(link)
        while len(known) > self._most:
            known.popitem(last=False)

    def __len__(self) -> int:
        return len(self._known)

    def __repr__(self) -> str:
        return f"Readers({len(self._known)} of {self._most})"


def kept(odds: Sequence[float], place: int, share: float) -> list[float]:
    """The odds where `place` is to be kept: all of it, or as much as its breaker lets through."""
    share = min(1.0, share)
    rest = [(1.0 - share) * each for each in odds]
    rest[place] += share
    return rest
