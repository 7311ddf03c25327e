"""Hold what a provider reports to what its request can have used.

Theory. A count may be well formed and still impossible: more input than four times the bytes that
were sent, more output than a context window holds. Believed, it would empty a budget or show a
saving that nobody made. So it is held to the most that the request can use, counts as estimated,
and is told loudly. A report above the bound of the request and within what is possible is taken
as it is: a provider may ignore a limit, and then bills what it made.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from pointsman.domain.deployment import Deployment
from pointsman.domain.usage import Price, Usage
from pointsman.routing.signals import DeploymentState, RequestFeatures
from pointsman.routing.upper import UNSTATED_CONTEXT, upper_usage

INPUT_SLACK: Final = 4
"""How often its bound the input may be before it is impossible: a template can repeat a system
prompt, none repeats the whole conversation four times."""

BILL_SLACK: Final = 4
"""How often the list's cost a provider's own figure may be before the list is believed instead:
OpenRouter's dearest upstreams take some three times what its cheapest do."""

BILL_FLOOR_NANO: Final = 1_000_000_000
"""Below a dollar a provider's own figure is taken as it is: fees and plugins weigh more there."""


def plausible(
    usage: Usage, features: RequestFeatures, deployment: Deployment, state: DeploymentState
) -> Usage:
    """The same usage, or what is left of it: held to its bounds, and with flags that say so."""
    flags = usage.flags
    price = deployment.price
    most = upper_usage(features, deployment, state)
    turns = features.besides.choices * (1 + features.besides.searches)
    window = max(
        deployment.limits.context_tokens or UNSTATED_CONTEXT, deployment.limits.output_tokens or 0
    )
    # A list of embeddings is read one by one: only its bytes bound it.
    is_input = usage.input <= INPUT_SLACK * most.input
    is_output = usage.output <= window * turns
    is_stated = features.max_output_tokens > 0
    is_searches = usage.searches <= max(100, INPUT_SLACK * most.searches)
    if not (is_input and is_output and is_searches):
        flags = (*flags, "too_large")
        usage = Usage(
            input=usage.input if is_input else most.input,
            # Where the request states no longest answer, only the window ends it.
            output=usage.output if is_output else (most.output if is_stated else window * turns),
            searches=usage.searches if is_searches else most.searches,
            tier=usage.tier,
            estimated=True,
        )
    if price is not None:
        if usage.tier and price.lane(usage.tier) is None:
            flags = (*flags, "tier_unpriced")
        if usage.told_nano is not None and _is_overbilled(usage, price):
            flags = (*flags, "cost_insane")
            usage = replace(usage, told_nano=None)
    return usage if flags == usage.flags else replace(usage, flags=flags)


def _is_overbilled(usage: Usage, price: Price) -> bool:
    told = usage.told_nano or 0
    return told > BILL_FLOOR_NANO and told > BILL_SLACK * price.listed(usage)
