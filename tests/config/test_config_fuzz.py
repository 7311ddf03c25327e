"""Whatever is done to a file, it loads or it is explained: no other end."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pointsman.config.load import Loaded
from pointsman.errors import ConfigError

Read = Callable[..., Loaded]

FILE = """\
server: {host: a, port: 1, keys: [{key: "env:APP_KEY", tags: {a: b}, routes: [auto]}], body_mb: 1}
ledger: {path: x.db, flush_s: 1}
providers:
  openai: {key: "env:OPENAI_API_KEY", headers: {x-a: b}, url: "https://h/v1"}
  house: {kind: vllm, url: "http://127.0.0.1:1/v1", tier: local}
deployments:
  - {model: openai/gpt-4.1, price: {input_usd: 1, output_usd: 2, above: [{input_tokens: 1,
     input_usd: 1, output_usd: 1}], batch: {input_usd: 1, output_usd: 1}}, capabilities: [tools]}
  - {name: fast, provider: groq, model: llama-3.3-70b, tags: [a], quality: 0.5, weight: 2}
  - {provider: house, model: qwen, context_tokens: 100, output_tokens: 50}
routes:
  - name: auto
    aliases: [b]
    deployments: [fast, "house/*", "tier:frontier"]
    strategy: hybrid
    weights: {cost: 1}
    order: [fast]
    require: [tools]
    rules: [{name: r, when: {task: [code], needs: [tools], tags: {a: b}}, use: {tiers: [local]}}]
    fallback: {chain: [fast], throttled: [], on_content_filter: true}
    timeouts: {total_s: 9}
timeouts: {idle_s: 3}
breaker: {streak: 2}
retry: {ratio: 0.5}
"""

TREE = yaml.load(FILE, Loader=yaml.CSafeLoader)


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if path:
        yield path
    if isinstance(value, dict | list):
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for step, child in entries:
            yield from places(child, (*path, step))


NUMBERS: list[object] = [None, True, 0, -1, 3, 0.5, 1e30, 10**18]
TEXTS: list[object] = ["", "x", "fast", "env:NO", "a b", "tier:", "*", "/", "🚂", "openai/", "/x"]
NESTS: list[object] = [[], ["x"], [None], {}, {"x": 1}, [[]], {"": ""}]
VALUES = NUMBERS + TEXTS + NESTS


@pytest.mark.slow
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    changes=st.lists(
        st.tuples(st.sampled_from(list(places(TREE))), st.sampled_from(VALUES), st.booleans()),
        min_size=1,
        max_size=3,
    )
)
def test_a_changed_file_loads_or_is_explained(
    changes: list[tuple[tuple[str | int, ...], object, bool]], read: Read
) -> None:
    tree = copy.deepcopy(TREE)
    for path, value, is_key in changes:
        at: Any = tree
        for step in path[:-1]:
            inside = (isinstance(at, dict) and step in at) or (
                isinstance(at, list) and isinstance(step, int) and step < len(at)
            )
            if not inside:
                break
            at = at[step]
        else:
            if isinstance(at, dict):
                at[str(value) if is_key else path[-1]] = value
            elif isinstance(at, list):
                at.insert(0, value)
    text = yaml.dump(tree, Dumper=yaml.CSafeDumper, allow_unicode=True)
    try:
        read(text)
    except ConfigError as error:
        assert all(line.startswith("f.yaml:") for line in error.message.splitlines())
        assert "the schema says" not in error.message
