"""When the token of a Secret was used last: a label on the Secret says the day, so that unused ones can be found.

Upstream: pkg/serviceaccount/legacy.go, pkg/controlplane/controller/legacytokentracking.
"""

from __future__ import annotations

import asyncio
import logging

from timonel.aio.clock import Clock
from timonel.machinery import errors
from timonel.objects.meta import Object, format_time, labels_of
from timonel.server.request import Objects, Reader
from timonel.store.base import StoreError

logger = logging.getLogger(__name__)

LAST_USED = "kubernetes.io/legacy-token-last-used"
TRACKING = "kube-apiserver-legacy-service-account-token-tracking"  # the ConfigMap that says since when


class LegacyUse:
    """`note` is called while a request is authenticated; `run` writes what has been noted."""

    def __init__(self, reader: Reader, objects: Objects, clock: Clock) -> None:
        self._reader, self._objects, self._clock = reader, objects, clock
        self._noted: set[tuple[str, str]] = set()
        self._some = asyncio.Event()

    def note(self, namespace: str, name: str) -> None:
        secret = self._reader.get("secrets", namespace, name)
        if secret is not None and labels_of(secret).get(LAST_USED) != self._today():
            self._noted.add((namespace, name))
            self._some.set()

    async def run(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            while self._noted:
                namespace, name = self._noted.pop()
                try:
                    await self._objects.change("secrets", namespace, name, self._mark)
                except (errors.StatusError, StoreError) as e:
                    logger.warning("Could not note the use of a token: %s", e)

    def _mark(self, secret: Object) -> None:
        secret["metadata"].setdefault("labels", {})[LAST_USED] = self._today()

    def _today(self) -> str:
        return today(self._clock)


def today(clock: Clock) -> str:
    return format_time(clock.now())[:10]
