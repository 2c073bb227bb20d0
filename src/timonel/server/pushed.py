"""Watches on their way to HTTP clients: no task waits for events, they are written when they come.

    Watcher ─ notify ─> Pushes ─ pump, some in each turn of the loop ─> WatchSource ─ push ─> Sink (a connection)

Events that come while others are being written go out together with the next ones, so that many watchers of much cost
fewer and larger writes, and other requests get their turn in between. Who cannot be written to is left alone until it
can; its events wait in its mailbox.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import Protocol

from timonel.aio.clock import Timer, outside, upkeep
from timonel.machinery import errors
from timonel.objects.meta import Object
from timonel.server.exchange import Sink, Source
from timonel.server.verbs.watch import WatchStream
from timonel.server.watchcache import Delivery

logger = logging.getLogger(__name__)

AT_ONCE = 64  # watches that are served in one turn of the loop


class Pushes:
    """The watches of a server that have something to send, in turn."""

    def __init__(self) -> None:
        self._due: deque[WatchSource] = deque()

    def add(self, source: WatchSource) -> None:
        if not self._due:
            asyncio.get_running_loop().call_soon(self._serve)
        self._due.append(source)

    def _serve(self) -> None:
        due = self._due
        for _ in range(min(len(due), AT_ONCE)):
            source = due[0]
            try:
                source.pump()
            except Exception:
                logger.exception("Failed to send events")
                source.break_off()
            due.popleft()  # only now: who is added meanwhile must not start another round
        if due:
            asyncio.get_running_loop().call_soon(self._serve)


class Framing(Protocol):
    """`render.Frames`."""

    def frame(self, delivery: Delivery | Object) -> bytes: ...
    def error(self, error: errors.StatusError) -> bytes: ...
    def stream(self, watch: WatchStream) -> AsyncIterator[bytes]: ...


class WatchSource(Source):
    """The events of one watch as a body."""

    __slots__ = ("_frames", "_pushes", "_queued", "_sink", "_timer", "_watch")

    def __init__(self, watch: WatchStream, frames: Framing, pushes: Pushes) -> None:
        self._watch = watch
        self._frames = frames
        self._pushes = pushes
        self._sink: Sink | None = None
        self._timer: Timer | None = None
        self._queued = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._frames.stream(self._watch)

    # ---- Source

    def start(self, sink: Sink) -> None:
        watch = self._watch
        self._sink = sink
        self._timer = upkeep(outside(watch.core.clock)).call_later(watch.timeout, watch.watcher.end)
        self._send(watch.first())
        watch.watcher.notify = self._notified
        self.resume()

    def resume(self) -> None:
        if self._watch.watcher.pending:
            self._notified()

    def close(self) -> None:
        self._sink = None
        if self._timer is not None:
            self._timer.cancel()
        self._watch.watcher.notify = None
        self._watch.watcher.close()

    # ---- Pushes

    def pump(self) -> None:
        """Write what there is."""
        self._queued = False
        if self._sink is None or not self._sink.writable:
            return
        try:
            self._send(self._watch.batch())
        except errors.StatusError as error:
            self._sink.push(self._frames.error(error))
            self._end()
        else:
            if self._watch.watcher.ended:
                self._end()

    def break_off(self) -> None:
        sink = self._sink
        self.close()
        if sink is not None:
            sink.break_off()

    def _notified(self) -> None:
        if not self._queued:
            self._queued = True
            self._pushes.add(self)

    def _send(self, batch: Iterable[Delivery | Object]) -> None:
        text = b"".join([self._frames.frame(delivery) for delivery in batch])
        if text and self._sink is not None:
            self._sink.push(text)

    def _end(self) -> None:
        sink = self._sink
        self.close()
        if sink is not None:
            sink.end()
