"""Extenders: other processes that are asked over HTTP about nodes, scores, victims and bindings.

Upstream: pkg/scheduler/extender.go, k8s.io/kube-scheduler/extender/v1 (whose fields have Go's names).
"""

from __future__ import annotations

import ssl
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import orjson

from timonel.aio.clock import Clock, deadline
from timonel.client.http1 import Connection
from timonel.client.https import tls_context
from timonel.client.transport import Unreachable
from timonel.objects.meta import Object
from timonel.records import dataclass
from timonel.scheduler.configfields import seconds
from timonel.scheduler.podinfo import PodInfo

TIMEOUT = 5.0
LATE = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
MOST_SCORE = 10  # that an extender gives

Tree = Mapping[str, Any]


class ExtenderFailed(Exception):
    """It could not be asked, or answered with an error."""


@dataclass(frozen=True, slots=True)
class ExtenderConfig:
    url: str
    filter_verb: str = ""
    preempt_verb: str = ""
    prioritize_verb: str = ""
    bind_verb: str = ""
    weight: int = 1
    timeout: float = TIMEOUT
    knows_nodes: bool = False  # so that names are enough
    managed: frozenset[str] = frozenset()
    ignored_resources: frozenset[str] = frozenset()
    ignorable: bool = False
    https: bool = False  # without a CA, any certificate will do
    tls: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, tree: Tree) -> ExtenderConfig:
        """From what was checked before."""
        managed = tree.get("managedResources") or ()
        return cls(
            url=(tree.get("urlPrefix") or "").rstrip("/"),
            filter_verb=tree.get("filterVerb") or "",
            preempt_verb=tree.get("preemptVerb") or "",
            prioritize_verb=tree.get("prioritizeVerb") or "",
            bind_verb=tree.get("bindVerb") or "",
            weight=tree.get("weight") or 0,
            timeout=seconds(tree.get("httpTimeout")) or TIMEOUT,
            knows_nodes=bool(tree.get("nodeCacheCapable")),
            managed=frozenset(r.get("name", "") for r in managed),
            ignored_resources=frozenset(r.get("name", "") for r in managed if r.get("ignoredByScheduler")),
            ignorable=bool(tree.get("ignorable")),
            https=bool(tree.get("enableHTTPS")),
            tls=tree.get("tlsConfig") or {},
        )


@dataclass(frozen=True, slots=True)
class Filtered:
    """Which nodes are left, and why the others are not; `hopeless` even without other pods."""

    names: frozenset[str]
    failed: Mapping[str, str]
    hopeless: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Victims:
    uids: tuple[str, ...]
    violations: int


