"""Nodes without containers, in the server's own process: the real agent over a simulated runtime."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from timonel.distro.cluster import Cluster
from timonel.distro.nodes import node_name
from timonel.node.cri.simulated import SimulatedRuntime
from timonel.node.nodestatus import Machine
from timonel.node.shell import NodeAgent, NodeConfig
from timonel.server.request import User

GIB = 1 << 30


def simulated_node(cluster: Cluster, number: int) -> NodeAgent:
    config = cluster.config
    name = node_name(config, number)
    pods = list(ipaddress.ip_network(config.cluster_cidr).subnets(new_prefix=24))[number - 1]
    user = User(f"system:node:{name}", ("system:nodes", "system:authenticated"))
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
    )


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
