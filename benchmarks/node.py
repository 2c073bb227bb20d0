"""What the node's agent adds to the runtime's own time: pods, streams, logs, restarts; beside bare CRI calls.

The bare calls go to the same containerd, of the node that is measured, and make sandboxes that the agent has nothing to
do with. What follows is in the order in which a node gets fuller.
"""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import statistics
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from benchmarks.clusters import Running, busy_seconds, fresh, idle_wait, resident, with_children
from benchmarks.containers import IMAGE, import_image, pod
from benchmarks.figure import Benchmark, Figure
from benchmarks.startup import no_containers
from timonel.aio.clock import SystemClock
from timonel.client.rest import Client
from timonel.node.cri.containerd import Containerd
from timonel.node.cri.runtime import ContainerConfig, SandboxConfig, Streams
from timonel.objects.meta import Key, Object

ROUNDS = 10
AT_ONCE = 20
MANY = 100
GRACE = 2  # seconds; a kubelet never gives less
LOG_BYTES = 100_000_000
NAMESPACE = "default"
PATIENCE = 180.0
WATCHED = 20.0  # seconds of idling


@dataclass(frozen=True, slots=True)
class Node:
    """One node with real containers, its API and its runtime."""

    cluster: Running
    client: Client
    runtime: Containerd

    @property
    def folder(self) -> Any:
        return next((self.cluster.root / "nodes").iterdir())

    @property
    def agent(self) -> int:
        """The process that serves the node's HTTPS."""
        known = with_children(int((self.folder / "agent.pid").read_text().split()[0]))
        return next(pid for pid in known if b"python" in Path(f"/proc/{pid}/cmdline").read_bytes())


@asynccontextmanager
async def node_of(cluster: Running) -> AsyncIterator[Node]:
    client, transport = cluster.client()
    folder = next((cluster.root / "nodes").iterdir())
    runtime = Containerd(str(folder / "containerd" / "c.sock"), SystemClock())
    try:
        yield Node(cluster, client, runtime)
    finally:
        await runtime.close()
        await transport.close()


async def bare(node: Node, name: str) -> str:
    """Seconds are the caller's to take; the sandbox."""
    sandbox = SandboxConfig(
        name=name,
        uid=str(uuid.uuid4()),
        namespace="bare",
        attempt=0,
        hostname=name,
        log_directory=str(node.folder / "logs"),
        cgroup_parent="/bare",
    )
    made = await node.runtime.run_sandbox(sandbox)
    config = ContainerConfig(name="main", attempt=0, image=IMAGE, log_path=f"{name}.log")
    await node.runtime.start_container(await node.runtime.create_container(made, config, sandbox))
    return made


async def bare_at_once(node: Node, count: int) -> tuple[float, list[str]]:
    started = time.perf_counter()
    made = await asyncio.gather(*(bare(node, f"bare-{number}") for number in range(count)))
    return time.perf_counter() - started, list(made)


async def remove(node: Node, sandboxes: Sequence[str]) -> None:
    for sandbox in sandboxes:
        await node.runtime.stop_sandbox(sandbox)
        await node.runtime.remove_sandbox(sandbox)


async def until_all(client: Client, version: str, done: Callable[[str, Object], bool], count: int) -> None:
    """Until `count` different pods have been seen in a state."""
    seen: set[str] = set()
    async with asyncio.timeout(PATIENCE):
        async for event in client.watch("pods", NAMESPACE, resource_version=version):
            if done(event.type, event.object):
                seen.add(event.object["metadata"]["name"])
                if len(seen) == count:
                    return
    raise ConnectionResetError("the watch ended")


def is_running(kind: str, obj: Object) -> bool:
    return (obj.get("status") or {}).get("phase") == "Running"


def is_gone(kind: str, obj: Object) -> bool:
    return kind == "DELETED"


async def ours(node: Node, names: Sequence[str], **spec: Any) -> float:
    """Create pods; the seconds until the last one runs."""
    started = time.perf_counter()
    made = await asyncio.gather(*(node.client.create("pods", _with(pod(name), spec)) for name in names))
    first = min((m["metadata"]["resourceVersion"] for m in made), key=int)
    await until_all(node.client, str(int(first) - 1), is_running, len(names))
    return time.perf_counter() - started


def _with(obj: Object, spec: dict[str, Any]) -> Object:
    obj["spec"] |= spec
    return obj


