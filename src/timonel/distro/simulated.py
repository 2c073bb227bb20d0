"""Nodes without containers, in the server's own process.

A few nodes have the real agent each, over a simulated runtime; more than that, and all that are added later, live by
one engine (`node.simulation`). The API server reaches both through pairs of sockets, so that no node takes a port. One
provisioner stands in for those of all agents.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
from collections.abc import Callable, Container, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from timonel.aio.lifecycle import Service, running_together
from timonel.client.events import EventRecorder
from timonel.client.transport import Transport
from timonel.controllers import ttl
from timonel.distro.cluster import SERVICE_ACCOUNTS, Cluster
from timonel.distro.config import ClusterConfig, ConfigError
from timonel.distro.nodes import node_name
from timonel.node.cri.simulated import SimulatedRuntime
from timonel.node.localpath import LocalPathProvisioner
from timonel.node.nearby import NearbyServer
from timonel.node.shell import NodeAgent, NodeConfig
from timonel.node.simulation import machines
from timonel.node.simulation.api import NodeDoor
from timonel.node.simulation.engine import NodeSimulator
from timonel.node.switch import SwitchedNode
from timonel.objects.meta import Object
from timonel.server.request import User

if TYPE_CHECKING:
    from timonel.node.simulation.stages import Stages

PROVISIONER = "local-path-provisioner"
SIMULATOR = "node-simulator"
FEW = 3  # nodes that have an agent each


def has_agents(config: ClusterConfig) -> bool:
    """Whether the nodes that belong to the cluster have an agent each."""
    return config.nodes <= FEW and not config.stages


def load_stages(config: ClusterConfig) -> Stages | None:
    """Those of the file that was named. Raises ConfigError."""
    if not config.stages:
        return None
    from timonel.node.simulation.stages import WrongStage, read  # here: most clusters have none

    try:
        return read(Path(config.stages).read_text())
    except OSError as exc:
        raise ConfigError(f"the file of stages cannot be read: {exc}") from exc
    except (WrongStage, UnicodeDecodeError) as exc:
        raise ConfigError(f"{config.stages} cannot be used: {exc}", "See docs/guide/simulation.md") from exc


class Simulation:
    """The engine and the door to its nodes. `make` are nodes that must exist before it is ready; `through` may put
    something between it and the cluster, and `agents` are nodes that have one each."""

    name = "simulated nodes"

    def __init__(
        self,
        cluster: Cluster,
        *,
        make: Iterable[Object] = (),
        stages: Stages | None = None,
        through: Callable[[Transport], Transport] = lambda transport: transport,
        agents: Container[str] = (),
    ) -> None:
        user = User(f"system:serviceaccount:kube-system:{SIMULATOR}", SERVICE_ACCOUNTS)
        transport = through(cluster.transport_for(user, keeps=False))
        self.engine = NodeSimulator(transport, cluster.clock, make=make, stages=stages, not_ours=agents)
        self._door = NodeDoor(self.engine, cluster.clock)
        self._storage = SimulatedStorage(cluster, self.engine.nodes)
        self._nearby = cluster.nearby_nodes
        self.engine.listeners.append(self._changed)

    def _changed(self, node: str, is_here: bool) -> None:
        if is_here:
            self._nearby[node] = partial(self._door.connect, node)
        else:
            self._nearby.pop(node, None)

    async def run(self, ready: asyncio.Event) -> None:
        async with running_together(self._door, self.engine, self._storage):
            ready.set()
            await asyncio.Event().wait()


def first_nodes(config: ClusterConfig) -> list[Object]:
    """With what controllers would otherwise write into each of them in the next seconds."""
    ranges = ipaddress.ip_network(config.cluster_cidr).subnets(new_prefix=24)
    seconds = str(ttl.wanted(config.nodes, None))
    found = []
    for number in range(1, config.nodes + 1):
        node = machines.new_node(node_name(config, number), machines.Size(), {})
        node["metadata"]["annotations"][ttl.ANNOTATION] = seconds
        pods = next(ranges, None)
        found.append(machines.with_range(node, str(pods)) if pods is not None else node)
    return found


def simulated_nodes(cluster: Cluster, numbers: Sequence[int]) -> list[Service]:
    """Nodes with an agent each, and what they share."""
    names = [node_name(cluster.config, number) for number in numbers]
    return [
        SimulatedStorage(cluster, frozenset(names)),
        *(simulated_node(cluster, number) for number in numbers),
    ]


def simulated_node(cluster: Cluster, number: int) -> SwitchedNode:
    config = cluster.config
    name = node_name(config, number)
    ranges = ipaddress.ip_network(config.cluster_cidr).subnets(new_prefix=24)
    pods = next(itertools.islice(ranges, number - 1, None))
    user = User(f"system:node:{name}", ("system:nodes", "system:authenticated"))
    nearby = NearbyServer()
    cluster.nearby_nodes[name] = nearby.connect
    settings = NodeConfig(
        name=name,
        ip=str(ipaddress.ip_address("192.168.0.1") + number),
        directory=Path("/nonexistent"),
        pod_cidr=str(pods),
        cluster_dns=(config.dns_address,),
        cluster_domain=config.cluster_domain,
        is_simulated=True,
        machine=machines.machine(name),
    )
    transport, clock = cluster.transport_for(user), cluster.clock
    runtime = SimulatedRuntime(clock, str(pods))
    return SwitchedNode(
        name, transport, clock, lambda: NodeAgent(settings, transport, runtime, clock, nearby=nearby)
    )


class SimulatedStorage:
    """Volumes of claims that were scheduled to `nodes`, whichever these are by then; nothing is made on the disk."""

    name = "simulated storage"

    def __init__(self, cluster: Cluster, nodes: Container[str]) -> None:
        user = User(f"system:serviceaccount:kube-system:{PROVISIONER}", SERVICE_ACCOUNTS)
        transport = cluster.transport_for(user)
        self._recorder = EventRecorder(transport, cluster.clock, PROVISIONER)
        self._provisioner = LocalPathProvisioner(
            transport, cluster.clock, self._recorder, nodes, Path("/simulated"), on_disk=False
        )

    async def run(self, ready: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._recorder.run(asyncio.Event()), name=self._recorder.name)
            group.create_task(self._provisioner.run(), name="local-path provisioner")
            ready.set()
