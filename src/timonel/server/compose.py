"""One API server with everything that belongs to it: security, built-in admission, subresources, first objects.

`distro` and the tests start here; whoever wants an API server of other parts puts `app.ApiServer` together by hand.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable, Mapping
from dataclasses import field

from timonel.aio.clock import Clock, outside, upkeep
from timonel.apis.authentication import TOKEN_REQUEST
from timonel.objects.meta import Key
from timonel.records import dataclass
from timonel.server import bootstrap
from timonel.server.admission import dynamic
from timonel.server.admission.figures import Figures
from timonel.server.admission.policies.status import StatusKeeper
from timonel.server.aggregation.aggregator import Aggregator
from timonel.server.app import ApiServer, Config, Extensions, Scheme
from timonel.server.audit.settings import Settings as AuditSettings
from timonel.server.audit.settings import trail
from timonel.server.auth import issuer
from timonel.server.auth.legacy import today
from timonel.server.claims import Claims
from timonel.server.custom.control import Controller
from timonel.server.custom.publish import Publication
from timonel.server.custom.serving import CustomResources
from timonel.server.discovery import by_version
from timonel.server.outbound import Outbound
from timonel.server.peers import Address, Peers
from timonel.server.security import NEEDED, Security
from timonel.server.security import Settings as SecuritySettings
from timonel.server.subresources.nodes import Dial
from timonel.store.base import Store

OBJECT_META = "meta.v1.ObjectMeta"


@dataclass(frozen=True, slots=True)
class Settings:
    security: SecuritySettings
    config: Config = field(default_factory=Config)
    advertised: str = "127.0.0.1"  # where clients inside the cluster reach the server
    advertised_port: int = 0  # 0: the one it listens on
    client_ca: str = ""  # PEM
    audit: AuditSettings = field(default_factory=AuditSettings)
    nearby_servers: Mapping[str, Dial] = field(default_factory=dict)  # in this process, by their APIService


def first_address(cidr: str) -> str:
    """The address of the service `kubernetes`."""
    return str(next(iter(ipaddress.ip_network(cidr).hosts())))


def _claims(store: Store, clock: Clock) -> Callable[[str, Callable[[int, Key], bool]], Claims] | None:
    """Only where other servers could hand out the same number."""
    return (lambda name, has: Claims(store, clock, name, has)) if store.shared else None


def compose(
    settings: Settings, *, store: Store, scheme: Scheme, clock: Clock, tls: ssl.SSLContext | None
) -> ApiServer:
    pace = upkeep(outside(clock), lazy=True)  # of connections and of whoever is not in the cluster
    security = Security(settings.security, clock)
    server = ApiServer(
        config=settings.config,
        store=store,
        scheme=scheme,
        clock=clock,
        authenticator=security.authenticator,
        authorizer=security.authorizer,
        tls=tls,
    )
    server.reader.need(*NEEDED)
    pod = server.registry.by_qualified["pods"].work
    outbound = Outbound(
        server.reader,
        outside(clock),
        kubernetes=lambda: (settings.config.hosts[0], server.port),
        credentials=settings.security.admission_configuration.credentials,
    )
    server.metrics.add(security.authorizer.families)
    recorded = trail(settings.audit, clock, outbound)
    if recorded is not None:
        server.record(recorded)
    figures = Figures()
    server.metrics.add(figures.families)
    attached = security.attach(
        reader=server.reader,
        objects=server.objects,
        pod=pod,
        outbound=outbound,
        claims=_claims(store, clock),
        dynamic=dynamic.plugins(
            server.registry,
            reader=server.reader,
            authorizer=security.authorizer,
            outbound=outbound,
            clock=clock,
            figures=figures,
            forget=lambda: server.core.admission.forget(),
        ),
    )

    policies = StatusKeeper(server.registry, server.reader, server.objects)

    def wanted() -> bootstrap.Settings:
        ranges = settings.security.service_ranges
        return bootstrap.Settings(
            service_address=first_address(ranges[0]),
            service_ranges=ranges,
            address=settings.advertised,
            port=settings.advertised_port or server.port,
            client_ca=attached.access.settings.client_ca or settings.client_ca,
            front_proxy_ca=attached.access.settings.front_proxy_ca,
            header_names=attached.access.settings.header_names,
            now=clock.now(),
            today=today(clock),
        )

    async def first_objects() -> None:
        await bootstrap.ensure(server.objects, server.reader, wanted())

    custom = CustomResources(
        server.registry,
        outbound,
        codec=lambda: scheme.codecs.codec(OBJECT_META),
        node=lambda: scheme.nodes.struct(OBJECT_META),
        builtin=lambda: server.registry.by_qualified["pods"].machinery,
    )
    server.registry.listeners.append(lambda: server.core.admission.forget())
    definitions = Controller(server.core, server.reader, custom)
    custom.attach(server.reader)
    definitions.attach()

    aggregator = Aggregator(
        reader=server.reader,
        objects=server.objects,
        outbound=outbound,
        identify=settings.security.identify,
        clock=pace,
        built_in=lambda: [key for key in by_version(server.registry) if server.registry.is_builtin(key[0])],
        changed=server.registry.changed,
        nearby=settings.nearby_servers,
    )
    keeper = bootstrap.Keeper(server.objects, server.reader, pace, wanted)
    attached.access.changed = keeper.changed
    peers = Peers(server.objects, server.reader, clock) if store.shared else None

    async def among_peers() -> None:
        if peers is not None:
            await peers.run(lambda: Address(wanted().address, wanted().port))

    def keys_uri() -> str:
        where = f"{settings.advertised}:{settings.advertised_port or server.port}"
        return settings.security.jwks_uri or f"https://{where}{issuer.JWKS}"

    server.extend(
        Extensions(
            admission=attached.admission,
            actions=attached.actions,
            bodies=(TOKEN_REQUEST,),
            partials=attached.partials,
            connects=attached.connects,
            paths=issuer.documents(attached.tokens, keys_uri),
            published=lambda builtin: Publication(builtin, custom),
            bootstrap=(first_objects,),
            aggregator=aggregator,
            background=(
                *aggregator.background,
                keeper.run,
                among_peers,
                policies.run,
                outbound.run,
                definitions.run,
                *attached.background,
            ),
        )
    )
    return server
