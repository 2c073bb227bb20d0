"""One call that answers all who asked before it began.

For questions whose answer is as good for many as for one, but only if it is not older than the question: who asks while
a call is under way waits for the next one, together with all the others who came meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Rounds(Generic[T]):
    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._begun = 0  # rounds so far
        self._round: asyncio.Future[T] | None = None  # the one under way

    async def answer(self) -> T:
        """The result of a call that began after this one, or its error."""
        asked = self._begun
        while self._round is not None:
            current, number = self._round, self._begun
            await asyncio.wait((current,))
            if number > asked and not current.cancelled():
                return current.result()
        return await self._begin()

    async def _begin(self) -> T:
        """Others share it; if its caller is cancelled, one of them begins anew."""
        self._begun += 1
        current: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._round = current
        try:
            result = await self._ask()
        except asyncio.CancelledError:
            current.cancel()
            raise
        except BaseException as error:
            current.set_exception(error)
            current.exception()  # it is raised here; nobody else need have asked
            raise
        else:
            current.set_result(result)
            return result
        finally:
            self._round = None
