"""Run the cases against us or against another gateway's reader, and tell the differences.

Ours is asked in every way in which bytes may come: whole and as a stream, passed through and
read, the stream in one piece, byte by byte, and cut in two at every border between bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from pointsman.conformance import ours
from pointsman.conformance.cases import FIELDS, Case, Provider, cases
from pointsman.domain.usage import Usage


class Difference(msgspec.Struct, frozen=True):
    form: str
    field: str
    right: object
    got: object


class Result(msgspec.Struct, frozen=True):
    """`untold` are fields that were left out, which is no difference."""

    id: str
    says: str
    forms: tuple[str, ...]
    differences: tuple[Difference, ...]
    untold: frozenset[str] = frozenset()

    @property
    def holds(self) -> bool:
        return not self.differences


class Reader(Protocol):
    """Whoever answers cases: the fields of a usage, with `cost_nano`."""

    def answers(self, provider: Provider, case: Case) -> Iterator[tuple[str, dict[str, object]]]:
        """Each form in which the case was asked, and the answer."""
        ...


class Ours:
    """`borders`: cut each stream at every border between two bytes, too."""

    def __init__(self, *, borders: bool = True) -> None:
        self._borders = borders

    def answers(self, provider: Provider, case: Case) -> Iterator[tuple[str, dict[str, object]]]:
        price = ours.price_of(case.price)

        def told(form: str, pair: tuple[Usage, Usage]) -> Iterator[tuple[str, dict[str, object]]]:
            for way, usage in zip(("passed", "read"), pair, strict=True):
                yield f"{form}, {way}", ours.answer(price, usage)

        if case.whole is not None:
            yield from told("whole", ours.whole(provider, case))
        if case.stream is None:
            return
        data = case.stream.encode()
        yield from told("stream", ours.streamed(provider, case, [data]))
        bytewise = [data[at : at + 1] for at in range(len(data))]
        yield from told("stream byte by byte", ours.streamed(provider, case, bytewise))
        for at in range(1, len(data)) if self._borders else ():
            pieces = [data[:at], data[at:]]
            yield from told(f"stream cut at {at}", ours.streamed(provider, case, pieces))


def run(reader: Reader, wanted: Callable[[Case], bool] = lambda case: True) -> Iterator[Result]:
    """Ask every wanted case."""
    for provider, case in cases():
        if wanted(case):
            yield _judge(case, reader.answers(provider, case))


def _judge(case: Case, answers: Iterator[tuple[str, dict[str, object]]]) -> Result:
    forms: list[str] = []
    differences: list[Difference] = []
    untold: set[str] = set()
    right = {name: case.expected(name) for name in FIELDS} | {"cost_nano": case.cost_nano}
    for form, told in answers:
        forms.append(form)
        for name, value in right.items():
            if name not in told:
                untold.add(name)
            elif not _same(told[name], value):
                differences.append(Difference(form, name, value, told[name]))
    if not forms:
        differences.append(Difference("none", "answer", "an answer", None))
    if "cost_nano" in untold:
        differences.append(Difference("all", "cost_nano", case.cost_nano, None))
    return Result(case.id, case.says, tuple(forms), tuple(differences), frozenset(untold))


def _same(got: object, right: object) -> bool:
    # True is 1 to Python, and no count.
    return type(got) is type(right) and got == right
