"""Show a decision to a person."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from pointsman.domain.content import JsonObject


def print_explanation(told: JsonObject) -> None:
    """Print the candidates with their scores part by part, then who was kept out and why."""
    answer: dict[str, Any] = dict(told)
    console = Console()
    console.print(f"[bold]{answer['chosen'] or 'nobody'}[/bold]  {answer['why']}", highlight=False)
    features = ", ".join(
        f"{name} {', '.join(value) if isinstance(value, list) else value}"
        for name, value in answer["features"].items()
        if value not in ("", [], "und")
    )
    console.print(f"request: {features}", highlight=False)
    candidates = answer["candidates"]
    if candidates:
        parts = list(candidates[0]["parts"])
        table = Table("deployment", "tier", "score", *parts, "cost", "seconds", title="candidates")
        for row in candidates:
            table.add_row(
                row["deployment"],
                row["tier"],
                f"{row['score']:.2f}",
                *(f"{row['parts'][name]['score']:.2f}" for name in parts),
                row["estimated_cost"] or "unknown",
                "" if row["estimated_seconds"] is None else f"{row['estimated_seconds']:.2f}",
            )
        console.print(table)
    if answer["rejected"]:
        table = Table("deployment", "filter", "reason", title="kept out")
        for row in answer["rejected"]:
            table.add_row(row["deployment"], row["filter"], row["reason"])
        console.print(table)
