"""What making ready beforehand gains: `python -m bench.preload` prints it, in a few minutes.

Three pairs, each measured as a client sees it, time to first content through a gateway, over
interleaved rounds, since a busy minute of the machine should fall on both:

1. *model*: the first request to a local server that has just started, without and with a
   deployment's `preload: {model: true}`. The model is real (SmolLM2-135M on llama.cpp).
2. *beginning*: a second question about a long text, asked of the server that read the text
   before, and of another one: what affinity gains. Two real servers.
3. *connection*: the first request over TLS, without and with `preload: {connection: true}`.
   On loopback a round trip takes no time, so this is the handshakes' work alone; over a network
   two round trips come on top.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import ipaddress
import json
import logging
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pointsman.domain.reply import TextDelta
from pointsman.gateway import Gateway
from pointsman.testing import FaultProvider
from pointsman.testing.local_model import MODEL, LocalModel

READY = "preload.ready"
WORDS = (
    *("signal", "platform", "points", "whistle", "tender", "axle", "sleeper", "crossing"),
    *("carriage", "siding", "buffer", "ticket", "guard", "gauge", "coupling", "boiler"),
)
SENTENCES = 123
"""2,000 tokens."""


@dataclass
class Pair:
    """One comparison: seconds without and with, a round each."""

    name: str
    without: list[float] = field(default_factory=list)
    gained: list[float] = field(default_factory=list)

    def line(self) -> str:
        before, after = statistics.median(self.without), statistics.median(self.gained)
        ratios = [a / b for a, b in zip(self.without, self.gained, strict=True)]
        return (
            f"| {self.name} | {before * 1e3:.1f} | {after * 1e3:.1f} | {before / after:.1f} | "
            f"{min(ratios):.1f} to {max(ratios):.1f} |"
        )


async def first_content_s(gateway: Gateway, text: str, model: str = "auto") -> float:
    """Ask for a short streamed answer; return the seconds to its first content."""
    begun = time.perf_counter()
    found: float | None = None
    messages = [{"role": "user", "content": text}]
    async with await gateway.stream(messages, model=model, max_tokens=4, temperature=0) as events:
        async for event in events:
            if isinstance(event, TextDelta) and found is None:
                found = time.perf_counter() - begun
    if found is None:
        raise RuntimeError("an answer without content")
    return found


def local(name: str, url: str, preload: Mapping[str, Any] | None) -> Mapping[str, Any]:
    deployment: dict[str, Any] = {"provider": name, "model": MODEL, "name": name}
    return {
        "providers": {name: {"kind": "llamacpp", "url": url}},
        "deployments": [{**deployment, **({} if preload is None else {"preload": preload})}],
    }


class Ready(logging.Handler):
    """Resolves when the gateway says that a model is in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.said = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith(READY):
            self.said.set()


async def model_round(pair: Pair, turn: int) -> None:
    """One server each, just started; which comes first changes with the round."""
    for is_warmed in (turn % 2 == 0, turn % 2 == 1):
        model = LocalModel(slots=1)
        await asyncio.to_thread(model.__enter__)
        try:
            preload = {"model": True} if is_warmed else None
            ready = Ready()
            log = logging.getLogger("pointsman")
            log.addHandler(ready)
            log.setLevel(logging.INFO)
            async with Gateway.from_config(local("house", model.base_url, preload)) as gateway:
                if is_warmed:
                    await asyncio.wait_for(ready.said.wait(), 60)
                seconds = await first_content_s(gateway, f"Which train leaves at {turn} o'clock?")
            log.removeHandler(ready)
            (pair.gained if is_warmed else pair.without).append(seconds)
        finally:
            await asyncio.to_thread(model.__exit__, None, None, None)


def long_text(turn: int) -> str:
    """A text of its own for every round, so that no cache holds it yet."""
    said = []
    for number in range(SENTENCES):
        one, other = WORDS[(number * 7 + turn) % 16], WORDS[(number * 3 + turn * 5) % 16]
        said.append(f"In year {1800 + turn}{number:03d} the {one} met a {other}.")
    return " ".join(said)


async def beginning_rounds(pair: Pair, rounds: int, say: Callable[[str], None]) -> None:
    with LocalModel(slots=1) as one, LocalModel(slots=1) as other:
        parts = [local("one", one.base_url, None), local("other", other.base_url, None)]
        config = {
            "providers": {**parts[0]["providers"], **parts[1]["providers"]},
            "deployments": [*parts[0]["deployments"], *parts[1]["deployments"]],
            "timeouts": {"first_content_s": 300},
        }
        async with Gateway.from_config(config) as gateway:
            for name in ("one", "other"):
                await first_content_s(gateway, "Hello", name)
            for turn in range(rounds):
                text = long_text(turn)
                reader, stranger = ("one", "other") if turn % 2 else ("other", "one")
                await first_content_s(gateway, f"{text}\nWho came first?", reader)
                # As late as it can be: right after the reading, both servers at rest.
                question = f"{text}\nWho came last?"
                pair.gained.append(await first_content_s(gateway, question, reader))
                pair.without.append(await first_content_s(gateway, question, stranger))
                say(f"beginning {turn + 1}: {pair.without[-1]:.2f} s, {pair.gained[-1]:.2f} s")


async def connection_rounds(pair: Pair, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        ca_file, context = authority(Path(folder))
        async with FaultProvider(tls=context) as provider:
            for turn in range(rounds):
                for is_warmed in (turn % 2 == 0, turn % 2 == 1):
                    config = local("house", provider.base_url, {} if is_warmed else None)
                    config["providers"]["house"]["ca_file"] = str(ca_file)
                    config["providers"]["house"]["load_s"] = 0
                    async with Gateway.from_config(config) as gateway:
                        seconds = await first_content_s(gateway, f"hello {turn}")
                    (pair.gained if is_warmed else pair.without).append(seconds)


def authority(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Make a certificate for 127.0.0.1 that vouches for itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    public = folder / "ca.pem"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret = folder / "key.pem"
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, secret)
    return public, context


def table(pairs: Iterable[Pair]) -> str:
    head = "| made ready | without, ms | with, ms | ratio | rounds |\n|---|---|---|---|---|"
    return "\n".join([head, *(pair.line() for pair in pairs)])


async def measure(rounds: int, say: Callable[[str], None]) -> list[Pair]:
    model, beginning = Pair("model"), Pair("beginning (2,000 tokens)")
    connection = Pair("connection (TLS)")
    for turn in range(rounds):
        await model_round(model, turn)
        say(f"model {turn + 1}: {model.without[-1]:.3f} s, {model.gained[-1]:.3f} s")
    await beginning_rounds(beginning, rounds, say)
    await connection_rounds(connection, 4 * rounds)
    return [model, beginning, connection]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.preload", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="default 5")
    parser.add_argument("--json", type=Path, help="write every round there")
    arguments = parser.parse_args()

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    pairs = asyncio.run(measure(min(max(arguments.rounds, 1), 50), say))
    print(table(pairs))
    if arguments.json is not None:
        found = {pair.name: {"without": pair.without, "with": pair.gained} for pair in pairs}
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
