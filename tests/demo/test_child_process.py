"""A child process is told ready by a line and ended by its pid."""

from __future__ import annotations

import sys

import pytest

from pointsman.testing.child import Child, ChildFailed

pytestmark = pytest.mark.slow


def python(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", code]


def test_a_child_is_ready_when_its_line_comes_and_gone_when_left() -> None:
    code = "print('warming'); print('ready 42'); import sys; sys.stdin.read()"
    with Child("probe", python(code), ready=r"ready (\d+)") as child:
        assert child.match.group(1) == "42"
        assert child.returncode is None
    assert child.returncode is not None


def test_a_child_that_ends_before_it_is_ready_shows_what_it_said() -> None:
    with pytest.raises(ChildFailed, match=r"probe: ended with 3; it said:\n  no such model"):
        Child("probe", python("print('no such model'); raise SystemExit(3)"), ready="ready").start()


def test_a_child_that_says_nothing_is_ended_after_our_patience() -> None:
    child = Child("probe", python("input()"), ready="ready", patience_s=0.2)
    with pytest.raises(ChildFailed, match=r"not ready in 0\.2 s"):
        child.start()
    assert child.returncode is not None


def test_a_child_that_ignores_the_first_signal_is_killed() -> None:
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('ready')\n"
        "while True: signal.pause()\n"
    )
    child = Child("stubborn", python(code), ready="ready", grace_s=0.2)
    child.start()
    assert child.stop() == -9


def test_much_output_does_not_block_the_child() -> None:
    code = "print('ready')\nfor _ in range(20000): print('x' * 50)\nprint('done')"
    with Child("chatty", python(code), ready="ready") as child:
        process = child._process
        assert process is not None
        assert process.wait(10) == 0
    assert child.lines[-1] == "done"


def test_stopping_twice_is_harmless() -> None:
    child = Child("probe", python("print('ready'); input()"), ready="ready").start()
    assert child.stop() == child.stop()
