"""Ask another program the cases: JSON lines to its standard input, JSON lines from its output.

One line a case and form:

    {"id", "form": "whole" | "stream", "provider", "dialect", "model", "expected_input",
     "price": {"input_usd", …}, "body": "the provider's bytes as text", "cut": false}

The program answers each with one line: `{"cost_nano": 123, "input": 20, …}`, with as many of the
fields of `cases.FIELDS` as it knows; the cost is required. `{"error": "…"}` says that it cannot.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import IO, Self

from pointsman.conformance.cases import Case, Provider
from pointsman.errors import InvalidRequest

PATIENCE_S = 10.0
"""How long a program that has been told to end may take to do so."""


class Peer:
    """Used with `with`: the program runs as long as that."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        try:
            self._process = subprocess.Popen(  # noqa: S603  # the operator's own command line
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
            )
        except OSError as error:
            what = f"{self._command[0]} cannot be run: {error.strerror}"
            raise InvalidRequest(what, param="command") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._process
        assert process is not None
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def answers(self, provider: Provider, case: Case) -> Iterator[tuple[str, dict[str, object]]]:
        for form, body in (("whole", case.whole), ("stream", case.stream)):
            if body is not None:
                yield form, self._ask(provider, case, form, body)

    def _ask(self, provider: Provider, case: Case, form: str, body: str) -> dict[str, object]:
        asked = {
            "id": case.id,
            "form": form,
            "provider": provider.provider,
            "dialect": provider.dialect,
            "model": case.request.model,
            "expected_input": case.request.expected_input,
            "price": case.price,
            "body": body,
            "cut": case.cut,
        }
        process = self._process
        assert process is not None
        try:
            line = _exchange(process.stdin, process.stdout, json.dumps(asked))
        except BrokenPipeError:
            line = ""
        if not line:
            raise InvalidRequest(f"{self._command[0]} ended before it answered {case.id}")
        try:
            told = json.loads(line)
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise InvalidRequest(f"{self._command[0]} answered {case.id} with no JSON object")
        return told


def _exchange(to: IO[str] | None, back: IO[str] | None, line: str) -> str:
    assert to is not None
    assert back is not None
    to.write(line + "\n")
    to.flush()
    return back.readline()
