"""Workers take keys off a queue, one pass each; a key whose pass fails backs off alone: 5 ms, doubled up to 1000 s.

Both shells are made of these. A pass says when its key should be looked at again, if not only on the next change.

Upstream: client-go util/workqueue/{queue,default_rate_limiters}.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from timonel.aio.clock import Clock
from timonel.aio.workqueue import WorkQueue
from timonel.client.transport import Unreachable
from timonel.control.actions import ContentRemains, Terminal
from timonel.machinery.errors import StatusError, is_namespace_terminating

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)

FIRST_BACKOFF = 0.005
LONGEST_BACKOFF = 1000.0
WORTH_A_WARNING = 5  # failures in a row of a kind that usually passes


def backoff(failures: int, longest: float = LONGEST_BACKOFF) -> float:
    """Seconds to wait after so many failures in a row."""
    return float(min(FIRST_BACKOFF * 2.0 ** min(failures - 1, 40), longest))


class Workers(Generic[K]):
    """`passing` errors are over once the cache has followed; only if they stay are they worth a warning.

    `lane_of`: whose turns keys take, so that nobody's many hold up another's few.
    """

    def __init__(
        self,
        name: str,
        sync: Callable[[K], Awaitable[float | None]],
        clock: Clock,
        *,
        passing: tuple[type[Exception], ...],
        lane_of: Callable[[K], Hashable],
        longest: float = LONGEST_BACKOFF,
    ) -> None:
        self.name = name
        self.queue: WorkQueue[K] = WorkQueue(clock, measured=True, lane_of=lane_of)
        self._sync, self._passing, self._longest = sync, passing, longest
        self._failures: dict[K, int] = {}

    def start(self, group: asyncio.TaskGroup, count: int) -> None:
        for n in range(count):
            group.create_task(self._work(), name=f"{self.name}-{n}")

    async def _work(self) -> None:
        while True:
            async with self.queue.take() as key:
                delay = await self._sync_safely(key)
            if delay is not None:
                self.queue.add_after(key, delay)

    async def _sync_safely(self, key: K) -> float | None:
        try:
            delay = await self._sync(key)
        except Terminal as exc:
            logger.warning("Gave up on %s %s: %s", self.name, key, exc)
            delay = None
        except Exception as exc:
            if not is_namespace_terminating(exc):
                return self._failed(key, exc)
            delay = None  # what is asked for will be gone itself in a moment
        self._failures.pop(key, None)
        return delay

    def _failed(self, key: K, exc: Exception) -> float:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        is_passing = isinstance(exc, self._passing) and failures < WORTH_A_WARNING
        is_expected = isinstance(exc, (StatusError, Unreachable, ContentRemains, *self._passing))
        logger.log(
            logging.DEBUG if is_passing or isinstance(exc, ContentRemains) else logging.WARNING,
            "Could not sync %s %s (attempt %d): %s", self.name, key, failures, exc,
            exc_info=None if is_expected else exc,
        )  # fmt: skip
        return backoff(failures, self._longest)
