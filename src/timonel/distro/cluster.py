"""A whole control plane as one object: store, API server, controllers, scheduler and, if wanted, simulated nodes.

Nothing is global and nothing is fixed: a `Cluster` is given its settings, store and clock, so that a hundred of them
can live in one process. `running` is the whole order of start and stop, to be read from top to bottom.
"""

from __future__ import annotations

import asyncio
import ssl
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

from timonel.aio.clock import Clock, VirtualClock, outside
from timonel.aio.lifecycle import Service, running, running_together
from timonel.apis.scheme import Scheme
from timonel.client.clock import PATH as CLOCK_PATH
from timonel.client.discovery import builtin, discover
from timonel.client.events import EventRecorder
from timonel.client.leases import LeaderElection, Terms
from timonel.client.transport import Transport
from timonel.control.elected import Elected
from timonel.control.issuing import Issuer
from timonel.control.runtime import Controllers
from timonel.distro import apiserverargs, figures
from timonel.distro import controllers as roster
from timonel.distro.config import ClusterConfig
from timonel.distro.late import WhenNeeded
from timonel.distro.resources import IndexKeeper
from timonel.distro.schedulerfigures import scheduling
from timonel.distro.turning import StillStore, Turner
from timonel.objects.meta import Key, Object, parse_time
from timonel.records import dataclass
from timonel.resourcemetrics.answers import MetricsServer
from timonel.server import compose, flags
from timonel.server.app import ApiServer, Config
from timonel.server.atrest import Vault
from timonel.server.auth import jwt
from timonel.server.auth.frontproxy import HeaderNames
from timonel.server.auth.settings import AuthSettings
from timonel.server.auth.tokens import legacy_token
from timonel.server.request import User
from timonel.server.security import Settings as SecuritySettings
from timonel.server.subresources.nodes import Dial
from timonel.store.base import Store

if TYPE_CHECKING:
    from timonel.scheduler.shell import Scheduler

METRICS = "v1beta1.metrics.k8s.io"  # its APIService
ISSUER = "https://kubernetes.default.svc"  # of service-account tokens; upstream's default
ADMIN = User(
    "admin",
    ("system:masters", "system:authenticated"),
    uid=str(uuid.uuid5(uuid.NAMESPACE_DNS, "admin.timonel.dev")),
)
SCHEDULER = User("system:kube-scheduler", ("system:authenticated",))
MANAGER = User("system:kube-controller-manager", ("system:authenticated",))
SWITCHED_OFF = "it is switched off (timonel.dev/simulated: stopped)"
CONTROLLERS_OFFICE = (Key("kube-system", "kube-controller-manager"), Terms())
SERVICE_ACCOUNTS = ("system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated")

S = TypeVar("S", bound=Service)
Report = Callable[[str, str], None]  # step, text


@dataclass(frozen=True, slots=True)
class Secrets:
    """What a cluster must not lose and nobody else may know; all in memory, so that tests need no files."""

    ca_pem: str = ""
    signing_key_pem: bytes = b""
    vault: Vault | None = None  # None: secrets are stored as they are
    ca_key: CertificateIssuerPrivateKeyTypes | None = None  # signs what requests for certificates ask for
    front_proxy_ca_pem: str = ""
    proxy_identity: Callable[[ssl.SSLContext], object] | None = (
        None  # loads our certificate for servers behind us
    )
    server_tls: ssl.SSLContext | None = None
    trust: Callable[[str], None] | None = None  # how `server_tls` learns of other client authorities
    node_client_tls: ssl.SSLContext | None = None  # for the server's own requests to node agents
    tokens: dict[str, User] = field(default_factory=dict)


# Who tells of elections, where that is not the component by its name: upstream's scheduler is its first profile.
ELECTED = {"kube-scheduler": "default-scheduler"}


