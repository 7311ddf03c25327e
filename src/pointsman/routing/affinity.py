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

The gain ends where waiting begins: a deployment is left that would take more than twice as long,
its load considered, as the one that the scores put first, or that would cost more, its cached
beginning considered, or that the operator's own preferences (quality, capability, tier, order)
put lower. So affinity overrules load and latency, within bounds, and nothing else.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from pointsman.domain.call import Caller
from pointsman.domain.content import Audio, Document, Image, Text, Thinking, ToolCall, ToolResult
from pointsman.domain.money import MILLION
from pointsman.domain.request import ChatRequest, EmbeddingsRequest
from pointsman.routing.pickers import TIE
from pointsman.routing.scorers import Lineup, Ranks, balance
from pointsman.routing.signals import RequestFeatures

BLOCK_BYTES: Final = 1024
"""About 256 tokens. OpenAI's and Anthropic's caches begin at 1,024 tokens, vLLM's at 16."""
MOST_BLOCKS: Final = 16
"""How much of a beginning is looked at; what differs only later counts as the same."""
TTL_S: Final = 300.0
"""Anthropic's cache lives 5 minutes, OpenAI's 5 to 10 (their prompt caching pages, 2025)."""
MOST_ENTRIES: Final = 10_000
"""Links kept by one route: about 3 MB."""
WORTH: Final = 2.0
"""Beyond twice the time of the best one a known beginning is not worth waiting for."""
TOKEN_BYTES: Final = 4
"""Bytes of English a token, roughly: only for what a cached beginning saves."""
STEADY: Final = frozenset({"quality", "capability", "tier", "order"})
"""Scorers that tell what an operator prefers at any time."""

Chain = tuple[bytes, ...]


class Read(NamedTuple):
    """Who has read how much of a beginning."""

    deployment: str
    size: int
    """In bytes."""


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

    def find(self, chain: Chain, now: float) -> Read | None:
        """Who read the longest part of this beginning lately; None where nobody did."""
        for length in range(len(chain), 0, -1):
            found = self._known.get(chain[length - 1])
            if found is not None and now < found[1]:
                return Read(found[0], length * BLOCK_BYTES)
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


def place_to_keep(
    read: Read,
    features: RequestFeatures,
    lineup: Lineup,
    scores: Sequence[float],
    scorers: Sequence[tuple[str, float]],
    columns: Sequence[Sequence[float]],
) -> int | None:
    """The place in the `lineup` of the deployment that read the beginning, None where it is not
    in it or not worth it. `columns` are what each of the (name, weight) `scorers` gave."""
    names = [each.name for each in lineup.deployments]
    if read.deployment not in names:
        return None
    own = names.index(read.deployment)
    first = max(range(len(scores)), key=scores.__getitem__)
    if own == first:
        return own
    works = balance(features, lineup, Ranks())  # The more, the sooner through.
    if works[own] * WORTH < works[first] or _costs_more(lineup, own, first, read.size):
        return None
    for (name, _), column in zip(scorers, columns, strict=True):
        if name in STEADY and column[own] < column[first] - TIE:
            return None
    return own


def _costs_more(lineup: Lineup, own: int, first: int, size: int) -> bool:
    """Does it cost more than the first, also with a beginning of `size` bytes from its cache?"""
    cost, least, price = lineup.costs[own], lineup.costs[first], lineup.deployments[own].price
    if least is None:
        return False
    if cost is None or price is None:
        return True
    saved = size // TOKEN_BYTES * max(0, price.rates.input - price.rates.cached) // MILLION
    return cost - saved > least


def kept(odds: Sequence[float], place: int, share: float) -> list[float]:
    """The odds where `place` is to be kept: all of them, or the share that its breaker lets
    through, and the others the rest in proportion to their own."""
    others = sum(odds) - odds[place]
    left = 1.0 - min(1.0, share) if others > TIE else 0.0
    scale = left / others if left else 0.0
    mixed = [each * scale for each in odds]
    mixed[place] = 1.0 - left
    return mixed
