"""What operators are told when something goes out and comes back."""

from __future__ import annotations

import logging

import pytest

from pointsman.config.settings import BreakerSettings
from pointsman.domain.deployment import Deployment
from pointsman.errors import ProviderFailure
from pointsman.observe.logs import log_change
from pointsman.observe.metrics import Metrics
from pointsman.pipeline.build import DeploymentStack, deployment_stack
from pointsman.pipeline.outage import Change, OutageCause
from pointsman.routing.filters import Constraints, healthy
from pointsman.routing.signals import RequestFeatures
from pointsman.testing.clock import FakeClock
from pointsman.testing.services import ScriptedService, make_call, make_deployment


class Half:
    def random(self) -> float:
        return 0.5


def stack_of(deployment: Deployment, steps: list[object], tell: Metrics) -> DeploymentStack:
    clock = FakeClock()
    service = ScriptedService(clock, steps)
    return deployment_stack(
        service, deployment, clock, BreakerSettings(), Half(), tell=tell.breaker_changed
    )


@pytest.mark.parametrize(
    ("cause", "event"),
    [
        ("failing", "deployment.out"),
        ("credential", "deployment.refused"),
        ("quota", "deployment.quota"),
    ],
)
def test_a_line_when_it_goes_out_none_for_failed_probes_and_one_when_it_is_back(
    cause: OutageCause, event: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "pointsman"):
        log_change(Change("d0", cause, "no luck", 1.5))
        log_change(Change("d0", cause, "no luck", 3.0, again=True))
        log_change(Change("d0", "recovered"))
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("WARNING", f"{event} name=d0 reason='no luck' wait_s=1.5"),
        ("INFO", "deployment.recovered name=d0"),
    ]


async def test_openings_are_counted_and_the_state_is_shown() -> None:
    metrics = Metrics({}, lambda: 0)
    refused = ProviderFailure("refused", "no")
    stack = stack_of(make_deployment("d0"), [refused, refused], metrics)
    metrics.stacks = {"d0": stack}
    for _ in range(2):
        with pytest.raises(ProviderFailure):
            await stack.service(make_call(FakeClock()))
    text = metrics.exposition().decode()
    openings = 'pointsman_breaker_openings_total{cause="credential",deployment="d0"} 1.0'
    assert openings in text
    assert 'pointsman_breaker_state{deployment="d0",state="open"} 1.0' in text
    assert 'pointsman_breaker_state{deployment="d0",state="closed"} 0.0' in text


async def test_an_explanation_tells_why_a_breaker_is_open() -> None:
    refused = ProviderFailure("refused", "no")
    stack = stack_of(make_deployment("d0"), [refused, refused], Metrics({}, lambda: 0))
    for _ in range(2):
        with pytest.raises(ProviderFailure):
            await stack.service(make_call(FakeClock()))
    features = RequestFeatures(input_tokens=1, output_tokens=1, max_output_tokens=1)
    assert healthy(features, stack.deployment, stack.state(), Constraints()) == (
        "its breaker is open (credential or model refused), tried again in 0.8 s"
    )
