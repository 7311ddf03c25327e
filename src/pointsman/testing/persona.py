"""Who a simulated provider is: how fast it speaks, and in what manner it answers.

The canned answers are for demonstrations: plausible at a glance, the same every time, and never
claimed to be a model's. A persona of style `echo` answers with the user's own last words, which
is what tests want.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Style = Literal["echo", "brief", "thorough"]


@dataclass(frozen=True, slots=True)
class Persona:
    """A manner of answering.

    first_token_s: seconds to the first token. tokens_per_second: after it; 0 is all at once.
    jitter in [0, 1]: by how much both may differ from request to request, seeded.
    """

    name: str = "echo"
    style: Style = "echo"
    first_token_s: float = 0.0
    tokens_per_second: float = 0.0
    jitter: float = 0.0

    def answer(self, question: str) -> str:
        """Return this persona's text for the last thing a user said."""
        if self.style == "echo":
            return f"You said: {question}" if question else "You said nothing."
        brief, more = _topic(question)
        return brief if self.style == "brief" else f"{brief}\n\n{more}"

    def thought(self, question: str) -> str:
        """Return what it shows of its reasoning, where it is asked to think."""
        return f"The question is: {question[:80]} I weigh what is asked before I answer."


def _topic(question: str) -> tuple[str, str]:
    for pattern, brief, more in _TOPICS:
        if pattern.search(question):
            return brief, more
    subject = " ".join(question.split()[:12]) or "your message"
    return (
        f'In short, about "{subject}": start with the simplest thing that could be true '
        "and check it.",
        "To be thorough: state what is known, name the one assumption that matters most, test it "
        "first, and only then decide. If the test is cheap, do it today; if it is not, ask what "
        "smaller test would tell you nearly as much.",
    )


def _words(*words: str) -> re.Pattern[str]:
    return re.compile(r"\b(?:" + "|".join(words) + r")", re.IGNORECASE)


# Code and reasoning stand before support: an ORDER BY is no parcel.
_TOPICS: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (
        _words("sql", "query", "join", "index", "select "),
        "```sql\nSELECT c.id, c.name, SUM(o.total) AS spent\nFROM customers c\n"
        "JOIN orders o ON o.customer_id = c.id\nGROUP BY c.id, c.name\nORDER BY spent DESC\n"
        "LIMIT 10;\n```",
        "An index on `orders (customer_id, total)` lets the sum be read from the index alone. "
        "Check with EXPLAIN that no sequential scan of `orders` remains; on a large table that "
        "is the difference between seconds and milliseconds.",
    ),
    (
        _words("regex", "regular expression"),
        '```python\nimport re\nDATE = re.compile(r"\\b(\\d{4})-(\\d{2})-(\\d{2})\\b")\n```',
        "The word borders keep it from matching inside longer numbers. It accepts the 31st of "
        "February: let `datetime.date.fromisoformat` judge what the pattern found.",
    ),
    (
        _words("python", "function", "code", "bug", "refactor", "unit test", "javascript", "rust"),
        '```python\ndef unique(items):\n    """Keep the first of equal items, in order."""\n'
        "    seen = set()\n    return [x for x in items if not (x in seen or seen.add(x))]\n```",
        "It runs in linear time and keeps the order. Items must be hashable; for those that are "
        "not, compare by a key. Tests worth having: an empty list, all equal, all different, and "
        "a list whose duplicates are not neighbours.",
    ),
    (
        _words("prove", "theorem", "why is", "derive", "induction", "reason", "logic", "puzzle"),
        "Suppose the contrary and follow it: the first step that cannot be taken shows where the "
        "claim comes from.",
        "Step by step: (1) write down what is given and nothing else; (2) assume the negation of "
        "the claim; (3) take the smallest case in which it would fail; (4) show that a smaller one "
        "would then fail too. No smallest failing case exists, so the claim holds.",
    ),
    (
        _words("calculate", "how many", "how much", "percent", "average", "sum of", "train"),
        "Write the unknown as x, turn each sentence into one equation, and solve: the answer "
        "follows in two lines.",
        "Check it by putting the number back into the original wording: units first, then "
        "magnitude. If both speeds double, the time must halve; a result that does not behave so "
        "is wrong however tidy it looks.",
    ),
    (
        _words("refund", "money back", "return policy", "charged twice", "double charge"),
        "I am sorry about that. I have found the charge; the refund takes three to five working "
        "days to reach your account.",
        "If it has not arrived by then, reply with the last four digits of the card and the date "
        "on your statement, and we will trace it with the bank. You will keep access until the "
        "end of the period you paid for.",
    ),
    (
        _words("password", "log ?in", "sign ?in", "locked out", "2fa", "reset"),
        'Choose "Forgot password" on the sign-in page; the link we send works for 30 minutes.',
        "If no mail comes: look in the spam folder, check that you use the address you registered "
        "with, and wait five minutes before asking again, since only the newest link works. With "
        "two-factor sign-in, keep one of your recovery codes at hand.",
    ),
    (
        _words("ship", "deliver", "tracking", "parcel", "order"),
        "Your order has left our warehouse and should arrive within two working days; the "
        "tracking link is in the mail we sent at dispatch.",
        "If the tracking page has not changed for 48 hours, tell us: we will open an inquiry with "
        "the carrier and send a replacement if the parcel is not found within five days.",
    ),
    (
        _words("cancel", "subscription", "invoice", "billing", "upgrade", "plan"),
        "You can change or cancel the plan under Settings, Billing; it takes effect at the end of "
        "the current period, and no further charge follows.",
        "Invoices of the last 24 months stay available on the same page. When you upgrade in the "
        "middle of a period, only the difference for the remaining days is charged.",
    ),
    (
        _words("summar", "tl;?dr", "shorten"),
        "In one sentence: the change saves money, costs some latency, and can be undone.",
        "The points that matter: who is affected (everyone on the old plan), from when (the first "
        "of next month), and what to do (nothing, unless you rely on the export format).",
    ),
    (
        _words("translate", "in french", "in german", "in spanish"),
        "Bonjour, merci pour votre message : nous vous répondrons demain.",
        'The formal register ("vous") is used throughout, as is usual in correspondence with '
        "customers.",
    ),
    (
        _words("hello", "hi\\b", "hey", "thanks", "thank you"),
        "Hello! How can I help?",
        "You can ask about an order, an invoice, a piece of code, or a decision you are weighing.",
    ),
)

PERSONAS: dict[str, Persona] = {
    "echo": Persona(),
    "workhorse": Persona("workhorse", "brief", 0.18, 120.0, 0.25),
    "frontier": Persona("frontier", "thorough", 0.6, 70.0, 0.25),
    "sluggish": Persona("sluggish", "brief", 3.0, 8.0, 0.25),
}
"""Speeds as a user of hosted models commonly sees them; shapes for a demo, measured nowhere."""