async def delete(node: Node, names: Sequence[str]) -> float:
    listed = await node.client.list("pods", NAMESPACE)
    started = time.perf_counter()
    await asyncio.gather(*(node.client.delete("pods", Key(NAMESPACE, name)) for name in names))
    await until_all(node.client, listed.resource_version, is_gone, len(names))
    return time.perf_counter() - started


# ---- the rows


async def one_by_one(node: Node) -> Sequence[Figure]:
    mine, runtime, gone = [], [], []
    for number in range(ROUNDS + 1):
        name = f"one-{number}"
        mine.append(await ours(node, [name], terminationGracePeriodSeconds=GRACE))
        gone.append(await delete(node, [name]) - GRACE)
        took, made = await bare_at_once(node, 1)
        runtime.append(took)
        await remove(node, made)
    ratio = statistics.median(mine[1:]) / statistics.median(runtime[1:])
    note = f"{statistics.median(mine[1:]) * 1e3:.0f} and {statistics.median(runtime[1:]) * 1e3:.0f} ms"
    return [
        Figure("pod to Running, one at a time, over bare CRI", 1.5, "x", ratio, note),
        Figure(
            "kill to gone, beyond the grace period",
            0.5,
            "s",
            statistics.median(gone),
            f"worst {max(gone):.2f}",
        ),
    ]


async def twenty(node: Node) -> Sequence[Figure]:
    names = [f"many-{number}" for number in range(AT_ONCE)]
    mine, runtime = [], []
    for _ in range(2):
        mine.append(await ours(node, names))
        await delete(node, names)
        took, made = await bare_at_once(node, AT_ONCE)
        runtime.append(took)
        await remove(node, made)
    note = f"{min(mine):.2f} and {min(runtime):.2f} s"
    return [
        Figure(f"{AT_ONCE} pods at once to Running, over bare CRI", 1.5, "x", min(mine) / min(runtime), note)
    ]


async def exec_round_trip(node: Node) -> Sequence[Figure]:
    """A command that does nothing, by WebSocket: through API server and agent, and straight to the runtime."""
    await ours(node, ["busy"])
    containers = await node.runtime.list_containers({"io.kubernetes.pod.name": "busy"})
    port, tls = node.cluster.port, node.cluster.tls
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/busy/exec?command=/bin/true&stdout=true&stderr=true"
    mine, runtime = [], []
    for _ in range(ROUNDS + 1):
        mine.append(await websocket("127.0.0.1", port, path, tls))
        url = await node.runtime.exec_url(containers[0].id, ["/bin/true"], Streams())
        target = urlsplit(url)
        began = time.perf_counter()
        again = await node.runtime.exec_url(containers[0].id, ["/bin/true"], Streams())
        asked = time.perf_counter() - began
        del again
        assert target.hostname is not None
        assert target.port is not None
        runtime.append(asked + await websocket(target.hostname, target.port, target.path, None))
    await delete(node, ["busy"])
    note = f"{statistics.median(mine[1:]) * 1e3:.0f} and {statistics.median(runtime[1:]) * 1e3:.0f} ms"
    ratio = statistics.median(mine[1:]) / statistics.median(runtime[1:])
    return [Figure("exec round trip, over the runtime's own", 1.5, "x", ratio, note)]


