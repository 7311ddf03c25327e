"""Budgets: how much of something may be used within a window, and by whom.

One shape serves for money and for rates: so many nano-USD a month, so many requests a minute, so
many requests at once. What they have in common is that nobody may use what another has taken, on
however many workers: before anything is used it is *held*, in every budget that it counts in, all
or nothing; afterwards what was really used takes the hold's place.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import msgspec

from pointsman.domain.windows import Window

Unit = Literal["nano_usd", "requests", "tokens", "at_once"]
"""nano_usd: money. requests, tokens: of a rate. at_once: requests under way, given back whole."""

Scope = Literal[
    "everyone",
    "tenant",
    "team",
    "app",
    "user",
    "key",
    "tag",
    "run",
    "route",
    "model",
    "provider",
    "named",
]
"""Whose use counts together. tag: those with the same value of one tag. run: one run of an agent,
as the request names it. named: every key that names the budget."""

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

OF_ATTEMPT: Final[frozenset[Scope]] = frozenset({"model", "provider"})
"""Scopes that are known only when it is: the others count once a request for rates, but for money
every attempt counts in all of them."""

AtCap = Literal["reject", "downgrade", "queue", "alert"]
"""What follows where a hold does not fit. reject: 402 for money, 429 for a rate. downgrade:
deployments that still fit are tried, cheaper ones first come, the refusal only when none does.
queue: wait up to `queue_s` for room. alert: let it pass, and say so."""


class Budget(msgspec.Struct, frozen=True):
    """`name` is unique; with `scope` it says which account a request counts in. `match` None: each
    subject has an account of its own (every team its own limit); names: only these have.

    `limit` is in the unit's own counting. `strict`: what is held is never less than what it can
    become, so the limit is never exceeded. Else the hold is an estimate, and what it was too small
    by is counted as `over`.
    """

    name: str
    scope: Scope
    limit: int
    unit: Unit = "nano_usd"
    window: Window = Window()
    match: frozenset[str] | None = None
    tag: str = ""
    strict: bool = True
    at_cap: AtCap = "reject"
    queue_s: float = 0.0
    alert_at: tuple[float, ...] = (0.5, 0.8, 1.0)
    tenant: str | None = None
    """Where not None, only this tenant's requests count, and only its admins see it."""


Account = tuple[str, str]
"""A budget's name and a subject of its: `("team-month", "web")`; the subject of `everyone` and of
`named` is "". A tenant's own subjects never meet another's: below a tenant the subject is
`tenant/subject`, with both parts percent-encoded where they hold a slash."""
