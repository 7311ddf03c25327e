"""Fixtures that more than one folder uses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.servers.fixtures import (  # noqa: F401 - fixtures, by their names
    _postgres,
    _valkey,
    postgres,
    postgres_database,
    store_place,
    valkey,
)

from pointsman.testing.local_model import LocalModel, LocalModelMissing


@pytest.fixture(scope="session")
def local_model() -> Iterator[LocalModel]:
    """The real local model, started once; skipped where its wheels are missing."""
    try:
        model = LocalModel()
    except LocalModelMissing as missing:
        pytest.skip(str(missing))
    with model:
        yield model
