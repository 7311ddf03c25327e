"""What a request may cause besides reading its text and answering once: for the bound of its cost.

Most requests are nothing but text and share one record. For the others this errs upwards: a tool
of the provider's own may be used as often as the provider lets it, sound is of the fewest bytes a
second, and a file is as long as the context.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

from pointsman.domain.content import Audio, Document, Image, Part, ToolResult
from pointsman.domain.request import ChatRequest
from pointsman.domain.tiers import tier_of
from pointsman.routing.signals import PLAIN, Besides

ACTING_FIELDS: Final = frozenset(
    {"web_search_options", "mcp_servers", "container", "plugins", "search_parameters"}
)
"""Fields of the body that have the provider itself act: OpenAI's, Anthropic's, OpenRouter's,
xAI's."""

NESTED: Final = frozenset({"extra_body", "google"})
"""Where Gemini's OpenAI face takes Google's own fields, a search among them."""

UNSEEN_FIELDS: Final = frozenset({"modalities", "audio", "prediction", "functions"})
"""Fields that have an answer speak, that bill what was predicted and not said, or that put calls
where we count no bytes."""

PROVIDER_TURNS: Final = 10
"""Turns that a provider takes by itself where the request sets no bound: where Anthropic pauses
(platform.claude.com/docs: server tools, 2026-11)."""

BYTES_A_SOUND_TOKEN: Final = 16
"""Of the thinnest sound: Gemini counts 32 tokens a second, and Opus goes down to 750 bytes."""

SPECIAL: Final = frozenset({"vision", "documents", "audio", "tools", "json_schema"})
"""Needs of requests that are more than text."""


def besides_of(request: ChatRequest, needs: frozenset[str]) -> Besides:
    """Say what it may cause; `needs` are its features' own."""
    source = request.source
    body = b"" if source is None else source.body
    caches: Literal["", "5m", "1h"] = ""
    if source is not None and source.dialect == "anthropic" and b"cache_control" in body:
        caches = "1h" if b'"1h"' in body else "5m"
    if request.choices == 1 and not request.extra and not caches and needs.isdisjoint(SPECIAL):
        return PLAIN
    images = 0
    sound = 0
    has_files = False
    for part in _parts(request):
        if isinstance(part, Image):
            images += 1
        elif isinstance(part, Audio):
            sound += -(-len(part.data) * 3 // 4 // BYTES_A_SOUND_TOKEN)
        elif isinstance(part, Document) and part.text is None:
            has_files = True
    turns = _turns(request)
    fast = request.extra.get("speed") == "fast"
    return Besides(
        choices=max(1, request.choices),
        images=images,
        sound=sound,
        tier="fast" if fast else tier_of(request.extra.get("service_tier")),
        searches=turns,
        is_open=has_files or turns > 0,
        has_tools=bool(request.tools) or request.response_format is not None,
        caches=caches,
        is_unseen=not UNSEEN_FIELDS.isdisjoint(request.extra),
    )


def sent_bytes(request: ChatRequest) -> int:
    """Bytes of the body without its files: no less than all the text in it, whatever field it
    stands in."""
    if request.source is None:
        return 0
    files = 0
    for part in _parts(request):
        if isinstance(part, (Image, Document, Audio)):
            files += len(part.data or "")
    return max(0, len(request.source.body) - files)


def _parts(request: ChatRequest) -> Iterator[Part]:
    for message in request.messages:
        for part in message.parts:
            yield part
            if isinstance(part, ToolResult):
                yield from part.parts


def _turns(request: ChatRequest) -> int:
    """How often the provider may act, and answer itself: 0 where it only answers."""
    turns = 0
    for tool in request.tools:
        if "type" in tool.extra:
            most = tool.extra.get("max_uses")
            turns += most if type(most) is int and 0 <= most <= 1_000 else PROVIDER_TURNS
    # An empty object may turn a search on, as OpenAI's does; an empty list names nobody.
    acts = any(
        request.extra[name] not in (None, []) for name in ACTING_FIELDS & request.extra.keys()
    )
    if acts or _searches_within(request.extra):
        turns += PROVIDER_TURNS
    return turns


def _searches_within(extra: Mapping[str, Any]) -> bool:
    return any(
        b"search" in msgspec.json.encode(extra[name], enc_hook=str)
        for name in NESTED & extra.keys()
    )
