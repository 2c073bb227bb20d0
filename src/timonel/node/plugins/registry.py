"""Plugins that show themselves by a socket in `plugins_registry`: asked who they are, taken on, told so, let go.

Upstream: pkg/kubelet/pluginmanager (plugin watcher, operation executor).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from timonel.aio.clock import Clock, upkeep, wait_until
from timonel.aio.threads import Threads
from timonel.node.inotify import DirectoryWatch
from timonel.node.plugins.rpc import Plugin, PluginFailed

logger = logging.getLogger(__name__)

SERVICE = "pluginregistration.Registration"
LOOK_AGAIN = 10.0
RETRY = 1.0


class Refused(Exception):
    """The plugin is not taken on; it is told the message."""


class Handler(Protocol):
    """One per type of plugin."""

    async def take(self, name: str, endpoint: str, versions: tuple[str, ...]) -> None:
        """A plugin is there, maybe again. Raises Refused or PluginFailed."""

    async def drop(self, name: str) -> None:
        """Its socket is gone."""


class PluginRegistry:
    def __init__(
        self, directory: Path, clock: Clock, threads: Threads, handlers: Mapping[str, Handler]
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._threads = threads
        self._handlers = handlers
        self._known: dict[Path, tuple[float, str, str]] = {}  # socket -> its age, type and name

    async def run(self) -> None:
        await self._threads.run(_make, self._directory)
        with DirectoryWatch(self._directory) as seen:
            while True:
                all_well = await self._look()
                pause = LOOK_AGAIN if all_well else RETRY
                await wait_until(upkeep(self._clock, lazy=True), seen.changed, pause)
                seen.changed.clear()

    async def _look(self) -> bool:
        """Whether all plugins that there are were taken on or refused."""
        sockets = await self._threads.run(_sockets, self._directory)
        for path in [p for p, (age, _, _) in self._known.items() if sockets.get(p) != age]:
            _, kind, name = self._known.pop(path)
            if kind in self._handlers:
                logger.info("A plugin is gone", extra={"type": kind, "plugin": name})
                await self._handlers[kind].drop(name)
        all_well = True
        for path, age in sockets.items():
            if path in self._known:
                continue
            try:
                self._known[path] = (age, *await self._take(path))
            except PluginFailed as e:
                logger.info("Could not register a plugin", extra={"socket": str(path), "error": str(e)})
                all_well = False
        return all_well

    async def _take(self, path: Path) -> tuple[str, str]:
        from timonel.node.plugins.pb import registration_pb2 as pb

        plugin = Plugin(str(path), SERVICE)
        try:
            info = await plugin.call("GetInfo", pb.InfoRequest(), pb.PluginInfo, timeout=5)
            error = ""
            try:
                await self._hand_over(
                    info.type, info.name, info.endpoint, tuple(info.supported_versions), path
                )
            except Refused as e:
                error = str(e)
                logger.warning("Refused a plugin", extra={"plugin": info.name, "error": error})
            status = pb.RegistrationStatus(plugin_registered=not error, error=error)
            await plugin.call("NotifyRegistrationStatus", status, pb.RegistrationStatusResponse, timeout=5)
            return info.type, info.name
        finally:
            await plugin.close()

    async def _hand_over(
        self, kind: str, name: str, endpoint: str, versions: tuple[str, ...], path: Path
    ) -> None:
        handler = self._handlers.get(kind)
        if handler is None:
            raise Refused(f"no handler registered for plugin type: {kind} at socket {path}")
        await handler.take(name, endpoint or str(path), versions)


def _make(directory: Path) -> None:
    directory.mkdir(0o750, parents=True, exist_ok=True)


def _sockets(directory: Path) -> dict[Path, float]:
    """With the times they were made: one that was made anew is another plugin."""
    found = dict[Path, float]()
    for path in directory.rglob("*"):
        if path.is_socket() and not path.name.startswith("."):
            found[path] = path.stat().st_ctime
    return found