async def websocket(host: str, port: int, path: str, tls: ssl.SSLContext | None) -> float:
    """Seconds until the far side has closed; new connections, as kubectl's are."""
    started = time.perf_counter()
    reader, writer = await asyncio.open_connection(host, port, ssl=tls)
    lines = [
        f"GET {quote(path, safe='/?&=%')} HTTP/1.1",
        f"Host: {host}:{port}",
        "Authorization: Bearer benchmark-token",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Protocol: v4.channel.k8s.io",
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 101 " not in head.partition(b"\r\n")[0]:
        raise ConnectionRefusedError(head.decode(errors="replace"))
    while True:  # frames of a server: 2 bytes of head and as much as they say; none is long here
        try:
            frame = await reader.readexactly(2)
        except asyncio.IncompleteReadError:
            break
        if frame[0] & 0x0F == 8:  # it says goodbye
            break
        size = frame[1] & 0x7F
        if size == 126:
            size = int.from_bytes(await reader.readexactly(2))
        await reader.readexactly(size)
    writer.close()
    return time.perf_counter() - started


async def logs(node: Node) -> Sequence[Figure]:
    script = f"busybox yes {'x' * 99} | busybox head -c {LOG_BYTES}; busybox sleep 3600"
    command = ["/bin/busybox", "sh", "-c", script]
    container = {"name": "main", "image": IMAGE, "imagePullPolicy": "Never", "command": command}
    started = time.perf_counter()
    await ours(node, ["loud"], containers=[container])
    files = list((node.folder / "logs").glob("*_loud_*/main/0.log"))
    async with asyncio.timeout(PATIENCE):
        while files[0].stat().st_size < LOG_BYTES * 1.4:  # noqa: ASYNC110  # with times; files tell nobody
            await asyncio.sleep(0.05)
    written = LOG_BYTES / (time.perf_counter() - started) / 1e6
    started = time.perf_counter()
    command_line = ["kubectl", "logs", "-f", "loud"]
    environment = {**os.environ, "KUBECONFIG": str(node.cluster.kubeconfig)}
    process = await asyncio.create_subprocess_exec(
        *command_line, stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    got = 0
    async with asyncio.timeout(PATIENCE):
        while got < LOG_BYTES and (data := await process.stdout.read(1 << 20)):
            got += len(data)
    seconds = time.perf_counter() - started
    process.terminate()
    await process.wait()
    await delete(node, ["loud"])
    note = f"{got / 1e6:.0f} MB that are there; the runtime had written them with {written:.0f} MB/s"
    return [Figure("kubectl logs -f", 50, "MB/s", got / seconds / 1e6, note, more_is_better=True)]


async def a_hundred(node: Node) -> Sequence[Figure]:
    took, made = await bare_at_once(node, MANY)
    await remove(node, made)
    names = [f"full-{number:03}" for number in range(MANY)]
    mine = await ours(node, names)
    await asyncio.sleep(12)
    agent = node.agent
    memory = resident(agent)
    before = busy_seconds(agent)
    await asyncio.sleep(WATCHED)
    share = 100 * (busy_seconds(agent) - before) / WATCHED
    restart, restarted = await restart_of_the_agent(node, names)
    await delete(node, names)
    return [
        Figure(f"start of {MANY} pods, over bare CRI", 1.3, "x", mine / took, f"{mine:.1f} and {took:.1f} s"),
        Figure(f"memory of the agent with {MANY} pods", 80, "MB", memory),
        Figure(f"processor of the agent with {MANY} idle pods, of one core", 1, "%", share),
        Figure("agent killed, back in charge", 2, "s", restart, f"{restarted} containers restarted"),
    ]


async def restart_of_the_agent(node: Node, names: Sequence[str]) -> tuple[float, int]:
    """Until a pod that is deleted at once is gone: then it knows what runs here."""
    before = {c.id for c in await node.runtime.list_containers() if c.labels.get("io.kubernetes.pod.name")}
    victim = "canary"
    await ours(node, [victim], terminationGracePeriodSeconds=GRACE)
    listed = await node.client.list("pods", NAMESPACE)
    os.kill(node.agent, signal.SIGKILL)
    started = time.perf_counter()
    await node.client.delete("pods", Key(NAMESPACE, victim))
    await until_all(node.client, listed.resource_version, lambda k, o: k == "DELETED", 1)
    seconds = time.perf_counter() - started - GRACE
    after = {c.id for c in await node.runtime.list_containers() if c.labels.get("io.kubernetes.pod.name")}
    return seconds, len(before - after)


ROWS: dict[str, Callable[[Node], Awaitable[Sequence[Figure]]]] = {
    "one": one_by_one,
    "twenty": twenty,
    "exec": exec_round_trip,
    "logs": logs,
    "hundred": a_hundred,
}


def measure(rows: Sequence[str] = tuple(ROWS)) -> Sequence[Figure]:
    async def work(cluster: Running) -> list[Figure]:
        async with node_of(cluster) as node:
            return [figure for row in rows for figure in await ROWS[row](node)]

    with fresh(runtime="containerd", options=("--kubelet-arg", "max-pods=150")) as cluster:
        import_image(cluster)
        idle_wait(2.0)
        return asyncio.run(work(cluster))


BENCHMARKS = tuple(
    Benchmark(f"node-{row}", lambda row=row: measure((row,)), no_containers)  # type: ignore[misc]
    for row in ROWS
)
