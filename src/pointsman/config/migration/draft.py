"""A file of ours in the making, and how it is written: ordered, with a comment a section."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

Entry = dict[str, Any]

ALL_TIERS = ["frontier", "workhorse", "local"]


@dataclass(slots=True)
class Draft:
    """Sections as plain values; `variables` are the environment variables it refers to."""

    server: Entry = field(default_factory=dict)
    providers: dict[str, Entry] = field(default_factory=dict)
    deployments: list[Entry] = field(default_factory=list)
    routes: list[Entry] = field(default_factory=list)
    timeouts: Entry = field(default_factory=dict)
    breaker: Entry = field(default_factory=dict)
    budgets: list[Entry] = field(default_factory=list)
    cache: Entry = field(default_factory=dict)
    variables: set[str] = field(default_factory=set)

    def env(self, name: str) -> str:
        """Refer to a variable."""
        self.variables.add(name)
        return f"env:{name}"


COMMENTS: Mapping[str, str] = {
    "server": "Who may call. Make each caller a key of its own, so that costs can be told apart.",
    "ledger": "What every request cost.",
    "providers": "Where models are reached. Keys come from the environment or from files only.",
    "deployments": "Models. Prices are USD per million tokens; those left out are list prices.",
    "routes": "The names that clients ask for.",
    "timeouts": "Seconds, for every route.",
    "breaker": "When a failing deployment is left alone, and for how long.",
    "budgets": "What may be spent; none is exceeded. A model without a price is refused.",
    "cache": "Answers kept for the same question, within a tenant.",
}


def write(draft: Draft, origin: str) -> str:
    """Write the file."""
    lines = [
        f"# Made by `pointsman migrate` from {origin}. Look at it with `pointsman check`.",
    ]
    if draft.variables:
        lines.append(f"# It reads these variables: {', '.join(sorted(draft.variables))}.")
    sections: Entry = {
        "server": draft.server,
        "ledger": {"path": "pointsman.db"},
        "providers": draft.providers,
        "deployments": draft.deployments,
        "routes": draft.routes,
        "timeouts": draft.timeouts,
        "breaker": draft.breaker,
        "budgets": draft.budgets,
        "cache": draft.cache,
    }
    for name, value in sections.items():
        if value:
            lines += ["", f"# {COMMENTS[name]}", _dump({name: value})]
    return "\n".join(lines) + "\n"


class _Dumper(yaml.SafeDumper):
    """Writes lists indented below their key, and never aliases."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: object) -> bool:
        return True


def _dump(value: Entry) -> str:
    text: str = yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        default_flow_style=None,
        width=100,
        allow_unicode=True,
    )
    return text.rstrip("\n")
