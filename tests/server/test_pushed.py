"""Watches are pushed: in order, no more than the client takes, and other work gets its turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from timonel.aio.clock import VirtualClock
from timonel.machinery import errors
from timonel.objects.meta import Object
from timonel.server.pushed import AT_ONCE, Pushes, WatchSource
from timonel.server.verbs.watch import WatchStream
from timonel.server.watchcache import Delivery


@dataclass
class Client:
    """A sink that keeps what it gets."""

    writable: bool = True
    got: list[bytes] = field(default_factory=list)
    ended: bool = False
    broken: bool = False

    def push(self, data: bytes) -> None:
        self.got.append(data)

    def in_turn(self, step: Callable[[], bool]) -> None:
        while step():
            pass

    def end(self) -> None:
        self.ended = True

    def break_off(self) -> None:
        self.broken = True


class Mailbox:
    """What `WatchSource` uses of a `Watcher`."""

    def __init__(self) -> None:
        self.mail: list[str] = []
        self.notify: Any = None
        self.ended = self.closed = False

    @property
    def pending(self) -> bool:
        return bool(self.mail) or self.ended

    def put(self, text: str) -> None:
        self.mail.append(text)
        if self.notify is not None:
            self.notify()

    def end(self) -> None:
        self.ended = True
        if self.notify is not None:
            self.notify()

    def close(self) -> None:
        self.closed = True


@dataclass
class Core:
    clock: VirtualClock


class Stream:
    """What it uses of a `WatchStream`."""

    def __init__(self) -> None:
        self.core, self.timeout = Core(VirtualClock()), 60.0
        self.watcher = Mailbox()
        self.too_slow = False

    def first(self) -> list[str]:
        return ["first"]

    def batch(self) -> list[str]:
        if self.too_slow:
            raise errors.Expired("too slow")
        mail, self.watcher.mail = self.watcher.mail, []
        return mail


class Plain:
    """Frames that are their text."""

    def frame(self, delivery: Delivery | Object) -> bytes:
        text = cast(str, delivery)
        if text == "bad":
            raise ValueError(text)
        return f"{text};".encode()

    def error(self, error: errors.StatusError) -> bytes:
        return f"error {error.message};".encode()

    async def stream(self, watch: WatchStream) -> AsyncIterator[bytes]:
        for delivery in cast(Iterable[str], watch.first()):
            yield f"{delivery};".encode()


def started(pushes: Pushes | None = None) -> tuple[Client, Stream, WatchSource]:
    client, stream = Client(), Stream()
    source = WatchSource(cast(WatchStream, stream), Plain(), pushes or Pushes())
    source.start(client)
    return client, stream, source


async def turn() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_events_of_one_turn_go_out_together_and_in_order() -> None:
    client, stream, _ = started()

    for text in ("a", "b", "c"):
        stream.watcher.put(text)
    await turn()

    assert client.got == [b"first;", b"a;b;c;"]


async def test_a_client_that_does_not_read_is_written_to_when_it_does() -> None:
    client, stream, source = started()
    client.writable = False

    stream.watcher.put("a")
    await turn()
    unread = list(client.got)
    client.writable = True
    source.resume()
    await turn()

    assert unread == [b"first;"]
    assert client.got == [b"first;", b"a;"]


async def test_a_watch_that_ends_says_what_it_has_left() -> None:
    client, stream, _ = started()

    stream.watcher.put("last")
    stream.watcher.end()
    await turn()

    assert client.got[-1] == b"last;"
    assert client.ended
    assert stream.watcher.closed


async def test_a_watcher_that_was_too_slow_is_told_so() -> None:
    client, stream, _ = started()
    stream.too_slow = True

    stream.watcher.put("a")
    await turn()

    assert client.got[-1] == b"error too slow;"
    assert client.ended


async def test_an_event_that_cannot_be_rendered_breaks_its_own_watch_and_no_other() -> None:
    pushes = Pushes()
    broken, its_stream, _ = started(pushes)
    other, stream, _ = started(pushes)

    its_stream.watcher.put("bad")
    stream.watcher.put("good")
    await turn()

    assert broken.broken
    assert its_stream.watcher.closed
    assert other.got[-1] == b"good;"


async def test_other_work_gets_its_turn_between_many_watches() -> None:
    pushes = Pushes()
    watches = [started(pushes) for _ in range(3 * AT_ONCE)]

    for _, stream, _ in watches:
        stream.watcher.put("a")
    await asyncio.sleep(0)
    served = sum(len(client.got) == 2 for client, _, _ in watches)
    for _ in range(4):
        await asyncio.sleep(0)

    assert served == AT_ONCE
    assert all(client.got == [b"first;", b"a;"] for client, _, _ in watches)


async def test_a_source_nobody_listens_to_any_more_sends_nothing() -> None:
    client, stream, source = started()

    stream.watcher.put("a")
    source.close()
    await turn()

    assert client.got == [b"first;"]
    assert stream.watcher.closed
