"""Background processes: started detached, found again by pid file, ended by signal.

A pid file holds the pid and the start time of the process (clock ticks since boot, /proc/PID/stat), so that a number
that the kernel has given to another process since is never mistaken for ours, and never killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from timonel.aio.clock import Clock
from timonel.distro.config import write_private
from timonel.records import dataclass

POLL = 0.02  # seconds between looks at a process that is not our child and was told to end


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    started: str

    def is_alive(self) -> bool:
        return start_time(self.pid) == self.started

    def send(self, number: signal.Signals) -> None:
        """Does nothing if it has ended."""
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Held(Exception):
    """Another process holds the lock."""


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Alone for the length of the block; the kernel lets go when the process dies. Raises Held."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise Held(str(file)) from exc
        yield
    finally:
        os.close(handle)


def raise_file_limit() -> None:
    """As many open files as this process may have: each client is one, and what shells give is often 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def start_time(pid: int) -> str | None:
    """None when there is no such process, or when it is a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name in front may hold anything
    return None if fields[0] in ("Z", "X") else fields[19]


def find(pid_file: Path) -> Process | None:
    """The running process that a pid file names."""
    try:
        pid, started = pid_file.read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    process = Process(int(pid), started)
    return process if process.is_alive() else None


def record(pid_file: Path, pid: int) -> Process:
    """Raises ProcessLookupError."""
    started = start_time(pid)
    if started is None:
        raise ProcessLookupError(pid)
    write_private(pid_file, f"{pid} {started}".encode())
    return Process(pid, started)


def spawn(
    arguments: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, its output at the end of `log`."""
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            list(arguments),
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
            close_fds=True,
            pass_fds=tuple(pass_fds),
        )
    finally:
        os.close(handle)


async def stop(process: Process, clock: Clock, *, grace: float) -> bool:
    """SIGTERM, and SIGKILL after `grace` seconds; whether it ended by itself."""
    process.send(signal.SIGTERM)
    deadline = clock.monotonic() + grace
    while process.is_alive():
        if clock.monotonic() >= deadline:
            process.send(signal.SIGKILL)
            while process.is_alive():
                await clock.sleep(POLL)
            return False
        await clock.sleep(POLL)
    return True


def last_lines(log: Path, count: int = 15) -> str:
    """The end of a log, to show when a process died."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            return b"\n".join(file.read().splitlines()[-count:]).decode(errors="replace")
    except FileNotFoundError:
        return ""
