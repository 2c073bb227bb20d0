"""The composition root of a node: containerd, agent, Service routing, policies, DNS, each with credentials of its own.

Runs inside the node's box (`timonel up`), or straight on a machine that is a node. Everything starts at the same time
and waits for what it needs; cancelling stops it all and leaves the containers running.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from timonel.aio.clock import Clock, SystemClock
from timonel.aio.lifecycle import Service, running_together
from timonel.client.discovery import builtin
from timonel.client.https import Endpoint, HttpsTransport, tls_context
from timonel.client.informer import InformerFactory
from timonel.client.rest import Client
from timonel.distro import host
from timonel.distro.agentconfig import AgentConfig
from timonel.dns.forward import Forwarder, upstreams
from timonel.dns.metrics import MetricsServer
from timonel.dns.publish import Publisher, endpoint_slice
from timonel.dns.records import Zone
from timonel.dns.server import DnsServer
from timonel.dns.settings import Forwarding
from timonel.dns.shell import LiveZone, Settings
from timonel.node import api, flags
from timonel.node.containerd import ContainerdService, Layout
from timonel.node.cri.containerd import Containerd
from timonel.node.measures import Measures
from timonel.node.shell import NodeAgent, NodeConfig
from timonel.objects.meta import Key
from timonel.policy.shell import PolicyAgent
from timonel.proxy.ruleset import Network
from timonel.proxy.shell import Proxy

RESOLV_CONF = Path("/etc/resolv.conf")
DNS_PORT = 53
DNS_METRICS_PORT = 9153
DNS_SERVICE = Key("kube-system", "kube-dns")


async def run_agent(config: AgentConfig) -> None:
    """Serve until cancelled."""
    clock = SystemClock()
    async with (
        _transport(config, "node", clock) as node,
        _transport(config, "storage", clock) as storage,
        _transport(config, "proxy", clock) as for_proxy,
        _transport(config, "dns", clock) as for_dns,
        _transport(config, "policy", clock) as for_policy,
    ):
        transports = (for_proxy, for_dns, for_policy)
        routing, naming, policing = (InformerFactory(t, clock, builtin()) for t in transports)
        measures = Measures(clock.monotonic)
        runtime = Containerd(_socket(config), clock, measures)
        agent = NodeAgent(_node_config(config), node, runtime, clock, storage=storage, measures=measures)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, agent.shut_down)
        naming_server = _dns(config, LiveZone(naming, config.cluster_domain), clock)
        services: list[Service] = [
            agent,
            Proxy(
                informers=routing,
                network=Network(config.proxy_table, config.cluster_cidr),
                node=config.node,
                clock=clock,
            ),
            PolicyAgent(informers=policing, table=config.policy_table, node=config.node, clock=clock),
            naming_server,
            Settings(
                for_dns, builtin(), clock, forwarder=naming_server.forwarder, own=_own_addresses(config)
            ),
            MetricsServer(config.address, DNS_METRICS_PORT, naming_server.metrics),
            _dns_publisher(config, for_dns, clock),
            routing,
            naming,
            policing,
        ]
        if not config.container_runtime_endpoint:
            services.insert(0, ContainerdService(_layout(config), clock))
        async with running_together(*services):
            await asyncio.Event().wait()


@asynccontextmanager
async def _transport(config: AgentConfig, part: str, clock: Clock) -> AsyncIterator[HttpsTransport]:
    certificate, key = config.credentials[part]
    context = tls_context(ca_file=str(config.ca), certificate=str(certificate), key=str(key))
    transport = HttpsTransport(Endpoint(config.server, context=context, user_agent=f"timonel-{part}"), clock)
    try:
        yield transport
    finally:
        await transport.close()


def _node_config(config: AgentConfig) -> NodeConfig:
    certificate, key = config.credentials["serving"]
    plain = NodeConfig(
        name=config.node,
        ip=config.address,
        directory=config.directory,
        pod_cidr=config.pod_cidr,
        cluster_dns=(config.dns_address,),
        cluster_domain=config.cluster_domain,
        server=api.ServerConfig(certificate=certificate, key=key, client_ca=config.ca),
    )
    return replace(plain, **flags.changes(config.kubelet_args))


def _layout(config: AgentConfig) -> Layout:
    return Layout(
        directory=config.directory / "containerd",
        node=config.node,
        ip=config.address,
        pod_cidr=config.pod_cidr,
        cni_bin=str(host.cni_folder() or host.CNI_FOLDERS[0]),
        mirrors=config.mirrors,
    )


def _socket(config: AgentConfig) -> str:
    given = config.container_runtime_endpoint
    return given.removeprefix("unix://") if given else str(_layout(config).socket)


def _dns(config: AgentConfig, zone: LiveZone, clock: Clock) -> DnsServer:
    text = RESOLV_CONF.read_text() if RESOLV_CONF.exists() else ""
    resolvers = upstreams(text, own=_own_addresses(config))

    def current() -> Zone:
        return zone()

    forwarder = Forwarder(Forwarding(resolvers), clock)
    return DnsServer(address=config.address, port=DNS_PORT, zone=current, forwarder=forwarder, clock=clock)


def _own_addresses(config: AgentConfig) -> tuple[str, ...]:
    return config.address, config.dns_address


def _dns_publisher(config: AgentConfig, transport: HttpsTransport, clock: Clock) -> Publisher:
    wanted = endpoint_slice(service=DNS_SERVICE, node=config.node, address=config.address, port=DNS_PORT)
    return Publisher(Client(transport, builtin()), wanted, clock)
