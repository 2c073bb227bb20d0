"""A Transport over a dictionary: enough of the API server for the node agent's own tests."""

from __future__ import annotations

import asyncio
import copy
import uuid
from collections.abc import AsyncIterator
from typing import Any

from timonel.client.transport import ObjectList, Resource, WatchEvent
from timonel.machinery.errors import already_exists, conflict, not_found
from timonel.objects.meta import Key, Object, format_time


class FakeApi:
    def __init__(self, now: Any = lambda: 0.0) -> None:
        self._now = now
        self._objects: dict[tuple[str, Key], Object] = {}
        self._version = 0
        self._watchers: list[tuple[str, str, str, asyncio.Queue[WatchEvent]]] = []
        self.changed = asyncio.Event()
        self.writes: list[tuple[str, str, Any]] = []

    # ---- for tests

    def objects(self, plural: str) -> list[Object]:
        return [obj for (kind, _), obj in self._objects.items() if kind == plural]

    def find(self, plural: str, namespace: str, name: str) -> Object | None:
        return self._objects.get((plural, Key(namespace, name)))

    def put(self, plural: str, obj: Object) -> Object:
        """Create or replace."""
        meta = obj["metadata"]
        key = (plural, Key(meta.get("namespace", ""), meta["name"]))
        is_new = key not in self._objects
        self._version += 1
        stored = copy.deepcopy(obj)
        stored["metadata"]["resourceVersion"] = str(self._version)
        stored["metadata"].setdefault("uid", str(uuid.uuid4()))
        stored["metadata"].setdefault("creationTimestamp", format_time(self._now()))
        self._objects[key] = stored
        self._tell("ADDED" if is_new else "MODIFIED", plural, stored)
        return stored

    def remove(self, plural: str, namespace: str, name: str) -> None:
        obj = self._objects.pop((plural, Key(namespace, name)))
        self._version += 1
        gone = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self._version)}}
        self._tell("DELETED", plural, gone)

    def mark_deleted(self, namespace: str, name: str, grace: int) -> None:
        pod = copy.deepcopy(self._objects["pods", Key(namespace, name)])
        pod["metadata"]["deletionTimestamp"] = format_time(self._now() + grace)
        pod["metadata"]["deletionGracePeriodSeconds"] = grace
        self.put("pods", pod)

    def events(self, name: str) -> list[tuple[str, str]]:
        return [
            (e["reason"], e["message"]) for e in self.objects("events") if e["involvedObject"]["name"] == name
        ]

    async def until(self, check: Any) -> Any:
        """What `check` answers, once it is true."""
        while not (found := check()):
            self.changed.clear()
            await self.changed.wait()
        return found

    def _tell(self, type_: str, plural: str, obj: Object) -> None:
        for kind, namespace, selector, queue in self._watchers:
            if kind == plural and _matches(obj, namespace, selector):
                queue.put_nowait(WatchEvent(type_, obj))
        self.changed.set()

    # ---- Transport

    async def get(self, resource: Resource, key: Key, *, subresource: str = "") -> Object:
        found = self._objects.get((resource.plural, key))
        if found is None:
            raise not_found(resource.plural, key.name, resource.group)
        return found

    async def list(
        self, resource: Resource, namespace: str = "", *, field_selector: str = "", **_: Any
    ) -> ObjectList:
        items = [o for o in self.objects(resource.plural) if _matches(o, namespace, field_selector)]
        return ObjectList(items, str(self._version))

    async def watch(
        self, resource: Resource, namespace: str = "", *, field_selector: str = "", **_: Any
    ) -> AsyncIterator[WatchEvent]:
        queue: asyncio.Queue[WatchEvent] = asyncio.Queue()
        entry = (resource.plural, namespace, field_selector, queue)
        self._watchers.append(entry)
        try:
            while True:
                yield await queue.get()
        finally:
            self._watchers.remove(entry)

    async def create(
        self, resource: Resource, obj: Object, *, namespace: str = "", name: str = "", subresource: str = ""
    ) -> Object:
        if subresource == "token":
            seconds = obj["spec"]["expirationSeconds"]
            return {
                **obj,
                "status": {"token": "a.b.c", "expirationTimestamp": format_time(self._now() + seconds)},
            }
        key = Key(namespace if resource.namespaced else "", obj["metadata"]["name"])
        if (resource.plural, key) in self._objects:
            raise already_exists(resource.plural, key.name, resource.group)
        return self.put(resource.plural, {**obj, "metadata": {**obj["metadata"], "namespace": key.namespace}})

    async def update(self, resource: Resource, obj: Object, *, subresource: str = "") -> Object:
        return self.put(resource.plural, obj)

    async def patch(
        self,
        resource: Resource,
        key: Key,
        patch: Any,
        *,
        kind: str = "merge",
        subresource: str = "",
        **_: Any,
    ) -> Object:
        self.writes.append((resource.plural, key.name, patch))
        old = await self.get(resource, key)
        uid = patch.get("metadata", {}).get("uid")
        if uid and uid != old["metadata"]["uid"]:
            raise conflict(resource.plural, key.name, "the UID in the precondition does not match")
        return self.put(resource.plural, _merged(copy.deepcopy(old), patch))

    async def delete(
        self, resource: Resource, key: Key, *, uid: str = "", grace_period: int | None = None, **_: Any
    ) -> Object:
        obj = await self.get(resource, key)
        if uid and obj["metadata"]["uid"] != uid:
            raise conflict(resource.plural, key.name, "the UID in the precondition does not match")
        self.remove(resource.plural, key.namespace, key.name)
        return obj

    async def delete_collection(self, *args: Any, **kwargs: Any) -> None:
        raise AssertionError("a node agent does not ask for this")

    async def raw(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a node agent does not ask for this")

    async def close(self) -> None:
        return


def _merged(old: Any, patch: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(patch, dict):
        return [v for v in patch if v != {"$patch": "replace"}] if isinstance(patch, list) else patch
    for key, value in patch.items():
        if value is None:
            old.pop(key, None)
        elif key == "conditions":
            fresh = {c["type"]: c for c in (*(old.get(key) or ()), *value)}
            old[key] = [c for c in fresh.values() if c.get("$patch") != "delete"]
        else:
            old[key] = _merged(old.get(key, {}), value)
    return old


def _matches(obj: Object, namespace: str, selector: str) -> bool:
    if namespace and obj["metadata"].get("namespace") != namespace:
        return False
    path, _, value = selector.partition("=")
    found: Any = obj
    for step in path.split(".") if path else ():
        found = (found or {}).get(step)
    return not path or found == value
