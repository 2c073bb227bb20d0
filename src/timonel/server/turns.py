"""Large answers on their way take turns, so that the loop serves others in between.

Each turn of the loop goes on with them for a moment only, with all of them together: what they cost is spread over as
many turns as it takes, however many they are and however fast they are read.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from timonel.aio.clock import stopwatch

logger = logging.getLogger(__name__)

MOMENT = 0.001  # seconds of each turn of the loop


class Turns:
    """`step` does a little, and says whether there is more to be done at once; `failed` is called when it fails."""

    def __init__(self) -> None:
        self._due: deque[tuple[Callable[[], bool], Callable[[], None]]] = deque()
        self._running = False  # this turn of the loop has had its moment, or is having it

    def add(self, step: Callable[[], bool], failed: Callable[[], None]) -> None:
        """The first of a turn begins at once."""
        self._due.append((step, failed))
        if not self._running:
            self._running = True
            self._go_on()

    async def wait(self) -> None:
        """For a turn, of whoever does a little in a task."""
        turn = asyncio.get_running_loop().create_future()

        def step() -> bool:
            if not turn.done():
                turn.set_result(None)
            return False

        self.add(step, lambda: None)
        await turn

    def _serve(self) -> None:
        if self._due:
            self._go_on()
        else:
            self._running = False

    def _go_on(self) -> None:
        asyncio.get_running_loop().call_soon(self._serve)
        due, until = self._due, stopwatch() + MOMENT
        while due:
            step, failed = due.popleft()
            try:
                more = step()
            except Exception:
                logger.exception("Failed to send an answer")
                failed()
                continue
            if more:
                due.append((step, failed))
            if stopwatch() >= until:
                break
