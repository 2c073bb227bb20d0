"""How long a request may take, and what becomes of one that takes longer.

Upstream: apiserver/pkg/endpoints/filters/request_deadline.go, apiserver/pkg/server/filters/{timeout,longrunning}.go.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable
from typing import TypeVar

from timonel.aio.clock import Clock
from timonel.machinery import errors
from timonel.machinery.field import quote
from timonel.server.chain.info import Info

T = TypeVar("T")

REQUEST_TIMEOUT = 60.0
LONG_VERBS = frozenset(("watch", "proxy"))
LONG_SUBRESOURCES = frozenset(("attach", "exec", "proxy", "log", "portforward"))
TOO_LATE = "Timeout: request did not complete within the allotted timeout"

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([^0-9.]*)")


def is_long(info: Info) -> bool:
    """Whether the request is one that lasts as long as its client likes."""
    return info.verb in LONG_VERBS or (info.is_resource and info.subresource in LONG_SUBRESOURCES)


def seconds(info: Info, longest: float = REQUEST_TIMEOUT) -> float:
    """For a request that is not long: what it asks for, but no more than `longest`. Raises BadRequest."""
    if not info.query or not (text := info.first("timeout")):
        return longest
    try:
        asked = duration(text)
    except ValueError as error:
        raise errors.BadRequest(f"invalid timeout specified in the request URL - {error}") from error
    return asked if 0 < asked < longest else longest


def duration(text: str) -> float:
    """A duration as Go writes it. Raises ValueError with Go's words."""
    rest, sign = text, 1.0
    if rest[:1] in ("-", "+"):
        sign, rest = (-1.0 if rest[0] == "-" else 1.0), rest[1:]
    if rest == "0":
        return 0.0
    if not rest:
        raise ValueError(f"time: invalid duration {quote(text)}")
    total = 0.0
    while rest:
        part = _PART.match(rest)
        if part is None:
            raise ValueError(f"time: invalid duration {quote(text)}")
        number, unit = part.groups()
        if not unit:
            raise ValueError(f"time: missing unit in duration {quote(text)}")
        if unit not in _UNITS:
            raise ValueError(f"time: unknown unit {quote(unit)} in duration {quote(text)}")
        total += float(number) * _UNITS[unit]
        rest = rest[part.end() :]
    return sign * total


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
