"""Run by the interpreter of `.venvs/openai`: what the real SDK makes of our gateway, as JSON.

Usage: python sdk_openai.py BASE_URL KEY ROUTE. Prints one object: scenario -> what was seen.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import openai

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "YPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def tool(name: str) -> dict[str, Any]:
    properties = {"city": {"type": "string"}}
    schema = {"type": "object", "properties": properties, "required": ["city"]}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


TOOLS: Any = [tool("weather"), tool("clock")]
BOTH = 'call weather {"city": "Köln"} and call clock {"city": "Lima"}'


def says(text: str) -> Any:
    return [{"role": "user", "content": text}]


class Scenarios:
    """One method a scenario; its name is the key of its result."""

    def __init__(self, client: openai.OpenAI, route: str, base_url: str) -> None:
        self.client = client
        self.route = route
        self.base_url = base_url

    def chat(self) -> dict[str, Any]:
        raw = self.client.chat.completions.with_raw_response.create(
            model=self.route,
            messages=[{"role": "system", "content": "Be brief."}, *says("Hello, wörld")],
            max_tokens=50,
        )
        reply = raw.parse()
        usage = reply.usage
        return {
            "text": reply.choices[0].message.content,
            "finish": reply.choices[0].finish_reason,
            "model": reply.model,
            "object": reply.object,
            "tokens": [usage.prompt_tokens, usage.completion_tokens, usage.total_tokens],
            "headers": {k: v for k, v in raw.headers.items() if k.startswith("x-pointsman")},
        }

    def stream(self) -> dict[str, Any]:
        text, finish, chunks, usage = "", None, 0, None
        with self.client.chat.completions.create(
            model=self.route,
            messages=says("One two three four five"),
            stream=True,
            stream_options={"include_usage": True},
        ) as stream:
            for chunk in stream:
                chunks += 1
                if chunk.usage:
                    usage = [chunk.usage.prompt_tokens, chunk.usage.completion_tokens]
                if chunk.choices:
                    text += chunk.choices[0].delta.content or ""
                    finish = chunk.choices[0].finish_reason or finish
        return {"text": text, "finish": finish, "chunks": chunks, "usage": usage}

    def stream_without_usage(self) -> dict[str, Any]:
        with self.client.chat.completions.create(
            model=self.route, messages=says("Hi"), stream=True
        ) as stream:
            chunks = list(stream)
        return {"usages": [chunk.usage for chunk in chunks if chunk.usage is not None]}

    def tools(self) -> dict[str, Any]:
        reply = self.client.chat.completions.create(
            model=self.route, messages=says(BOTH), tools=TOOLS
        )
        calls = reply.choices[0].message.tool_calls or []
        return {
            "finish": reply.choices[0].finish_reason,
            "calls": [[c.function.name, json.loads(c.function.arguments)] for c in calls],
            "ids": [call.id for call in calls],
        }

    def tools_streamed(self) -> dict[str, Any]:
        calls: dict[int, list[str]] = {}
        pieces, finish = 0, None
        with self.client.chat.completions.create(
            model=self.route, messages=says(BOTH), tools=TOOLS, stream=True
        ) as stream:
            for chunk in stream:
                if not chunk.choices:
                    continue
                finish = chunk.choices[0].finish_reason or finish
                for call in chunk.choices[0].delta.tool_calls or []:
                    entry = calls.setdefault(call.index, ["", ""])
                    entry[0] += call.function.name or ""
                    entry[1] += call.function.arguments or ""
                    pieces += bool(call.function.arguments)
        named = [[name, json.loads(arguments)] for name, arguments in calls.values()]
        return {"calls": named, "pieces": pieces, "finish": finish}

    def tool_result(self) -> dict[str, Any]:
        def called(number: int, name: str) -> dict[str, Any]:
            function = {"name": name, "arguments": '{"city": "Köln"}'}
            return {"id": f"call_{number}", "type": "function", "function": function}

        messages: Any = [
            *says(BOTH),
            {"role": "assistant", "tool_calls": [called(1, "weather"), called(2, "clock")]},
            {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
            {"role": "tool", "tool_call_id": "call_2", "content": "noon"},
        ]
        reply = self.client.chat.completions.create(
            model=self.route, messages=messages, tools=TOOLS
        )
        return {"text": reply.choices[0].message.content}

    def json_schema(self) -> dict[str, Any]:
        schema = {
            "type": "object",
            "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 3}},
            "required": ["name", "age"],
            "additionalProperties": False,
        }
        form: Any = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
        reply = self.client.chat.completions.create(
            model=self.route, messages=says("Who?"), response_format=form
        )
        return {"answer": json.loads(reply.choices[0].message.content or "null")}

    def vision(self) -> dict[str, Any]:
        content = [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": PIXEL}},
        ]
        messages: Any = [{"role": "user", "content": content}]
        reply = self.client.chat.completions.create(model=self.route, messages=messages)
        usage = reply.usage
        return {"text": reply.choices[0].message.content, "input": usage and usage.prompt_tokens}

    def fallback(self) -> dict[str, Any]:
        raw = self.client.chat.completions.with_raw_response.create(
            model=f"{self.route}-after-503", messages=says("Still there?")
        )
        return {
            "text": raw.parse().choices[0].message.content,
            "attempts": raw.headers["x-pointsman-attempts"],
        }

    def extra_body(self) -> dict[str, Any]:
        raw = self.client.chat.completions.with_raw_response.create(
            model=self.route, messages=says("Hi"), extra_body={"pointsman": {"tags": {"a": "b"}}}
        )
        return {"status": raw.status_code}

    def embeddings(self) -> dict[str, Any]:
        reply = self.client.embeddings.create(model="vectors", input=["one", "two words"])
        return {"vectors": len(reply.data), "size": len(reply.data[0].embedding)}

    def models(self) -> dict[str, Any]:
        return {"ids": [model.id for model in self.client.models.list()]}

    def wrong_key(self) -> dict[str, Any]:
        stranger = openai.OpenAI(base_url=self.base_url, api_key="sk-wrong", max_retries=0)
        stranger.chat.completions.create(model=self.route, messages=says("Hi"))
        return {}

    def unknown_model(self) -> dict[str, Any]:
        self.client.chat.completions.create(model="no-such-model", messages=says("Hi"))
        return {}

    def bad_request(self) -> dict[str, Any]:
        messages: Any = [{"role": "wizard", "content": "Hi"}]
        self.client.chat.completions.create(model=self.route, messages=messages)
        return {}

    def throttled(self) -> dict[str, Any]:
        self.client.chat.completions.create(model=f"{self.route}-429", messages=says("Hi"))
        return {}

    def cut_in_stream(self) -> dict[str, Any]:
        with self.client.chat.completions.create(
            model=f"{self.route}-late-error",
            messages=says("One two three four five six seven eight nine ten"),
            stream=True,
        ) as stream:
            return {"chunks": len(list(stream))}


def observe(scenario: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return scenario()
    except openai.APIStatusError as error:
        return {
            "raised": type(error).__name__,
            "status": error.status_code,
            "code": error.code,
            "type": error.type,
            "message": error.message,
            "retry_after": error.response.headers.get("retry-after"),
            "request_id": error.response.headers.get("x-pointsman-request-id"),
        }
    except openai.APIError as error:
        return {"raised": type(error).__name__, "message": error.message, "code": error.code}


def main(base_url: str, key: str, route: str) -> None:
    client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=20)
    scenarios = Scenarios(client, route, base_url)
    names = [name for name in vars(Scenarios) if not name.startswith("_")]
    seen = {name: observe(getattr(scenarios, name)) for name in names}
    print(json.dumps({"version": openai.__version__, **seen}))


main(*sys.argv[1:])
