"""What the tests have already: lists of raw requests, mutations of answers and who judges them."""

from __future__ import annotations

import sys

from chaos.world import ROOT

for folder in ("server", "faults"):
    path = str(ROOT / "tests" / folder)
    if path not in sys.path:
        sys.path.append(path)

from matrix.fault import WIRES  # noqa: E402
from matrix.mutate import mutated, pieces  # noqa: E402
from matrix.recorded import PATHS, Parrot, record, request_fields  # noqa: E402
from test_mutations import configuration, judged  # noqa: E402
from test_raw_http import CASES as RAW_CASES  # noqa: E402
from test_raw_http import KEY as RAW_KEY  # noqa: E402

__all__ = [
    "PATHS",
    "RAW_CASES",
    "RAW_KEY",
    "WIRES",
    "Parrot",
    "configuration",
    "judged",
    "mutated",
    "pieces",
    "record",
    "request_fields",
]
