"""The ledger as a FOCUS 1.2 data set: what FinOps tools read from every provider alike.

One row is what one combination of caller, route and deployment used within one UTC day; what an
invoice said otherwise is a row of its own, of the category Adjustment. `COLUMNS` maps each column
to where it is from; the specification: https://focus.finops.org/focus-specification/v1-2/.

We know what calls cost by list, in one currency: the four costs are the same, and nothing is known
of commitments, invoices' numbers, regions or zones, whose columns are empty where they may be. What
has no column there is prefixed with `x_`, as the specification asks. Attempts whose price is
unknown are rows of their tokens at cost 0, counted in `x_UnpricedAttempts`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from pointsman.domain.windows import Window
from pointsman.errors import InvalidRequest
from pointsman.reports.exports import moment, usd
from pointsman.reports.question import Filter, Question, Whose
from pointsman.reports.report import Line
from pointsman.reports.tables import Cell, Kind, Row

VERSION: Final = "1.2"
GROUPS: Final = (
    *("tenant", "team", "app", "user", "key", "route", "operation"),
    *("provider", "model", "deployment", "tier"),
)
_DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class Charge:
    """What a row is made of. `nano` is its cost; an adjustment has no use of its own."""

    line: Line
    named: Mapping[str, str | None]
    nano: int
    is_adjustment: bool
    account: str

    @property
    def tokens(self) -> int | None:
        return None if self.is_adjustment else self.line.input + self.line.output

    @property
    def begins(self) -> float:
        assert self.line.begins is not None
        return self.line.begins // _DAY_S * _DAY_S


From = Callable[[Charge], Cell]


def _name(dimension: str) -> From:
    return lambda charge: charge.named[dimension]


def _always(value: Cell) -> From:
    return lambda _: value


def _used(measure: str) -> From:
    return lambda charge: 0 if charge.is_adjustment else getattr(charge.line, measure)


def _cost(charge: Charge) -> Cell:
    return usd(charge.nano)


def _described(charge: Charge) -> Cell:
    what = "Correction by an invoice of" if charge.is_adjustment else "Tokens of"
    return f"{what} {charge.named['model'] or 'no model'} by {charge.named['provider'] or 'nobody'}"


def _tags(charge: Charge) -> Cell:
    named = {name: charge.named[name] for name in ("team", "app", "user", "key", "route")}
    return json.dumps({name: value for name, value in named.items() if value is not None})


_MONTH: Final = Window(period="month")
_PROVIDER: Final[From] = lambda charge: charge.named["provider"] or "none"  # noqa: E731

COLUMNS: Final[Mapping[str, tuple[Kind, From]]] = {
    "BilledCost": ("usd", _cost),
    "BillingAccountId": ("text", lambda charge: charge.account),
    "BillingAccountName": ("text", lambda charge: charge.account),
    "BillingAccountType": ("text", _always("Gateway")),
    "BillingCurrency": ("text", _always("USD")),
    "BillingPeriodStart": ("moment", lambda c: moment(_MONTH.slice_at(c.begins)[0])),
    "BillingPeriodEnd": ("moment", lambda c: moment(_MONTH.slice_at(c.begins)[1])),
    "ChargeCategory": ("text", lambda c: "Adjustment" if c.is_adjustment else "Usage"),
    "ChargeClass": ("text", lambda c: "Correction" if c.is_adjustment else None),
    "ChargeDescription": ("text", _described),
    "ChargeFrequency": ("text", lambda c: "One-Time" if c.is_adjustment else "Usage-Based"),
    "ChargePeriodStart": ("moment", lambda charge: moment(charge.begins)),
    "ChargePeriodEnd": ("moment", lambda charge: moment(charge.begins + _DAY_S)),
    "ConsumedQuantity": ("whole", lambda charge: charge.tokens),
    "ConsumedUnit": ("text", lambda c: None if c.is_adjustment else "Tokens"),
    "ContractedCost": ("usd", _cost),
    "EffectiveCost": ("usd", _cost),
    "InvoiceIssuerName": ("text", _PROVIDER),
    "ListCost": ("usd", _cost),
    "PricingCategory": ("text", lambda c: None if c.is_adjustment else "Standard"),
    "PricingQuantity": ("whole", lambda charge: charge.tokens),
    "PricingUnit": ("text", lambda c: None if c.is_adjustment else "Tokens"),
    "ProviderName": ("text", _PROVIDER),
    "PublisherName": ("text", _PROVIDER),
    "RegionId": ("text", _always(None)),
    "RegionName": ("text", _always(None)),
    "ResourceId": ("text", _name("deployment")),
    "ResourceName": ("text", _name("deployment")),
    "ResourceType": ("text", lambda c: "Deployment" if c.named["deployment"] else None),
    "ServiceCategory": ("text", _always("AI and Machine Learning")),
    "ServiceName": ("text", lambda charge: charge.named["model"] or "none"),
    "ServiceSubcategory": ("text", _always("Generative AI")),
    "SkuId": ("text", lambda c: f"{_PROVIDER(c)}/{c.named['model'] or 'none'}"),
    "SkuPriceId": ("text", _always(None)),
    "SubAccountId": ("text", _name("tenant")),
    "SubAccountName": ("text", _name("tenant")),
    "SubAccountType": ("text", lambda charge: "Tenant" if charge.named["tenant"] else None),
    "Tags": ("text", _tags),
    "x_Operation": ("text", _name("operation")),
    "x_Tier": ("text", _name("tier")),
    "x_Requests": ("whole", _used("requests")),
    "x_Attempts": ("whole", _used("attempts")),
    "x_UnpricedAttempts": ("whole", _used("unpriced")),
    "x_InputTokens": ("whole", _used("input")),
    "x_OutputTokens": ("whole", _used("output")),
    "x_CachedTokens": ("whole", _used("cached")),
    "x_UncertainCost": ("usd", lambda c: usd(0 if c.is_adjustment else c.line.uncertain_nano)),
}
"""Every column, what it holds and where it is from."""


def focus_question(
    whose: Whose, since: float, until: float, where: tuple[Filter, ...] = ()
) -> Question:
    """What to ask for `focus_rows`. FOCUS' charge periods are whole days in UTC."""
    if since % _DAY_S or until % _DAY_S:
        raise InvalidRequest(
            "FOCUS has whole days in UTC: begin and end at midnight", param="since"
        )
    asked = Question.of(
        whose, GROUPS, since=since, until=until, where=where, bucket="day", latencies=False
    )
    return replace(asked, timezone="UTC")


def focus_rows(lines: Iterable[Line], account: str = "pointsman") -> Iterator[Row]:
    """Turn lines into charges; `account` is whom the provider bills, where that has a name."""
    for line in lines:
        named = dict(zip(GROUPS, line.group, strict=True))
        if line.attempts:
            yield _row(Charge(line, named, line.cost_nano, False, account))
        if line.adjusted_nano:
            yield _row(Charge(line, named, line.adjusted_nano, True, account))


def _row(charge: Charge) -> Row:
    return {name: source(charge) for name, (_, source) in COLUMNS.items()}


def kinds() -> dict[str, Kind]:
    return {name: kind for name, (kind, _) in COLUMNS.items()}
