"""What every resolver has at hand: the file's lines, the environment, and where to complain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath

from pointsman.config.known import Known
from pointsman.config.problems import Path, Problem, problem_at
from pointsman.config.references import BadReference, file_of, follow
from pointsman.config.settings import Secret
from pointsman.config.yaml_marks import Node, line_of


@dataclass(frozen=True, slots=True)
class Desk:
    """One resolution. `problems` grows; everything else stays.

    `left_out`: names, per section, of entries that could not be read, and with them the
    reason not to call a name unknown. `files`: what was read besides the file itself, or would
    have been; it grows too.
    """

    root: Node
    env: Mapping[str, str]
    base_dir: FilePath
    known: Known
    places: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    left_out: Mapping[str, frozenset[str]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    files: set[FilePath] = field(default_factory=set)

    def complain(self, path: Path, what: str, remedy: str = "") -> None:
        self.problems.append(problem_at(line_of(self.root, path), path, what, remedy))

    def path(self, section: str, index: int, *more: str | int) -> Path:
        """Where the `index`-th entry that could be read stands in the file."""
        places = self.places.get(section, ())
        return (section, places[index] if index < len(places) else index, *more)

    def secret(self, reference: str, path: Path) -> Secret | None:
        """Follow a reference; complain and return None where it leads nowhere."""
        if reference.startswith("file:"):
            self.files.add(file_of(reference, self.base_dir))
        try:
            return follow(reference, self.env, self.base_dir)
        except BadReference as bad:
            self.complain(path, bad.what, bad.remedy)
            return None

    def may_exist(self, section: str, name: str) -> bool:
        """Tell whether `name` may be one of the entries that could not be read."""
        left_out = self.left_out.get(section, frozenset())
        broad = name.endswith("/*") or name.startswith("tier:")
        return name in left_out or (broad and bool(left_out))

    def without(self, section: str, names: frozenset[str]) -> Desk:
        """The same desk, for which `names` of a section are in error and may not be missed."""
        left_out = {**self.left_out, section: self.left_out.get(section, frozenset()) | names}
        return replace(self, left_out=left_out)
