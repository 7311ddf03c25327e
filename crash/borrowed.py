"""What the tests of the admin API have already: who may do what, as the routes declare it."""

from __future__ import annotations

import sys

from chaos.world import ROOT

path = str(ROOT / "tests" / "server")
if path not in sys.path:
    sys.path.append(path)

from admin_house import AdminHouse  # noqa: E402
from test_admin_matrix import (  # noqa: E402
    BODIES,
    PRINCIPALS,
    UNDECLARED,
    WELL,
    filled,
    is_allowed,
    unfit,
)

__all__ = [
    "BODIES",
    "PRINCIPALS",
    "UNDECLARED",
    "WELL",
    "AdminHouse",
    "filled",
    "is_allowed",
    "unfit",
]
