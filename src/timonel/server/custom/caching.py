"""Stored custom objects as the entries of one version's cache.

Objects are kept in the form of the storage version that was current when they were written, and each served version has
a cache of its own, in its own form. An entry whose stored form is not what would be stored now is `outdated`: an update
that changes nothing writes it all the same, which is how objects are moved to another storage version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import orjson

from timonel.apis.resource import ResourceType
from timonel.objects.meta import Object
from timonel.server import layout
from timonel.server.atrest.vault import Unreadable
from timonel.server.custom.conversion import Forms
from timonel.server.watchcache import REVISION, Entry, Kind
from timonel.store.base import Record


class Ready(bytes):
    """Bytes that are in order, in the form of the version that they were made for."""

    outdated = False


class CustomEntry(Entry):
    """In lists, too, upstream leaves kind and apiVersion in custom objects: the text in a list is the whole one."""

    __slots__ = ()

    def seal(self, revision: int) -> None:
        if self.revision:
            return
        self.revision = revision
        self.item = b'%b%b%d",%b' % (self.kind.head, REVISION[1:], revision, self._tail)
        self._tail = b""
        if self._obj is not None:
            self._obj["metadata"]["resourceVersion"] = str(revision)

    def json(self) -> bytes:
        return self.item

    def at(self, revision: int) -> Entry:
        tail = self.item[len(self.kind.head) + len(REVISION) + len(str(self.revision)) + 1 :]
        return CustomEntry(self.kind, self.key, self.kind.opening + tail, revision)


class OutdatedEntry(CustomEntry):
    __slots__ = ()

    outdated = True


class CustomKind(Kind):
    """Entries in the form of `rtype`, one of the versions."""

    __slots__ = ("_forms", "_stored")

    def __init__(self, rtype: ResourceType, stored: ResourceType, forms: Forms) -> None:
        super().__init__(rtype)
        self._forms = forms
        self._stored = Kind(stored)

    def made(self, key: str, value: bytes, revision: int, obj: Object | None = None) -> Entry:
        return CustomEntry(self, key, value, revision, obj)

    def _plain(self, record: Record) -> Record:
        """Raises Unreadable."""
        if self.decrypt is None:
            return record
        value = self.decrypt(record.key, record.value)
        return record if value is record.value else replace(record, value=value)

    def _plain_if_it_can_be(self, record: Record) -> Record:
        """What cannot be read is left to `entry` to refuse."""
        try:
            return self._plain(record)
        except Unreadable:
            return replace(record, value=Ready(record.value))

    def waits(self, record: Record) -> bool:
        record = self._plain_if_it_can_be(record)
        return self._forms.waits and not isinstance(record.value, Ready) and not self._is_own(record.value)

    def _is_own(self, value: bytes) -> bool:
        if value.startswith(self.opening):
            return True
        try:
            version = _tree(value).get("apiVersion", "")
        except ValueError:
            return True  # nothing that could be converted: `entry` refuses it
        return bool(version == self.rtype.api_version)

    async def prepare(self, records: Sequence[Record]) -> Sequence[Record]:
        """Raises ConversionFailed."""
        records = [self._plain_if_it_can_be(record) for record in records]
        waiting = [i for i, record in enumerate(records) if self.waits(record)]
        if not waiting:
            return records
        trees = [self._forms.settled(orjson.loads(records[i].value)) for i in waiting]
        found = list(records)
        for i, tree in zip(waiting, await self._forms.converted(trees, self.rtype.version), strict=True):
            value = Ready(self.encode(tree))
            value.outdated = not records[i].value.startswith(self._stored.opening)
            found[i] = replace(records[i], value=value)
        return found

    def entry(self, record: Record, obj: Object | None = None) -> Entry:
        record = self._plain(record)
        value = record.value
        if isinstance(value, Ready):
            entry_type = OutdatedEntry if value.outdated else CustomEntry
            return entry_type(self, record.key, value, record.modified)
        try:
            tree = self._forms.settled(_tree(value))
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise Unreadable(f"{layout.ROOT}{record.key}", str(error)) from error
        stored = self._stored.encode(tree)
        outdated = stored != value
        own = stored if self.stores_as_it_is else self.encode(self._forms.renamed(tree, self.rtype.version))
        return (OutdatedEntry if outdated else CustomEntry)(self, record.key, own, record.modified)

    async def stored(self, obj: Object) -> bytes:
        """What to store for an object of this version. Raises ConversionFailed."""
        if self.opening == self._stored.opening:
            return self.encode(obj)
        [tree] = await self._forms.converted([orjson.loads(self.encode(obj))], self._stored.rtype.version)
        return self._stored.encode(tree)

    @property
    def stores_as_it_is(self) -> bool:
        return self.opening == self._stored.opening


def _tree(value: bytes) -> Object:
    """Raises ValueError."""
    tree = orjson.loads(value)
    if not isinstance(tree, dict):
        raise ValueError("what is stored is no object")
    return tree
