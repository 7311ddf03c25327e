"""A clock that stands still."""

from __future__ import annotations

import pytest

from pointsman.testing.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
