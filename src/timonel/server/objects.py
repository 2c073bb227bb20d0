"""What the server's own parts read and write with: `request.Reader` and `request.Objects` over the registry."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from timonel.objects.meta import Object
from timonel.server import fieldmanager, objectmeta
from timonel.server.chain.info import Info
from timonel.server.options import delete_options
from timonel.server.registry import Endpoint, Registry, Stale
from timonel.server.request import User
from timonel.server.verbs import delete
from timonel.server.verbs.call import Call, Core, cloned

ATTEMPTS = 1000
MANAGER = "kube-apiserver"  # of what the server makes by itself


class CacheReader:
    """Objects of the caches, decoded and shared. A resource is loaded before the server is ready if it was named in
    `on_change` or `need`, else it reads as empty until somebody uses it."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._needed: dict[str, Endpoint] = {}

    def need(self, *resources: str) -> None:
        for resource in resources:
            endpoint = self._registry.by_qualified.get(resource)
            if endpoint is not None:
                self._needed[resource] = endpoint

    async def load(self) -> None:
        for endpoint in self._needed.values():
            await self._registry.caches.ensure(endpoint.cache)

    def get(self, resource: str, namespace: str, name: str) -> Object | None:
        endpoint = self._registry.by_qualified[resource]
        entry = endpoint.cache.entries.get(endpoint.kind.key(namespace, name))
        return entry.obj if entry is not None else None

    def list(self, resource: str, namespace: str | None = None) -> Sequence[Object]:
        endpoint = self._registry.by_qualified[resource]
        cache = endpoint.cache
        if not cache.entries:
            return ()
        if not namespace:
            return [cache.entries[key].obj for key in cache.keys]
        return [entry.obj for entry in cache.select(f"{endpoint.kind.prefix}{namespace}/")]

    def on_change(self, resource: str, callback: Callable[[Object | None, Object | None], None]) -> None:
        self.need(resource)
        cache = self._registry.by_qualified[resource].cache
        cache.listeners.append(callback)
        for entry in cache.entries.values():
            callback(None, entry.obj)


class ServerObjects:
    """Writes without authorization and admission, for what has been decided already."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def _endpoint(self, resource: str) -> Endpoint:
        return self._core.registry.by_qualified[resource]

    async def get(self, resource: str, namespace: str, name: str) -> Object:
        endpoint = self._endpoint(resource)
        return (await self._core.registry.reread(endpoint, namespace, name)).decoded()

    async def create(
        self, resource: str, obj: Object, *, namespace: str = "", manager: str = MANAGER
    ) -> Object:
        endpoint = self._endpoint(resource)
        obj = cloned(obj)
        obj["kind"], obj["apiVersion"] = endpoint.work.kind, endpoint.work.api_version
        if namespace:
            obj["metadata"]["namespace"] = namespace
        endpoint.work.default(obj)
        fieldmanager.updated(endpoint, None, obj, manager=manager, now=self._core.clock.now())
        objectmeta.fill(obj["metadata"], self._core.clock.now())
        if endpoint.work.generation:
            obj["metadata"]["generation"] = 1
        endpoint.work.prepare_create(obj)
        return (await self._core.registry.create(endpoint, obj)).decoded()

    async def change(
        self,
        resource: str,
        namespace: str,
        name: str,
        change: Callable[[Object], None],
        *,
        dry_run: bool = False,
        manager: str = "",
        subresource: str = "",
    ) -> Object:
        endpoint, registry = self._endpoint(resource), self._core.registry
        entry = await registry.read(endpoint, namespace, name)
        for _ in range(ATTEMPTS):
            obj = entry.decoded()
            change(obj)
            if dry_run or obj == entry.obj:
                return obj
            if manager:
                now = self._core.clock.now()
                fieldmanager.updated(
                    endpoint, entry.obj, obj, manager=manager, now=now, subresource=subresource
                )
            try:
                written = await registry.update(endpoint, obj, entry)
            except Stale:
                entry = await registry.reread(endpoint, namespace, name)
                continue
            written.normal = entry.normal
            return written.obj
        raise endpoint.conflict(name)

    async def delete(
        self, resource: str, namespace: str, name: str, *, options: Object, user: User, dry_run: bool = False
    ) -> Object:
        endpoint = self._endpoint(resource)
        rtype = endpoint.rtype
        info = Info(
            "DELETE", "", "delete", {}, True, rtype.group, rtype.version, namespace, rtype.plural, "", name
        )
        parsed = delete_options(options | ({"dryRun": ["All"]} if dry_run else {}))
        entry = await self._core.registry.read(endpoint, namespace, name)
        result = await delete.carried_out(self._core, Call(user, info, endpoint), entry, parsed)
        if result.entry is not None:
            return result.entry.decoded()
        assert result.obj is not None
        return result.obj
