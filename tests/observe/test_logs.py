"""A log that nobody reads holds up nobody, and what is lost is counted."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pointsman.observe import logs
from pointsman.observe.lines import LineQueue, to_descriptor

PATIENCE_S = 5.0


class Sink:
    """Takes lines, unless it is told to hang."""

    def __init__(self) -> None:
        self.data = b""
        self.open = threading.Event()
        self.open.set()
        self.hangs = threading.Event()

    def __call__(self, data: bytes) -> None:
        if not self.open.is_set():
            self.hangs.set()
            self.open.wait(PATIENCE_S)
        self.data += data


@pytest.fixture
def sink() -> Iterator[Sink]:
    sink = Sink()
    yield sink
    sink.open.set()


def logger_to(queue: LineQueue) -> logging.Logger:
    logger = logging.Logger("test")  # its own: not in the tree of loggers
    logger.addHandler(queue)
    return logger


def test_lines_come_out_whole_and_in_order(sink: Sink) -> None:
    queue = LineQueue(sink)
    logger = logger_to(queue)
    for n in range(500):
        logger.warning("line %d", n)
    queue.flush()
    assert sink.data.decode().splitlines() == [f"line {n}" for n in range(500)]
    logger.warning("later")
    queue.close()
    assert sink.data.endswith(b"later\n")


def test_a_sink_that_hangs_blocks_nobody_and_what_is_lost_is_told(sink: Sink) -> None:
    queue = LineQueue(sink, most=10)
    logger = logger_to(queue)
    sink.open.clear()
    logger.warning("first")
    assert sink.hangs.wait(PATIENCE_S)
    for n in range(25):
        logger.warning("line %d", n)
    assert queue.lost == 15
    sink.open.set()
    queue.flush()
    assert sink.data.decode().splitlines() == [
        "first",
        *(f"line {n}" for n in range(10)),
        "WARNING log.lines_lost count=15",
    ]
    queue.close()


def test_the_end_waits_for_a_hanging_sink_once_and_not_for_ever(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointsman.observe.lines.FLUSH_S", 0.02)
    queue = LineQueue(sink)
    sink.open.clear()
    logger_to(queue).warning("first")
    assert sink.hangs.wait(PATIENCE_S)
    queue.flush()  # as logging.shutdown does: flush, then close
    queue.close()
    logger_to(queue).warning("too late")
    assert queue.lost == 1


def test_a_reader_that_has_gone_harms_nobody() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    queue = LineQueue(to_descriptor(writing))
    logger_to(queue).warning("to nobody")
    queue.close()
    os.close(writing)
    assert queue.lost == 1


def test_a_line_that_cannot_be_formatted_is_counted_not_raised(sink: Sink) -> None:
    queue = LineQueue(sink)
    logger_to(queue).warning("%d requests", "many")
    queue.close()
    assert (queue.lost, sink.data) == (1, b"")


@pytest.mark.parametrize("blocking", [True, False])
def test_a_full_pipe_is_waited_for_by_the_writer_only(blocking: bool) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, blocking)
    queue = LineQueue(to_descriptor(writing), most=5)
    logger = logger_to(queue)
    deadline = time.monotonic() + PATIENCE_S
    while queue.lost < 10:
        logger.warning("a line")
        assert time.monotonic() < deadline
    found = b""
    while b"a line" not in found:
        found += os.read(reading, 65536)
    queue.close()
    for end in (reading, writing):
        os.close(end)


def test_a_second_setup_replaces_the_first(capfd: pytest.CaptureFixture[str]) -> None:
    before = {name: logging.getLogger(name) for name in logs.LOGGERS}
    kept = {name: (each.handlers[:], each.propagate, each.level) for name, each in before.items()}
    try:
        logs.setup_logs("WARNING")
        queue = logs.setup_logs("INFO", json_lines=True)
        logging.getLogger("pointsman").info("test.said words=%d", 2)
        queue.flush()
        said = capfd.readouterr().err
        assert said.count("\n") == 1
        assert '"message":"test.said words=2"' in said
        assert logs.lines_lost() == 0
        queue.close()
    finally:
        for name, (handlers, propagate, level) in kept.items():
            before[name].handlers[:] = handlers
            before[name].propagate = propagate
            before[name].setLevel(level)
