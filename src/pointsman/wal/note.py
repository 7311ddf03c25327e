"""What the log keeps of an attempt besides its money: enough to write its ledger entry later.

It is written for every attempt and read for the few whose worker died, so it is a plain array
without names, and only of what is known before anybody is asked.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pointsman.domain.call import Caller
from pointsman.domain.deployment import Tier


class Note(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """`at` is when the request came in, `started_s` the seconds from there to the attempt.

    expected_nano: what the attempt is expected to cost, None for an unknown price. Fields are only
    ever added at the end, with a default: a log may be read by a newer Pointsman.
    """

    request_id: str
    decision_id: str
    at: float
    operation: str
    route: str
    requested_model: str
    stream: bool
    deployment: str
    provider: str
    model: str
    tier: Tier
    key: str
    user: str | None = None
    app: str | None = None
    team: str | None = None
    tenant: str | None = None
    tags: Mapping[str, str] = msgspec.field(default_factory=dict)
    price_version: str = ""
    started_s: float = 0.0
    expected_input: int = 0
    expected_output: int = 0
    expected_nano: int | None = None
    hedge: bool = False

    @property
    def caller(self) -> Caller:
        return Caller(self.key, self.user, self.app, self.team, self.tenant)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Note)


def encode(note: Note) -> bytes:
    """The note as bytes. Raises ValueError or OverflowError for what msgpack cannot say."""
    return _encoder.encode(note)


def decode(body: bytes) -> Note:
    """Read what `encode` wrote. Raises msgspec.DecodeError for anything else."""
    return _decoder.decode(body)
