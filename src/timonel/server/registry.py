"""The served resources, and the one way into the store and out of it.

An `Endpoint` is one resource in one version: it knows the type as served (`rtype`), the type that does the work and
whose form is stored (`work`), and the cache of what is stored. `Registry` writes and reads entries; here, and only
here, errors of the store become errors of the API. Verbs decide what to write; admission has been passed by then.

Upstream: apiserver/pkg/registry/generic/registry/store.go, apiserver/pkg/storage/etcd3/store.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from timonel.aio.clock import Clock
from timonel.apis.resource import Converted, ResourceType, Retired
from timonel.machinery import errors
from timonel.machinery.apply.fields import Fields
from timonel.objects.meta import Object
from timonel.records import dataclass
from timonel.server.actions import Action
from timonel.server.alike import Alike
from timonel.server.atrest import Vault
from timonel.server.atrest.vault import Sealer
from timonel.server.request import ConnectHandler, PartialUpdate
from timonel.server.watchcache import Caches, Entry, Kind, ResourceCache
from timonel.store.base import KeyExists, KeyMissing, Record, RevisionConflict, Store

if TYPE_CHECKING:
    from timonel.machinery.cel.types import Type

PATIENCE = 1.0  # seconds that a change waits for others of the same object
MODIFIED_SINCE = "the object has been modified; please apply your changes to the latest version and try again"


class TypeMachinery(Protocol):
    """The compiled code of one type in one version (`timonel.apis.scheme`)."""

    @property
    def fields(self) -> Fields: ...
    def to_protobuf(self, tree: Object) -> bytes: ...
    def from_protobuf(self, body: bytes, fallback: str = "") -> Object: ...
    def normalize(self, obj: Any, beside: Object | None = None) -> tuple[Object, list[str]]: ...
    def record_update(
        self, old: Object | None, new: Object, *, manager: str, now: float, subresource: str = ""
    ) -> None: ...
    def apply(
        self,
        live: Object | None,
        config: Object,
        *,
        manager: str,
        force: bool,
        now: float,
        subresource: str = "",
    ) -> Object: ...
    def strategic_merge(self, document: Object, patch: Object) -> Object: ...
    def describe(self, path: str) -> str: ...
    def declared(self) -> Type | None:
        """As expressions see it; None where nothing is known of it."""


class CustomForms(Protocol):
    async def converted(self, trees: Sequence[Object], version: str) -> list[Object]:
        """In a version. Those that are in it are themselves."""


class Custom(Protocol):
    """What there is to know of a custom resource besides its type (`timonel.server.custom`)."""

    @property
    def storage(self) -> ResourceType:
        """The version whose form is stored."""

    @property
    def terminating(self) -> bool:
        """Its definition is being deleted: nothing is created any more."""

    @property
    def stores_as_served(self) -> bool: ...
    async def stored(self, obj: Object) -> bytes:
        """The stored form of an object in the served form."""

    @property
    def forms(self) -> CustomForms: ...
    async def note_owners(self, old: Object, new: Object, *, force: bool) -> None:
        """See to the managers of `new` that wrote in other versions. Raises Conflict unless `force`."""


@dataclass(slots=True)
class Endpoint:
    """One resource in one served version."""

    rtype: ResourceType
    work: ResourceType
    cache: ResourceCache
    machinery: TypeMachinery
    convert: Converted | Retired | None
    stored: TypeMachinery | None = None  # of the version in whose form it is kept, when that is another
    # by name of the subresource, besides status and scale
    actions: dict[str, Action] = field(default_factory=dict)
    partials: dict[str, PartialUpdate] = field(default_factory=dict)
    connects: dict[str, ConnectHandler] = field(default_factory=dict)
    alike: Alike | None = None  # for types of which many that are alike are made
    custom: Custom | None = None
    # of what is not stored but worked out for each request; it has no revision
    computed: Callable[[Kind], Awaitable[Sequence[Entry]]] | None = None
    # sees, and may change, what is marked for deletion the first time
    begin_delete: Callable[[Object, float], None] | None = None

    @property
    def kind(self) -> Kind:
        return self.cache.kind

    @property
    def has_codec(self) -> bool:
        """Whether what is stored has the form that its codec gives it: types of the program's own, as they are kept."""
        return self.convert is None and not self.rtype.custom

    @property
    def subresources(self) -> set[str]:
        own = {*self.actions, *self.partials, *self.connects} - {""}
        if self.rtype.status:
            own.add("status")
        if self.rtype.scale is not None:
            own.add("scale")
        return own

    def describe(self, path: str) -> str:
        """The published description of a field of the stored form."""
        return (self.stored or self.machinery).describe(path)

    def to_work(self, obj: Object) -> None:
        if self.convert is not None:
            self.convert.to_stored(obj)

    def to_served(self, obj: Object) -> Object:
        """Convert in place what is about to be answered."""
        if self.convert is not None:
            self.convert.from_stored(obj)
        return obj

    def json(self, entry: Entry) -> bytes:
        if self.convert is None:
            return entry.json()
        return orjson.dumps(self.to_served(entry.decoded()))

    def item(self, entry: Entry) -> bytes:
        if self.convert is None:
            return entry.item
        obj = self.to_served(entry.decoded())
        del obj["kind"], obj["apiVersion"]
        return orjson.dumps(obj)

    def obj(self, entry: Entry) -> Object:
        """The tree to hand out in this process: shared, not to be changed."""
        return entry.obj if self.convert is None else self.to_served(entry.decoded())

    def look(self, entry: Entry) -> Object:
        """As `obj`, but the tree is not kept if it was not there."""
        return entry.peek() if self.convert is None else self.to_served(entry.decoded())

    def not_found(self, name: str) -> errors.NotFound:
        return errors.not_found(self.rtype.plural, name, self.rtype.group)

    def conflict(self, name: str, why: str = MODIFIED_SINCE) -> errors.Conflict:
        return errors.conflict(self.rtype.plural, name, why, self.rtype.group)

    def already_exists(self, name: str) -> errors.AlreadyExists:
        return errors.already_exists(self.rtype.plural, name, self.rtype.group)


