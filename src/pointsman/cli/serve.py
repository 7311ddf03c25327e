"""`pointsman serve`: the gateway as a server."""

from __future__ import annotations

import os
import signal
import sys
import threading

import click


@click.command(
    epilog="Example: OPENAI_API_KEY=… pointsman serve   (or: pointsman serve -c pointsman.yaml)"
)
@click.option("-c", "--config", type=click.Path(dir_okay=False), help="The configuration file.")
@click.option("--host", help="Address to listen on; default from the file, else 127.0.0.1.")
@click.option("--port", type=click.IntRange(1, 65535), help="Default from the file, else 4000.")
@click.option("--workers", type=click.IntRange(1, 64), help="Processes that share the port.")
@click.option(
    "--ledger",
    type=click.Path(dir_okay=False),
    help="The ledger's file; without a configuration pointsman.db.",
)
@click.option(
    "--log-level",
    type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"], case_sensitive=False),
    default="INFO",
    show_default=True,
)
@click.option("--with-parent", is_flag=True, help="End when standard input is closed.")
def serve(
    config: str | None,
    host: str | None,
    port: int | None,
    workers: int | None,
    ledger: str | None,
    log_level: str,
    with_parent: bool,
) -> None:
    """Serve the OpenAI and Anthropic APIs on one address.

    Without a file, providers are discovered: API keys in the environment (OPENAI_API_KEY,
    ANTHROPIC_API_KEY, GEMINI_API_KEY, …) and a local Ollama, vLLM or llama.cpp on its usual port.

    Signals: SIGHUP reloads the file, SIGTERM ends in order, SIGUSR2 replaces the workers of
    several one after another. Exit status: 78 for a file that is no good, else 0 or 1.
    """
    from pointsman.books import check_shared
    from pointsman.errors import ConfigError
    from pointsman.server.ending import LINGER_VARIABLE
    from pointsman.server.entry import listen, open_source
    from pointsman.server.entry import serve as run
    from pointsman.server.worker import BAD_CONFIG

    if config is None and ledger is None:
        ledger = "pointsman.db"  # Where `pointsman usage` looks too.
    try:
        source, settings = open_source(config, ledger)
        if (workers or settings.server.workers) > 1:
            check_shared(settings)
    except ConfigError as error:
        if config is None:
            raise  # A local server may only not be there yet: another try can help.
        click.echo(f"Error: {error.message}", err=True)
        sys.exit(BAD_CONFIG)
    server = settings.server
    host, port = host or server.host, port or server.port
    workers = workers or server.workers
    listener = listen(host, port)
    port = listener.getsockname()[1]
    for line in source.found:
        click.echo(line, err=True)
    for route in settings.routes:
        names = ", ".join(deployment.name for deployment in route.deployments)
        click.echo(f"route {route.name}: {route.policy.strategy} over {names}", err=True)
    if not (server.keys or settings.admin.tokens):
        click.echo(
            "no API keys are configured (server.keys): everyone who reaches "
            f"{host}:{port} may call",
            err=True,
        )
    kept = "in PostgreSQL" if settings.ledger.is_kept else "in memory only (set ledger.path)"
    where = settings.ledger.path or kept
    click.echo(f"ledger: {where}", err=True)
    click.echo(f"listening on http://{host}:{port} with {workers} worker(s)", err=True)
    sys.stderr.flush()
    if with_parent:
        os.environ[LINGER_VARIABLE] = "0"  # no load balancer has to notice the end of a child
        threading.Thread(target=_follow_parent, name="follow parent", daemon=True).start()
    status = run(
        listener,
        workers,
        source=source,
        settings=settings,
        config=config,
        ledger=ledger,
        log_level=log_level.upper(),
    )
    sys.exit(status)


def _follow_parent() -> None:
    """End as on SIGTERM when whoever holds the other end of standard input has gone."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
