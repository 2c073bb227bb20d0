"""Keeps the registry as the stored definitions say: what they change is served from the next moment on.

A definition is served when it is established, under the names that were accepted for it. When its spec changes, its
endpoints are replaced and their watches end, for what they showed may have another form now. The version that objects
are stored in has an endpoint for the server's own use even where clients do not see it.

What serves custom resources is imported with the first definition: a server without any does not pay for it.

Upstream: apiextensions-apiserver/pkg/apiserver/customresource_handler.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from timonel.machinery.apply.typed import Node
from timonel.machinery.codec import Codec
from timonel.objects.meta import Object
from timonel.server.custom.definition import QUALIFIED, Definition, definition_of
from timonel.server.outbound import Outbound
from timonel.server.registry import Registry, TypeMachinery
from timonel.server.request import Reader
from timonel.server.watchcache import Entry

if TYPE_CHECKING:
    from timonel.server.custom.kinds import Metadata
    from timonel.server.custom.live import Live


class CustomResources:
    """All definitions of one server, by name. `codec` and `node` are those of the metadata of every object; `builtin`
    knows the protobuf forms of what is no custom resource (options, metadata)."""

    def __init__(
        self,
        registry: Registry,
        outbound: Outbound,
        *,
        codec: Callable[[], Codec],
        node: Callable[[], Node],
        builtin: Callable[[], TypeMachinery],
    ) -> None:
        self._registry = registry
        self._outbound = outbound
        self._codec, self._node, self._builtin = codec, node, builtin
        self._metadata: Metadata | None = None
        self._live: dict[str, Live] = {}

    def attach(self, reader: Reader) -> None:
        reader.on_change(QUALIFIED, self.changed)

    def __iter__(self) -> Iterator[Live]:
        return iter(self._live.values())

    def find(self, name: str) -> Live | None:
        return self._live.get(name)

    def changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            if old is not None:
                self._remove(old["metadata"]["name"])
            return
        name = new["metadata"]["name"]
        definition = definition_of(new)
        if not definition.established or self._is_builtin(definition):
            self._remove(name)
            return
        endpoint = self._registry.by_qualified[QUALIFIED]
        entry = endpoint.cache.entries[endpoint.kind.key("", name)]
        live = self._live.get(name)
        if live is not None and live.is_still(definition):
            live.definition, live.source.entry = definition, entry
            return
        came = self._made(definition, entry)
        self._live[name] = came
        self._registry.swap(live.endpoints if live is not None else (), came.served, came.main)

    def _is_builtin(self, definition: Definition) -> bool:
        """What the program itself serves under this name comes first; its objects are not the definition's."""
        found = self._registry.by_qualified.get(definition.qualified)
        return found is not None and found.custom is None

    def _made(self, definition: Definition, entry: Entry) -> Live:
        from timonel.server.custom.kinds import Metadata
        from timonel.server.custom.live import Live, Source

        if self._metadata is None:
            self._metadata = Metadata(self._codec(), self._node(), self._builtin())
        made = Live(definition, Source(entry), self._metadata, self._outbound)
        made.install(self._registry)
        return made

    def _remove(self, name: str) -> None:
        live = self._live.pop(name, None)
        if live is not None:
            self._registry.swap(live.endpoints, (), None)
