"""A client by resource strings: `await client.get("deployments.apps", Key("shop", "web"))` over any Transport."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from timonel.client.informer import Index
from timonel.client.transport import ObjectList, Transport, WatchEvent
from timonel.machinery.errors import Conflict, Invalid, NotFound, not_found
from timonel.objects.meta import Key, Object


class Client:
    def __init__(self, transport: Transport, index: Index) -> None:
        self.transport, self.index = transport, index

    async def get(self, resource: str, key: Key, *, subresource: str = "") -> Object:
        return await self.transport.get(self.index.resource(resource), key, subresource=subresource)

    async def find(self, resource: str, key: Key) -> Object | None:
        """The object, or None where there is none."""
        try:
            return await self.get(resource, key)
        except NotFound:
            return None

    async def list(
        self, resource: str, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> ObjectList:
        return await self.transport.list(
            self.index.resource(resource),
            namespace,
            label_selector=label_selector,
            field_selector=field_selector,
        )

    def watch(
        self,
        resource: str,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
    ) -> AsyncIterator[WatchEvent]:
        return self.transport.watch(
            self.index.resource(resource),
            namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            resource_version=resource_version,
        )

    async def create(
        self, resource: str, obj: Object, *, namespace: str = "", name: str = "", subresource: str = ""
    ) -> Object:
        where = namespace or obj["metadata"].get("namespace", "")
        return await self.transport.create(
            self.index.resource(resource), obj, namespace=where, name=name, subresource=subresource
        )

    async def update(self, resource: str, obj: Object, *, subresource: str = "") -> Object:
        return await self.transport.update(self.index.resource(resource), obj, subresource=subresource)

    async def patch(
        self,
        resource: str,
        key: Key,
        patch: Any,
        *,
        kind: str = "merge",
        subresource: str = "",
        uid: str = "",
        field_manager: str = "",
        force: bool = False,
    ) -> Object:
        """With `uid`, a namesake is left alone: NotFound."""
        found = self.index.resource(resource)
        try:
            return await self.transport.patch(
                found,
                key,
                with_uid(patch, kind, uid),
                kind=kind,
                subresource=subresource,
                field_manager=field_manager,
                force=force,
            )
        except Invalid as exc:
            if uid and any(cause.field == "metadata.uid" for cause in exc.causes):
                raise not_found(found.plural, key.name, found.group) from exc
            raise

    async def delete(
        self,
        resource: str,
        key: Key,
        *,
        uid: str = "",
        resource_version: str = "",
        grace_period: int | None = None,
        propagation: str = "",
    ) -> Object | None:
        """None where the object was gone already. With `uid`, a namesake counts as gone."""
        try:
            return await self.transport.delete(
                self.index.resource(resource),
                key,
                uid=uid,
                resource_version=resource_version,
                grace_period=grace_period,
                propagation=propagation,
            )
        except NotFound:
            return None
        except Conflict:
            if resource_version or not uid:
                raise
            current = await self.find(resource, key)
            if current is not None and current["metadata"]["uid"] == uid:
                raise
            return None


def with_uid(patch: Any, kind: str, uid: str) -> Any:
    """The patch with a condition on the uid: objects never change theirs, so the server refuses one that would."""
    if not uid:
        return patch
    if kind == "json":
        return [{"op": "test", "path": "/metadata/uid", "value": uid}, *patch]
    return {**patch, "metadata": {**patch.get("metadata", {}), "uid": uid}}
