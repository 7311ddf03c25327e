"""Number the tool calls of a stream, whatever a server makes of `index` and `id`.

1. OpenAI, vLLM: `index` counts, `id` and name come once. 2. Gemini, Ollama: whole calls, each
with its own id, all at index 0 or at none. 3. Some repeat id and name in every piece. 4. Some
give no id at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pointsman.domain.reply import Event, ToolCallDelta, ToolCallStarted


@dataclass(slots=True)
class _Call:
    number: int
    id: str | None
    is_started: bool = False
    has_arguments: bool = False
    held: list[str] = field(default_factory=list)
    """Arguments that came before the name."""


class CallIndex:
    __slots__ = ("_at", "_calls", "_last")

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._at: dict[int, _Call] = {}
        self._last: _Call | None = None

    @property
    def count(self) -> int:
        return sum(call.is_started for call in self._calls)

    def take(
        self, index: int | None, call_id: str | None, name: str | None, arguments: str | None
    ) -> list[Event]:
        """Return the events of one piece of a call."""
        call = self._last if index is None else self._at.get(index)
        is_other = name and call_id and call is not None and call.id not in (None, call_id)
        if call is None or is_other or (index is None and name and not call_id):
            call = _Call(len(self._calls), call_id or None)
            self._calls.append(call)
        if index is not None:
            self._at[index] = call
        self._last = call
        if call.id is None and call_id and not call.is_started:
            call.id = call_id
        events: list[Event] = []
        if name and not call.is_started:
            events += self._start(call, name)
        if arguments:
            call.has_arguments = True
            if call.is_started:
                events.append(ToolCallDelta(call.number, arguments))
            else:
                call.held.append(arguments)
        return events

    def _start(self, call: _Call, name: str) -> list[Event]:
        call.is_started = True
        # Calls that never get a name are not numbered, so that numbers have no gaps.
        call.number = sum(other.is_started for other in self._calls) - 1
        if call.id is None:
            call.id = f"call_{call.number}"
        events: list[Event] = [ToolCallStarted(call.number, call.id, name)]
        if call.held:
            events.append(ToolCallDelta(call.number, "".join(call.held)))
        return events

    def rest(self) -> list[Event]:
        """Return what is due at the end: arguments `{}` for calls that had none."""
        events: list[Event] = []
        for call in self._calls:
            if call.is_started and not call.has_arguments:
                call.has_arguments = True
                events.append(ToolCallDelta(call.number, "{}"))
        return events
