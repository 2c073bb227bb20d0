"""A runtime that breaks off: one call is lost, before or after its work is done, and nothing answers for a while."""

from __future__ import annotations

import asyncio
import enum
import inspect
from collections.abc import AsyncGenerator
from typing import Any

from timonel.aio.clock import Clock
from timonel.node.cri.errors import DeadlineExceeded, RuntimeGone
from timonel.node.cri.runtime import RuntimeEvent
from timonel.node.cri.simulated import SimulatedRuntime


class Fault(enum.StrEnum):
    LOST = "lost"  # the call never arrived
    UNANSWERED = "unanswered"  # its work was done, and nobody was told
    FAILED = "failed"  # its work was done, and yet it is said to have failed; the runtime goes on
    HANGS = "hangs"  # its work was done, and the answer is still to come


class UnreliableRuntime:
    """Everything else is the simulated runtime's. `broken` is set once the fault was met."""

    def __init__(self, inner: SimulatedRuntime, clock: Clock, *, outage: float = 3.0) -> None:
        self._inner = inner
        self._clock = clock
        self._outage = outage
        self._armed: tuple[str, Fault, int] | None = None
        self._back_at = 0.0
        self._events: asyncio.Queue[RuntimeEvent] = asyncio.Queue()
        self.broken = asyncio.Event()

    def arm(self, method: str, fault: Fault, number: int = 1) -> None:
        """The fault is met by the `number`th call of `method` from now on."""
        self._armed = (method, fault, number)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if not inspect.iscoroutinefunction(method):
            return method  # no call to a runtime

        async def call(*arguments: Any, **named: Any) -> Any:
            if self._is_away():
                raise RuntimeGone("connection refused")
            fault = self._fault_of(name)
            if fault is Fault.LOST:
                self._break_off()
            result = await method(*arguments, **named)
            if fault is Fault.UNANSWERED:
                self._break_off()
            if fault is Fault.FAILED:
                self.broken.set()
                raise DeadlineExceeded("context deadline exceeded")
            if fault is Fault.HANGS:
                self.broken.set()
                await asyncio.Event().wait()
            return result

        return call

    async def events(self) -> AsyncGenerator[RuntimeEvent, None]:
        async def pump() -> None:
            async for event in self._inner.events():
                if not self._is_away():  # a broken stream brings nothing
                    self._events.put_nowait(event)

        self._events = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(pump())
            try:
                while True:
                    yield await self._events.get()
            finally:
                task.cancel()

    def _is_away(self) -> bool:
        return self._clock.now() < self._back_at

    def _fault_of(self, name: str) -> Fault | None:
        if self._armed is None or self._armed[0] != name:
            return None
        _, fault, number = self._armed
        self._armed = (name, fault, number - 1) if number > 1 else None
        return fault if number == 1 else None

    def _break_off(self) -> None:
        self._back_at = self._clock.now() + self._outage
        self._events.put_nowait(RuntimeEvent("lost"))
        self.broken.set()
        raise RuntimeGone("Socket closed")
