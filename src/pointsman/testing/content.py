"""What the provider will say, decided before a byte is written: text, thinking, tool calls."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import orjson

from pointsman.domain.content import Json
from pointsman.domain.usage import Usage
from pointsman.testing.asked import Asked, AskedTool
from pointsman.testing.instance import smallest
from pointsman.testing.persona import Persona
from pointsman.testing.plays import Answer, Finish
from pointsman.testing.tokens import split_tokens

_CALL = re.compile(r"\bcall\s+([A-Za-z_][\w.-]*)\s*(\{)?", re.IGNORECASE)
_DECODER = json.JSONDecoder()
MULTIBYTE = " – grüße 🚂"
"""Appended where a fault needs characters of more than one byte and the text has none."""


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A tool call; `pieces` are the tokens of its arguments. It costs one token more: its name."""

    id: str
    name: str
    pieces: tuple[str, ...]

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Content:
    """An answer in tokens. One choice's worth: a request for n choices pays n times."""

    thinking: tuple[str, ...]
    text: tuple[str, ...]
    calls: tuple[PlannedCall, ...]
    finish: Finish
    stop_sequence: str | None = None

    @property
    def reasoning_tokens(self) -> int:
        return len(self.thinking)

    @property
    def output_tokens(self) -> int:
        called = sum(1 + len(call.pieces) for call in self.calls)
        return len(self.thinking) + len(self.text) + called


def plan_content(asked: Asked, persona: Persona, answer: Answer, seal: str) -> Content:
    """Decide the answer. `seal` seeds the ids of tool calls, so that equal requests have equal
    answers. The order of claims: the script, forced tools, tools the text calls for, a schema,
    tool results to report, and else the persona."""
    calls = _planned(_calls(asked, answer), seal)
    thinking = answer.thinking
    if thinking is None:
        thinking = persona.thought(asked.last) if asked.thinks else ""
    text = answer.text
    if text is None:
        text = "" if calls else _text(asked, persona)
    text, stopped_by = _stop_at(text, asked.stop)
    finish: Finish = "tool_calls" if calls else ("stop_sequence" if stopped_by else "stop")
    content = Content(split_tokens(thinking), split_tokens(text), calls, finish, stopped_by)
    content = _limited(content, asked.max_tokens)
    if answer.finish is None:
        return content
    return Content(content.thinking, content.text, content.calls, answer.finish, stopped_by)


def usage_of(asked: Asked, content: Content, answer: Answer) -> Usage:
    """What the whole answer is billed as; `cached` and `cache_write` are parts of the input."""
    return Usage(
        input=asked.input_tokens,
        output=content.output_tokens * asked.choices,
        cached=min(answer.cached, asked.input_tokens),
        cache_write=min(answer.cache_write, max(0, asked.input_tokens - answer.cached)),
        reasoning=content.reasoning_tokens * asked.choices,
    )


def _calls(asked: Asked, answer: Answer) -> list[tuple[str, str]]:
    if answer.calls is not None:
        return list(answer.calls)
    if not asked.tools or not asked.may_call or answer.text is not None:
        return []
    by_name = {tool.name: tool for tool in asked.tools}
    found = [] if asked.tool_results and not asked.must_call else _called_in(asked.last, by_name)
    if asked.must_call and asked.must_call != "*":
        found = [call for call in found if call[0] == asked.must_call]
    if asked.must_call and not found:
        tool = by_name.get(asked.must_call, asked.tools[0])
        found = [(tool.name, _dump(smallest(tool.schema)))]
    return found if asked.parallel else found[:1]


def _called_in(text: str, tools: dict[str, AskedTool]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for match in _CALL.finditer(text):
        tool = tools.get(match[1])
        if tool is None:
            continue
        arguments = _dump(smallest(tool.schema))
        if match[2]:
            try:
                given, _ = _DECODER.raw_decode(text, match.start(2))
            except ValueError:
                continue
            arguments = _dump(given)
        found.append((tool.name, arguments))
    return found


def _planned(calls: list[tuple[str, str]], seal: str) -> tuple[PlannedCall, ...]:
    return tuple(
        PlannedCall(f"call_{seal[:20]}{index:02d}", name, split_tokens(arguments))
        for index, (name, arguments) in enumerate(calls)
    )


def _text(asked: Asked, persona: Persona) -> str:
    if asked.schema is not None:
        return _dump(smallest(asked.schema))
    if asked.json_object:
        return _dump({"answer": persona.answer(asked.last)})
    if asked.tool_results:
        return "The tool said: " + "; ".join(asked.tool_results)
    return persona.answer(asked.last)


def _stop_at(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    """Cut before the earliest stop sequence, as providers do."""
    found = [(text.find(stop), stop) for stop in stops if stop and stop in text]
    if not found:
        return text, None
    position, stop = min(found)
    return text[:position], stop


def _limited(content: Content, most: int | None) -> Content:
    if most is None or content.output_tokens <= most:
        return content
    thinking = content.thinking[:most]
    text = content.text[: most - len(thinking)]
    left = most - len(thinking) - len(text)
    calls: list[PlannedCall] = []
    for call in content.calls:
        if left <= 0:
            break
        calls.append(PlannedCall(call.id, call.name, call.pieces[: left - 1]))
        left -= 1 + len(calls[-1].pieces)
    return Content(thinking, text, tuple(calls), "length")


def _dump(value: Json) -> str:
    return orjson.dumps(value).decode()
