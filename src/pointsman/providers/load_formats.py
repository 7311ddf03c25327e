"""What local servers say of their load, read out of their own formats. No I/O.

vLLM and llama.cpp write Prometheus text, a few lines of which matter; this runs every second for
every local server, so only those lines are taken apart (a tenth of the time that a full parser
needs for vLLM's few hundred). Ollama says as JSON which models are in memory, nothing more.

Names after vLLM's "Production Metrics" (`kv_cache_usage_perc` was `gpu_cache_usage_perc` until
0.9), llama.cpp's server README (`kv_cache_usage_ratio` is gone from newer ones) and Ollama's API.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

EVERY_MODEL: Final = ""
"""The name that stands for all models of a server that does not tell them apart."""


class BadLoad(ValueError):
    """The server answered something else than its load."""


class ServerLoad(msgspec.Struct, frozen=True):
    """Requests running and waiting; `memory_used` in [0, 1] of its key-value cache; `slots` for
    requests at once; 0 where the server does not say. `is_loaded` False where the model must be
    loaded first."""

    running: int = 0
    waiting: int = 0
    memory_used: float = 0.0
    slots: int = 0
    is_loaded: bool = True


Loads = Mapping[str, ServerLoad]
"""By the server's name of the model, or EVERY_MODEL."""

_VLLM: Final = {
    "vllm:num_requests_running": "running",
    "vllm:num_requests_waiting": "waiting",
    "vllm:kv_cache_usage_perc": "memory_used",
    "vllm:gpu_cache_usage_perc": "memory_used",
}
_LLAMACPP: Final = {
    "llamacpp:requests_processing": "running",
    "llamacpp:requests_deferred": "waiting",
    "llamacpp:kv_cache_usage_ratio": "memory_used",
}
_MODEL = re.compile(r'[{,]\s*model_name="((?:[^"\\]|\\.)*)"')


def read_vllm(body: bytes) -> Loads:
    """Read vLLM's `/metrics`: requests are added up over its engines, and the fullest cache counts.
    Raises BadLoad."""
    return _read_metrics(body, "vllm:", _VLLM)


def read_llamacpp(body: bytes) -> Loads:
    """Read llama.cpp's `/metrics`. Raises BadLoad."""
    return _read_metrics(body, "llamacpp:", _LLAMACPP)


def _read_metrics(body: bytes, prefix: str, names: Mapping[str, str]) -> Loads:
    found: dict[str, dict[str, float]] = {}
    for line in body.decode("utf-8", "replace").splitlines():
        if not line.startswith(prefix):
            continue
        brace = line.find("{")
        name, _, rest = line.partition(" ")
        if brace >= 0:
            name = line[:brace]
            rest = line[line.rfind("}") + 1 :]
        field = names.get(name)
        if field is None:
            continue
        value = _number(rest)
        model = _MODEL.search(line) if brace >= 0 else None
        said = found.setdefault(EVERY_MODEL if model is None else _unescaped(model[1]), {})
        if field == "memory_used":
            said[field] = max(said.get(field, 0.0), value)
        else:
            said[field] = said.get(field, 0.0) + value
    if not found:
        raise BadLoad(f"no line of {prefix}… that tells the load")
    return {model: _load(said) for model, said in found.items()}


def _number(text: str) -> float:
    words = text.split()
    try:
        value = float(words[0])
    except (IndexError, ValueError):
        raise BadLoad("a line without a number") from None
    if not 0 <= value < 1e9:
        raise BadLoad("a number that cannot be")
    return value


def _unescaped(text: str) -> str:
    return text.replace(r"\"", '"').replace(r"\\", "\\")


def _load(said: Mapping[str, float]) -> ServerLoad:
    return ServerLoad(
        int(said.get("running", 0)),
        int(said.get("waiting", 0)),
        min(1.0, said.get("memory_used", 0.0)),
    )


class _Model(msgspec.Struct):
    name: str = ""
    model: str = ""


class _Running(msgspec.Struct):
    models: list[_Model] | None


def read_ollama(body: bytes) -> Loads:
    """Read Ollama's `/api/ps`: the models in memory; all others are not. Raises BadLoad."""
    try:
        said = msgspec.json.decode(body, type=_Running)
    except (msgspec.DecodeError, RecursionError):
        raise BadLoad("not the list of models in memory") from None
    loads = {EVERY_MODEL: ServerLoad(is_loaded=False)}
    for each in said.models or ():
        for name in (each.name, each.model):
            loads[name] = ServerLoad()
            loads[name.removesuffix(":latest")] = ServerLoad()
    return loads


class _Slot(msgspec.Struct):
    is_processing: bool = False


def read_slots(body: bytes) -> Loads:
    """Read llama.cpp's `/slots`, which is there where `/metrics` was not asked for: it tells who
    is served, not who waits. Raises BadLoad."""
    try:
        slots = msgspec.json.decode(body, type=list[_Slot])
    except (msgspec.DecodeError, RecursionError):
        raise BadLoad("not a list of slots") from None
    running = sum(slot.is_processing for slot in slots)
    return {EVERY_MODEL: ServerLoad(running=running, slots=len(slots))}


def load_of(loads: Loads, model: str) -> ServerLoad | None:
    """Find a model's load: 1. by name; 2. what holds for all; 3. the only one there is (a server's
    own name for its model may differ from the one it is asked by)."""
    own = loads.get(model, loads.get(EVERY_MODEL))
    if own is None and len(loads) == 1:
        return next(iter(loads.values()))
    return own
