"""What the content of a request says of it, by rules, without a network: one door to three rooms.

Each is called only where a route's policy asks for it (features.Questions).
"""

from __future__ import annotations

from pointsman.routing.language import LANGUAGES, language_of
from pointsman.routing.sensitive import found_in, sensitivity_of
from pointsman.routing.task import task_of

__all__ = ["LANGUAGES", "found_in", "language_of", "sensitivity_of", "task_of"]
