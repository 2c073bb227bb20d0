"""`timonel node stop|start|partition|heal`: faults of nodes in boxes, to see what the rest does about them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from timonel.aio.clock import SystemClock
from timonel.cli.main import Failure
from timonel.distro import box, launch, nodes, processes
from timonel.distro.commands import options
from timonel.distro.config import ClusterConfig, Paths


def _boxed(data_dir: Path | None, name: str, node: str) -> tuple[Paths, ClusterConfig, box.Box]:
    """What is known of a node that has a box in this cluster."""
    where, config = options.existing(data_dir, name)
    if config.runtime != "containerd" or config.container_runtime_endpoint:
        raise Failure(f"the nodes of cluster {name} have no boxes", "Clusters with --runtime containerd have")
    numbers = {nodes.node_name(config, n): n for n in range(1, config.nodes + 1)}
    if node not in numbers:
        raise Failure(f"there is no node {node!r}", f"Those with a box: {', '.join(numbers)}")
    return where, config, box.plan(config, node, numbers[node])


def _plugged(data_dir: Path | None, name: str, node: str) -> box.Box:
    where, _, found = _boxed(data_dir, name, node)
    if processes.find(where.node(node) / "box.pid") is None:
        raise Failure(f"node {node} does not run", f"Start it: timonel node start {node} --name {name}")
    return found


@click.command()
@click.argument("node")
@options.cluster_options
def stop(node: str, name: str, data_dir: Path | None) -> None:
    """Switch a node off, as by a power failure: all in it ends at once, and it stays off until it is started."""
    where, config, found = _boxed(data_dir, name, node)
    where.off(node).touch()  # first, or the server would start it again
    box.kill(where, node)
    asyncio.run(launch.stop_node(where, config, node, SystemClock(), forget_off=False))
    click.echo(f"Node {found.name} is off.", err=True)


@click.command()
@click.argument("node")
@options.cluster_options
def start(node: str, name: str, data_dir: Path | None) -> None:
    """Switch a node on again."""
    where, _, found = _boxed(data_dir, name, node)
    where.off(node).unlink(missing_ok=True)
    click.echo(f"Node {found.name} is on.", err=True)


@click.command()
@click.argument("node")
@options.cluster_options
def partition(node: str, name: str, data_dir: Path | None) -> None:
    """Pull a node's cable: it lives on, and nobody hears of it."""
    box.plug(_plugged(data_dir, name, node), connected=False)
    click.echo(f"Node {node} is cut off.", err=True)


@click.command()
@click.argument("node")
@options.cluster_options
def heal(node: str, name: str, data_dir: Path | None) -> None:
    """Put a node's cable back."""
    box.plug(_plugged(data_dir, name, node), connected=True)
    click.echo(f"Node {node} is connected.", err=True)
