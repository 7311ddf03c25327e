"""What is wrong with a file: every independent mistake, each with its line and its remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pointsman.errors import ConfigError

Path = tuple[str | int, ...]
"""Where in the file: `("routes", 0, "strategy")`."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake. `line` counts from 1; `remedy` is what to do, "" where `what` says it."""

    line: int
    path: str
    what: str
    remedy: str = ""

    def text(self, origin: str) -> str:
        where = f"{self.path}: " if self.path else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{origin}:{self.line}: {where}{self.what}{remedy}"


class BadConfig(ConfigError):
    """A configuration with `problems`; the message lists them by line."""

    def __init__(self, origin: str, problems: Iterable[Problem]) -> None:
        self.origin = origin
        self.problems: tuple[Problem, ...] = tuple(sorted(set(problems)))
        super().__init__("\n".join(problem.text(origin) for problem in self.problems))


def dotted(path: Path) -> str:
    """Show a path as people write it: `routes[0].strategy`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


def closest(word: str, known: Iterable[str]) -> str | None:
    """Find the one of `known` that `word` was most likely meant to be."""
    by_fold = {name.casefold().replace("-", "_"): name for name in known}
    folded = word.casefold().replace("-", "_")
    found = difflib.get_close_matches(folded, by_fold, n=1, cutoff=0.6)
    return by_fold[found[0]] if found else None


def suggest(word: str, known: Sequence[str] | frozenset[str], limit: int = 12) -> str:
    """Say what was probably meant, else what there is to choose from."""
    near = closest(word, known)
    if near is not None:
        return f"did you mean `{near}`?"
    if not known:
        return "there is none to choose from"
    names = sorted(known) if isinstance(known, frozenset) else list(known)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"choose from {', '.join(names[:limit])}{more}"


_KEY_LIKE = re.compile(
    r"(?i)(?<![a-z0-9])"
    r"((sk|pk|rk|gsk|xai|pplx|hf|ghp|key)[-_][a-z0-9_-]{6,}|AIza[\w-]{20,}|eyJ[\w-]{20,}"
    r"|(?=[a-z]*\d)(?=\d*[a-z])[a-z0-9]{32,})"
)


def problem_at(line: int, path: Path, what: str, remedy: str = "") -> Problem:
    """Make a problem in which no key can stand, wherever in the file it was pasted."""
    return Problem(line, hidden(dotted(path)), hidden(what), hidden(remedy))


def hidden(text: str) -> str:
    """Blot out what looks like a key."""
    return _KEY_LIKE.sub("(hidden)", text)


def looks_secret(text: str) -> bool:
    """Tell whether a text has the shape of a key: a known prefix, or 32 mixed characters."""
    return _KEY_LIKE.search(text) is not None


def shown(value: object) -> str:
    """Quote a value of the file in a message; hide what may be a secret, shorten what is long."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "nothing"}[value]
    text = str(value)
    if looks_secret(text):
        return "(hidden: it looks like a key)"
    text = text if len(text) <= 60 else text[:57] + "..."
    return f"`{text}`"
