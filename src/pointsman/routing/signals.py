"""All that a policy may look at: features of the request, states of the deployments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from pointsman.domain.request import Preference

Task = Literal[
    "chat", "code", "math", "reasoning", "summary", "translation", "extraction", "creative"
]


class RequestFeatures(msgspec.Struct, frozen=True):
    """What is known of a request before it is sent. Tokens are the estimator's, see tokens.py.

    `output_tokens` is the expected answer, `max_output_tokens` the longest one the client allows,
    0 where it states none (estimate.longest_answer then asks the deployment).
    `needs` are capabilities the request's own content makes hard constraints. `language` is an
    ISO 639-1 code or "und". `sensitive` names what was found ("secret", "pii"), or "declared"
    where the caller said so, "" for nothing. `upper_tokens` bounds the input from above.
    """

    input_tokens: int
    output_tokens: int
    max_output_tokens: int
    needs: frozenset[str] = frozenset()
    task: Task = "chat"
    language: str = "und"
    sensitive: str = ""
    streaming: bool = False
    prefer: Preference | None = None
    residency: str | None = None
    allow: tuple[str, ...] | None = None
    max_cost_nano: int | None = None
    remaining_s: float = float("inf")
    session: str | None = None
    tags: Mapping[str, str] = msgspec.field(default_factory=dict)
    upper_tokens: int | None = None


class DeploymentState(msgspec.Struct, frozen=True):
    """What the layers of one deployment measured. Seconds; None where nothing was measured.

    `ttft_s` is time to first content, `per_token_s` time per output token after it, both
    peak-EWMA. `headroom` in [0, 1] is the share of its limits (slots, requests and tokens a
    minute) still free. `share` in [0, 1] is what a breaker lets through: 0 open, below 1 on
    its way back. `reopens_in_s` is how long until a closed track may be tried. `token_scale` is
    this model's own tokens per estimated token, learnt from reported usage (tokens.TokenScale).
    """

    in_flight: int = 0
    ttft_s: float | None = None
    per_token_s: float | None = None
    samples: int = 0
    headroom: float = 1.0
    share: float = 1.0
    reopens_in_s: float = 0.0
    breaker: Literal["closed", "open", "half_open", "ramping"] = "closed"
    token_scale: float = 1.0
    penalty_s: float = 0.0
    """Seconds that recent failures add to a score: failing fast must not look fast. They are no
    expectation of time: no deadline is compared with them."""


COLD = DeploymentState()
