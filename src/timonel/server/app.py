"""The API server as one object: its parts are put together here, and nowhere else.

    store ─> Caches ─> Registry ─> verbs ─> Dispatcher ─> HttpServer
                          └──────────────────> LocalTransport (clients in the same process)

Nothing is global: any number of servers can live in one process. `run` serves until it is cancelled.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from email.utils import formatdate
from typing import Any, Protocol

from timonel.aio.clock import Clock, outside, upkeep
from timonel.apis.resource import ResourceType
from timonel.machinery import errors
from timonel.machinery.apply.typed import Nodes
from timonel.machinery.codec import Codecs
from timonel.records import dataclass
from timonel.schema.openapi import OpenApi
from timonel.server import components, discovery, flowcontrol, health, openapi
from timonel.server.actions import Action, ActionType
from timonel.server.aggregation.aggregator import Aggregator
from timonel.server.atrest import Vault
from timonel.server.atrest import configuration as atrest
from timonel.server.atrest import serving as encryption
from timonel.server.audit.trail import Trail
from timonel.server.chain import deadline
from timonel.server.chain.gate import Gate
from timonel.server.dispatch import Dispatcher
from timonel.server.flowcontrol.families import add_dumps
from timonel.server.flowcontrol.families import families as flow_families
from timonel.server.httpserver import HttpServer
from timonel.server.local import LocalTransport
from timonel.server.metrics import process, storage
from timonel.server.metrics.admission import MeasuredAdmission
from timonel.server.metrics.admission import Times as AdmissionTimes
from timonel.server.metrics.page import Page, Source
from timonel.server.objects import CacheReader, ServerObjects
from timonel.server.paths import VERSION, Answer, Paths, fixed
from timonel.server.registry import Endpoint, Registry, TypeMachinery
from timonel.server.request import (
    AdmissionPlugin,
    Authenticator,
    Authorizer,
    ConnectHandler,
    PartialUpdate,
    User,
)
from timonel.server.resilience import kept
from timonel.server.upkeep import Upkeep
from timonel.server.verbs.call import Admission, Core
from timonel.server.verbs.scale import SCALE
from timonel.server.watchcache import Caches, Kind, ResourceCache
from timonel.store.base import Store, StoreError


class Scheme(Protocol):
    """The types to serve; `timonel.apis.scheme.Scheme` is the one of all built-in kinds."""

    codecs: Codecs
    nodes: Nodes

    @property
    def resources(self) -> Iterable[ResourceType]: ...
    def published(self, *, legacy: bool) -> OpenApi: ...
    def codec(self, rtype: ResourceType) -> TypeMachinery: ...


STORE_PATIENCE = 2.0  # seconds that a health check waits for the store


@dataclass(frozen=True, slots=True)
class Config:
    hosts: tuple[str, ...] = ("127.0.0.1",)  # all on the same port
    port: int = 0  # 0: any free one; see ApiServer.port
    legacy_apis: bool = True  # versions that upstream has retired
    encryption_key: bytes = b""  # 32 bytes: secrets are encrypted in the store
    vault: Vault | None = None  # instead of the key: what is encrypted, and how
    flow: flowcontrol.Settings = field(default_factory=flowcontrol.Settings)
    request_timeout: float = 60.0  # seconds for what is no watch and no stream
    shortest_watch: float = (
        1800.0  # seconds that a watch lasts at least where its client does not say, and up to twice
    )
    event_ttl: float = 0.0  # seconds; 0: what their types say, an hour
    shutdown_delay: float = 0.0  # seconds in which the server still serves, but is not ready, before it stops


@dataclass(frozen=True, slots=True)
class Extensions:
    """What other parts of the server add to it: subresources, actions, paths, admission."""

    admission: Sequence[AdmissionPlugin] = ()
    actions: Sequence[ActionType] = ()
    bodies: Sequence[ResourceType] = ()  # kinds that are sent to subresources only, and have defaults
    partials: Sequence[PartialUpdate] = ()
    # (qualified plural, subresource) -> what takes the connection over
    connects: Mapping[tuple[str, str], ConnectHandler] = field(default_factory=dict)
    paths: Mapping[str, Answer] = field(default_factory=dict)
    # OpenAPI of what is served besides the built-in resources, put around theirs
    published: Callable[[OpenApi], openapi.Published] = lambda builtin: builtin
    aggregator: Aggregator | None = None  # of the servers behind this one
    checks: Mapping[str, health.Check] = field(default_factory=dict)
    # before the server listens, with its caches filled
    bootstrap: Sequence[Callable[[], Awaitable[None]]] = ()
    background: Sequence[Callable[[], Coroutine[Any, Any, None]]] = ()  # from then on, for as long as it runs


class ApiServer:
    """A lifecycle Service. `reader` and `objects` exist before `extend`, for the parts that need them."""

    name = "apiserver"

    def __init__(
        self,
        *,
        config: Config,
        store: Store,
        scheme: Scheme,
        clock: Clock,
        authenticator: Authenticator,
        authorizer: Authorizer,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.config = config
        self.clock = clock
        self._pace = upkeep(outside(clock), lazy=True)  # of what has nothing to do with the cluster's time
        self._caches = Caches(store, self._pace)
        vault = config.vault
        if vault is None and config.encryption_key:
            vault = Vault(atrest.default(config.encryption_key))
        self._store_times = storage.Times()
        timed = storage.TimedStore(store, self._store_times)
        self.registry = Registry(timed, self._caches, clock, vault)
        self._vault = vault
        self._bootstrap: list[Callable[[], Awaitable[None]]] = []
        self._background: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._scheme = scheme
        self._serve(scheme, config.legacy_apis)
        self.core = Core(self.registry, Admission(()), clock, config.legacy_apis)
        self.reader = CacheReader(self.registry)
        self.objects = ServerObjects(self.core)
        self.paths = Paths()
        self._aggregator: Aggregator | None = None
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._tls = tls
        self.core.shortest_watch = config.shortest_watch
        self._upkeep = Upkeep(self.core, store, config.event_ttl)
        self._checks: dict[str, health.Check] = {
            "ping": lambda: "",
            "log": lambda: "",
            "etcd": self._store_answers,
        }
        self.components = components.ComponentStatuses(self.objects, clock, self._store_answers)
        if (statuses := self.registry.by_qualified.get(components.RESOURCE)) is not None:
            statuses.computed = self.components.entries
        self._date = _Date(clock)
        self._stopping = False
        self._passed: set[str] = set()  # stages of the start
        self._health = health.Results()
        self._admission_times = AdmissionTimes()
        self.metrics = Page(*self._counted())
        self._flow_upkeep = flowcontrol.Upkeep(self.objects, self.reader, self._pace)
        self.gate = self._gated()
        self._published: Callable[[OpenApi], openapi.Published] = lambda builtin: builtin
        self._started = False
        self.port = config.port

    def _gated(self) -> Gate:
        """Flow control where its resources are served and it is wanted, else a plain bound."""
        flow, timeout = self.config.flow, self.config.request_timeout
        if not flow.enabled or flowcontrol.LEVELS not in self.registry.by_qualified:
            inflight = flowcontrol.Inflight(flow.max_inflight, flow.max_mutating)
            return Gate(outside(self.clock), inflight=inflight, request_timeout=timeout)
        flows = flowcontrol.FlowControl(self.reader, self._pace, flow.seats)
        flows.follow()
        self._flow_upkeep.follow()
        self._bootstrap.append(self._flow_upkeep.ensure)
        self._background.append(self._flow_upkeep.run)
        return Gate(outside(self.clock), flows=flows, request_timeout=timeout)

    def _serve(self, scheme: Scheme, legacy: bool) -> None:
        types = [t for t in scheme.resources if legacy or t.retired is None]
        by_key = {(t.group, t.version, t.plural): t for t in types}
        ordered = sorted(types, key=lambda t: (t.retired or t.converted) is not None)
        for rtype in ordered:
            form = rtype.converted or rtype.retired
            work = rtype
            if form is not None:
                group = rtype.group if form.stored_group is None else form.stored_group
                work = by_key[group, form.stored_version, rtype.plural]
            self.registry.add(rtype, work, scheme.codec(rtype))

    def extend(self, extensions: Extensions) -> None:
        """Before `run`. Admission plugins run in the order given."""
        self.core.admission = MeasuredAdmission(extensions.admission)
        self.core.admission.times = self._admission_times
        self.core.scale = self._body_of(("autoscaling", "v1", "Scale"), (SCALE,))
        by_kind = {(e.rtype.group, e.rtype.version, e.rtype.kind): e for e in self.registry.served()}
        for action in extensions.actions:
            endpoint = self.registry.by_qualified[action.resource]
            body = by_kind.get(action.kind) or self._body_of(action.kind, extensions.bodies)
            endpoint.actions[action.subresource] = Action(action.handler, body, action.also)
        for partial in extensions.partials:
            self.registry.by_qualified[partial.resource].partials[partial.name] = partial
        for (resource, subresource), handler in extensions.connects.items():
            self.registry.by_qualified[resource].connects[subresource] = handler
        for path, answer in extensions.paths.items():
            self.paths.add(path, answer)
        self._aggregator = extensions.aggregator or self._aggregator
        self._published = extensions.published
        self._checks.update(extensions.checks)
        self._bootstrap += extensions.bootstrap
        self._background += extensions.background

    def _body_of(self, kind: tuple[str, str, str], bodies: Iterable[ResourceType]) -> Endpoint:
        """The type of an action's body that is no resource itself (TokenRequest, Eviction)."""
        group, version, name = kind
        rtype = next(
            (t for t in bodies if (t.group, t.version, t.kind) == kind),
            ResourceType(group=group, version=version, kind=name, plural=f"{name.lower()}s"),
        )
        return Endpoint(rtype, rtype, ResourceCache(Kind(rtype)), self._scheme.codec(rtype), None)

    def _counted(self) -> Iterator[Source]:
        """Where the figures of `/metrics` come from."""
        version = {key: str(value) for key, value in VERSION.items()}
        yield process.families
        yield lambda: [process.build(version)]
        yield lambda: self.gate.requests.families()
        yield lambda: flow_families(self.gate.flows) if self.gate.flows is not None else ()
        yield lambda: storage.families(self._kept())
        yield lambda: self._store_times.families(self._kept())
        yield self._admission_times.families
        yield self._health.families
        yield lambda: self.core.trail.families() if self.core.trail is not None else ()

    def _kept(self) -> list[ResourceCache]:
        """The cache of each resource, once."""
        return list({e.cache.kind.prefix: e.cache for e in self.registry.by_qualified.values()}.values())

    async def _store_answers(self) -> str:
        """Whether the store can be asked, within a moment."""
        revision = self.registry.store.revision()
        try:
            await deadline.within(outside(self.clock), STORE_PATIENCE, revision)
        except (StoreError, errors.Timeout) as error:
            return str(error)
        return ""

    async def _store_is_whole(self) -> str:
        """Whether it answers and is not damaged, as far as is known: a restart would not mend that, so it is no
        question of being alive."""
        return self._upkeep.damage or await self._store_answers()

    def record(self, trail: Trail) -> None:
        """Keep an audit log. Before `run`."""
        self.core.trail = trail
        self.gate.record(trail)
        self._background.append(trail.run)

    def transport_for(self, user: User, *, keeps: bool = True) -> LocalTransport:
        """`keeps`: as LocalTransport's."""
        others = self._aggregator
        if others is None:
            return LocalTransport(self.core, self._authorizer, user, self.paths, keeps=keeps)
        return LocalTransport(
            self.core, self._authorizer, user, self.paths, elsewhere=others.routes.of, keeps=keeps
        )

    async def run(self, ready: asyncio.Event) -> None:
        self._add_paths()
        self.gate.log_requests()
        others = self._aggregator
        dispatcher = Dispatcher(
            self.core,
            self._authenticator,
            self._authorizer,
            self.paths,
            self.gate,
            others.routes.of if others is not None else lambda info: None,
        )
        server = HttpServer(
            dispatcher,
            self._tls,
            self.config.hosts,
            self.config.port,
            self._date,
            outside(self.clock).call_later,
            self.gate.audit_ids,
        )
        following = asyncio.Event()

        def listening(port: int) -> None:
            self.port = port
            self._started = True
            ready.set()

        async with asyncio.TaskGroup() as group:
            group.create_task(self._caches.follow(following.set), name="watch caches")
            await following.wait()
            await self.reader.load()
            self._passed.add(health.FILLED)
            for step in self._bootstrap:
                await step()
            self._passed.add(health.MADE)
            for task in self._background:
                group.create_task(kept(task, self._pace))
            group.create_task(kept(self._upkeep.run, self._pace), name="upkeep")
            self._passed.add(health.RUNNING)
            await self._serve_until_cancelled(server, listening)

    async def _serve_until_cancelled(self, server: HttpServer, listening: Callable[[int], None]) -> None:
        """In the end /readyz fails first, then requests come to their end, and what they need ends after them."""
        async with asyncio.TaskGroup() as group:
            group.create_task(server.run(listening, outside(self.clock).sleep), name="http")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self._stopping = True
                if self._started and self.config.shutdown_delay:
                    await outside(self.clock).sleep(self.config.shutdown_delay)
                raise

    def _add_paths(self) -> None:
        paths = self.paths
        if self._vault is not None:
            paths.add(encryption.PATH, encryption.Answers(self.registry, self._vault))
        self._checks |= health.hooks(self._passed)
        ready: dict[str, health.Check] = {
            "etcd": self._store_is_whole,
            "informer-sync": lambda: "" if health.FILLED in self._passed else "caches are not filled",
            "shutdown": lambda: "process is shutting down" if self._stopping else "",
        }
        for probe in health.probes(self._checks, ready, self._health):
            probe.add_to(paths)
        self.metrics.add_to(paths, "/metrics")
        Page(self._health.families).add_to(paths, "/metrics/slis")
        if self.gate.flows is not None:
            add_dumps(paths, self.gate.flows)
        paths.add("/version", fixed(VERSION))
        others = self._aggregator.documents if self._aggregator is not None else None
        discovery.add_to(paths, self.registry, lambda: f"{self.config.hosts[0]}:{self.port}", others)
        published = self._published(self._scheme.published(legacy=self.config.legacy_apis))
        openapi.Documents(published, others).add_to(paths)


class _Date:
    """The text of the Date header, made once a second."""

    def __init__(self, clock: Clock) -> None:
        self._now: Callable[[], float] = clock.now
        self._second = -1
        self._text = b""

    def __call__(self) -> bytes:
        second = int(self._now())
        if second != self._second:
            self._second = second
            self._text = formatdate(second, usegmt=True).encode()
        return self._text
