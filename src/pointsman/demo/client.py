"""A small client of the gateway: sends one prompt in its dialect, notes what came back."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

from pointsman.demo.prompts import Prompt

PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}


@dataclass(frozen=True, slots=True)
class Answered:
    """What the client saw of one request. Seconds are the client's own.

    `fault` is empty for a proper answer, else what was wrong with it, in words.
    """

    number: int
    prompt: Prompt
    request_id: str
    status: int
    deployment: str
    attempts: int
    seconds: float
    first_s: float | None
    text: str
    fault: str = ""


def body_of(prompt: Prompt) -> dict[str, object]:
    """Write the request's body in the prompt's dialect."""
    messages: list[dict[str, object]] = [{"role": "user", "content": prompt.text}]
    body: dict[str, object] = {"model": prompt.model, "max_tokens": prompt.max_tokens}
    if prompt.dialect == "anthropic":
        if prompt.system:
            body["system"] = prompt.system
    elif prompt.system:
        messages.insert(0, {"role": "system", "content": prompt.system})
    if prompt.stream:
        body["stream"] = True
    return body | {"messages": messages} | dict(prompt.asks)


class Client:
    """Talks to a gateway at `base_url` (without /v1) with `key`."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, key: str) -> None:
        self._session = session
        self._base_url = base_url
        self._key = key

    async def send(self, number: int, prompt: Prompt) -> Answered:
        """Send a prompt; a refused or broken answer is told in `fault`, not raised."""
        began = time.monotonic()
        header = "x-api-key" if prompt.dialect == "anthropic" else "authorization"
        value = self._key if header == "x-api-key" else f"Bearer {self._key}"
        first: float | None = None
        pieces: list[str] = []
        async with self._session.post(
            self._base_url + PATHS[prompt.dialect],
            data=msgspec.json.encode(body_of(prompt)),
            headers={"content-type": "application/json", header: value},
        ) as answer:
            fault = ""
            if answer.status != 200:
                fault = f"status {answer.status}: {(await answer.text())[:200]}"
            elif prompt.stream:
                ended = False
                async for event in events(answer.content):
                    piece, end, wrong = read_event(prompt.dialect, event)
                    fault = fault or wrong
                    ended = ended or end
                    if piece and first is None:
                        first = time.monotonic() - began
                    pieces.append(piece)
                if not ended and not fault:
                    fault = "the stream ended without its proper end"
            else:
                piece, fault = read_whole(prompt.dialect, await answer.read())
                pieces.append(piece)
            headers = answer.headers
            return Answered(
                number=number,
                prompt=prompt,
                request_id=headers.get("x-pointsman-request-id", ""),
                status=answer.status,
                deployment=headers.get("x-pointsman-deployment", ""),
                attempts=int(headers.get("x-pointsman-attempts", "0")),
                seconds=time.monotonic() - began,
                first_s=first,
                text="".join(pieces),
                fault=fault,
            )

    async def breakers(self) -> dict[str, str]:
        """Read the state of every deployment's breaker."""
        async with self._session.get(f"{self._base_url}/readyz") as answer:
            health: dict[str, Any] = msgspec.json.decode(await answer.read())
            return dict(health["breakers"])

    async def metrics(self) -> list[tuple[str, dict[str, str], float]]:
        """Read the gateway's metrics as (name, labels, value)."""
        from prometheus_client.parser import text_string_to_metric_families

        async with self._session.get(
            f"{self._base_url}/metrics", headers={"authorization": f"Bearer {self._key}"}
        ) as answer:
            text = await answer.text()
        return [
            (sample.name, dict(sample.labels), sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]


async def events(stream: aiohttp.StreamReader) -> AsyncIterator[str]:
    """Yield the data of each SSE event."""
    async for raw in stream:
        line = raw.decode().rstrip("\r\n")
        if line.startswith("data:"):
            yield line[5:].lstrip()


def read_event(dialect: str, data: str) -> tuple[str, bool, str]:
    """Read one event: (text or tool arguments in it, is it the end, what is wrong)."""
    if data == "[DONE]":
        return "", True, ""
    event: Mapping[str, Any] = msgspec.json.decode(data)
    if "error" in event:
        return "", False, f"error event: {data[:200]}"
    if dialect == "openai":
        choices = event.get("choices") or [{}]
        delta = choices[0].get("delta") or {}
        calls = delta.get("tool_calls") or []
        arguments = "".join(call.get("function", {}).get("arguments", "") for call in calls)
        return (delta.get("content") or "") + arguments, False, ""
    delta = event.get("delta") or {}
    text = delta.get("text") or delta.get("partial_json") or ""
    return text, event.get("type") == "message_stop", ""


def read_whole(dialect: str, body: bytes) -> tuple[str, str]:
    """Read a whole answer: (text or tool calls in it, what is wrong)."""
    try:
        reply: Mapping[str, Any] = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        return "", f"not JSON: {error}"
    if dialect == "openai":
        message = (reply.get("choices") or [{}])[0].get("message", {})
        calls = message.get("tool_calls") or []
        named = [f"{call['function']['name']}({call['function']['arguments']})" for call in calls]
        text = (message.get("content") or "") + " ".join(named)
    else:
        blocks = reply.get("content") or []
        text = " ".join(
            block.get("text") or f"{block.get('name')}({block.get('input')})"
            for block in blocks
            if block.get("type") in ("text", "tool_use")
        )
    return text, "" if text else "an empty answer"