class Stale(Exception):
    """Somebody else wrote in between: read again."""


class Registry:
    def __init__(self, store: Store, caches: Caches, clock: Clock, vault: Vault | None) -> None:
        self.store = store
        self.caches = caches
        self.clock = clock
        self._vault = vault
        self._sealers: dict[str, Sealer] = {}  # by key prefix
        self.endpoints: dict[tuple[str, str, str], Endpoint] = {}
        self.by_qualified: dict[str, Endpoint] = {}  # the stored version of each resource
        self._kinds: dict[str, ResourceCache] = {}
        self._builtin: set[str] = set()  # groups
        self._turns: dict[str, asyncio.Future[None]] = {}  # by key; of the last in line, done when it is
        self.listeners: list[Callable[[], None]] = []  # called when resources came or went
        self.generation = 0  # grows then

    def add(self, rtype: ResourceType, work: ResourceType, machinery: TypeMachinery) -> Endpoint:
        """Serve `rtype`; `work` is itself or the version whose form it is kept in."""
        qualified = work.qualified
        cache = self._kinds.get(qualified)
        if cache is None:
            cache = self._kinds[qualified] = self.caches.add(Kind(work))
            self.seal(cache.kind)
        convert = None if rtype is work else rtype.converted or rtype.retired
        stored = None if rtype is work else self.by_qualified[qualified].machinery
        endpoint = Endpoint(rtype, work, cache, machinery, convert, stored)
        if rtype.remembering is not None:
            endpoint.alike = Alike()
        self.endpoints[rtype.group, rtype.version, rtype.plural] = endpoint
        self._builtin.add(rtype.group)
        if rtype is work:
            self.by_qualified[qualified] = endpoint
            cache.kind.decode = machinery.from_protobuf
            cache.kind.normalize = machinery.normalize
        return endpoint

    def seal(self, kind: Kind) -> None:
        """Encrypt what is stored of this kind as the configuration says, and read what is encrypted."""
        if self._vault is None:
            return
        sealer = self._sealers.get(kind.prefix)
        if sealer is None:
            sealer = self._sealers[kind.prefix] = self._vault.sealer(kind.rtype.plural, kind.rtype.group)
        kind.decrypt = sealer.opened

    def _sealed(self, kind: Kind, key: str, value: bytes) -> bytes:
        sealer = self._sealers.get(kind.prefix)
        return value if sealer is None else sealer.sealed(key, value)

    def is_builtin(self, group: str) -> bool:
        """Whether the program itself has resources of this group."""
        return group in self._builtin

    def swap(self, gone: Iterable[Endpoint], come: Iterable[Endpoint], main: Endpoint | None) -> None:
        """Other versions of a custom resource are served from now on. `main` keeps the objects for the server itself;
        with None there is no such resource any more. Watches of what is gone end."""
        for endpoint in gone:
            rtype = endpoint.rtype
            if self.endpoints.get((rtype.group, rtype.version, rtype.plural)) is endpoint:
                del self.endpoints[rtype.group, rtype.version, rtype.plural]
            if self.by_qualified.get(rtype.qualified) is endpoint:
                del self.by_qualified[rtype.qualified]
            self.caches.remove(endpoint.cache)
        for endpoint in come:
            rtype = endpoint.rtype
            self.endpoints[rtype.group, rtype.version, rtype.plural] = endpoint
        if main is not None:
            self.by_qualified[main.rtype.qualified] = main
        self.changed()

    def changed(self) -> None:
        self.generation += 1
        for listener in self.listeners:
            listener()

    def served(self) -> Iterable[Endpoint]:
        return self.endpoints.values()

    # ---- reads

    async def read(self, endpoint: Endpoint, namespace: str, name: str) -> Entry:
        """The newest state, from the cache. Raises NotFound."""
        await self.caches.ensure(endpoint.cache)
        await self.caches.fresh()
        return self.cached(endpoint, namespace, name)

    def cached(self, endpoint: Endpoint, namespace: str, name: str) -> Entry:
        """The state that the cache has. Raises NotFound, Unreadable."""
        key = endpoint.kind.key(namespace, name)
        entry = endpoint.cache.entries.get(key)
        if entry is None:
            endpoint.cache.refuse_unreadable(key, exact=True)
            raise endpoint.not_found(name)
        return entry

    async def reread(self, endpoint: Endpoint, namespace: str, name: str) -> Entry:
        """The newest state, from the store: after a write was Stale."""
        record = await self.store.get(endpoint.kind.key(namespace, name))
        if record is None:
            raise endpoint.not_found(name)
        await self.caches.reached(record.modified)
        return await self.entry(endpoint, record)

    async def entry(self, endpoint: Endpoint, record: Record) -> Entry:
        kind = endpoint.kind
        if kind.waits(record):
            [record] = await kind.prepare([record])
        return kind.entry(record)

    # ---- writes; the tree belongs to the entry afterwards

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """For who was too late with a change: one after the other, else each round has one winner and many losers.

        Nobody waits long: who has the turn may wait for a webhook that wants to change the same object.
        """
        before = self._turns.get(key)
        mine = self._turns[key] = asyncio.get_running_loop().create_future()
        try:
            if before is not None:
                await asyncio.wait((before,), timeout=PATIENCE)
            yield
        finally:
            mine.set_result(None)
            if self._turns.get(key) is mine:
                del self._turns[key]

    async def create(self, endpoint: Endpoint, obj: Object) -> Entry:
        metadata = obj["metadata"]
        name = metadata["name"]
        key = endpoint.kind.key(metadata.get("namespace", ""), name)
        try:
            return await self._write(endpoint, key, obj, lambda value: self.store.create(key, value))
        except KeyExists as error:
            raise await self._exists(endpoint, key, obj) from error

    async def _exists(self, endpoint: Endpoint, key: str, obj: Object) -> errors.AlreadyExists:
        name = obj["metadata"]["name"]
        found = endpoint.already_exists(name)
        record = await self.store.get(key)
        if record is not None and (await self.entry(endpoint, record)).obj["metadata"].get(
            "deletionTimestamp"
        ):
            found = errors.AlreadyExists(
                f"object is being deleted: {found.message}",
                name=name,
                group=endpoint.rtype.group,
                kind=endpoint.rtype.plural,
            )
        return found

    async def update(self, endpoint: Endpoint, obj: Object, old: Entry) -> Entry:
        """Raises Stale when `old` is no longer the newest, NotFound when it is gone."""
        key = old.key
        try:
            return await self._write(
                endpoint, key, obj, lambda value: self.store.update(key, value, expected=old.revision)
            )
        except RevisionConflict as error:
            raise Stale from error
        except KeyMissing as error:
            raise endpoint.not_found(old.name) from error

    async def _write(self, endpoint: Endpoint, key: str, obj: Object, write: Callable[[bytes], Any]) -> Entry:
        kind, cache = endpoint.kind, endpoint.cache
        if endpoint.custom is not None and not endpoint.custom.stores_as_served:
            record = await write(self._sealed(kind, key, await endpoint.custom.stored(obj)))
            await self.caches.reached(record.modified)
            return await self.entry(endpoint, record)  # what conversion has left of it
        value = kind.encode(obj)
        entry = kind.made(key, value, 0, obj)
        sealed = self._sealed(kind, key, value)
        cache.hints[key] = (sealed, entry)
        try:
            record = await write(sealed)
        except BaseException:
            self._drop_hint(cache, key, entry)
            raise
        entry.seal(record.modified)
        if entry.revision != record.modified:  # another server has written the very same before
            entry = kind.entry(replace(record, value=value), obj)
        await self.caches.reached(record.modified)
        self._drop_hint(cache, key, entry)
        return entry

    @staticmethod
    def _drop_hint(cache: ResourceCache, key: str, entry: Entry) -> None:
        hint = cache.hints.get(key)
        if hint is not None and hint[1] is entry:
            del cache.hints[key]

    async def forget(self, endpoint: Endpoint, key: str, name: str) -> None:
        """Delete what is there, readable or not. Raises NotFound."""
        while True:
            found = await self.store.get(key)
            if found is None:
                raise endpoint.not_found(name)
            try:
                record = await self.store.delete(key, expected=found.modified)
            except (RevisionConflict, KeyMissing):
                continue
            return await self.caches.reached(record.modified)

    async def delete(self, endpoint: Endpoint, old: Entry) -> int:
        """The revision of the delete. Raises Stale, NotFound."""
        try:
            record = await self.store.delete(old.key, expected=old.revision)
        except RevisionConflict as error:
            raise Stale from error
        except KeyMissing as error:
            raise endpoint.not_found(old.name) from error
        await self.caches.reached(record.modified)
        return record.modified
