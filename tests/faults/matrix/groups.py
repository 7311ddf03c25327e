"""Which faults belong together, for those who read the table."""

from __future__ import annotations

from matrix.clients_do import BODIES, LEAVING, MANNERS
from matrix.fault import ClientFault, Fault
from matrix.providers_say import IN_A_200, JUDGEMENTS, NO_BUDGET, STATUSES, THROTTLING
from matrix.wires_do import BYTES, CONNECTIONS, CUTS, HTTP, TIME, USAGE

GROUPS: tuple[tuple[str, tuple[Fault | ClientFault, ...]], ...] = (
    ("Throttling and quotas", THROTTLING),
    ("Statuses", STATUSES),
    ("Failures told in a 200", IN_A_200),
    ("Judgements of the request", JUDGEMENTS),
    ("Without a retry budget", NO_BUDGET),
    ("Connections", CONNECTIONS),
    ("Time", TIME),
    ("Cuts", CUTS),
    ("Broken HTTP", HTTP),
    ("Bytes that are odd or not the protocol", BYTES),
    ("Odd usage", USAGE),
    ("Clients' mistakes: bodies", BODIES),
    ("Clients' mistakes: manners", MANNERS),
    ("Clients that leave", LEAVING),
)
_BY_NAME = {fault.name: name for name, faults in GROUPS for fault in faults}


def group_of(fault: Fault | ClientFault) -> str:
    return _BY_NAME.get(fault.name, "Others")
