"""What a store is: ordered keys, one revision per write, compare-and-swap, watch from a revision.

Revisions are ints and live below the server; the API shows them as the string `resourceVersion`. Values are
opaque bytes: a store knows no Kubernetes types. A revision is known only after the commit (in etcd it is another
machine that gives it), so a value never contains its own revision.

Every backend must pass `tests/store/contract.py`.
Upstream: k3s-io/kine pkg/server/types.go (Backend), apiserver/pkg/storage/interfaces.go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from timonel.records import dataclass

FIRST_REVISION = 1  # of an empty store, as etcd's; 0 means "any" in the API


@dataclass(frozen=True, slots=True)
class Record:
    key: str
    value: bytes
    created: int  # revision of the create
    modified: int  # revision of the last write


@dataclass(frozen=True, slots=True)
class Event:
    """One committed write. `record` is None for a delete, `previous` for a create.

    Without a key it is no write, and says that there was none up to its revision that the watch has not shown.
    """

    key: str
    revision: int
    record: Record | None
    previous: Record | None


@dataclass(frozen=True, slots=True)
class Page:
    """`revision` is the one the page was read at; `remaining` counts what follows after it."""

    records: Sequence[Record]
    revision: int
    remaining: int = 0


class StoreError(Exception):
    """Base of everything a backend may raise."""


class KeyExists(StoreError):
    pass


class KeyMissing(StoreError):
    pass


class RevisionConflict(StoreError):
    """The record changed since the revision the caller read."""


class Compacted(StoreError):
    """The asked-for revision is older than what is kept."""


class FutureRevision(StoreError):
    """The asked-for revision has not been written yet."""


class Unreachable(StoreError):
    """The backend cannot serve now (lost connection, full disk); the write was not acknowledged."""


class OutcomeUnknown(Unreachable):
    """The backend was asked to write and did not answer: the write may have happened, or happen still."""


class Corrupt(StoreError):
    """The backend's data cannot be read."""


class Store(Protocol):
    """All methods may raise Unreachable, writes OutcomeUnknown. A write returns once it is durable."""

    @property
    def shared(self) -> bool:
        """Whether other processes write as well: who keeps a copy has to ask `barrier` before answering from it."""

    async def get(self, key: str) -> Record | None: ...

    async def list(self, prefix: str, *, limit: int = 0, after: str = "", revision: int = 0) -> Page:
        """Records below `prefix` in key order, those after key `after`, as of `revision` (0: now)."""

    async def create(self, key: str, value: bytes) -> Record:
        """Raises KeyExists."""

    async def update(self, key: str, value: bytes, *, expected: int) -> Record:
        """Raises KeyMissing, RevisionConflict. `expected` is the modified revision that was read."""

    async def delete(self, key: str, *, expected: int) -> Record:
        """Returns the record as it was, but with `modified` set to the revision of the delete."""

    def watch(self, prefix: str, *, after: int) -> AsyncIterator[Sequence[Event]]:
        """Batches of events below `prefix` with a revision greater than `after`, in order, without end.

        Raises Compacted if history after `after` is gone, or when the reader was too slow to be kept.
        """

    async def compact(self, revision: int) -> None:
        """Forget history up to and including `revision`."""

    async def revision(self) -> int:
        """The newest committed revision."""

    async def barrier(self) -> int:
        """A revision that the watch of everything has reached or will, not older than any write that was answered,
        to anybody, before this was called."""

    async def check(self) -> str:
        """Look through what is stored, beside everything else, where it was not when the store was opened; what is
        wrong with it, or nothing."""

    async def close(self) -> None: ...