class Extender:
    def __init__(self, config: ExtenderConfig, clock: Clock) -> None:
        self.config, self._clock = config, clock
        self._context = context_for(config)

    def is_interested(self, info: PodInfo) -> bool:
        """If it manages resources, in those that some container asks for or is limited in."""
        if not self.config.managed:
            return True
        spec = info.spec
        for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
            resources = container.get("resources") or {}
            for kind in ("requests", "limits"):
                if not self.config.managed.isdisjoint(resources.get(kind) or ()):
                    return True
        return False

    async def filter(self, pod: Object, nodes: Sequence[Object]) -> Filtered:
        answer = await self._ask(self.config.filter_verb, self._about(pod, nodes))
        with self._understood():
            return self._filtered(answer, nodes)

    def _filtered(self, answer: Tree, nodes: Sequence[Object]) -> Filtered:
        if answer.get("Error"):
            raise ExtenderFailed(answer["Error"])
        if self.config.knows_nodes and answer.get("NodeNames") is not None:
            names = answer["NodeNames"]
        else:
            names = [n["metadata"]["name"] for n in (answer.get("Nodes") or {}).get("items") or ()]
        known = {n["metadata"]["name"] for n in nodes}
        strange = [name for name in names if name not in known]
        if strange:
            raise ExtenderFailed(
                f'extender "{self.config.url}" claims a filtered node "{strange[0]}" '
                "which is not found in the input node list"
            )
        return Filtered(
            frozenset(names),
            dict(answer.get("FailedNodes") or {}),
            dict(answer.get("FailedAndUnresolvableNodes") or {}),
        )

    async def prioritize(self, pod: Object, nodes: Sequence[Object]) -> dict[str, int]:
        """Points by node, weighted so that they count like those of plugins."""
        answer = await self._ask(self.config.prioritize_verb, self._about(pod, nodes), list)
        scale = self.config.weight * 100 // MOST_SCORE
        with self._understood():
            return {entry["Host"]: int(entry["Score"]) * scale for entry in answer}

    async def victims(
        self, pod: Object, proposed: Mapping[str, tuple[Sequence[Object], int]]
    ) -> dict[str, Victims]:
        """Of these nodes, with their victims and how many budgets those break, what is acceptable."""
        if self.config.knows_nodes:
            meta = {
                node: {"Pods": [{"UID": p["metadata"]["uid"]} for p in pods], "NumPDBViolations": violations}
                for node, (pods, violations) in proposed.items()
            }
            body = {"Pod": pod, "NodeNameToVictims": None, "NodeNameToMetaVictims": meta}
        else:
            whole = {
                node: {"Pods": list(pods), "NumPDBViolations": violations}
                for node, (pods, violations) in proposed.items()
            }
            body = {"Pod": pod, "NodeNameToVictims": whole, "NodeNameToMetaVictims": None}
        answer = await self._ask(self.config.preempt_verb, body)
        with self._understood():
            found = answer.get("NodeNameToMetaVictims") or {}
            return {
                node: Victims(
                    tuple(p["UID"] for p in (v or {}).get("Pods") or ()),
                    int((v or {}).get("NumPDBViolations") or 0),
                )
                for node, v in found.items()
            }

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """What an answer holds may be anything."""
        try:
            yield
        except (AttributeError, KeyError, TypeError, ValueError) as exc:
            raise ExtenderFailed(
                f"extender at URL {self.config.url} does not answer what it was asked"
            ) from exc

    async def bind(self, pod: Object, node: str) -> None:
        meta = pod["metadata"]
        body = {
            "PodName": meta["name"],
            "PodNamespace": meta["namespace"],
            "PodUID": meta["uid"],
            "Node": node,
        }
        answer = await self._ask(self.config.bind_verb, body)
        if answer.get("Error"):
            raise ExtenderFailed(answer["Error"])

    def _about(self, pod: Object, nodes: Sequence[Object]) -> Tree:
        if self.config.knows_nodes:
            return {"Pod": pod, "Nodes": None, "NodeNames": [n["metadata"]["name"] for n in nodes]}
        return {"Pod": pod, "Nodes": {"metadata": {}, "items": list(nodes)}, "NodeNames": None}

    async def _ask(self, verb: str, body: Tree, kind: type = dict) -> Any:
        url = f"{self.config.url}/{verb}"
        parts = urlsplit(url)
        try:
            async with deadline(self._clock, self.config.timeout):
                status, raw = await self._exchange(
                    parts.hostname or "", parts.port, parts.path, orjson.dumps(body)
                )
        except TimeoutError as exc:
            raise ExtenderFailed(f'Post "{url}": {LATE}') from exc
        except (Unreachable, OSError) as exc:
            raise ExtenderFailed(f'Post "{url}": {exc}') from exc
        if status != 200:
            raise ExtenderFailed(f"failed {verb} with extender at URL {url}, code {status}")
        try:
            answer = orjson.loads(raw)
        except orjson.JSONDecodeError as exc:
            raise ExtenderFailed(f"extender at URL {self.config.url} does not answer JSON") from exc
        if not isinstance(answer, kind):
            raise ExtenderFailed(f"extender at URL {self.config.url} does not answer what it was asked")
        return answer

    async def _exchange(self, host: str, port: int | None, path: str, body: bytes) -> tuple[int, bytes]:
        default = 443 if self._context else 80
        connection = await Connection.connect(
            host, port or default, self._context, timeout=self.config.timeout,
            server_name=self.config.tls.get("serverName") or "",
        )  # fmt: skip
        try:
            headers = {"Host": f"{host}:{port}" if port else host, "Content-Type": "application/json"}
            await connection.send("POST", path or "/", headers, body)
            return connection.status, await connection.read()
        finally:
            connection.close()


def context_for(config: ExtenderConfig) -> ssl.SSLContext | None:
    """Raises OSError, ValueError."""
    if urlsplit(config.url).scheme != "https":
        return None
    tls = config.tls
    trusts = bool(tls.get("caFile") or tls.get("caData"))
    insecure = bool(tls.get("insecure")) or (config.https and not trusts)
    with TemporaryDirectory() as folder:
        certificate, key = (_as_file(tls, name, Path(folder)) for name in ("cert", "key"))
        return tls_context(
            ca_file=tls.get("caFile") or "",
            ca_data=b64decode(tls.get("caData") or "").decode(),
            certificate=certificate,
            key=key,
            insecure=insecure,
        )


def _as_file(tls: Mapping[str, Any], name: str, folder: Path) -> str:
    """What is given as data goes first."""
    data = tls.get(f"{name}Data")
    if not data:
        return tls.get(f"{name}File") or ""
    file = folder / name
    file.touch(0o600)
    file.write_bytes(b64decode(data))
    return str(file)
