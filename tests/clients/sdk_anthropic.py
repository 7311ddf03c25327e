"""Run by the interpreter of `.venvs/anthropic`: what the real SDK makes of our gateway, as JSON.

Usage: python sdk_anthropic.py BASE_URL KEY ROUTE. Prints one object: scenario -> what was seen.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import anthropic

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5"
    "ErkJggg=="
)


def tool(name: str) -> dict[str, Any]:
    properties = {"city": {"type": "string"}}
    schema = {"type": "object", "properties": properties, "required": ["city"]}
    return {"name": name, "input_schema": schema}


TOOLS: Any = [tool("weather"), tool("clock")]
BOTH = 'call weather {"city": "Köln"} and call clock {"city": "Lima"}'


def says(text: str) -> Any:
    return [{"role": "user", "content": text}]


class Scenarios:
    """One method a scenario; its name is the key of its result."""

    def __init__(self, client: anthropic.Anthropic, route: str, base_url: str) -> None:
        self.client = client
        self.route = route
        self.base_url = base_url

    def chat(self) -> dict[str, Any]:
        raw = self.client.messages.with_raw_response.create(
            model=self.route, max_tokens=50, system="Be brief.", messages=says("Hello, wörld")
        )
        reply = raw.parse()
        return {
            "text": "".join(block.text for block in reply.content if block.type == "text"),
            "stop": reply.stop_reason,
            "model": reply.model,
            "role": reply.role,
            "tokens": [reply.usage.input_tokens, reply.usage.output_tokens],
            "headers": {k: v for k, v in raw.headers.items() if k.startswith("x-pointsman")},
        }

    def stream(self) -> dict[str, Any]:
        pieces = []
        with self.client.messages.stream(
            model=self.route, max_tokens=50, messages=says("One two three four five")
        ) as stream:
            pieces.extend(stream.text_stream)
            final = stream.get_final_message()
        return {
            "text": "".join(pieces),
            "pieces": len(pieces),
            "stop": final.stop_reason,
            "tokens": [final.usage.input_tokens, final.usage.output_tokens],
        }

    def stream_events(self) -> dict[str, Any]:
        with self.client.messages.create(
            model=self.route, max_tokens=50, messages=says("Hi"), stream=True
        ) as stream:
            kinds = [event.type for event in stream]
        return {"first": kinds[0], "last": kinds[-1], "kinds": sorted(set(kinds))}

    def tools(self) -> dict[str, Any]:
        reply = self.client.messages.create(
            model=self.route, max_tokens=99, messages=says(BOTH), tools=TOOLS
        )
        calls = [block for block in reply.content if block.type == "tool_use"]
        return {
            "stop": reply.stop_reason,
            "calls": [[call.name, call.input] for call in calls],
            "ids": [call.id for call in calls],
        }

    def tools_streamed(self) -> dict[str, Any]:
        pieces = 0
        with self.client.messages.stream(
            model=self.route, max_tokens=99, messages=says(BOTH), tools=TOOLS
        ) as stream:
            for event in stream:
                pieces += event.type == "input_json"
            final = stream.get_final_message()
        calls = [[b.name, b.input] for b in final.content if b.type == "tool_use"]
        return {"calls": calls, "pieces": pieces, "stop": final.stop_reason}

    def tool_result(self) -> dict[str, Any]:
        called = [
            {"type": "tool_use", "id": f"toolu_{name}", "name": name, "input": {"city": "Köln"}}
            for name in ("weather", "clock")
        ]
        results = [
            {"type": "tool_result", "tool_use_id": "toolu_weather", "content": "rain"},
            {"type": "tool_result", "tool_use_id": "toolu_clock", "content": "noon"},
        ]
        messages: Any = [
            *says(BOTH),
            {"role": "assistant", "content": called},
            {"role": "user", "content": results},
        ]
        reply = self.client.messages.create(
            model=self.route, max_tokens=50, messages=messages, tools=TOOLS
        )
        return {"text": "".join(block.text for block in reply.content if block.type == "text")}

    def vision(self) -> dict[str, Any]:
        source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
        content = [{"type": "text", "text": "What is this?"}, {"type": "image", "source": source}]
        messages: Any = [{"role": "user", "content": content}]
        reply = self.client.messages.create(model=self.route, max_tokens=50, messages=messages)
        return {"text": reply.content[0].text, "input": reply.usage.input_tokens}

    def thinking(self) -> dict[str, Any]:
        reply = self.client.messages.create(
            model=self.route,
            max_tokens=4000,
            thinking={"type": "enabled", "budget_tokens": 1024},
            messages=says("Hi"),
        )
        return {"kinds": [block.type for block in reply.content]}

    def fallback(self) -> dict[str, Any]:
        raw = self.client.messages.with_raw_response.create(
            model=f"{self.route}-after-503", max_tokens=50, messages=says("Still there?")
        )
        return {
            "text": raw.parse().content[0].text,
            "attempts": raw.headers["x-pointsman-attempts"],
        }

    def count_tokens(self) -> dict[str, Any]:
        count = self.client.messages.count_tokens(model=self.route, messages=says("Hello there"))
        return {"input": count.input_tokens}

    def models(self) -> dict[str, Any]:
        return {"ids": [model.id for model in self.client.models.list()]}

    def wrong_key(self) -> dict[str, Any]:
        stranger = anthropic.Anthropic(base_url=self.base_url, api_key="sk-wrong", max_retries=0)
        stranger.messages.create(model=self.route, max_tokens=9, messages=says("Hi"))
        return {}

    def unknown_model(self) -> dict[str, Any]:
        self.client.messages.create(model="no-such-model", max_tokens=9, messages=says("Hi"))
        return {}

    def bad_request(self) -> dict[str, Any]:
        messages: Any = [{"role": "wizard", "content": "Hi"}]
        self.client.messages.create(model=self.route, max_tokens=9, messages=messages)
        return {}

    def throttled(self) -> dict[str, Any]:
        self.client.messages.create(model=f"{self.route}-429", max_tokens=9, messages=says("Hi"))
        return {}

    def cut_in_stream(self) -> dict[str, Any]:
        with self.client.messages.stream(
            model=f"{self.route}-late-error",
            max_tokens=99,
            messages=says("One two three four five six seven eight nine ten"),
        ) as stream:
            return {"text": "".join(stream.text_stream)}


def observe(scenario: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return scenario()
    except anthropic.APIStatusError as error:
        body = error.body if isinstance(error.body, dict) else {}
        return {
            "raised": type(error).__name__,
            "status": error.status_code,
            "type": (body.get("error") or {}).get("type"),
            "message": error.message,
            "retry_after": error.response.headers.get("retry-after"),
            "request_id": error.response.headers.get("x-pointsman-request-id"),
        }
    except anthropic.APIError as error:
        return {"raised": type(error).__name__, "message": error.message}


def main(base_url: str, key: str, route: str) -> None:
    client = anthropic.Anthropic(base_url=base_url, api_key=key, max_retries=0, timeout=20)
    scenarios = Scenarios(client, route, base_url)
    names = [name for name in vars(Scenarios) if not name.startswith("_")]
    seen = {name: observe(getattr(scenarios, name)) for name in names}
    print(json.dumps({"version": anthropic.__version__, **seen}))


main(*sys.argv[1:])
