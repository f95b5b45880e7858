"""Child processes: stopped politely, killed if they do not listen, found again by their command line."""

import subprocess
import sys
from pathlib import Path

import pytest

from miroir.cli.children import Child, Program, Restarts, stop_strays
from miroir.cli.client import wait_until

WAIT = "import signal, sys; print('up', sys.argv[1:], flush=True); {}signal.pause()"
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN); "


def program(tmp_path: Path, code: str = "") -> Program:
    script = WAIT.format(code)
    return Program("p", "http://x", (sys.executable, "-c", script, str(tmp_path)), tmp_path / "p.log")


def started(child: Child) -> bool:
    return wait_until(lambda: "up" in child.last_words(), timeout_s=20, pause_s=0.01)


def test_a_child_stops_when_told(tmp_path: Path) -> None:
    child = Child(program(tmp_path))
    assert started(child)
    assert child.exit_code() is None
    child.stop(grace_s=10)
    assert child.exit_code() == -15


def test_a_deaf_child_is_killed(tmp_path: Path) -> None:
    code = DEAF + "print('deaf', flush=True); "
    child = Child(program(tmp_path, code))
    assert wait_until(lambda: "deaf" in child.last_words(), timeout_s=20, pause_s=0.01)
    child.stop(grace_s=0.1)
    assert child.exit_code() == -9


def test_a_child_can_be_started_again(tmp_path: Path) -> None:
    child = Child(program(tmp_path))
    first = child.pid
    child.stop(grace_s=10)
    child.start()
    assert child.pid != first
    child.stop(grace_s=10)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
def test_strays_are_found_by_their_very_command_line(tmp_path: Path) -> None:
    one = program(tmp_path)
    stray = subprocess.Popen(one.argv, stdout=subprocess.PIPE)
    other = subprocess.Popen([*one.argv, "other"], stdout=subprocess.PIPE)
    try:
        for process in (stray, other):
            assert process.stdout is not None
            assert process.stdout.readline().startswith(b"up")
        assert stop_strays([one.argv], grace_s=10) == [stray.pid]
        assert stray.wait(10) == -15
        assert other.poll() is None
    finally:
        for process in (stray, other):
            process.kill()
            process.communicate()


def test_restarts_come_at_once_and_then_slowly() -> None:
    restarts = Restarts(first_s=60)
    assert restarts.due("a")
    assert not restarts.due("a")
    assert restarts.due("b")
