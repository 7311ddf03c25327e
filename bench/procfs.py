"""What a process and its children have used, from /proc: seconds of CPU and bytes of memory."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it, as far as they still live."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:  # it has just ended
            continue
        for child in children:
            found += family(int(child))
    return found


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a family so far, to 10 ms."""
    ticks = 0
    for member in family(pid):
        try:
            stat = Path(f"/proc/{member}/stat").read_text()
        except OSError:
            continue
        fields = stat.rpartition(")")[2].split()  # the name before may hold blanks
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS


def resident_mb(pid: int) -> float:
    """Return the resident memory of a family in MiB."""
    kib = 0
    for member in family(pid):
        try:
            status = Path(f"/proc/{member}/status").read_text()
        except OSError:
            continue
        kib += next((int(r.split()[1]) for r in status.splitlines() if r.startswith("VmRSS")), 0)
    return kib / 1024
