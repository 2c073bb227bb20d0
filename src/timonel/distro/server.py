"""The composition root of a server process: files and sockets around a `Cluster`, and this machine's nodes.

    store -> API server -> objects that must exist -> controllers, scheduler -> nodes (boxes, or simulated)

What happens is told on `report`, one step after the other, so that whoever started the process can show it.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import ssl
from collections.abc import Callable, Collection, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from timonel.aio.clock import Clock, SystemClock, VirtualClock, outside, wait_until
from timonel.aio.lifecycle import running, running_together
from timonel.distro import addons, box, collector, encryption, kubeconfigs, pki
from timonel.distro.clockfile import ClockFile
from timonel.distro.cluster import ADMIN, SWITCHED_OFF, Cluster, Secrets, follow_nodes, for_ever
from timonel.distro.config import ClusterConfig, Paths, write_private
from timonel.distro.nodes import BoxedNode, node_name
from timonel.distro.servertls import ServerTls
from timonel.distro.stores import open_store, root_of
from timonel.server.atrest import Vault

MOST_NAMED = 5  # nodes that are told of one by one
NODE_WAIT = 40.0  # seconds until a cluster counts as started although its nodes are not ready

Report = Callable[[dict[str, Any]], None]


async def run_server(config: ClusterConfig, paths: Paths, report: Report) -> None:
    """Serve until cancelled."""
    real = SystemClock()
    if config.clock != "virtual":
        await _run(config, paths, report, real, None)
        return
    with ClockFile(paths.clock, float(int(real.now())), real) as file:
        await _run(config, paths, report, real, file)


async def _run(
    config: ClusterConfig, paths: Paths, report: Report, real: Clock, file: ClockFile | None
) -> None:
    """`file` keeps the time of a virtual clock."""
    authorities = functools.partial(
        pki.Authority,
        paths.pki,
        now=real.now() if file is None else min(real.now(), file.now),
        unending=file is not None,
    )
    authority = authorities()
    hosts = _hosts(config)
    secrets = _secrets(config, paths, authority, authorities(name="front-proxy-ca"), hosts)
    if config.network.gateway:  # the bridge first: the server listens on it
        await asyncio.to_thread(box.make_network, config)
    store = await open_store(config, paths, real)
    try:
        async with AsyncExitStack() as stack:
            clock = real if file is None else VirtualClock(file.now, outside=real, moved=file.moved)
            started = clock.now()
            cluster = Cluster(
                config,
                secrets=secrets,
                store=store,
                clock=clock,
                hosts=hosts,
                turned=lambda now: file.flush() if file is not None else None,
            )
            await stack.enter_async_context(cluster.running(lambda step, text: report(_done(step, text))))
            _write_kubeconfig(config, paths, authority)
            await addons.install(cluster)
            if "node" in config.components:
                boxed, alive = await _start_nodes(stack, config, paths, authority, cluster)
                await tell_of_nodes(cluster, boxed, report, started=started, alive=alive)
            collector.settle()
            report({"event": "ready"})
            await for_ever()
    finally:
        await store.close()


def _done(step: str, text: str) -> dict[str, Any]:
    return {"event": "done", "step": step, "text": text}


def _hosts(config: ClusterConfig) -> tuple[str, ...]:
    """Where the API server listens: for people on this machine, and on the bridge for the nodes in boxes."""
    return tuple(filter(None, dict.fromkeys((config.address, config.network.gateway))))


def _secrets(
    config: ClusterConfig,
    paths: Paths,
    authority: pki.Authority,
    proxies: pki.Authority,
    hosts: tuple[str, ...],
) -> Secrets:
    names = (
        *hosts, "127.0.0.1", "localhost", config.service_address, "kubernetes", "kubernetes.default",
        "kubernetes.default.svc", f"kubernetes.default.svc.{config.cluster_domain}",
    )  # fmt: skip
    serving = authority.server("server", user="kube-apiserver", hosts=tuple(dict.fromkeys(names)))
    proxy = proxies.client("front-proxy-client", user="front-proxy-client")
    tls = ServerTls(serving, authority.pem + proxies.pem)
    # Agents let it in by its name. In no group: who can turn a proxy's request to another server gets nothing there.
    to_nodes = authority.client("apiserver-kubelet-client", user="kube-apiserver-kubelet-client")
    return Secrets(
        ca_pem=authority.pem,
        signing_key_pem=pki.signing_key(paths.pki).read_bytes(),
        vault=Vault(
            encryption.load(config, paths),
            root=root_of(config.etcd),
            reread=lambda: encryption.reread(config, paths),
        ),
        ca_key=authority.key,
        front_proxy_ca_pem=proxies.pem,
        proxy_identity=lambda context: context.load_cert_chain(proxy.certificate, proxy.key),
        server_tls=tls.context,
        trust=tls.trust,
        node_client_tls=_client_context(to_nodes, authority.certificate_file),
        tokens={config.token: ADMIN} if config.token else {},
    )


def _client_context(files: pki.Files, ca: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca))
    context.load_cert_chain(files.certificate, files.key)
    return context


def _write_kubeconfig(config: ClusterConfig, paths: Paths, authority: pki.Authority) -> None:
    admin = authority.client("admin", user=ADMIN.name, groups=["system:masters"])
    text = kubeconfigs.render(
        cluster=config.name,
        server=f"https://{config.address}:{config.port}",
        ca_pem=authority.pem,
        user=ADMIN.name,
        files=admin,
    )
    if not paths.kubeconfig.exists() or paths.kubeconfig.read_text() != text:
        write_private(paths.kubeconfig, text.encode())


async def _start_nodes(
    stack: AsyncExitStack, config: ClusterConfig, paths: Paths, authority: pki.Authority, cluster: Cluster
) -> tuple[Sequence[BoxedNode], Collection[str]]:
    """Those that have a box and an agent of their own, and the names of those that the engine has taken up."""
    from timonel.distro import simulated

    numbers = range(1, config.nodes + 1)
    stages = simulated.load_stages(config)
    is_simulated = config.runtime == "simulated"
    by_engine = is_simulated and not simulated.has_agents(config)
    make = simulated.first_nodes(config) if by_engine else ()
    agents = () if by_engine else frozenset(node_name(config, number) for number in numbers)
    simulation = simulated.Simulation(cluster, make=make, stages=stages, agents=agents)
    if is_simulated and not by_engine:
        await stack.enter_async_context(running_together(*simulated.simulated_nodes(cluster, numbers)))
    await stack.enter_async_context(running(simulation))
    if is_simulated:
        return (), simulation.engine.nodes
    nodes = [
        BoxedNode(config=config, paths=paths, number=number, authority=authority, clock=cluster.clock)
        for number in numbers
    ]
    for node in nodes:
        await stack.enter_async_context(running(node))
    return nodes, ()


async def tell_of_nodes(
    cluster: Cluster,
    boxed: Sequence[BoxedNode],
    report: Report,
    *,
    started: float,
    alive: Collection[str] = (),
) -> None:
    """Wait for the nodes, but not for ever, nor for one that keeps failing or is switched off: a cluster is of use
    without them too. Those that are `alive` live in this process, and need not say so again."""
    config, settled = cluster.config, asyncio.Event()
    by_name = {node.node: node for node in boxed}
    since = {node_name(config, number): started for number in range(1, config.nodes + 1)}
    since |= {node.node: 0.0 for node in boxed if node.found_running}  # it has no reason to say so again
    since |= dict.fromkeys(since.keys() & set(alive), 0.0)
    problems: dict[str, str] = {}

    async def all_ready() -> None:
        waited_for = set(since)
        async for found in follow_nodes(cluster, since):
            problems.update(found)
            for name, why in found.items():
                (waited_for.discard if why in ("", SWITCHED_OFF) else waited_for.add)(name)
            if not waited_for:
                settled.set()

    async def failing(node: BoxedNode) -> None:
        await node.failing.wait()
        settled.set()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(all_ready()), *(group.create_task(failing(node)) for node in boxed)]
        await wait_until(outside(cluster.clock), settled, NODE_WAIT)
        for task in tasks:
            task.cancel()
    wrong = {name: why for name, why in problems.items() if why}
    for name in list(wrong)[:MOST_NAMED]:
        report(_not_ready(name, wrong[name], by_name.get(name)))
    if len(wrong) > MOST_NAMED:
        report(_warning(f"{len(wrong) - MOST_NAMED} more nodes are not ready: see kubectl get nodes"))
    fine = [name for name, why in problems.items() if not why]
    if len(fine) > MOST_NAMED:
        report(_done("node", f"{len(fine)} nodes ({config.runtime})"))
    else:
        for name in fine:
            report(_done("node", f"node {name} ({config.runtime})"))


def _not_ready(name: str, why: str, node: BoxedNode | None) -> dict[str, Any]:
    problem = node.problem if node is not None and node.problem else why
    hint = f"It is tried again and again; its log: {node.log}" if node is not None else ""
    return _warning(f"node {name} is not ready: {problem}", hint)


def _warning(text: str, hint: str = "") -> dict[str, Any]:
    return {"event": "warning", "step": "node", "text": text, "hint": hint}


def report_to(descriptor: int | None) -> Report:
    """Reports as JSON lines on a pipe, or nowhere; whoever listened may have gone."""
    if descriptor is None:
        return lambda event: None

    def report(event: dict[str, Any]) -> None:
        try:
            os.write(descriptor, json.dumps(event).encode() + b"\n")
        except OSError:
            return

    return report
