"""The demo's work: forty requests that we wrote, as an application would send them.

Each says what it is (for the table), in which dialect and how it is sent, and where the answer
may come from: `only` is checked in the end, against the ledger and the providers' journals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pointsman.domain.content import Json
from pointsman.domain.deployment import Tier

Dialect = Literal["openai", "anthropic"]

FAKE_KEY = "AKIAIOSFODNN7EXAMPLE"
"""The example key of AWS's own documentation: shaped like a secret, and nobody's."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request. `asks` are fields added to its body, in its own dialect."""

    kind: str
    text: str
    dialect: Dialect = "openai"
    stream: bool = False
    model: str = "auto"
    max_tokens: int = 160
    asks: Mapping[str, Json] = field(default_factory=dict)
    only: frozenset[Tier] = frozenset({"frontier", "workhorse", "local"})
    system: str = ""


LOCAL_ONLY: frozenset[Tier] = frozenset({"local"})
HOSTED: frozenset[Tier] = frozenset({"workhorse", "frontier"})

SUPPORT = "You answer customers of a small shop, politely and in three sentences at most."

PARCEL: Json = {
    "type": "function",
    "function": {
        "name": "get_delivery_status",
        "description": "Look up where a parcel is.",
        "parameters": {
            "type": "object",
            "properties": {"order_id": {"type": "string", "default": "A-1047"}},
            "required": ["order_id"],
        },
    },
}
PARCEL_ANTHROPIC: Json = {
    "name": "get_delivery_status",
    "description": "Look up where a parcel is.",
    "input_schema": {
        "type": "object",
        "properties": {"order_id": {"type": "string", "default": "B-2210"}},
        "required": ["order_id"],
    },
}
TICKET: Json = {
    "type": "json_schema",
    "json_schema": {
        "name": "ticket",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {
                "subject": {"type": "string"},
                "urgency": {"type": "string", "enum": ["low", "normal", "high"]},
                "needs_refund": {"type": "boolean"},
            },
            "required": ["subject", "urgency", "needs_refund"],
            "additionalProperties": False,
        },
    },
}

QUIET: tuple[Prompt, ...] = (
    Prompt("small talk", "Hello! How are you today?", max_tokens=40),
    Prompt("support", "Where can I see when my parcel will arrive?", system=SUPPORT),
    Prompt("support", "I was charged twice for the same order. What now?", "anthropic"),
    Prompt(
        "code",
        "Write a Python function that removes duplicates from a list but keeps the order.",
        stream=True,
    ),
    Prompt("small talk", "Thanks, that was all!", max_tokens=40),
    Prompt(
        "reasoning",
        "A train leaves at 9:10 at 80 km/h, another at 9:40 at 120 km/h on the same line. "
        "Reason step by step: when does the second one catch up?",
        max_tokens=400,
    ),
    Prompt("support", "How do I change the address of an order that has not shipped?", stream=True),
    Prompt(
        "secret",
        f"My deploy script fails with AccessDenied. It uses aws_access_key_id={FAKE_KEY} "
        "and aws_secret_access_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY. What is wrong?",
        max_tokens=60,
        only=LOCAL_ONLY,
    ),
    Prompt("translation", "Translate into French: we will answer your message tomorrow."),
    Prompt(
        "tool call",
        "Where is my order A-1047?",
        asks={"tools": [PARCEL], "tool_choice": "required"},
        only=HOSTED,
    ),
    Prompt(
        "sql",
        "Write a SQL query for the ten customers who spent most last year, with their totals.",
        "anthropic",
        stream=True,
    ),
    Prompt(
        "support",
        "The invoice shows the wrong company name. Can you correct it?",
        system=SUPPORT,
    ),
    Prompt(
        "extraction",
        "Make a ticket of this: 'The blender arrived broken, I want my money back today!'",
        asks={"response_format": TICKET},
        only=HOSTED,
    ),
    Prompt("small talk", "Good morning!", "anthropic", max_tokens=40),
    Prompt(
        "summary",
        "Summarise in one sentence: The new plan lowers the price of every request by a third, "
        "adds forty milliseconds to the median answer, and can be left again at any time.",
    ),
    Prompt(
        "reasoning",
        "Prove by induction that the sum of the first n odd numbers is n squared.",
        "anthropic",
        max_tokens=400,
    ),
    Prompt("cost first", "Suggest three names for a bakery.", model="auto:floor"),
    Prompt(
        "personal data",
        "Write a short reminder to Jane Roe, jane.roe@example.com, card 4111 1111 1111 1111, "
        "that her payment is due.",
        max_tokens=60,
        only=LOCAL_ONLY,
    ),
    Prompt("code", "What does this regex match: ^\\d{4}-\\d{2}-\\d{2}$ ? Explain.", stream=True),
    Prompt("support", "Do you deliver to Switzerland, and what does it cost?", system=SUPPORT),
)
"""While every provider is well."""

ROUGH: tuple[Prompt, ...] = (
    Prompt("support", "My discount code does not work. What can I do?", system=SUPPORT),
    Prompt("support", "How long do I have to return an item I did not like?", stream=True),
    Prompt("support", "Can I pay by invoice as a company?", "anthropic"),
    Prompt("translation", "Translate into German: the package was delivered to your neighbour."),
    Prompt("support", "I forgot my password and the reset mail does not arrive."),
    Prompt(
        "summary",
        "Shorten to ten words: Because of works on the line between the two stations all trains "
        "are diverted until Sunday evening and take twenty minutes longer.",
    ),
    Prompt("support", "Please cancel my subscription at the end of the month.", system=SUPPORT),
    Prompt("small talk", "Hi there!", max_tokens=40),
    Prompt("support", "Which sizes are left of the blue jacket?", stream=True),
    Prompt(
        "tool call",
        "Please check order B-2210 for me.",
        "anthropic",
        asks={"tools": [PARCEL_ANTHROPIC], "tool_choice": {"type": "any"}},
        only=HOSTED,
    ),
    Prompt("support", "Is the warranty two or three years for kitchen machines?", "anthropic"),
    Prompt("creative", "Write two lines of verse about a signal box at night.", max_tokens=80),
)
"""While the workhorse's provider fails."""

PROBE = Prompt(
    "pinned model",
    "When will the jacket be back in stock?",
    model="simulated/gpt-6.1-terra",
    system=SUPPORT,
)
"""The first when it is well again: it asks for the model by name, so the breaker lets it by."""

AFTER: tuple[Prompt, ...] = (
    Prompt("code", "Write a unit test for a Python function `slugify(text)`.", "anthropic"),
    Prompt(
        "secret",
        "Is there anything wrong with this config? password = 'hunter2-Tr0ub4dor', "
        f"key = '{FAKE_KEY}'",
        "anthropic",
        max_tokens=60,
        only=LOCAL_ONLY,
    ),
    Prompt("support", "Can I collect my order in your shop?", stream=True),
    Prompt(
        "quality first",
        "Should a team of five adopt microservices? Weigh it and decide.",
        asks={"pointsman": {"prefer": "quality"}},
        max_tokens=300,
    ),
    Prompt("translation", "Translate into Spanish: thank you for your patience.", "anthropic"),
    Prompt(
        "local by choice",
        "Keep this on our own machine: list three words that rhyme with track.",
        asks={"pointsman": {"sensitive": True}},
        max_tokens=40,
        only=LOCAL_ONLY,
    ),
    Prompt("support", "Thank you. How do I leave a review?"),
)
"""After that."""

ALL = (*QUIET, *ROUGH, PROBE, *AFTER)
