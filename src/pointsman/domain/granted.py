"""What a provider said it still grants a deployment: requests and tokens, left and in all."""

from __future__ import annotations

import msgspec


class Allowance(msgspec.Struct, frozen=True, gc=False):
    """One limit, as its provider last told it; None is what it did not say.

    `reset_s` is seconds from when it was said. With `evenly` the limit refills bit by bit and is
    full again then; without, it opens all at once.
    """

    limit: int | None = None
    remaining: int | None = None
    reset_s: float | None = None
    evenly: bool = False


class Granted(msgspec.Struct, frozen=True, gc=False):
    """Both limits; None for one of which nothing was said."""

    requests: Allowance | None = None
    tokens: Allowance | None = None
