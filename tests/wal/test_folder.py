"""Whose log is whose: a dead worker's is found by exactly one, a living one's by nobody."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.wal.conftest import owner

from pointsman.wal.folder import OWNER, make, new_worker_id, orphans

CHILD = """
import sys, threading
from pathlib import Path
from pointsman.wal.folder import Owner, make
claim = make(Path(sys.argv[1]), Owner("child", "s", "", "h", 1, 0.0))
print("ready", flush=True)
threading.Event().wait(60)
"""


def test_a_living_workers_log_is_nobody_elses(tmp_path: Path) -> None:
    claim = make(tmp_path, owner())
    assert not list(orphans(tmp_path, "s"))
    claim.release()
    [found] = orphans(tmp_path, "s")
    assert found.owner == owner()
    found.remove()
    assert not list(tmp_path.iterdir())


def test_a_log_for_another_store_is_left_alone(tmp_path: Path) -> None:
    make(tmp_path, owner()).release()
    assert not list(orphans(tmp_path, "another"))
    [found] = orphans(tmp_path, "s")
    found.release()


def test_of_many_who_look_one_finds_it(tmp_path: Path) -> None:
    """A lock is of the open file: threads of one process exclude each other as processes do."""
    for number in range(20):
        make(tmp_path, owner(f"w-{number}")).release()
    found: list[str] = []

    def look() -> None:
        for claim in orphans(tmp_path, "s"):
            found.append(claim.owner.worker)
            claim.remove()

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(f"w-{number}" for number in range(20))
    assert not list(tmp_path.iterdir())


def test_what_died_while_being_made_is_cleared_away(tmp_path: Path) -> None:
    hidden = tmp_path / ".new-w-9"
    hidden.mkdir()
    (hidden / OWNER).touch()
    assert not list(orphans(tmp_path, "s"))
    assert not hidden.exists()


def test_a_directory_that_is_not_there_has_no_logs(tmp_path: Path) -> None:
    assert not list(orphans(tmp_path / "nowhere", "s"))


def test_names_of_workers_are_their_own_and_plain() -> None:
    names = {new_worker_id("a host/with..odd näme") for _ in range(50)}
    assert len(names) == 50
    assert all("/" not in name and "." not in name for name in names)


@pytest.mark.slow
@pytest.mark.real
def test_a_killed_process_lets_go_and_a_stopped_one_does_not(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", CHILD, str(tmp_path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGSTOP)
        assert not list(orphans(tmp_path, "s"))
        child.kill()
        child.wait(10)
    [found] = orphans(tmp_path, "s")
    assert found.owner.worker == "child"
    found.remove()
