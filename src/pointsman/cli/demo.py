"""`pointsman demo`: see it work, without an API key."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType

import click


@click.command(epilog="Example: pointsman demo --dir /tmp/pointsman-demo")
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".build/demo"),
    show_default=True,
    help="Where the configuration and the ledger are kept; an earlier run's are replaced.",
)
@click.option(
    "--serve",
    "serve_on",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="Start the same world on this port and leave it to you, until Ctrl-C.",
)
def demo(folder: Path, serve_on: int | None) -> None:
    """Route forty requests between a real local model and two simulated providers.

    Half way, one provider fails: watch the fallback and the breaker. Everything runs on
    loopback; the local model's wheels are needed (`make demo` installs them). What is shown is
    verified in the end; the exit status is 1 when anything does not hold.
    """
    from pointsman.demo.run import main

    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(main(folder, serve_on))


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Leave through every `finally`, so that nothing started is left behind."""
    raise KeyboardInterrupt
