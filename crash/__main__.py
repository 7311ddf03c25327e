"""`python -m crash [A7 …]`: kill under load, recount, print what held, write it as JSON."""

from __future__ import annotations

import sys

from chaos.__main__ import main

from crash.registry import CHECKS, Unpinned

if __name__ == "__main__":
    sys.exit(main(CHECKS, Unpinned, "crash"))
