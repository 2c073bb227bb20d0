"""The API group metrics.k8s.io as an aggregated server behind the API server, which has asked who is there and what he
may: nobody else can connect.

Upstream: metrics-server pkg/api, k8s.io/metrics pkg/apis/metrics/v1beta1.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from timonel.aio.clock import Clock
from timonel.client.discovery import ResourceIndex
from timonel.client.rest import Client
from timonel.client.transport import Transport
from timonel.machinery.errors import BadRequest, MethodNotAllowed, NotFound, StatusError
from timonel.machinery.quantity import Quantity
from timonel.machinery.selectors import parse_field_selector, parse_label_selector
from timonel.node.httpserver import Request, Response
from timonel.node.nearby import NearbyServer
from timonel.objects.meta import Key, Object
from timonel.resourcemetrics import documents, usage
from timonel.resourcemetrics.collector import Collector

ROOT = f"/apis/{usage.API_VERSION}"
_NODES = re.compile(rf"{ROOT}/nodes(?:/([^/]+))?")
_PODS = re.compile(rf"{ROOT}(?:/namespaces/([^/]+))?/pods(?:/([^/]+))?")
JSON = "application/json"


class MetricsServer:
    """A lifecycle Service; `connect` is for the API server."""

    name = "metrics-server"

    def __init__(self, transport: Transport, index: ResourceIndex, clock: Clock) -> None:
        self._client = Client(transport, index)
        self._collector = Collector(transport, clock)
        self._door = NearbyServer()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await self._door.connect()

    async def run(self, ready: asyncio.Event) -> None:
        ready.set()
        await self._door.serve(self)

    async def handle(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except StatusError as exc:
            return _json(exc.to_status(), exc.status_code)

    async def _answer(self, request: Request) -> Response:
        path = request.path.rstrip("/")
        if (document := documents.at(path)) is not None:
            return _json(document)
        nodes, pods = _NODES.fullmatch(path), _PODS.fullmatch(path)
        if nodes is None and (pods is None or (pods[2] and not pods[1])):
            raise NotFound("the server could not find the requested resource")
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(f"{request.method.lower()} is not supported on resources of kind metrics")
        if request.flag("watch"):
            raise MethodNotAllowed("watch is not supported on resources of kind metrics")
        if nodes is not None:
            found = await self._nodes(request, nodes[1] or "")
            return _shown(request, "NodeMetrics", found, single=bool(nodes[1]))
        assert pods is not None
        found = await self._pods(request, pods[1] or "", pods[2] or "")
        return _shown(request, "PodMetrics", found, single=bool(pods[2]))

    async def _nodes(self, request: Request, name: str) -> list[Object]:
        if name:
            node = await self._client.find("nodes", Key("", name))
            items: Sequence[Object] = [] if node is None else [node]
        else:
            items = [node for node in await self._listed("nodes", "", request) if _selected(node, request)]
            if not request.value("labelSelector"):
                self._collector.forget(node["metadata"]["name"] for node in items)
        looks = await self._collector.looks(node["metadata"]["name"] for node in items)
        found = [
            usage.node_metrics(node, *looks[node["metadata"]["name"]])
            for node in items
            if node["metadata"]["name"] in looks
        ]
        if name and not found:
            raise NotFound(f'nodemetrics.metrics.k8s.io "{name}" not found')
        return found

    async def _pods(self, request: Request, namespace: str, name: str) -> list[Object]:
        if name:
            pod = await self._client.find("pods", Key(namespace, name))
            items: Sequence[Object] = [] if pod is None else [pod]
        else:
            items = [pod for pod in await self._listed("pods", namespace, request) if _selected(pod, request)]
        items = [pod for pod in items if (pod.get("status") or {}).get("phase") == "Running"]
        looks = await self._collector.looks(pod["spec"]["nodeName"] for pod in items)
        found = [
            metrics
            for pod in items
            if (seen := looks.get(pod["spec"]["nodeName"])) is not None
            and (metrics := usage.pod_metrics(pod, *seen)) is not None
        ]
        if name and not found:
            raise NotFound(f'podmetrics.metrics.k8s.io "{namespace}/{name}" not found')
        return found

    async def _listed(self, resource: str, namespace: str, request: Request) -> Sequence[Object]:
        selector = request.value("labelSelector")
        try:
            parse_label_selector(selector)
        except ValueError as exc:
            raise BadRequest(f"unable to parse requirement: {exc}") from exc
        return (await self._client.list(resource, namespace, label_selector=selector)).items


def _selected(obj: Object, request: Request) -> bool:
    text = request.value("fieldSelector")
    if not text:
        return True
    try:
        selector = parse_field_selector(text)
    except ValueError as exc:
        raise BadRequest(str(exc)) from exc
    metadata = obj["metadata"]
    return selector.matches(
        {"metadata.name": metadata["name"], "metadata.namespace": metadata.get("namespace", "")}
    )


def _shown(request: Request, kind: str, items: list[Object], *, single: bool) -> Response:
    if "as=Table" in request.header("accept"):
        return _json(table(items))
    if single:
        return _json(items[0])
    inner = [{k: v for k, v in item.items() if k not in ("kind", "apiVersion")} for item in items]
    return _json({"kind": f"{kind}List", "apiVersion": usage.API_VERSION, "metadata": {}, "items": inner})


def table(items: Sequence[Object]) -> Object:
    """As `kubectl get podmetrics` shows them."""
    columns = [
        _column("Name", "name", "Name of the resource"),
        _column("CPU", "", "Processor time that is used"),
        _column("Memory", "", "Memory that is used"),
        _column("Window", "", "Time over which the figures are the average"),
    ]
    rows = [
        {
            "cells": [item["metadata"]["name"], *_sums(item), item["window"]],
            "object": {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": item["metadata"],
            },
        }
        for item in items
    ]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": columns,
        "rows": rows,
    }


def _sums(item: Object) -> tuple[str, str]:
    parts = [c["usage"] for c in item["containers"]] if "containers" in item else [item["usage"]]
    cpu = sum(int(part["cpu"].removesuffix("n")) for part in parts)
    memory = sum(Quantity.parse(part["memory"]).value() for part in parts)
    return f"{cpu}n", f"{memory // 1024}Ki"


def _column(name: str, format_: str, description: str) -> Mapping[str, Any]:
    return {"name": name, "type": "string", "format": format_, "description": description, "priority": 0}


def _json(tree: Mapping[str, Any], status: int = 200) -> Response:
    return Response(status, orjson.dumps(tree), JSON)
