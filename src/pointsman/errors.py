"""Every error Pointsman raises, divided by whose fault it is.

    PointsmanError
    ├── ConfigError               the operator's file (file, line, field, remedy)
    ├── InvalidRequest            the caller's: 400
    │   ├── AuthenticationFailed  401
    │   ├── PermissionDenied      403
    │   ├── UnknownModel          404
    │   ├── NotFound              404, 405
    │   ├── BodyTooLarge          413
    │   └── ContextTooLong        400, context_length_exceeded
    ├── Rejected                  ours: nobody was called
    │   ├── NoCandidate           no deployment passes the constraints
    │   ├── Unsupported           one deployment's dialect cannot say this request
    │   ├── Overloaded            503
    │   └── BudgetExhausted       402
    ├── ProviderFailure           the provider's, of one `FailureKind`
    ├── AllFailed                 every attempt failed: what the client is told at the end
    └── DeadlineExceeded          time: the call's own deadline passed, 504

Every error knows how it looks to a client: `status`, `code`, `param`, `retry_after_s` and
`should_retry`; dialects only put these into their own shape. Messages say what, where and
what to do, and never contain a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pointsman.domain.granted import Granted

FailureKind = Literal[
    "throttled",
    "overloaded",
    "unavailable",
    "timeout",
    "refused",
    "malformed",
    "content_filter",
    "context_length",
]
"""How a provider can fail an attempt.

throttled: 429. overloaded: 503, 529. unavailable: other 5xx, connection, TLS, DNS, cut.
timeout: one of our timers. refused: 401, 402, 403, 404: credential, quota or model at the
provider. malformed: bytes that are not the protocol, an empty or truncated answer.
content_filter and context_length: the provider's own judgement of this one request.
"""


class PointsmanError(Exception):
    """An error with the face it shows to a client."""

    status = 500
    code = "internal_error"
    should_retry: bool = False
    attempts: int = 0
    """How many providers were called before it came to this."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status

    @property
    def told(self) -> str:
        """What a client is told: the message, unless that is for the operator."""
        return self.message


class ConfigError(PointsmanError):
    """A configuration that cannot work; the message names file, line, field and remedy."""

    code = "invalid_config"


class InvalidRequest(PointsmanError):
    """The caller's request cannot be served by anyone as it stands."""

    status = 400
    code = "invalid_request"


class AuthenticationFailed(InvalidRequest):
    status = 401
    code = "invalid_api_key"


class PermissionDenied(InvalidRequest):
    status = 403
    code = "model_not_allowed"


class UnknownModel(InvalidRequest):
    status = 404
    code = "model_not_found"


class NotFound(InvalidRequest):
    status = 404
    code = "not_found"


class BodyTooLarge(InvalidRequest):
    status = 413
    code = "body_too_large"


class ContextTooLong(InvalidRequest):
    status = 400
    code = "context_length_exceeded"


class Rejected(PointsmanError):
    """Our own refusal, made before any provider was called."""

    status = 503
    code = "rejected"
    downgrade: bool = False
    """Refused by a budget or rate that lets another deployment be tried: a cheaper one, or one
    that it does not count."""


class NoCandidate(Rejected):
    """No deployment of the route passes the hard constraints; the message says why not."""

    status = 400
    code = "no_candidate"


class Unsupported(Rejected):
    """What one deployment's dialect cannot say; another deployment's may."""

    status = 400
    code = "unsupported"


class Overloaded(Rejected):
    status = 503
    code = "overloaded"
    should_retry = True


class RateLimited(Rejected):
    """A bound of the caller's own key; the message says whose and which."""

    status = 429
    code = "rate_limited"
    should_retry = True


class BudgetExhausted(Rejected):
    status = 402
    code = "budget_exceeded"


Cause = Literal["", "quota", "refused", "connect_timeout", "dns", "tls"]
"""What a failure's kind leaves open and its breaker must know. quota: the account's money or quota
is used up, which no retry mends. The others: the provider could not be reached at all."""


class ProviderFailure(PointsmanError):
    """One attempt that a provider failed.

    `http_status` is the provider's own, if it got so far. `retry_after_s` is what the provider
    asked for. `body` is what it said, bounded, for the caller where the contract passes it on.
    `maybe_billed` is False only where the provider provably did no work. `cause` says more than
    its kind, where that matters.
    """

    status = 502
    code = "upstream_error"

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        http_status: int | None = None,
        retry_after_s: float | None = None,
        code: str | None = None,
        maybe_billed: bool = True,
        body: bytes = b"",
        cause: Cause = "",
    ) -> None:
        super().__init__(message, code=code, retry_after_s=retry_after_s)
        self.kind: FailureKind = kind
        self.http_status = http_status
        self.maybe_billed = maybe_billed
        self.body = body
        self.cause: Cause = cause
        self.granted: Granted | None = None
        """What the provider said it still grants; set where its answer had a head."""


class AllFailed(PointsmanError):
    """Every attempt that was allowed has failed; `failures` are in the order they happened."""

    status = 502
    code = "upstream_error"

    def __init__(
        self,
        message: str,
        failures: Sequence[ProviderFailure] = (),
        *,
        code: str | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, code=code, status=status, retry_after_s=retry_after_s)
        self.failures = tuple(failures)


class DeadlineExceeded(PointsmanError):
    """The call's own deadline passed before an answer began or ended."""

    status = 504
    code = "deadline_exceeded"
