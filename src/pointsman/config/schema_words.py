"""The words the file's blocks are made of: kinds of values with their ranges."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

SecretRef = Annotated[
    str,
    Meta(pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$", extra={"secret": True}),
]
"""`env:NAME` or `file:PATH`: the only ways to say a secret."""

SecretRefOrNone = Annotated[
    str,
    Meta(pattern=r"^(none|env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$", extra={"secret": True}),
]
"""The same, or `none` for no secret at all."""

Share = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Tokens = Annotated[int, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1, le=1_000_000_000_000_000)]
Usd = Annotated[float, Meta(ge=0, le=1_000_000_000)]
"""As much as one attempt is ever charged (`domain.money.MOST_NANO`). Sums of such amounts in
nano-USD, and counts, stay within the 64 bits of the ledger's columns."""

PositiveUsd = Annotated[float, Meta(gt=0, le=1_000_000_000)]
"""The same where none at all would make no sense, such as a rate."""

Word = Annotated[str, Meta(min_length=1, max_length=200)]
Weight = Annotated[float, Meta(ge=0)]
Residency = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


class Block(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mapping of the file."""
