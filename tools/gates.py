"""Static gates of security: run by `make check`, fast, without starting anything.

What each looks at, and why, is told in its module: `gate_code` (what code must not do), `gate_sql`
(statements are constants), `gate_supply` (dependencies, locks, start-up hooks).
"""

from __future__ import annotations

import sys
from pathlib import Path

from tools import gate_code, gate_sql, gate_supply

ROOT = Path(__file__).resolve().parents[1]


def problems(root: Path = ROOT) -> list[str]:
    """Everything that any gate stops, one line each."""
    package = root / "src" / "pointsman"
    return [*gate_code.check(package), *gate_sql.check(package), *gate_supply.check(root)]


def main() -> int:
    found = problems()
    for line in found:
        print(line)
    print(f"security gates: {len(found)} breach(es)" if found else "security gates: kept")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
