"""One writer, many readers: what is published reaches every subscriber in order, and no subscriber is waited for.

A subscriber that falls more than `limit` items behind is cut off: its next read raises `Lagged`. Everything happens in
one event loop; `publish` is a plain call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Lagged(Exception):
    """The subscriber was too slow and has been cut off."""


class Subscription(Generic[T]):
    """Use as a context manager; leaving it ends the subscription."""

    def __init__(self, owner: Broadcast[T]) -> None:
        self._owner = owner
        self._items: list[T] = []
        self._waiter: asyncio.Future[None] | None = None
        self._lagged = False

    def __enter__(self) -> Subscription[T]:
        return self

    def __exit__(self, *exc: object) -> None:
        self._owner.unsubscribe(self)

    def push(self, items: Sequence[T]) -> None:
        if len(self._items) + len(items) > self._owner.limit:
            self._lagged = True
            self._items.clear()
            self._owner.unsubscribe(self)
        else:
            self._items.extend(items)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> Sequence[T]:
        """All items that have come since the last call; waits until there is at least one."""
        while not self._items:
            if self._lagged:
                raise Lagged
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        items, self._items = self._items, []
        return items


class Broadcast(Generic[T]):
    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._subscriptions: list[Subscription[T]] = []

    def subscribe(self) -> Subscription[T]:
        subscription: Subscription[T] = Subscription(self)
        self._subscriptions.append(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription[T]) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def publish(self, items: Iterable[T]) -> None:
        batch = list(items)
        for subscription in tuple(self._subscriptions):
            subscription.push(batch)