class Cluster:
    """Enter `running`; then `api` serves and `transport_for` gives in-process clients."""

    def __init__(
        self,
        config: ClusterConfig,
        *,
        secrets: Secrets,
        store: Store,
        clock: Clock,
        hosts: Sequence[str],
        turned: Callable[[float], None] = lambda now: None,
    ) -> None:
        """`turned` hears the time after somebody has turned a virtual clock."""
        self.config, self.clock, self._secrets = config, clock, secrets
        self._made_scheduler: Scheduler | None = None  # the last one, for figures
        self._nearby_servers: dict[str, Dial] = {}  # likewise, by their APIService
        self.nearby_nodes: dict[str, Dial] = {}  # of this process: the API server reaches them without a port
        self.index = builtin()
        self._keys = _keys(secrets.signing_key_pem)
        served = flags.read(
            config.apiserver_args,
            Config(
                hosts=tuple(hosts),
                port=config.port,
                legacy_apis=config.legacy_apis,
                vault=secrets.vault,
            ),
        )
        self.api: ApiServer = compose.compose(
            compose.Settings(
                security=apiserverargs.apply(
                    SecuritySettings(
                        keys=self._keys,
                        issuer=ISSUER,
                        static_tokens=secrets.tokens,
                        service_ranges=(config.service_cidr,),
                        node_tls=secrets.node_client_tls,
                        nearby_nodes=self.nearby_nodes,
                        auth=_auth(secrets),
                        trust=secrets.trust,
                        identify=secrets.proxy_identity,
                    ),
                    config.apiserver_args,
                ),
                config=served.config,
                audit=served.audit,
                advertised=config.network.gateway or hosts[0],
                client_ca=secrets.ca_pem,
                nearby_servers=self._nearby_servers,
            ),
            store=StillStore(store, clock) if isinstance(clock, VirtualClock) else store,
            scheme=Scheme(),
            clock=clock,
            tls=secrets.server_tls,
        )
        self._turner = Turner(clock, turned)
        self.api.paths.add(CLOCK_PATH, self._turner)

    def certificate(self, request: bytes, *, usages: Sequence[str], seconds: int | None, now: float) -> bytes:
        """Signed by the cluster's CA. Raises ValueError."""
        secrets = self._secrets
        if secrets.ca_key is None:
            raise ValueError("this cluster has no authority for certificates")
        issuer = Issuer(secrets.ca_pem, secrets.ca_key)
        earliest = outside(self.clock).now()  # who uses it may live in real time
        return issuer.issue(request, usages=usages, seconds=seconds, now=now, earliest=earliest)

    def token(self, account: Object, secret: Object) -> str:
        """For a Secret that holds the token of a service account."""
        return legacy_token(self._keys, account, secret)

    def transport_for(self, user: User, *, keeps: bool = True) -> Transport:
        """`keeps`: whether who uses it keeps what it reads, so that the caches may, too."""
        return self.api.transport_for(user, keeps=keeps)

    def controller_transport(self, name: str) -> Transport:
        """Each controller is a service account of its own, with upstream's role for it."""
        if name == MANAGER.name.removeprefix("system:"):
            return self.transport_for(MANAGER)
        return self.transport_for(User(f"system:serviceaccount:kube-system:{name}", SERVICE_ACCOUNTS))

    @asynccontextmanager
    async def running(self, report: Report = lambda step, text: None) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(running(self.api))
            await stack.enter_async_context(running(self._turner))
            report("api", f"API server on https://{self.config.address}:{self.api.port}")
            # What is really served: the garbage collector follows every resource of the index.
            self.index = await discover(self.transport_for(ADMIN))
            keeper = IndexKeeper(self.index, self.transport_for(ADMIN), self.clock)
            self.api.registry.listeners.append(keeper.changed)
            services = list(self._services())
            if services:
                services.insert(0, keeper)
                await stack.enter_async_context(running_together(*services))
                report("control", " and ".join(s.name for s in services))
            yield

    def _services(self) -> Sequence[Service]:
        wanted: list[Any] = []
        if "controllers" in self.config.components:
            controllers = self._alone("controllers", MANAGER, self._controllers, CONTROLLERS_OFFICE)
            self.api.metrics.add(figures.queues(lambda: controllers.current))
            wanted.append(controllers)
            self.api.components.here["controller-manager"] = _runs
            wanted.append(self._metrics_server())
        if "scheduler" in self.config.components:
            self.api.metrics.add(scheduling(lambda: self._made_scheduler))
            wanted.append(self._alone("scheduler", SCHEDULER, self._late_scheduler, self._scheduler_office()))
            self.api.components.here["scheduler"] = _runs
        return wanted

    def _controllers(self) -> Controllers:
        return Controllers(
            roster.all_of(self.config, self._secrets.ca_pem),
            transport_for=self.controller_transport,
            index=self.index,
            clock=self.clock,
            authority=self,
        )

    def _late_scheduler(self) -> Service:
        if self.config.scheduler_config:
            return self._scheduler()  # what is wrong with the file shall be known at once
        return WhenNeeded(
            "scheduler",
            self._scheduler,
            self.transport_for(SCHEDULER, keeps=False),
            pods=self.index.resource("pods"),
            nodes=self.index.resource("nodes"),
            clock=outside(self.clock),
        )

    def _scheduler(self) -> Service:
        from timonel.scheduler.configuration import load
        from timonel.scheduler.shell import Scheduler  # NumPy is paid for only where pods are scheduled

        file = self.config.scheduler_config
        made = self._made_scheduler = Scheduler(
            self.transport_for(SCHEDULER),
            index=self.index,
            clock=self.clock,
            configuration=load(Path(file)) if file else None,
        )
        return made

    def _metrics_server(self) -> Service:
        user = User("system:serviceaccount:kube-system:metrics-server", SERVICE_ACCOUNTS)
        server = MetricsServer(self.transport_for(user, keeps=False), self.index, self.clock)
        self._nearby_servers[METRICS] = server.connect
        return server

    def _scheduler_office(self) -> tuple[Key, Terms] | None:
        """The Lease that its configuration wants; None where it wants no election."""
        office = Key("kube-system", "kube-scheduler"), Terms()
        if self.config.store != "etcd" or not self.config.scheduler_config:
            return office
        from timonel.scheduler.configuration import load

        wanted = load(Path(self.config.scheduler_config)).election
        if not wanted.wanted:
            return None
        return Key(wanted.namespace, wanted.name), Terms(wanted.duration, wanted.deadline, wanted.retry)

    def _alone(
        self, name: str, user: User, make: Callable[[], S], office: tuple[Key, Terms] | None
    ) -> Elected[S]:
        """As long as nobody else may have the same store, there is nobody to hold an election with."""
        if self.config.store != "etcd" or office is None:
            return Elected(name, make)
        lease, terms = office
        transport = self.transport_for(user)
        component = user.name.removeprefix("system:")
        recorder = EventRecorder(transport, self.clock, ELECTED.get(component, component))
        election = LeaderElection(
            transport,
            self.clock,
            lease=lease,
            identity=f"{self.config.name}_{uuid.uuid4()}",
            terms=terms,
            told=lambda about, what: recorder.record(about, "Normal", "LeaderElection", what),
        )
        return Elected(name, make, election, recorder)


