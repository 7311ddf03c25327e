"""Money is an integer number of nano-USD; a price is nano-USD per million tokens.

One dollar a million tokens is 1,000,000,000 nano-USD a million tokens, so one token of the
cheapest model on any list (about 0.01 USD a million) still costs 10 nano-USD: no float, no
rounding worth a name. What is rounded is rounded up, once per line of a cost.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal

NANO = 1_000_000_000
MILLION = 1_000_000

MOST_NANO = 10**18
"""A thousand million dollars: the most that one attempt is ever charged, so that sums of them stay
within the 64 bits of a ledger's columns."""


def line_cost(tokens: int, nano_per_million: int) -> int:
    """Cost in nano-USD of `tokens` at `nano_per_million`, rounded up."""
    return -(-tokens * nano_per_million // MILLION)


def told_cost(amount: object, per_usd: int = 1) -> int | None:
    """Read a provider's own figure for a cost, in USD or in `per_usd` parts of one, as nano-USD
    rounded up. None for what is no amount: negative, not finite, text, more than MOST_NANO."""
    if type(amount) not in (int, float):
        return None
    value = Decimal(str(amount))
    if not value.is_finite() or (value.is_signed() and value):
        return None
    nano = value * NANO / per_usd
    return int(nano.to_integral_value(rounding=ROUND_CEILING)) if nano <= MOST_NANO else None


def from_usd(amount: Decimal | str | int | float) -> int:
    """Turn dollars into nano-USD exactly; floats go through their shortest decimal text."""
    value = Decimal(str(amount)) * NANO
    return int(value.to_integral_value(rounding=ROUND_HALF_EVEN))


def to_usd(nano: int) -> Decimal:
    """Turn nano-USD into dollars exactly."""
    return Decimal(nano) / NANO


def format_usd(nano: int) -> str:
    """Show nano-USD to a person: two decimals from a cent up, six significant places below."""
    usd = to_usd(nano)
    if nano == 0:
        return "$0"
    if abs(usd) >= 1:
        return f"${usd:,.2f}"
    if abs(usd) >= Decimal("0.01"):
        return f"${usd:.4f}"
    return f"${usd:.9f}".rstrip("0").rstrip(".")
