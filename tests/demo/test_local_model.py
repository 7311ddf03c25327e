"""The real local model answers in the OpenAI dialect."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from typing import Any

import pytest

from pointsman.testing import local_model as module
from pointsman.testing.child import Child
from pointsman.testing.local_model import MODEL, LocalModel, LocalModelMissing


def ask(model: LocalModel, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{model.base_url}/chat/completions",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.mark.slow
@pytest.mark.real
def test_the_model_answers_and_says_what_it_used(local_model: LocalModel) -> None:
    messages = [{"role": "user", "content": "Say hello to a train driver."}]
    reply = ask(local_model, {"model": MODEL, "messages": messages, "max_tokens": 12})
    assert reply["choices"][0]["message"]["content"].strip()
    assert 0 < reply["usage"]["completion_tokens"] <= 12
    assert reply["usage"]["prompt_tokens"] > 0


@pytest.mark.slow
@pytest.mark.real
def test_the_server_ends_with_its_parent(local_model: LocalModel) -> None:
    command = [sys.executable, "-m", "pointsman.testing.local_model", "--with-parent"]
    with Child("local model", command, ready="^ready http") as child:
        process = child._process
        assert process is not None and process.stdin is not None
        process.stdin.close()
        assert process.wait(60) == 0


def test_missing_wheels_are_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(LocalModelMissing, match=r"xllamacpp: run `make demo`"):
        LocalModel()


def test_one_core_is_left_to_the_others() -> None:
    assert module.threads() == max(1, (os.cpu_count() or 2) - 1)
