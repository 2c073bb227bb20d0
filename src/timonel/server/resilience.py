"""Work that goes on beside the requests survives a store that is away for a while.

It begins anew after a moment: all of it looks at what there is before it acts. Any other error ends the server.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from timonel.aio.clock import Clock
from timonel.aio.lifecycle import leaves
from timonel.machinery.errors import ServerTimeout, ServiceUnavailable, Timeout
from timonel.store.base import StoreError

logger = logging.getLogger(__name__)

AGAIN_AFTER = 1.0  # seconds
PASSING = (StoreError, ServiceUnavailable, ServerTimeout, Timeout)


async def kept(work: Callable[[], Coroutine[Any, Any, None]], clock: Clock) -> None:
    """Until it is done, whatever the store does meanwhile."""
    while True:
        try:
            await work()
            return
        except PASSING as error:
            _told(work, error)
        except ExceptionGroup as group:
            found = list(leaves(group))
            if not all(isinstance(error, PASSING) for error in found):
                raise
            _told(work, found[0])
        await clock.sleep(AGAIN_AFTER)


def _told(work: Callable[..., object], error: BaseException) -> None:
    name = getattr(work, "__qualname__", repr(work))
    logger.warning("The store failed a background task", extra={"task": name, "error": str(error)})
