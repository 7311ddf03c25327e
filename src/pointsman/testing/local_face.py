"""The face of a local server that a provider can wear: what it says of its load, as a real one
says it, and the loading of models.

    face = LocalFace("vllm", waiting=7, memory_used=0.97)
    async with FaultProvider(local=face) as provider:
        ...  # GET {provider.url}/metrics

What it says is set by hand and independent of what it really does: a test wants to be believed.
Such requests are not in the journal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import orjson

from pointsman.domain.content import Json, JsonObject
from pointsman.testing.compose import Performance, plain
from pointsman.testing.framing import frame
from pointsman.testing.moves import Body, Head, Wait
from pointsman.testing.receive import WireRequest

LocalKind = Literal["vllm", "llamacpp", "ollama"]


@dataclass(slots=True)
class LocalFace:
    """model: vLLM's own name of it. has_metrics False: started without them. loading_s: seconds
    that Ollama takes to load a model that is not in `loaded`; `keep_alive` is what it was told."""

    kind: LocalKind
    running: int = 0
    waiting: int = 0
    memory_used: float = 0.0
    slots: int = 4
    model: str = "m"
    has_metrics: bool = True
    loaded: set[str] = field(default_factory=set)
    loading_s: float = 0.0
    asked: int = 0
    """How often it was asked for its load."""
    keep_alive: dict[str, str] = field(default_factory=dict)

    def answer(self, request: WireRequest) -> Performance | None:
        """Answer what only a local server is asked; None for everything else."""
        match self.kind, request.head.method, request.head.path:
            case "vllm" | "llamacpp", "GET", "/metrics":
                self.asked += 1
                return self._metrics()
            case "llamacpp", "GET", "/slots":
                self.asked += 1
                return plain(200, self._slots(), {})
            case "ollama", "GET", "/api/ps":
                self.asked += 1
                models: list[Json] = [{"name": name, "model": name} for name in sorted(self.loaded)]
                return plain(200, {"models": models}, {})
            case "ollama", "POST", "/api/generate":
                return self._load(orjson.loads(request.body))
        return None

    def _metrics(self) -> Performance:
        if not self.has_metrics:
            # As each of them says that it was started without.
            return plain(501 if self.kind == "llamacpp" else 404, {"error": "no metrics"}, {})
        if self.kind == "llamacpp":
            text = (
                f"# TYPE llamacpp:requests_processing gauge\n"
                f"llamacpp:requests_processing {self.running}\n"
                f"# TYPE llamacpp:requests_deferred gauge\n"
                f"llamacpp:requests_deferred {self.waiting}\n"
            )
        else:
            labels = f'{{engine="0",model_name="{self.model}"}}'
            text = (
                f"vllm:num_requests_running{labels} {self.running}.0\n"
                f"vllm:num_requests_waiting{labels} {self.waiting}.0\n"
                f"vllm:kv_cache_usage_perc{labels} {self.memory_used}\n"
            )
        head = Head(200, {"content-type": "text/plain; version=0.0.4"}, len(text))
        return Performance(frame((head, Body(text.encode()))), 200, free=True)

    def _slots(self) -> Json:
        return [{"id": n, "is_processing": n < self.running} for n in range(self.slots)]

    def _load(self, said: JsonObject) -> Performance:
        model = str(said["model"])
        is_cold = model not in self.loaded
        self.keep_alive[model] = str(said.get("keep_alive"))
        self.loaded.add(model)
        answer = plain(200, {"model": model, "response": "", "done": True}, {})
        if not (is_cold and self.loading_s):
            return answer
        return Performance((Wait(self.loading_s), *answer.moves), 200, free=True)
