"""Quiet logs: thousands of requests fail here on purpose."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def quiet_logs() -> Iterator[None]:
    """Keep the line of every failed request out of what pytest records; errors stay."""
    logger = logging.getLogger("pointsman")
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)
