"""The agent's HTTPS API: logs, exec, attach, port-forward, pods, health, figures.

Who may ask is decided in `access`, before anything is looked at. Exec, attach and port-forward are not spoken here: the
connection's bytes are carried to the runtime's streaming server as they come, so that every protocol it knows works.

Upstream: pkg/kubelet/server/server.go, pkg/kubelet/kubelet_pods.go (GetKubeletContainerLogs).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from timonel.aio.clock import Clock
from timonel.aio.threads import Threads
from timonel.node import agentmetrics, figures, httpserver, logreader, logs, podspec, podusage
from timonel.node.access import Guard, Reviews, Rules
from timonel.node.cri.errors import NotSupported, RuntimeFailure
from timonel.node.cri.runtime import Container, ContainerState, Runtime, Stats, Streams
from timonel.node.heartbeat import Heartbeat
from timonel.node.http1 import HEAD_LIMIT
from timonel.node.httpserver import HandOver, Request, Response
from timonel.node.measures import Measures
from timonel.node.podrunner import PodRunner
from timonel.node.pods import Pods
from timonel.node.podspec import NodeFacts
from timonel.node.references import containers_of
from timonel.objects.meta import parse_time
from timonel.records import dataclass

logger = logging.getLogger(__name__)

PORT = 10250


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """`client_ca` signs whom we talk to; `rules` says whom of them without asking."""

    certificate: Path
    key: Path
    client_ca: Path
    port: int = PORT  # 0: any free one
    rules: Rules = field(default_factory=Rules)


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class HttpsServer:
    """Two steps, so that the port is known (and free) before the node is registered."""

    def __init__(self, config: ServerConfig, ip: str, reviews: Reviews) -> None:
        self._config, self._reviews = config, reviews
        self._ip = ip
        self._socket: socket.socket | None = None

    async def bind(self) -> int:
        family = socket.AF_INET6 if ":" in self._ip else socket.AF_INET
        self._socket = socket.create_server((self._ip, self._config.port), family=family, backlog=128)
        port: int = self._socket.getsockname()[1]
        return port

    async def serve(self, api: httpserver.Handler) -> None:
        guard = Guard(api, self._config.rules, self._reviews)

        async with asyncio.TaskGroup() as group:
            strangers = set[asyncio.Task[None]]()

            def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                is_known = bool(httpserver.peer_of(writer).name)
                if not is_known and len(strangers) >= httpserver.STRANGERS:
                    writer.close()
                    return
                task = group.create_task(
                    httpserver.serve_connection(reader, writer, guard), name="node api connection"
                )
                if not is_known:
                    strangers.add(task)
                    task.add_done_callback(strangers.discard)

            server = await asyncio.start_server(
                connection,
                sock=self._socket,
                ssl=self._tls(),
                limit=HEAD_LIMIT,
                ssl_handshake_timeout=httpserver.PATIENCE,
            )
            async with server:
                await server.serve_forever()

    def _tls(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._config.certificate, self._config.key)
        context.load_verify_locations(self._config.client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL  # who shows none gets an answer that says so
        return context


Answer = Response | HandOver


class NodeApi:
    def __init__(
        self,
        pods: Pods,
        runtime: Runtime,
        clock: Clock,
        heartbeat: Heartbeat,
        threads: Threads,
        *,
        facts: NodeFacts,
        measures: Measures,
        shutdown: Callable[[], tuple[float, float]],
        is_simulated: bool = False,
    ) -> None:
        """`shutdown`: when the last graceful one began and ended. `is_simulated`: there is no machine whose use could
        be told, beside what the containers use."""
        self._is_simulated = is_simulated
        self._facts, self._measures, self._shutdown = facts, measures, shutdown
        self._pods = pods
        self._runtime = runtime
        self._clock = clock
        self._heartbeat = heartbeat
        self._threads = threads
        self._routes: list[tuple[re.Pattern[str], Callable[..., Awaitable[Answer]]]] = [
            (re.compile(r"/containerLogs/([^/]+)/([^/]+)/([^/]+)"), self._logs),
            (re.compile(r"/exec/([^/]+)/([^/]+)(?:/([^/]+))??/([^/]+)"), self._exec),
            (re.compile(r"/attach/([^/]+)/([^/]+)(?:/([^/]+))??/([^/]+)"), self._attach),
            (re.compile(r"/portForward/([^/]+)/([^/]+)(?:/([^/]+))?"), self._port_forward),
            (re.compile(r"/(?:running)?pods/?"), self._list_pods),
            (re.compile(r"/healthz(?:/.*)?"), self._health),
            (re.compile(r"/metrics"), self._metrics),
            (re.compile(r"/metrics/probes"), self._probe_metrics),
            (re.compile(r"/metrics/resource"), self._resource_metrics),
            (re.compile(r"/metrics/cadvisor"), self._cadvisor_metrics),
            (re.compile(r"/checkpoint/([^/]+)/([^/]+)/([^/]+)"), self._checkpoint),
            (re.compile(r"/stats/summary"), self._summary),
        ]

    async def handle(self, request: Request) -> Answer:
        for pattern, route in self._routes:
            match = pattern.fullmatch(request.path)
            if match is None:
                continue
            try:
                return await route(request, *(group or "" for group in match.groups()))
            except Refused as e:
                return Response(e.status, e.message.encode())
            except NotSupported as e:
                return Response(500, e.message.encode())
            except RuntimeFailure as e:
                return Response(500, e.text.encode())
        return Response(404, b"404 page not found\n")

    # ---- finding what is meant

    def _runner(self, namespace: str, name: str, uid: str = "") -> PodRunner:
        found = self._pods.find(namespace, name, uid)
        if found is None:
            raise Refused(404, f'pod "{name}" not found\n')
        return found

    def _running(self, runner: PodRunner, name: str) -> Container:
        found = runner.runtime.latest(name)
        if found is None or found.state is not ContainerState.RUNNING:
            raise Refused(404, f'container not found ("{name}")\n')
        return found

    # ---- logs

    async def _logs(self, request: Request, namespace: str, pod: str, name: str) -> Answer:
        runner = self._runner(namespace, pod)
        if not any(c["name"] == name for c in containers_of(runner.pod)):
            raise Refused(404, f'container "{name}" not found in pod "{pod}"\n')
        container = self._logged(runner, pod, name, previous=request.flag("previous"))
        query = self._query(request)
        return Response(200, self._lines(runner, container, query))

    def _logged(self, runner: PodRunner, pod: str, name: str, *, previous: bool) -> Container:
        latest = runner.runtime.latest(name)
        if previous:
            found = runner.runtime.previous(name)
            if found is None:
                raise Refused(400, f'previous terminated container "{name}" in pod "{pod}" not found')
            return found
        if latest is None or latest.state is ContainerState.CREATED:
            raise Refused(
                400, f'container "{name}" in pod "{pod}" is waiting to start: {_waiting(runner, name)}'
            )
        return latest

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

    async def _lines(
        self, runner: PodRunner, container: Container, query: logs.Query
    ) -> AsyncIterator[bytes]:
        def is_running() -> bool:
            current = runner.runtime.find(container.id)
            return current is not None and current.state is ContainerState.RUNNING

        text = await self._runtime.log_text(container.id)
        if text is not None:
            yield logs.select(text, query)
            if query.follow:
                await self._until_ended(container.id)
            return
        try:
            async for piece in logreader.stream(Path(container.log_path), query, self._clock, is_running):
                yield piece
        except FileNotFoundError:
            yield f"unable to retrieve container logs for containerd://{container.id}".encode()

    async def _until_ended(self, container_id: str) -> None:
        async with contextlib.aclosing(self._runtime.events()) as events:
            async for _ in events:  # the first comes at once
                try:
                    found = await self._runtime.container_status(container_id)
                except RuntimeFailure:
                    return  # removed
                if found.state is not ContainerState.RUNNING:
                    return

    # ---- streams

    async def _exec(self, request: Request, namespace: str, pod: str, uid: str, name: str) -> Answer:
        container = self._running(self._runner(namespace, pod, uid), name)
        command = request.query.get("command", [])
        url = await self._runtime.exec_url(container.id, command, _streams(request))
        return _hand_over(request, url)

    async def _attach(self, request: Request, namespace: str, pod: str, uid: str, name: str) -> Answer:
        runner = self._runner(namespace, pod, uid)
        container = self._running(runner, name)
        spec = next(c for c in containers_of(runner.pod) if c["name"] == name)
        wanted = _streams(request)
        tty = bool(spec.get("tty"))
        streams = Streams(wanted.stdin, wanted.stdout, wanted.stderr and not tty, tty)
        url = await self._runtime.attach_url(container.id, streams)
        return _hand_over(request, url)

    async def _port_forward(self, request: Request, namespace: str, pod: str, uid: str) -> Answer:
        sandbox = self._runner(namespace, pod, uid).runtime.sandbox
        if sandbox is None:
            raise Refused(404, f'pod "{pod}" has no sandbox\n')
        asked = [
            port
            for text in (*request.query.get("port", ()), *request.query.get("ports", ()))
            for port in text.split(",")
        ]
        if not all(port.isdecimal() and 0 < len(port) <= 5 for port in asked):
            raise Refused(400, "unable to parse ports\n")
        ports = [int(port) for port in asked]
        return _hand_over(request, await self._runtime.port_forward_url(sandbox.id, ports))

    # ---- the rest

    async def _list_pods(self, request: Request) -> Answer:
        items = [{**r.pod, "status": r.status()} for r in self._pods.runners()]
        return _json({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})

    async def _health(self, request: Request) -> Answer:
        return Response(200, b"ok")

    async def _metrics(self, request: Request) -> Answer:
        runners = self._pods.runners()
        volumes, process = list[agentmetrics.Volume](), dict[str, float]()
        if not self._is_simulated:
            volumes = await self._threads.run(agentmetrics.read_volumes, agentmetrics.claims(runners))
            process = await self._threads.run(agentmetrics.read_process)
        text = agentmetrics.agent_metrics(
            runners, self._heartbeat.node, self._measures, volumes, process, self._shutdown()
        )
        return Response(200, text.encode(), figures.CONTENT_TYPE)

    async def _probe_metrics(self, request: Request) -> Answer:
        return Response(200, agentmetrics.probe_metrics(self._measures).encode(), figures.CONTENT_TYPE)

    async def _resource_metrics(self, request: Request) -> Answer:
        stats, usage = await self._usage()
        return Response(
            200, figures.resource_metrics(stats, usage, self._clock.now()).encode(), figures.CONTENT_TYPE
        )

    async def _cadvisor_metrics(self, request: Request) -> Answer:
        stats, usage = await self._usage()
        text = figures.cadvisor_metrics(stats, usage, os.cpu_count() or 1)
        if not self._is_simulated:
            places = self._places()
            extra = await self._extra(places)
            text += "\n".join((*podusage.cadvisor_lines(stats, places, extra), ""))
        return Response(200, text.encode(), figures.CONTENT_TYPE)

    async def _checkpoint(self, request: Request, namespace: str, pod: str, name: str) -> Answer:
        """No runtime that is known here can do it."""
        if request.method != "POST":
            return Response(405, b"405: Method Not Allowed")
        self._running(self._runner(namespace, pod), name)
        why = "the container runtime does not support checkpoints"
        return Response(500, f"checkpointing of {namespace}/{pod}/{name} failed ({why})".encode())

    async def _summary(self, request: Request) -> Answer:
        stats, usage = await self._usage()
        now = self._clock.now()
        found = figures.summary(self._heartbeat.node, stats, usage, now)
        if self._is_simulated or request.flag("only_cpu_and_memory"):
            return _json(found)
        volumes = await self._threads.run(
            _volumes, {r.uid: agentmetrics.claims_of(r) for r in self._pods.runners()}
        )
        return _json(podusage.with_extra(found, await self._extra(self._places()), volumes, now))

    def _places(self) -> list[podusage.Place]:
        return [
            podusage.Place(
                r.pod["metadata"]["namespace"],
                r.pod["metadata"]["name"],
                r.uid,
                podspec.cgroup_parent(r.pod, self._facts.cgroup_root),
                not r.pod["spec"].get("hostNetwork"),
            )
            for r in self._pods.runners()
            if r.runtime.is_ready
        ]

    async def _extra(self, places: Sequence[podusage.Place]) -> podusage.Extra:
        return await self._threads.run(podusage.read, places, Path(self._facts.log_root))

    async def _usage(self) -> tuple[Sequence[Stats], figures.Usage]:
        stats = await self._runtime.stats()
        if self._is_simulated:
            return stats, figures.simulated_usage(stats)
        return stats, await self._threads.run(figures.read_usage)


def _volumes(claims: Mapping[str, Mapping[str, tuple[str, str, str]]]) -> podusage.Volumes:
    return {
        uid: [
            (name, v) for name, entry in found.items() if (v := agentmetrics.read_volume(*entry)) is not None
        ]
        for uid, found in claims.items()
        if found
    }


def _json(tree: Mapping[str, Any]) -> Response:
    return Response(200, json.dumps(tree).encode(), "application/json")


_PULLING = {"ErrImagePull": "image can't be pulled", "ImagePullBackOff": "trying and failing to pull image"}


def _waiting(runner: PodRunner, name: str) -> str:
    status = runner.status()
    for found in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        if found["name"] == name:
            waiting = found["state"].get("waiting") or {}
            reason = str(waiting.get("reason") or "ContainerCreating")
            return _PULLING.get(reason, reason)
    return "ContainerCreating"


def _streams(request: Request) -> Streams:
    tty = request.flag("tty")
    return Streams(
        stdin=request.flag("input", "stdin"),
        stdout=request.flag("output", "stdout"),
        stderr=request.flag("error", "stderr") and not tty,
        tty=tty,
    )


def _hand_over(request: Request, url: str) -> HandOver:
    """The request again, with the runtime's path: its token in the URL is what lets us in."""
    target = urlsplit(url)
    path = target.path + (f"?{target.query}" if target.query else "")
    lines = [f"{request.method} {path} HTTP/1.1", f"Host: {target.netloc}"]
    lines += [f"{k}: {v}" for k, v in request.headers if k.lower() not in ("host", "authorization")]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return HandOver(target.hostname or "", target.port or 80, head)
