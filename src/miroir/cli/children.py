"""Child processes of a local cluster: started from an argv, stopped politely, found again by their argv."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from miroir.cli.client import wait_until


@dataclass(frozen=True, slots=True)
class Program:
    """One process to run. `argv` alone starts it; secrets lie in files it names."""

    name: str
    url: str
    argv: tuple[str, ...]
    log: Path


class Child:
    """A running program; `pid` changes when it is started again."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it in a session of its own, so that a terminal's Ctrl-C reaches only the parent."""
        with self.program.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.program.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def exit_code(self) -> int | None:
        """None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def stop(self, *, grace_s: float) -> None:
        """SIGTERM, then SIGKILL when it is still there after `grace_s`."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(grace_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def last_words(self, lines: int = 12) -> str:
        """The end of its log, for saying why it did not start."""
        try:
            return "\n".join(self.program.log.read_text("utf-8", "replace").splitlines()[-lines:])
        except OSError:
            return ""


def stop_strays(argvs: Sequence[Sequence[str]], *, grace_s: float) -> list[int]:
    """Stop processes that run one of these very command lines but are not our children any more.

    They were started again by hand, or left over from a run that was killed. The command lines name files of one
    cluster, so nothing else can match. Does nothing where there is no /proc.
    """
    wanted = {tuple(argv) for argv in argvs}
    strays = [pid for pid in _process_ids() if pid != os.getpid() and _command_line(pid) in wanted]
    for pid in strays:
        _signal(pid, signal.SIGTERM)
    for pid in strays:
        if not wait_until(lambda pid=pid: _command_line(pid) not in wanted, timeout_s=grace_s, pause_s=0.02):  # type: ignore[misc]
            _signal(pid, signal.SIGKILL)
    return strays


def _process_ids() -> list[int]:
    proc = Path("/proc")
    return [int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()] if proc.is_dir() else []


def _command_line(pid: int) -> tuple[str, ...]:
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(part.decode("utf-8", "replace") for part in raw.split(b"\0")[:-1])


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


class Restarts:
    """How often a child may be started again: at once at first, then more and more slowly."""

    def __init__(self, *, first_s: float = 0.5, most_s: float = 30.0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._pause_s: dict[str, float] = {}
        self._not_before: dict[str, float] = {}

    def due(self, name: str) -> bool:
        """Whether the child may be started now; counts as a start when it may."""
        now = time.monotonic()
        if now < self._not_before.get(name, 0.0):
            return False
        pause = self._pause_s.get(name, self._first_s)
        self._not_before[name] = now + pause
        self._pause_s[name] = min(pause * 2, self._most_s)
        return True
