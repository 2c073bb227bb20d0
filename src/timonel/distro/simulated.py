"""Nodes without containers, in the server's own process: the real agent over a simulated runtime.

The API server reaches them through pairs of sockets, so that a node takes no port, and one provisioner stands in for
those of all nodes.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable, Sequence
from pathlib import Path

from timonel.aio.lifecycle import Service
from timonel.client.events import EventRecorder
from timonel.distro.cluster import SERVICE_ACCOUNTS, Cluster
from timonel.distro.nodes import node_name
from timonel.node.cri.simulated import SimulatedRuntime
from timonel.node.localpath import LocalPathProvisioner
from timonel.node.nearby import NearbyServer
from timonel.node.nodestatus import Machine
from timonel.node.shell import NodeAgent, NodeConfig
from timonel.server.request import User

GIB = 1 << 30
PROVISIONER = "local-path-provisioner"


def simulated_nodes(cluster: Cluster, numbers: Sequence[int]) -> list[Service]:
    """The nodes of these numbers, and what they share."""
    names = [node_name(cluster.config, number) for number in numbers]
    return [SimulatedStorage(cluster, names), *(simulated_node(cluster, number) for number in numbers)]


def simulated_node(cluster: Cluster, number: int) -> NodeAgent:
    config = cluster.config
    name = node_name(config, number)
    pods = list(ipaddress.ip_network(config.cluster_cidr).subnets(new_prefix=24))[number - 1]
    user = User(f"system:node:{name}", ("system:nodes", "system:authenticated"))
    nearby = NearbyServer()
    cluster.nearby_nodes[name] = nearby.connect
    return NodeAgent(
        NodeConfig(
            name=name,
            ip=str(ipaddress.ip_address("192.168.0.1") + number),
            directory=Path("/nonexistent"),
            pod_cidr=str(pods),
            cluster_dns=(config.dns_address,),
            cluster_domain=config.cluster_domain,
            is_simulated=True,
            machine=_machine(name),
        ),
        cluster.transport_for(user),
        SimulatedRuntime(cluster.clock, str(pods)),
        cluster.clock,
        nearby=nearby,
    )


class SimulatedStorage:
    """Volumes of claims that were scheduled to `nodes`; nothing is made on the disk."""

    name = "simulated storage"

    def __init__(self, cluster: Cluster, nodes: Iterable[str]) -> None:
        user = User(f"system:serviceaccount:kube-system:{PROVISIONER}", SERVICE_ACCOUNTS)
        transport = cluster.transport_for(user)
        self._recorder = EventRecorder(transport, cluster.clock, PROVISIONER)
        self._provisioner = LocalPathProvisioner(
            transport, cluster.clock, self._recorder, frozenset(nodes), Path("/simulated"), on_disk=False
        )

    async def run(self, ready: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._recorder.run(asyncio.Event()), name=self._recorder.name)
            group.create_task(self._provisioner.run(), name="local-path provisioner")
            ready.set()


def _machine(name: str) -> Machine:
    """A machine of a common size; nothing is measured."""
    return Machine(
        cpus=8,
        memory=32 * GIB,
        memory_available=30 * GIB,
        disk=100 * GIB,
        disk_available=90 * GIB,
        pids=4_194_304,
        pids_used=100,
        machine_id=name,
        system_uuid=name,
        boot_id=name,
        kernel="simulated",
        os_image="Timonel simulated node",
        architecture="amd64",
    )
