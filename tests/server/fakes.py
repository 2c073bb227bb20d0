"""A cluster in two dictionaries: what the server's parts read (`FakeReader`) and write (`FakeObjects`)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from timonel.apis.resource import ResourceType
from timonel.machinery import errors
from timonel.objects.meta import Object
from timonel.server.request import AdmissionCall, AdmissionPlugin, Operation, User

Listener = Callable[[Object | None, Object | None], None]
ALICE = User("alice", ("system:authenticated",))


class FakeReader:
    def __init__(self) -> None:
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._listeners: dict[str, list[Listener]] = {}

    def get(self, resource: str, namespace: str, name: str) -> Object | None:
        return self._objects.get((resource, namespace, name))

    def list(self, resource: str, namespace: str | None = None) -> Sequence[Object]:
        return [o for (r, n, _), o in self._objects.items() if r == resource and namespace in (None, n)]

    def on_change(self, resource: str, callback: Listener) -> None:
        self._listeners.setdefault(resource, []).append(callback)
        for obj in self.list(resource):
            callback(None, obj)

    def put(self, resource: str, obj: Object) -> Object:
        metadata = obj["metadata"]
        key = (resource, metadata.get("namespace", ""), metadata["name"])
        old, self._objects[key] = self._objects.get(key), obj
        for listener in self._listeners.get(resource, ()):
            listener(old, obj)
        return obj

    def remove(self, resource: str, namespace: str, name: str) -> None:
        old = self._objects.pop((resource, namespace, name))
        for listener in self._listeners.get(resource, ()):
            listener(old, None)


class FakeObjects:
    def __init__(self, reader: FakeReader) -> None:
        self.reader = reader
        self.created: list[tuple[str, str]] = []
        self.deleted: list[tuple[str, str, Object]] = []

    async def get(self, resource: str, namespace: str, name: str) -> Object:
        found = self.reader.get(resource, namespace, name)
        if found is None:
            raise errors.not_found(resource, name)
        return copy.deepcopy(found)

    async def create(self, resource: str, obj: Object, *, namespace: str = "", manager: str = "") -> Object:
        self.created.append((resource, obj["metadata"]["name"]))
        return self.reader.put(resource, copy.deepcopy(obj))

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
        obj = await self.get(resource, namespace, name)
        change(obj)
        return obj if dry_run else self.reader.put(resource, obj)

    async def delete(
        self, resource: str, namespace: str, name: str, *, options: Object, user: User, dry_run: bool = False
    ) -> Object:
        found = await self.get(resource, namespace, name)
        self.deleted.append((resource, name, options))
        return found


PODS = ResourceType(group="", version="v1", kind="Pod", plural="pods")


def creating(obj: Object, resource: ResourceType = PODS, user: User = ALICE, **more: Any) -> AdmissionCall:
    metadata = obj["metadata"]
    return AdmissionCall(
        Operation.CREATE,
        resource,
        "",
        metadata.get("namespace", "shop"),
        metadata["name"],
        user,
        obj,
        None,
        **more,
    )


def updating(
    new: Object, old: Object, resource: ResourceType = PODS, user: User = ALICE, subresource: str = ""
) -> AdmissionCall:
    metadata = old["metadata"]
    namespace = metadata.get("namespace", "shop")
    return AdmissionCall(Operation.UPDATE, resource, subresource, namespace, metadata["name"], user, new, old)


async def admitted(plugin: AdmissionPlugin, call: AdmissionCall) -> AdmissionCall:
    """The call after both phases of a plugin that handles it."""
    assert plugin.handles(call.resource, call.subresource, call.operation)
    await plugin.admit(call)
    await plugin.validate(call)
    return call


def pod(
    name: str = "p", *, namespace: str = "shop", containers: Sequence[Object] = (), **spec: Any
) -> Object:
    own = list(containers) or [{"name": "c", "image": "i"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}"},
        "spec": {"containers": own, **spec},
    }
