"""Turn another router's file into ours, and say what became of every key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pointsman.config.known import Known, shipped
from pointsman.config.load import loads
from pointsman.config.migration import litellm, llm_router
from pointsman.config.migration.draft import Draft, write
from pointsman.config.migration.source import Journal, Note, leftovers
from pointsman.config.problems import BadConfig
from pointsman.config.yaml_marks import Node, YamlProblem, read_yaml
from pointsman.errors import ConfigError

PLACEHOLDER = "placeholder-for-checking"
"""Stands for every variable while the new file is checked."""

URL_PLACEHOLDER = "http://127.0.0.1:9/v1"


@dataclass(frozen=True, slots=True)
class Migration:
    """The new file's `text`, what became of the old keys, and the `variables` it reads.

    `problems` is empty where the new file passes `check` once its variables are set.
    """

    format: str
    text: str
    notes: tuple[Note, ...]
    variables: tuple[str, ...]
    problems: tuple[str, ...] = ()


def migrate(
    text: str, origin: str, urls: Mapping[str, str] | None = None, known: Known | None = None
) -> Migration:
    """Carry `text` over. Raises ConfigError where it is neither kind of file."""
    known = known or shipped()
    try:
        root, problems = read_yaml(text)
    except YamlProblem as error:
        raise BadConfig(origin, [error.problem]) from None
    kind = format_of(root)
    if kind is None:
        raise ConfigError(
            f"{origin}: neither LiteLLM's config (`model_list:`) nor llm-router's (`models:` with "
            "`workhorses:`); those two can be migrated"
        )
    draft, journal = Draft(), Journal()
    journal.notes += [Note(p.line, p.path, "dropped", p.what) for p in problems]
    if kind == "LiteLLM":
        litellm.carry_litellm(root, draft, journal, known)
        reasons, other = litellm.REASONS, litellm.OTHER
    else:
        llm_router.carry_llm_router(root, draft, journal, known, urls or {})
        reasons, other = llm_router.REASONS, llm_router.OTHER
    notes = {*journal.notes, *leftovers(root, journal, reasons, other)}
    written = write(draft, Path(origin).name)
    return Migration(
        format=kind,
        text=written,
        notes=tuple(sorted(notes)),
        variables=tuple(sorted(draft.variables)),
        problems=_problems(written, draft, known),
    )


def format_of(root: Node) -> str | None:
    """Tell whose file it is."""
    entries = root.value if isinstance(root.value, dict) else {}
    if "model_list" in entries:
        return "LiteLLM"
    models = entries.get("models")
    if models is not None and isinstance(models.value, dict):
        return "llm-router"
    return None


def _problems(text: str, draft: Draft, known: Known) -> tuple[str, ...]:
    """Check the new file as the operator will, with every variable set."""
    urls = {str(entry.get("url", "")).removeprefix("env:") for entry in draft.providers.values()}
    env = {
        name: URL_PLACEHOLDER if name in urls else f"{PLACEHOLDER}-{name}"
        for name in draft.variables
    }
    try:
        loads(text, "the new file", env, Path(), known)
    except ConfigError as error:
        return tuple(error.message.splitlines())
    return ()
