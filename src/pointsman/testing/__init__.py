"""Shipped fakes: a clock moved by hand, a provider that fails on purpose, a scripted transport.

They are public: use them to test what you build on Pointsman, without network or waiting.
"""

from pointsman.testing.black_hole import BlackHole
from pointsman.testing.clock import FakeClock, settle
from pointsman.testing.director import RateLimit, Rule
from pointsman.testing.journal import Journal, JournalEntry, read_journal
from pointsman.testing.local_face import LocalFace
from pointsman.testing.persona import PERSONAS, Persona
from pointsman.testing.plays import (
    Answer,
    Broken,
    Cut,
    Drip,
    ErrorEvent,
    Fail,
    Hang,
    Instead,
    Malformed,
    OddUsage,
    Slow,
    Truncate,
)
from pointsman.testing.provider import FaultProvider
from pointsman.testing.scenario import SCENARIOS, Scenario, load_scenario
from pointsman.testing.scripted import FakeTransport, Scripted
from pointsman.testing.tokens import count_tokens

__all__ = [
    "PERSONAS",
    "SCENARIOS",
    "Answer",
    "BlackHole",
    "Broken",
    "Cut",
    "Drip",
    "ErrorEvent",
    "Fail",
    "FakeClock",
    "FakeTransport",
    "FaultProvider",
    "Hang",
    "Instead",
    "Journal",
    "JournalEntry",
    "LocalFace",
    "Malformed",
    "OddUsage",
    "Persona",
    "RateLimit",
    "Rule",
    "Scenario",
    "Scripted",
    "Slow",
    "Truncate",
    "count_tokens",
    "load_scenario",
    "read_journal",
    "settle",
]
