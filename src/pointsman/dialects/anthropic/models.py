"""What a Claude model of each generation takes, by its name.

Source: Anthropic's pages on extended and adaptive thinking, and Amazon Bedrock's on adaptive
thinking, 2026: budgets up to 4.5, both at 4.6, adaptive alone from 4.7; from 4.7 sampling
parameters are refused. A name we do not know is taken for an older, compatible server.
"""

from __future__ import annotations

import re

_NAME = re.compile(r"claude-[a-z]+-(\d)(?:[-.](\d{1,2}))?(?![\d])|claude-(\d)[-.](\d)(?![\d])")


def generation(model: str) -> tuple[int, int]:
    """Return (major, minor) of a Claude model's name, (0, 0) of any other."""
    found = _NAME.search(model.lower())
    if found is None:
        return (0, 0)
    major, minor, old_major, old_minor = found.groups()
    return (int(major or old_major), int(minor or old_minor or 0))


def thinks_adaptively(model: str) -> bool:
    return generation(model) >= (4, 6)


def takes_sampling(model: str) -> bool:
    return generation(model) < (4, 7)
