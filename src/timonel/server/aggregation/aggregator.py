"""The parts of aggregation put together for one server: see the package for what they do."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from timonel.aio.clock import Clock
from timonel.server.aggregation.backend import Backends, Identify
from timonel.server.aggregation.documents import Documents
from timonel.server.aggregation.registrar import Registrar
from timonel.server.aggregation.routes import RESOURCE, AggregatedRoutes, GroupVersion
from timonel.server.aggregation.watcher import Watcher
from timonel.server.outbound import SLICES, Outbound
from timonel.server.request import Objects, Reader
from timonel.server.subresources.nodes import Dial

NEEDED = (RESOURCE, SLICES, "services")


class Aggregator:
    """`changed` is called when what clients are told to be served may have changed."""

    def __init__(
        self,
        *,
        reader: Reader,
        objects: Objects,
        outbound: Outbound,
        identify: Identify | None,
        clock: Clock,
        built_in: Callable[[], Iterable[GroupVersion]],
        changed: Callable[[], None],
        nearby: Mapping[str, Dial],
    ) -> None:
        backends = self._backends = Backends(outbound, identify, clock, reader, nearby)
        self.routes = AggregatedRoutes(reader, backends, changed)
        self.documents = Documents(reader, self.routes, backends, clock, changed)
        self._watcher = Watcher(reader, objects, backends, clock, self.documents.seen)
        self._registrar = Registrar(reader, objects, clock, built_in)
        self._watcher.follow()
        self._registrar.follow()

    @property
    def background(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        return (self._registrar.run, self._watcher.run, self.documents.run, self._backends.run)