def _runs() -> str:
    """What a component of this process has to say while it answers: if it fails, so does the whole process."""
    return ""


def _auth(secrets: Secrets) -> AuthSettings:
    """Proxies with a certificate of their own CA are believed, as kubeadm sets it up."""
    if not secrets.front_proxy_ca_pem:
        return AuthSettings()
    return AuthSettings(
        client_ca=secrets.ca_pem,
        front_proxy_ca=secrets.front_proxy_ca_pem,
        header_names=HeaderNames(allowed=("front-proxy-client",)),
    )


def _keys(pem: bytes) -> jwt.Keys:
    """Those of the file; new ones for a cluster that does not outlive its process."""
    return jwt.Keys(jwt.load_private_key(pem) if pem else jwt.new_key())


def why_not_ready(node: Object | None, since: float) -> str:
    """What is wrong with a node that should have said since then that it is ready; empty where nothing is."""
    from timonel.node.simulation import machines  # here: a control plane alone does without

    if node is None:
        return "it has not registered with the API server yet"
    if machines.is_stopped(node):
        return SWITCHED_OFF
    conditions = node.get("status", {}).get("conditions") or ()
    ready = next((c for c in conditions if c["type"] == "Ready"), None)
    if ready is None:
        return "it has not told its state yet"
    if ready["status"] != "True":
        return str(ready.get("message") or ready.get("reason") or "it does not say why")
    if (parse_time(ready.get("lastHeartbeatTime")) or 0.0) < int(since):  # times of objects are whole seconds
        return "it has not told its state since the cluster was started"
    return ""


async def follow_nodes(cluster: Cluster, since: Mapping[str, float]) -> AsyncIterator[dict[str, str]]:
    """What is wrong with each node by its name: of all of them now, and then of each one that has changed."""
    transport, nodes = cluster.transport_for(ADMIN), cluster.index.resource("nodes")
    while True:
        page = await transport.list(nodes)
        found = {n["metadata"]["name"]: n for n in page.items}
        yield {name: why_not_ready(found.get(name), after) for name, after in since.items()}
        async for event in transport.watch(nodes, resource_version=page.resource_version):
            name = event.object["metadata"]["name"]
            if event.type in ("ADDED", "MODIFIED") and name in since:
                yield {name: why_not_ready(event.object, since[name])}


async def for_ever() -> None:
    await asyncio.Event().wait()
