"""Real containers: from creating a busybox pod to Running, what an idle node costs, and the whole of scripts/demo."""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.clusters import NAME, Running, cpu_seconds, fresh, idle_wait, timonel, with_children
from benchmarks.figure import Benchmark, Figure
from benchmarks.startup import no_containers
from timonel.client.rest import Client
from timonel.node import oci
from timonel.objects.meta import Key, Object

IMAGE = "localhost/timonel-bench:1"
ROUNDS = 10
SETTLING = 12.0  # seconds after the start in which a new cluster is not idle yet
WATCHED = 30.0  # seconds of idling
ROOT = Path(__file__).parents[1]


def image_archive() -> bytes:
    busybox = shutil.which("busybox")
    if busybox is None:
        raise FileNotFoundError("busybox is not installed: apt-get install busybox-static")
    entries = [
        oci.Entry("bin", "d"),
        oci.Entry("bin/busybox", data=Path(busybox).read_bytes()),
        oci.Entry("bin/sleep", "l", 0o777, b"busybox"),
    ]
    config = {"Cmd": ["/bin/sleep", "3600"], "Env": [oci.PATH_ENV]}
    return oci.archive(oci.layout(IMAGE, [oci.layer(entries)], config))


def pod(name: str) -> Object:
    container = {"name": "main", "image": IMAGE, "imagePullPolicy": "Never"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }


async def seconds_to_running(client: Client, name: str) -> float:
    started = time.perf_counter()
    made = await client.create("pods", pod(name))
    async with asyncio.timeout(30):
        async for event in client.watch(
            "pods", "default", resource_version=made["metadata"]["resourceVersion"]
        ):
            seen = event.object
            if seen["metadata"]["name"] == name and seen.get("status", {}).get("phase") == "Running":
                return time.perf_counter() - started
    raise ConnectionResetError("the watch ended")


async def created(cluster: Running) -> list[float]:
    client, transport = cluster.client()
    try:
        times = []
        for number in range(ROUNDS + 1):
            name = f"box-{number}"
            times.append(await seconds_to_running(client, name))
            await client.delete("pods", Key("default", name))
            await asyncio.sleep(0.5)
        return times[1:]
    finally:
        await transport.close()


def import_image(cluster: Running) -> None:
    file = cluster.data_dir / "image.tar"
    file.write_bytes(image_archive())
    timonel("image", "import", "--name", NAME, "--data-dir", str(cluster.data_dir), str(file))


def busybox() -> Sequence[Figure]:
    with fresh(runtime="containerd") as cluster:
        import_image(cluster)
        idle_wait(2.0)
        times = asyncio.run(created(cluster))
    note = f"median of {ROUNDS}; best {min(times) * 1e3:.0f}, worst {max(times) * 1e3:.0f}"
    return [Figure("busybox pod, create to Running", 350, "ms", statistics.median(times) * 1e3, note)]


def idle() -> Sequence[Figure]:
    """With containers where they can run: server, agent, proxy, DNS and containerd together."""
    real = not no_containers()
    with fresh(runtime="containerd" if real else "simulated") as cluster:
        idle_wait(SETTLING)
        roots = [cluster.server, *(int(f.read_text().split()[0]) for f in cluster.root.glob("nodes/*/*.pid"))]
        pids = sorted({pid for root in roots for pid in with_children(root)})
        before = cpu_seconds(pids)
        idle_wait(WATCHED)
        used = cpu_seconds(pids) - before
    share = 100 * used / WATCHED / (os.cpu_count() or 1)
    note = f"{len(pids)} processes over {WATCHED:.0f} s" + ("" if real else ", simulated node")
    return [Figure("idle CPU of one node, of the machine", 0.2, "%", share, note)]


def demo() -> Sequence[Figure]:
    name = "bench-demo"
    environment = {**os.environ, "TIMONEL_DEMO": name}
    started = time.perf_counter()
    try:
        subprocess.run(
            ["scripts/demo"], cwd=ROOT, env=environment, check=True, timeout=90, capture_output=True
        )
        seconds = time.perf_counter() - started
    finally:
        subprocess.run(
            ["scripts/demo", "--down"],
            cwd=ROOT,
            env=environment,
            check=False,
            timeout=60,
            capture_output=True,
        )
    return [Figure("scripts/demo on a prepared machine", 30, "s", seconds)]


BENCHMARKS = (
    Benchmark("pod", busybox, no_containers),
    Benchmark("idle", idle),
    Benchmark("demo", demo),
)
