"""Holds the machine's shutdown back until pods have ended, where there is systemd-logind.

Spoken through systemd's own programs, so that no bus has to be known here: `systemd-inhibit` holds a delay lock as long
as it runs, `busctl` tells of PrepareForShutdown. logind waits no longer than InhibitDelayMaxSec, which is raised by a
file in its configuration where it is too short.
Upstream: pkg/kubelet/nodeshutdown/systemd/inhibit_linux.go.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
from pathlib import Path

from timonel.aio.clock import Clock
from timonel.node.shutdown import Shutdown

logger = logging.getLogger(__name__)

CONFIG = Path("/etc/systemd/logind.conf.d/99-kubelet.conf")
RETRY = 10.0
_LOGIN = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")
_MATCH = f"type='signal',interface='{_LOGIN[2]}',member='PrepareForShutdown'"


def is_there() -> bool:
    return Path("/run/systemd/system").is_dir() and shutil.which("busctl") is not None


def shutdown_in(line: str) -> bool | None:
    """What a line of the monitor says: it begins, it was called off; None: something else."""
    try:
        message = json.loads(line)
        if message.get("member") != "PrepareForShutdown":
            return None
        return bool(message["payload"]["data"][0])
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None


class Logind:
    def __init__(self, shutdown: Shutdown, clock: Clock, config: Path = CONFIG) -> None:
        self._shutdown = shutdown
        self._clock = clock
        self._config = config

    async def run(self) -> None:
        while True:
            try:
                await self._allow(self._shutdown.longest)
                await self._watch()
            except (OSError, ValueError) as e:
                logger.warning("Cannot hold back the machine's shutdown", extra={"error": str(e)})
            await self._clock.sleep(RETRY)

    async def _allow(self, seconds: float) -> None:
        """logind is to wait so long."""
        if await self._longest_delay() >= seconds:
            return
        self._config.parent.mkdir(parents=True, exist_ok=True)
        self._config.write_text(f"# By the node agent\n[Login]\nInhibitDelayMaxSec={seconds:g}\n")
        await _answer("systemctl", "kill", "-s", "HUP", "systemd-logind.service")
        allowed = await self._longest_delay()
        if allowed < seconds:
            raise ValueError(f"logind waits {allowed:g}s, and pods may need {seconds:g}s")

    @staticmethod
    async def _longest_delay() -> float:
        """Raises ValueError where logind does not say."""
        text = await _answer("busctl", "get-property", *_LOGIN, "InhibitDelayMaxUSec")
        kind, _, number = text.partition(" ")
        if kind != "t":
            raise ValueError(f"no answer from logind: {text!r}")
        return int(number) / 1_000_000

    async def _watch(self) -> None:
        monitor = await asyncio.create_subprocess_exec(
            "busctl", "--system", "--json=short", "--match", _MATCH, "monitor",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        lock: asyncio.subprocess.Process | None = None
        assert monitor.stdout is not None
        try:
            lock = await _inhibit()
            while line := await monitor.stdout.readline():
                begins = shutdown_in(line.decode("utf-8", "replace"))
                if begins:
                    self._shutdown.begin()
                    await self._shutdown.over()
                    await _release(lock)
                    lock = None
                elif begins is False:
                    self._shutdown.cancel()
                    lock = lock or await _inhibit()
        finally:
            await _release(lock)
            with contextlib.suppress(ProcessLookupError):
                monitor.terminate()
            await monitor.wait()


async def _inhibit() -> asyncio.subprocess.Process:
    """The lock is held until `cat` reads the end of its input, which comes with our own end, too."""
    return await asyncio.create_subprocess_exec(
        "systemd-inhibit", "--what=shutdown", "--mode=delay", "--who=kubelet",
        "--why=Kubelet needs time to handle node shutdown", "cat",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip


async def _release(lock: asyncio.subprocess.Process | None) -> None:
    if lock is not None:
        assert lock.stdin is not None
        lock.stdin.close()
        await lock.wait()


async def _answer(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    out, _ = await process.communicate()
    return out.decode().strip()
