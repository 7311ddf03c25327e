"""Good requests, of both dialects and every kind of content: what mutations begin with."""

from __future__ import annotations

from typing import Any

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
OURS = {
    "prefer": "cost", "timeout_s": 5, "max_cost_usd": 0.5, "fallbacks": ["second"],
    "allow": ["second", "oa/*"], "require": ["chat"], "sensitive": False,
    "session": "s", "max_attempts": 2, "tags": {"team": "a"},
}  # fmt: skip

CHAT: tuple[dict[str, Any], ...] = (
    {"model": "auto", "messages": [{"role": "user", "content": "hi"}]},
    {
        "model": "to-first",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "Grüße 🚂"}], "name": "ann"},
            {"role": "assistant", "content": "yes"},
            {"role": "user", "content": "and?"},
        ],
        "max_completion_tokens": 50,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["\n\n", "END"],
        "seed": 7,
        "user": "u",
    },
    {
        "model": "to-third",
        "messages": [
            {"role": "user", "content": "weather?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "look", "arguments": '{"city":"Ulm"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "fog"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "look",
                    "description": "Look.",
                    "parameters": SCHEMA,
                    "strict": True,
                },
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "parallel_tool_calls": False,
        "max_tokens": 100,
    },
    {
        "model": "to-second",
        "messages": [
            {"role": "developer", "content": "be exact"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "what?"},
                    {
                        "type": "image_url",
                        "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low"},
                    },
                    {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                ],
            },
        ],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "a", "schema": SCHEMA, "strict": True},
        },
        "reasoning_effort": "low",
        "max_tokens": 60,
    },
    {
        "model": "to-second",
        "stream": True,
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "", "refusal": "no", "reasoning_content": "hm"},
            {
                "role": "assistant",
                "content": "x",
                "tool_calls": [
                    {"id": "é:1", "type": "function", "function": {"name": "f", "arguments": ""}},
                    {"id": "b", "type": "function", "function": {"name": "g", "arguments": "[1]"}},
                ],
            },
            {"role": "tool", "tool_call_id": "é:1", "content": [{"type": "text", "text": "1"}]},
            {"role": "tool", "tool_call_id": "b", "content": ""},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": "auto",
        "reasoning": {"effort": "high", "max_tokens": 2000, "enabled": True},
        "n": 1,
        "logprobs": False,
    },
    {
        "model": "to-first",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                    {
                        "type": "file",
                        "file": {
                            "filename": "a.pdf",
                            "file_data": "data:application/pdf;base64,AAAA",
                        },
                    },
                ],
            },
            {"role": "function", "name": "old", "content": "1"},
        ],
        "functions": [{"name": "old", "parameters": {}}],
        "n": 2,
        "logit_bias": {"50256": -100},
        "metadata": {"a": "b", "tags": {"team": "x"}},
    },
    {
        "models": ["auto", "second"],
        "messages": [{"role": "user", "content": "hi"}],
        "pointsman": OURS,
        "timeout": 3.5,
        "fallbacks": ["first"],
        "max_cost_usd": 1,
    },
)

MESSAGES: tuple[dict[str, Any], ...] = (
    {"model": "auto", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]},
    {
        "model": "to-second",
        "max_tokens": 50,
        "stream": True,
        "system": [
            {"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}},
        ],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Grüße 🚂"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "yes"}]},
            {"role": "user", "content": "and?"},
        ],
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u"},
    },
    {
        "model": "to-first",
        "max_tokens": 500,
        "system": "be exact",
        "messages": [
            {"role": "user", "content": "weather?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "redacted_thinking", "data": "zz"},
                    {"type": "text", "text": "let me look"},
                    {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"city": "Ulm"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_1",
                        "is_error": True,
                        "content": [
                            {"type": "text", "text": "fog"},
                            {"type": "image", "source": {
                                "type": "base64", "media_type": "image/png", "data": PIXEL}},
                        ],
                    },
                    {"type": "text", "text": "so?"},
                ],
            },
        ],
        "tools": [{"name": "look", "description": "Look.", "input_schema": SCHEMA}],
        "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": True},
    },
    {
        "model": "to-third",
        "max_tokens": 3000,
        "stream": True,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"type": "url", "url": "https://example.com/a"}},
                    {
                        "type": "document",
                        "title": "t",
                        "source": {"type": "text", "media_type": "text/plain", "data": "words"},
                    },
                    {
                        "type": "document",
                        "source": {
                            "type": "base64",
                            "media_type": "application/pdf",
                            "data": "AAAA",
                        },
                    },
                ],
            }
        ],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}, "effort": "low"},
    },
    {
        "model": "second",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
        "mcp_servers": [],
        "container": None,
        "service_tier": "auto",
        "pointsman": OURS,
        "timeout": 3.5,
    },
)  # fmt: skip

EMBEDDINGS: tuple[dict[str, Any], ...] = (
    {"model": "embed", "input": "hi"},
    {"model": "vectors", "input": ["a"], "dimensions": 8, "encoding_format": "float", "user": "u"},
    {"model": "embed", "input": [[1, 2]], "pointsman": {"max_cost_usd": 1}},
)

BASES = {
    "/v1/chat/completions": CHAT,
    "/v1/messages": MESSAGES,
    "/v1/messages/count_tokens": MESSAGES,
    "/v1/embeddings": EMBEDDINGS,
    "/v1/route:explain": CHAT,
}
