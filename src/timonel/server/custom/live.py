"""One definition that is served: its versions, what they know of each other, and their endpoints.

Upstream: apiextensions-apiserver/pkg/apiserver/customresource_handler.go (crdInfo).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from timonel.apis.resource import ResourceType
from timonel.objects.meta import Object
from timonel.server.custom.caching import CustomKind
from timonel.server.custom.conversion import Forms, Outbound, webhook_of
from timonel.server.custom.definition import Definition, schema_of
from timonel.server.custom.kinds import CustomMachinery, Metadata
from timonel.server.custom.owners import across_versions
from timonel.server.registry import Endpoint, Registry
from timonel.server.watchcache import Entry


class Source:
    """The newest stored text of a definition; read when somebody wants a schema."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    def schema(self, version: str) -> Mapping[str, Any] | None:
        return schema_of(self.entry.decoded(), version)


class CustomEndpoint:
    """`registry.Custom`: one version of a resource that is being served."""

    def __init__(self, live: Live, kind: CustomKind) -> None:
        self._live = live
        self._kind = kind

    @property
    def storage(self) -> ResourceType:
        return self._live.storage

    @property
    def terminating(self) -> bool:
        return self._live.definition.terminating

    @property
    def stores_as_served(self) -> bool:
        return self._kind.stores_as_it_is

    async def stored(self, obj: Object) -> bytes:
        return await self._kind.stored(obj)

    @property
    def forms(self) -> Forms:
        return self._live.forms

    async def note_owners(self, old: Object, new: Object, *, force: bool) -> None:
        if self._live.forms.waits:
            await across_versions(self._live.forms, self._kind.rtype.version, old, new, force=force)


class Live:
    """One definition that is served."""

    def __init__(
        self, definition: Definition, source: Source, metadata: Metadata, outbound: Outbound
    ) -> None:
        self.definition = definition
        self.source = source
        self.versions = {
            v.name: CustomMachinery(definition, v, self._schema_of(v.name), metadata)
            for v in definition.versions
        }
        self.forms = Forms(definition, self.versions, webhook_of(definition, outbound))
        self.storage = self.versions[definition.storage.name].rtype
        self.served: list[Endpoint] = []
        self.main: Endpoint | None = None

    def _schema_of(self, version: str) -> Callable[[], Mapping[str, Any] | None]:
        return lambda: self.source.schema(version)

    def install(self, registry: Registry) -> None:
        for version in self.definition.versions:
            if not (version.served or version.storage):
                continue
            machinery = self.versions[version.name]
            rtype = machinery.rtype
            kind = CustomKind(rtype, self.storage, self.forms)
            registry.seal(kind)
            custom = CustomEndpoint(self, kind)
            cache = registry.caches.add(kind)
            endpoint = Endpoint(rtype, rtype, cache, machinery, None, custom=custom)
            if version.served:
                self.served.append(endpoint)
            if version.storage:
                self.main = endpoint

    @property
    def endpoints(self) -> list[Endpoint]:
        own = [self.main] if self.main is not None and self.main not in self.served else []
        return [*self.served, *own]

    def is_still(self, new: Definition) -> bool:
        """Whether what is served is what `new` asks for."""
        old = self.definition
        return (old.uid, old.digest, old.names) == (new.uid, new.digest, new.names)
