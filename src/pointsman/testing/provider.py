"""A provider that can fail in every way, and keeps books on what it billed.

    async with FaultProvider() as provider:
        provider.script(Fail(429, {"retry-after": "7"}), Hang(), Answer("fine"))
        ...  # send requests to provider.url
        await provider.journal.settled()
        assert provider.journal.billed() == ...

It speaks OpenAI's `/v1/chat/completions`, `/v1/embeddings`, `/v1/models` and Anthropic's
`/v1/messages`, `/v1/messages/count_tokens`, on a small HTTP/1.1 server of its own, because a
good one could not be made to send bad HTTP. Answers follow from the request and the seed alone.
What is played is decided by, in this order: the header `x-fault`, `script`, the rate limit,
rules. While it runs it is also directed over HTTP: `POST /_provider/script`, `…/rules`,
`…/reset`, `GET /_provider/journal`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from pointsman.clock import Clock, SystemClock
from pointsman.testing.connection import Connection, Scene
from pointsman.testing.director import ANY_MODEL, Director, RateLimit, Rule
from pointsman.testing.endpoints import Reception, Visit
from pointsman.testing.journal import Journal
from pointsman.testing.local_face import LocalFace
from pointsman.testing.persona import PERSONAS, Persona
from pointsman.testing.plays import Step
from pointsman.testing.receive import RequestHead, WireRequest
from pointsman.testing.scenario import Scenario

CancelBilling = Literal["generated", "all"]


class FaultProvider:
    """A provider on a loopback port.

    keys: the only keys it takes; None takes any and none. models: the only models it knows;
    None knows all. cancel_billing: what a client that leaves pays for. tls: serve HTTPS.
    local: also say what a local server says of its load.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        persona: Persona = PERSONAS["echo"],
        rules: Sequence[Rule] = (),
        rate_limit: RateLimit | None = None,
        models: Sequence[str] | None = None,
        keys: Iterable[str] | None = None,
        seed: int = 0,
        clock: Clock | None = None,
        journal: Journal | Path | None = None,
        cancel_billing: CancelBilling = "generated",
        tls: ssl.SSLContext | None = None,
        local: LocalFace | None = None,
    ) -> None:
        self.clock: Clock = SystemClock() if clock is None else clock
        self.journal = journal if isinstance(journal, Journal) else Journal(journal)
        self.director = Director(self.clock, seed=seed, rules=rules, rate_limit=rate_limit)
        self.reception = Reception(
            clock=self.clock,
            journal=self.journal,
            director=self.director,
            persona=persona,
            seed=seed,
            models=None if models is None else tuple(models),
            keys=None if keys is None else set(keys),
            bills_all=cancel_billing == "all",
            local=local,
        )
        self.is_deaf = False
        """Accept connections and read nothing from them; who speaks TLS to a plain provider that
        is deaf waits in its handshake. For a connect without an answer see `BlackHole`."""
        self.is_resetting = False
        """Reset every connection as soon as it is made."""
        self._host = host
        self._port = port
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._joined = 0
        self._error: BaseException | None = None

    @classmethod
    def of(
        cls,
        scenario: Scenario,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Clock | None = None,
        journal: Journal | Path | None = None,
    ) -> Self:
        """Make a provider that follows a scenario."""
        return cls(
            host=host,
            port=port,
            persona=scenario.persona,
            rules=scenario.rules,
            rate_limit=scenario.rate_limit,
            models=scenario.models,
            seed=scenario.seed,
            clock=clock,
            journal=journal,
        )

    # Directing.

    def script(self, *steps: Step, model: str = ANY_MODEL) -> None:
        """Queue a step for each of the next requests (for `model`): a play, or several in a
        tuple that work together."""
        self.director.script(steps, model)

    def set_rules(self, *rules: Rule) -> None:
        """Replace the rules; they count from now on."""
        self.director.set_rules(rules)

    def heal(self) -> None:
        """Answer properly from now on: no scripts, no rules, no rate limit, not deaf."""
        self.director.reset()
        self.is_deaf = self.is_resetting = False

    @property
    def keys(self) -> set[str] | None:
        """The keys it takes; remove one and it is revoked."""
        return self.reception.keys

    # Being there.

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        """Scheme, host and port: what Anthropic's SDK takes for a base URL."""
        return f"{'https' if self._tls else 'http'}://{self._host}:{self._port}"

    @property
    def base_url(self) -> str:
        """`url` with `/v1`: what OpenAI's SDK takes for a base URL."""
        return f"{self.url}/v1"

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._connections)

    async def start(self) -> None:
        """Listen; with port 0 the kernel chooses one, which is then kept over `refuse`."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self), self._host, self._port, ssl=self._tls, backlog=1024
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def accept(self) -> None:
        """Listen again, on the same port, after `refuse`."""
        if self._server is None:
            await self.start()

    async def refuse(self, *, drop: bool = True) -> None:
        """Refuse connections: close the listener, and reset the open ones unless told not to."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if drop:
            await self._drop_all(reset=True)

    async def close(self) -> None:
        """Stop, and write every open request down as ended by `shutdown`.

        Raises what went wrong inside the provider itself, if anything did: a double that
        broke silently would make tests pass for the wrong reason.
        """
        await self.refuse(drop=False)
        await self._drop_all(reset=False)
        self.journal.close()
        if self._error is not None:
            raise self._error

    async def _drop_all(self, *, reset: bool) -> None:
        await asyncio.gather(*(each.shut(reset=reset) for each in tuple(self._connections)))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # What its connections ask of it.

    def joined(self, connection: Connection) -> int:
        self._connections.add(connection)
        self._joined += 1
        return self._joined

    def left(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def begin(self, connection: Connection, request: WireRequest) -> Visit:
        return self.reception.receive(request, connection.number)

    def ended(self, connection: Connection, scene: Scene) -> None:
        if isinstance(scene, Visit):
            self.reception.conclude(scene, connection)

    def request_cut(self, connection: Connection, head: RequestHead, body_bytes: int) -> None:
        self.reception.note_cut(head, body_bytes, connection)

    def broke(self, error: BaseException) -> None:
        self._error = error

    def __repr__(self) -> str:
        state = "deaf" if self.is_deaf else "listening" if self._server else "refusing"
        return f"FaultProvider({self.url}, {state}, {self.journal!r})"
