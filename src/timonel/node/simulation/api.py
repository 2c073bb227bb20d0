"""What the API server asks simulated nodes: logs, figures, pods, health. They have no processes to run commands in.

One server for all of them: a connection says which node it is for, and nothing is kept for a node that nobody asks.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any

from timonel.aio.clock import Clock
from timonel.machinery.errors import NotFound
from timonel.node import figures, httpserver, logs
from timonel.node.cri.runtime import ContainerState, Stats
from timonel.node.cri.simulated import NO_PORT, NO_PROCESS
from timonel.node.http1 import HEAD_LIMIT
from timonel.node.httpserver import Request, Response
from timonel.node.podruntime import container_labels
from timonel.node.references import containers_of
from timonel.node.simulation import life as lives
from timonel.node.simulation.engine import NodeSimulator
from timonel.node.simulation.holdings import Held
from timonel.objects.meta import Object, format_micro_time, parse_time

CORE = 1000  # millicores
_LOGS = re.compile(r"/containerLogs/([^/]+)/([^/]+)/([^/]+)")


class NodeDoor:
    """Where the API server comes in; `connect` is given the node's name."""

    name = "simulated nodes' API"

    def __init__(self, simulator: NodeSimulator, clock: Clock) -> None:
        self._simulator, self._clock = simulator, clock
        self._waiting: asyncio.Queue[tuple[str, socket.socket]] | None = None

    async def connect(self, node: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The client's end of a new connection; whoever asked closes it."""
        if self._waiting is None:
            raise ConnectionRefusedError
        ours, theirs = socket.socketpair()
        self._waiting.put_nowait((node, theirs))
        return await asyncio.open_unix_connection(sock=ours, limit=HEAD_LIMIT)

    async def run(self, ready: asyncio.Event) -> None:
        waiting = self._waiting = asyncio.Queue[tuple[str, socket.socket]]()
        ready.set()
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    node, theirs = await waiting.get()
                    reader, writer = await asyncio.open_unix_connection(sock=theirs, limit=HEAD_LIMIT)
                    handler = NodeAnswers(self._simulator, self._clock, node)
                    work = httpserver.serve_connection(reader, writer, handler)
                    group.create_task(work, name="simulated node's api")
        finally:
            self._waiting = None
            while not waiting.empty():
                waiting.get_nowait()[1].close()


class NodeAnswers:
    """One node's answers."""

    def __init__(self, simulator: NodeSimulator, clock: Clock, node: str) -> None:
        self._simulator, self._clock, self._node = simulator, clock, node

    async def handle(self, request: Request) -> Response:
        path = request.path
        if (found := _LOGS.fullmatch(path)) is not None:
            return await self._logs(request, *found.groups())
        if path.startswith(("/exec/", "/attach/")):
            return Response(500, NO_PROCESS.encode())
        if path.startswith("/portForward/"):
            return Response(500, NO_PORT.encode())
        if path.startswith("/healthz"):
            return Response(200, b"ok")
        if path.rstrip("/") in ("/pods", "/runningpods"):
            pods = [pod for _, pod in await self._pods()]
            return _json({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods})
        if path in ("/stats/summary", "/metrics/resource"):
            return await self._figures(path)
        return Response(404, b"404 page not found\n")

    async def _pods(self) -> list[tuple[Held, Object]]:
        found = []
        for held in self._simulator.pods_of(self._node):
            try:
                found.append((held, await self._simulator.pod(held)))
            except NotFound:
                continue
        return found

    async def _logs(self, request: Request, namespace: str, pod_name: str, name: str) -> Response:
        held = next((h for h in self._simulator.pods_of(self._node) if h.key == (namespace, pod_name)), None)
        if held is None:
            return Response(404, f'pod "{pod_name}" not found\n'.encode())
        pod = await self._simulator.pod(held)
        spec = next((c for c in containers_of(pod) if c["name"] == name), None)
        if spec is None:
            return Response(404, f'container "{name}" not found in pod "{pod_name}"\n'.encode())
        runtime = held.life.runtime
        container = runtime.previous(name) if request.flag("previous") else runtime.latest(name)
        if container is None and request.flag("previous"):
            text = f'previous terminated container "{name}" in pod "{pod_name}" not found'
            return Response(400, text.encode())
        started = container.started_at if container is not None else self._started(pod, name)
        if not started:
            text = f'container "{name}" in pod "{pod_name}" is waiting to start: {_waiting(pod, name)}'
            return Response(400, text.encode())
        lines = lives.behaviour(pod, spec).log or (
            f"{name}: simulated container started",
            f"{name}: nothing runs here, this node simulates its containers",
        )
        when = format_micro_time(started)
        text = "".join(f"{when} stdout F {line}\n" for line in lines)
        return Response(200, self._lines(text.encode(), request, held, name))

    @staticmethod
    def _started(pod: Object, name: str) -> float:
        """Of a container whose life is written as Stages."""
        state = (_status_of(pod, name) or {}).get("state") or {}
        found = state.get("running") or state.get("terminated") or {}
        return parse_time(found.get("startedAt")) or 0.0

    async def _lines(self, text: bytes, request: Request, held: Held, name: str) -> AsyncIterator[bytes]:
        query = self._query(request)
        yield logs.select(text, query)
        while query.follow and (latest := held.life.runtime.latest(name)) is not None:
            if latest.state is not ContainerState.RUNNING or not self._simulator.holds(held):
                return
            await self._simulator.changed(held)

    def _query(self, request: Request) -> logs.Query:
        since = parse_time(request.value("sinceTime"))
        if request.value("sinceSeconds"):
            since = self._clock.now() - float(request.value("sinceSeconds"))
        tail, limit = request.value("tailLines"), request.value("limitBytes")
        return logs.Query(
            follow=request.flag("follow"),
            tail=int(tail) if tail else None,
            since=since,
            timestamps=request.flag("timestamps"),
            limit_bytes=int(limit) if limit else None,
            stream=request.value("stream") or "All",
        )

    async def _figures(self, path: str) -> Response:
        now = self._clock.now()
        stats = [found for held, pod in await self._pods() for found in _stats(held, pod, now)]
        usage = figures.simulated_usage(stats)
        if path == "/metrics/resource":
            text = figures.resource_metrics(stats, usage, now)
            return Response(200, text.encode(), figures.CONTENT_TYPE)
        node = self._simulator.nodes[self._node].object
        return _json(figures.summary(node, stats, usage, now))


def _stats(held: Held, pod: Object, now: float) -> list[Stats]:
    found = []
    for spec in containers_of(pod):
        container = held.life.runtime.latest(spec["name"])
        if container is None or container.state is not ContainerState.RUNNING:
            continue
        how = lives.behaviour(pod, spec)
        spent = int((now - container.started_at) * how.cpu * figures.NANO / CORE)
        labels = container_labels(pod, spec)
        found.append(
            Stats(
                container.id,
                labels,
                now,
                spent,
                how.memory,
                how.memory,
                how.memory // 2,
                1 << 12,
                int(how.cpu * 1e6),
            )
        )
    return found


def _status_of(pod: Object, name: str) -> Mapping[str, Any] | None:
    status = pod.get("status") or {}
    known = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    return next((each for each in known if each["name"] == name), None)


def _waiting(pod: Object, name: str) -> str:
    """In kubelet's words, which go by the pod's status."""
    state = (_status_of(pod, name) or {}).get("state") or {}
    creating = "PodInitializing" if pod["spec"].get("initContainers") else "ContainerCreating"
    reason = (state.get("waiting") or {}).get("reason") or creating
    return {
        "ErrImagePull": "image can't be pulled",
        "ImagePullBackOff": "trying and failing to pull image",
    }.get(reason, reason)


def _json(tree: Mapping[str, Any]) -> Response:
    return Response(200, json.dumps(tree).encode(), "application/json")
