"""What the cache did for a call, for its ledger entry and the headers of its answer."""

from __future__ import annotations

from typing import Final

import msgspec

from pointsman.ledger.entries import CacheWord


class Mark(msgspec.Struct, frozen=True, gc=False):
    """`saved_nano` is what the answer had cost when it was made, `age_s` how long ago that was.
    `similarity`, in [0, 1], is that of the question it was made for."""

    word: CacheWord
    saved_nano: int = 0
    age_s: float = 0.0
    similarity: float = 1.0

    @property
    def is_hit(self) -> bool:
        return self.word in ("hit", "similar")


NO_CACHE: Final = Mark("")
BYPASS: Final = Mark("bypass")
MISS: Final = Mark("miss")
