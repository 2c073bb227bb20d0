"""`MemoryTransport`: a cluster of plain dicts for tests of everything that sits on a Transport.

It keeps the promises of `client.transport.Transport` (resourceVersions, watches, preconditions, finalizers, the status
subresource, bindings) and knows no kinds: no defaults, no validation. Strategic and apply patches act as merge patches.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import orjson

from timonel.aio.clock import Clock
from timonel.client.transport import ObjectList, Resource, WatchEvent
from timonel.machinery import field
from timonel.machinery.errors import BadRequest, Expired, already_exists, conflict, invalid, not_found
from timonel.machinery.patch.json import json_patch
from timonel.machinery.patch.merge import merge_patch
from timonel.machinery.selectors import parse_field_selector, parse_label_selector
from timonel.objects.meta import Key, Object, format_time, key_of

Fault = Callable[[str, Resource, Key], None]


class MemoryTransport:
    """`fault(verb, resource, key)`, if set, is called before each request and may raise what the request shall."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._objects: dict[Resource, dict[Key, Object]] = {}
        self._log: list[tuple[int, Resource, str, Object]] = []
        self._version = 0
        self._numbers = itertools.count(1)
        self._changed = asyncio.Event()
        self._forgotten = 0
        self.fault: Fault | None = None
        self.requests: list[tuple[str, str, Key]] = []

    def _begin(self, verb: str, resource: Resource, key: Key) -> None:
        self.requests.append((verb, str(resource), key))
        if self.fault is not None:
            self.fault(verb, resource, key)

    def _find(self, resource: Resource, key: Key) -> Object:
        found = self._objects.get(resource, {}).get(key)
        if found is None:
            raise not_found(resource.plural, key.name, resource.group)
        return found

    def _commit(self, type_: str, resource: Resource, obj: Object) -> Object:
        self._version += 1
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self._version)}}
        stored = self._objects.setdefault(resource, {})
        if type_ == "DELETED":
            stored.pop(key_of(obj), None)
        else:
            stored[key_of(obj)] = obj
        self._log.append((self._version, resource, type_, obj))
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        return obj

    def forget_history(self) -> None:
        """Watches from before now are told that they are too old."""
        self._forgotten = self._version
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def get(self, resource: Resource, key: Key, *, subresource: str = "") -> Object:
        self._begin("get", resource, key)
        return self._find(resource, key)

    async def list(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_token: str = "",
        resource_version: str = "",
    ) -> ObjectList:
        self._begin("list", resource, Key(namespace, ""))
        wanted = _selector(namespace, label_selector, field_selector)
        keys = sorted(self._objects.get(resource, {}).items())
        items = [
            obj for key, obj in keys if wanted(obj) and (not continue_token or str(key) > continue_token)
        ]
        rest = items[limit:] if limit else []
        token = str(key_of(items[limit - 1])) if rest else ""
        return ObjectList(items[:limit] if limit else items, str(self._version), token)

    async def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        metadata_only: bool = False,
    ) -> AsyncIterator[WatchEvent]:
        self._begin("watch", resource, Key(namespace, ""))
        wanted = _selector(namespace, label_selector, field_selector)
        after = int(resource_version or 0)
        while True:
            if after < self._forgotten:
                raise Expired(f"too old resource version: {after} ({self._forgotten})")
            changed = self._changed
            for version, where, type_, obj in self._log[_first_after(self._log, after) :]:
                after = version
                if where == resource and wanted(obj):
                    yield WatchEvent(type_, obj)
            await changed.wait()

    async def create(
        self, resource: Resource, obj: Object, *, namespace: str = "", name: str = "", subresource: str = ""
    ) -> Object:
        where = namespace or obj.get("metadata", {}).get("namespace", "")
        if subresource:
            return self._create_subresource(resource, Key(where, name), obj, subresource)
        meta = dict(obj["metadata"])
        number = next(self._numbers)
        meta.setdefault("name", f"{meta.get('generateName', '')}{number:05d}")
        if resource.namespaced:
            meta["namespace"] = where
        self._begin("create", resource, Key(where, meta["name"]))
        if Key(where, meta["name"]) in self._objects.get(resource, {}):
            raise already_exists(resource.plural, meta["name"], resource.group)
        meta |= {
            "uid": f"00000000-0000-0000-0000-{number:012d}",
            "creationTimestamp": format_time(self._clock.now()),
        }
        return self._commit("ADDED", resource, {**_copy(obj), "metadata": meta})

    def _create_subresource(self, resource: Resource, key: Key, obj: Object, subresource: str) -> Object:
        self._begin(f"create {subresource}", resource, key)
        pod = self._find(resource, key)
        if subresource == "binding":
            if pod["spec"].get("nodeName"):
                why = f'pod {key.name} is already assigned to node "{pod["spec"]["nodeName"]}"'
                raise conflict("pods/binding", key.name, why)
            self._commit(
                "MODIFIED", resource, {**pod, "spec": {**pod["spec"], "nodeName": obj["target"]["name"]}}
            )
        elif subresource == "eviction":
            self._remove(resource, pod)
        else:
            raise BadRequest(f"unknown subresource {subresource}")
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}

    async def update(self, resource: Resource, obj: Object, *, subresource: str = "") -> Object:
        key = key_of(obj)
        self._begin("update", resource, key)
        return self._write(resource, self._find(resource, key), _copy(obj), subresource)

    def _write(self, resource: Resource, old: Object, new: Object, subresource: str) -> Object:
        name, meta = old["metadata"]["name"], new["metadata"]
        asked = meta.get("resourceVersion")
        if asked and asked != old["metadata"]["resourceVersion"]:
            why = (
                "the object has been modified; please apply your changes to the latest version and try again"
            )
            raise conflict(resource.plural, name, why, resource.group)
        if meta.get("uid", old["metadata"]["uid"]) != old["metadata"]["uid"]:
            raise invalid(
                old.get("kind", ""), name, [field.invalid("metadata.uid", meta["uid"], "field is immutable")]
            )
        if subresource == "status":
            new = {**old, "status": new.get("status", {})}
        elif "status" in old:
            new = {**new, "status": old["status"]}
        kept = {k: old["metadata"][k] for k in _PINNED if k in old["metadata"]}
        new = {**new, "metadata": {**new["metadata"], **kept}}
        if {**new, "metadata": _unversioned(new)} == {**old, "metadata": _unversioned(old)}:
            return old
        if new["metadata"].get("deletionTimestamp") and not _is_held(new):
            return self._commit("DELETED", resource, new)
        return self._commit("MODIFIED", resource, new)

    async def patch(
        self,
        resource: Resource,
        key: Key,
        patch: Any,
        *,
        kind: str = "merge",
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
    ) -> Object:
        self._begin("patch", resource, key)
        old = self._find(resource, key)
        new = json_patch(_copy(old), patch) if kind == "json" else merge_patch(_copy(old), _copy(patch))
        return self._write(resource, old, new, subresource)

    async def delete(
        self,
        resource: Resource,
        key: Key,
        *,
        uid: str = "",
        resource_version: str = "",
        grace_period: int | None = None,
        propagation: str = "",
    ) -> Object:
        self._begin("delete", resource, key)
        old = self._find(resource, key)
        for what, name, asked in (
            ("UID", "uid", uid),
            ("ResourceVersion", "resourceVersion", resource_version),
        ):
            if asked and asked != old["metadata"][name]:
                why = _precondition(what, asked, old["metadata"][name])
                raise conflict(resource.plural, key.name, why, resource.group)
        added = {"Foreground": ["foregroundDeletion"], "Orphan": ["orphan"]}.get(propagation, [])
        if added:
            finalizers = list(dict.fromkeys([*(old["metadata"].get("finalizers") or ()), *added]))
            old = {**old, "metadata": {**old["metadata"], "finalizers": finalizers}}
        return self._remove(resource, old)

    def _remove(self, resource: Resource, obj: Object) -> Object:
        if not _is_held(obj):
            return self._commit("DELETED", resource, obj)
        if obj["metadata"].get("deletionTimestamp"):
            return obj
        since = format_time(self._clock.now())
        return self._commit(
            "MODIFIED", resource, {**obj, "metadata": {**obj["metadata"], "deletionTimestamp": since}}
        )

    async def delete_collection(
        self, resource: Resource, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> None:
        self._begin("deletecollection", resource, Key(namespace, ""))
        wanted = _selector(namespace, label_selector, field_selector)
        for obj in list(self._objects.get(resource, {}).values()):
            if wanted(obj):
                self._remove(resource, obj)

    async def raw(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None
    ) -> Any:
        raise not_found("paths", path)

    async def close(self) -> None:
        pass


_PINNED = ("uid", "creationTimestamp", "deletionTimestamp", "namespace", "name")


def _selector(namespace: str, labels: str, fields: str) -> Callable[[Object], bool]:
    by_label, by_field = parse_label_selector(labels), parse_field_selector(fields)

    def matches(obj: Object) -> bool:
        meta = obj["metadata"]
        shown = {"metadata.name": meta["name"], "metadata.namespace": meta.get("namespace", "")}
        return (
            (not namespace or meta.get("namespace") == namespace)
            and by_label.matches(meta.get("labels") or {})
            and by_field.matches(shown)
        )

    return matches


def _first_after(log: list[tuple[int, Resource, str, Object]], version: int) -> int:
    low, high = 0, len(log)
    while low < high:
        middle = (low + high) // 2
        if log[middle][0] > version:
            high = middle
        else:
            low = middle + 1
    return low


def _precondition(what: str, asked: str, found: str) -> str:
    return f"Precondition failed: {what} in precondition: {asked}, {what} in object meta: {found}"


def _is_held(obj: Object) -> bool:
    return bool(obj["metadata"].get("finalizers") or (obj.get("spec") or {}).get("finalizers"))


def _unversioned(obj: Object) -> Object:
    return {k: v for k, v in obj["metadata"].items() if k != "resourceVersion"}


def _copy(tree: Any) -> Any:
    return orjson.loads(orjson.dumps(tree))
