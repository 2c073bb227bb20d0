"""Resources that come and go while a controller runs: their metadata is followed as long as they are served.

Upstream: pkg/controller/garbagecollector/garbagecollector.go (Sync), pkg/controller/resourcequota (Sync).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from timonel.client.discovery import ResourceIndex, ResourceInfo
from timonel.client.informer import Handler, Informer, InformerFactory

NEEDED_VERBS = {"delete", "list", "watch"}


class Others:
    """`came` gives the handler of a resource that is there now; `went` is told of those that are not any more."""

    def __init__(
        self,
        index: ResourceIndex,
        informers: InformerFactory,
        wanted: Callable[[ResourceInfo], bool],
        came: Callable[[str, Informer], Handler],
        went: Callable[[str, Informer], None],
    ) -> None:
        self._index, self._factory = index, informers
        self._wanted, self._came, self._went = wanted, came, went
        self._followed: dict[str, tuple[Informer, Handler]] = {}
        self._changes = asyncio.Event()

    async def follow(self) -> None:
        listeners = self._index.listeners
        listeners.append(self._changes.set)
        try:
            while True:
                await self._changes.wait()
                self._changes.clear()
                await self.adapt()
        finally:
            listeners.remove(self._changes.set)

    async def adapt(self) -> None:
        """Bring what is followed up to date with the index."""
        wanted = {str(i.resource): i.resource for i in self._index.preferred() if self._wanted(i)}
        for text, (informer, _) in list(self._followed.items()):
            if wanted.get(text) != informer.resource:
                self._leave(text)
        fresh = {text: self._factory.metadata(r) for text, r in wanted.items() if text not in self._followed}
        for informer in fresh.values():
            await informer.synced.wait()
        for text, informer in fresh.items():
            handler = self._came(text, informer)
            self._followed[text] = informer, handler
            informer.add_handler(handler)

    def _leave(self, text: str) -> None:
        informer, handler = self._followed.pop(text)
        informer.remove_handler(handler)
        self._went(text, informer)
        self._factory.drop_metadata(informer.resource)

    def close(self) -> None:
        """Follow nothing any more; the informers go on for others."""
        for informer, handler in self._followed.values():
            informer.remove_handler(handler)
        self._followed.clear()
