"""How long a request may take, and what becomes of one that takes longer.

Upstream: apiserver/pkg/endpoints/filters/request_deadline.go, apiserver/pkg/server/filters/{timeout,longrunning}.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from timonel.aio.clock import Clock
from timonel.machinery import durations, errors
from timonel.server.chain.info import Info

T = TypeVar("T")

REQUEST_TIMEOUT = 60.0
LONG_VERBS = frozenset(("watch", "proxy"))
LONG_SUBRESOURCES = frozenset(("attach", "exec", "proxy", "log", "portforward"))
TOO_LATE = "Timeout: request did not complete within the allotted timeout"


def is_long(info: Info) -> bool:
    """Whether the request is one that lasts as long as its client likes."""
    return info.verb in LONG_VERBS or (info.is_resource and info.subresource in LONG_SUBRESOURCES)


def seconds(info: Info, longest: float = REQUEST_TIMEOUT) -> float:
    """For a request that is not long: what it asks for, but no more than `longest`. Raises BadRequest."""
    if not info.query or not (text := info.first("timeout")):
        return longest
    try:
        asked = durations.parse(text)
    except ValueError as error:
        raise errors.BadRequest(f"invalid timeout specified in the request URL - {error}") from error
    return asked if 0 < asked < longest else longest


async def within(clock: Clock, allotted: float, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled when its time is up. Raises Timeout then."""
    task = asyncio.current_task()
    assert task is not None
    expired = False

    def expire() -> None:
        nonlocal expired
        expired = True
        task.cancel()

    timer = clock.call_later(allotted, expire)
    try:
        return await work
    except asyncio.CancelledError:
        if expired and task.uncancel() == 0:
            raise errors.Timeout(TOO_LATE) from None
        raise
    finally:
        timer.cancel()
