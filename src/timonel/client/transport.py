"""The one way to a cluster: a `Transport` carries verbs on resources and answers with JSON trees.

Two implementations with one interface and one contract suite (`tests/client/contract.py`):
`client.https.HttpsTransport` (any cluster) and `server.local.LocalTransport` (same process; no sockets, no JSON text).
Objects that come from a transport may be shared with a cache: never mutate them, copy first.

Errors: `machinery.errors.StatusError` for an answer of the server, `Unreachable` when there was none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from timonel.objects.meta import Key, Object
from timonel.records import dataclass


class Resource(NamedTuple):
    """A GroupVersionResource and whether it has namespaces."""

    group: str
    version: str
    plural: str
    namespaced: bool

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if namespace and self.namespaced:
            root += f"/namespaces/{namespace}"
        return "/".join(filter(None, (f"{root}/{self.plural}", name, subresource)))


class Unreachable(Exception):
    """No answer: connection refused, lost or timed out."""


@dataclass(frozen=True, slots=True)
class ObjectList:
    items: Sequence[Object]
    resource_version: str
    continue_token: str = ""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """`type` is ADDED, MODIFIED, DELETED or BOOKMARK. An ERROR is raised as its StatusError (410: Expired)."""

    type: str
    object: Object


PATCH_TYPES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


class Transport(Protocol):
    async def get(self, resource: Resource, key: Key, *, subresource: str = "") -> Object: ...

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
        """An empty namespace lists all of them. `resource_version="0"` lets the server answer from its cache."""

    def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        metadata_only: bool = False,
    ) -> AsyncIterator[WatchEvent]:
        """Events after `resource_version`, with bookmarks; ends when the server ends it."""

    async def create(
        self, resource: Resource, obj: Object, *, namespace: str = "", name: str = "", subresource: str = ""
    ) -> Object:
        """`name` and `subresource` for pods/binding, pods/eviction and serviceaccounts/token."""

    async def update(self, resource: Resource, obj: Object, *, subresource: str = "") -> Object: ...

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
        """`kind` is a key of PATCH_TYPES."""

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
        """The deleted (or terminating) object, or a Status."""

    async def delete_collection(
        self, resource: Resource, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> None: ...

    async def raw(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None
    ) -> Any:
        """Any other path: discovery, /version, health. JSON answers come decoded, others as str."""

    async def close(self) -> None: ...
