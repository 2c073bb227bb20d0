"""pods/log, exec, attach, portforward and the proxies of pods, services and nodes.

The node agent serves kubelet's paths; here the pod is looked up, the options are checked, and the bytes are relayed.
Upstream: pkg/registry/core/pod/{rest,strategy.go}, pkg/registry/core/{node,service}/{rest,strategy.go}.
"""

from __future__ import annotations

import ssl
import urllib.parse
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

from timonel.machinery import errors, field
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object, nested, parse_time
from timonel.server.options import number
from timonel.server.request import Answer, ConnectCall, ConnectHandler, Reader, Upgraded
from timonel.server.responses import internal_error
from timonel.server.subresources import nodes, relay
from timonel.server.subresources.nodes import Backend, Dial, NodeConnections, Unreachable

_TRUE = ("1", "true", "True", "TRUE", "t", "T")
_LOG_OPTIONS = (
    "follow",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "timestamps",
    "tailLines",
    "limitBytes",
    "stream",
)


def built_in(
    reader: Reader,
    node_tls: ssl.SSLContext | None,
    pod_tls: ssl.SSLContext | None = None,
    nearby: Mapping[str, Dial] | None = None,
) -> Mapping[tuple[str, str], ConnectHandler]:
    """By resource and subresource."""
    connections = NodeConnections(reader, node_tls, nearby)
    pod = {name: PodStream(reader, connections, name) for name in ("exec", "attach", "portforward")}
    return {
        ("pods", "log"): PodLog(reader, connections),
        **{("pods", name): handler for name, handler in pod.items()},
        ("pods", "proxy"): PodProxy(reader, pod_tls),
        ("services", "proxy"): ServiceProxy(reader, pod_tls),
        ("nodes", "proxy"): NodeProxy(connections, node_tls),
    }


def _options(call: ConnectCall) -> dict[str, list[str]]:
    return urllib.parse.parse_qs(call.query, keep_blank_values=True)


def _one(options: Mapping[str, list[str]], key: str) -> str:
    return (options.get(key) or [""])[0]


def _is_set(options: Mapping[str, list[str]], key: str) -> bool:
    return _one(options, key) in _TRUE


class _OfPod:
    def __init__(self, reader: Reader, connections: NodeConnections) -> None:
        self._reader = reader
        self._connections = connections

    def _pod(self, call: ConnectCall) -> Object:
        found = self._reader.get("pods", call.namespace, call.name)
        if found is None:
            raise errors.not_found("pods", call.name)
        return found

    async def _ask(self, call: ConnectCall, node: str, target: str) -> Answer | Upgraded:
        host, port = self._connections.address_of(node)
        try:
            backend = await self._connections.connect(node)
            return await relay.exchange(call, backend, target, f"{host}:{port}")
        except Unreachable as e:
            raise errors.StatusError(_lost(call, host, port, target, e)) from e


def _lost(call: ConnectCall, host: str, port: int, target: str, e: Unreachable) -> str:
    """A stream's error names the address that was asked, as Go's HTTP client does; an upgrade's does not."""
    if relay.is_upgrade(call):
        return f"error dialing backend: {e}"
    return f'Get "https://{host}:{port}{target}": {e}'


def container_of(pod: Object, asked: str) -> str:
    """The container that is meant; raises BadRequest where that is none or not clear."""
    spec = pod["spec"]
    kinds = ("containers", "initContainers", "ephemeralContainers")
    groups = [[c["name"] for c in spec.get(kind) or ()] for kind in kinds]
    name = pod["metadata"]["name"]
    if asked:
        if not any(asked in group for group in groups):
            raise errors.BadRequest(f"container {asked} is not valid for pod {name}")
        return asked
    containers, init, ephemeral = groups
    if len(containers) == 1:
        return str(containers[0])
    if not containers:
        raise errors.BadRequest(f"a container name must be specified for pod {name}")
    shown = f"choose one of: [{' '.join(containers)}]"
    if init:
        shown += f" or one of the init containers: [{' '.join(init)}]"
    if ephemeral:
        shown += f" or one of the ephemeral containers: [{' '.join(ephemeral)}]"
    raise errors.BadRequest(f"a container name must be specified for pod {name}, {shown}")


class PodLog(_OfPod):
    async def connect(self, call: ConnectCall) -> Answer | Upgraded:
        options = _options(call)
        causes = list(_log_causes(options))
        if causes:
            raise errors.invalid("PodLogOptions", call.name, causes)
        pod = self._pod(call)
        container = container_of(pod, _one(options, "container"))
        node = pod["spec"].get("nodeName")
        if not node:
            return Answer(200, [("Content-Type", "text/plain")])
        asked = [(key, _one(options, key)) for key in _LOG_OPTIONS if _one(options, key)]
        target = f"/containerLogs/{call.namespace}/{call.name}/{container}"
        query = urllib.parse.urlencode(asked)
        answer = await self._ask(call, node, f"{target}?{query}" if query else target)
        if isinstance(answer, Answer) and answer.status != 200:
            raise _refusal(answer.status, await _text(answer), call.name)
        return answer


def _refusal(status: int, text: str, pod: str) -> errors.StatusError:
    """What a node said, as a Status. Upstream: registry/generic/rest/response_checker.go."""
    if status == 400:
        return errors.BadRequest(text)
    if status == 404:
        message = f"the server could not find the requested resource ( pods/log {pod})"
        return errors.NotFound(message, name=pod, kind="pods/log")
    return internal_error(text)


async def _text(answer: Answer) -> str:
    if isinstance(answer.body, bytes):
        return answer.body.decode(errors="replace")
    return b"".join([part async for part in answer.body]).decode(errors="replace").strip()


def _log_causes(options: Mapping[str, list[str]]) -> Iterator[Cause]:
    for key, least in (("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1)):
        text = _one(options, key)
        if not text:
            continue
        value = number(text)
        if value < least:
            what = "or equal to 0" if least == 0 else "0"
            yield field.invalid(key, value, f"must be greater than {what}")
    since = _one(options, "sinceTime")
    if since and _one(options, "sinceSeconds"):
        yield field.forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified")
    elif since:
        try:
            parse_time(since)
        except ValueError as e:
            raise errors.BadRequest(f'parsing time "{since}": cannot parse it as RFC 3339') from e
    stream = _one(options, "stream")
    if stream and stream not in ("All", "Stdout", "Stderr"):
        yield field.not_supported("stream", stream, ("All", "Stderr", "Stdout"))


class PodStream(_OfPod):
    """exec, attach and portforward."""

    def __init__(self, reader: Reader, connections: NodeConnections, kind: str) -> None:
        super().__init__(reader, connections)
        self._kind = kind

    async def connect(self, call: ConnectCall) -> Answer | Upgraded:
        options = _options(call)
        pod = self._pod(call)
        node = pod["spec"].get("nodeName")
        path = f"{call.namespace}/{call.name}"
        if self._kind == "portforward":
            _needs_node(call, node)
            ports = urllib.parse.urlencode([("ports", p) for p in options.get("ports") or ()])
            return await self._ask(call, node, f"/portForward/{path}" + (f"?{ports}" if ports else ""))
        container = container_of(pod, _one(options, "container"))
        _needs_node(call, node)
        query = [
            (theirs, "1")
            for ours, theirs in (
                ("stdin", "input"),
                ("stdout", "output"),
                ("stderr", "error"),
                ("tty", "tty"),
            )
            if _is_set(options, ours)
        ]
        if not any(key in ("input", "output", "error") for key, _ in query):
            raise errors.BadRequest("you must specify at least 1 of stdin, stdout, stderr")
        if self._kind == "exec":
            query += [("command", word) for word in options.get("command") or ()]
        return await self._ask(
            call, node, f"/{self._kind}/{path}/{container}?{urllib.parse.urlencode(query)}"
        )


def _needs_node(call: ConnectCall, node: str | None) -> None:
    if not node:
        raise errors.BadRequest(f"pod {call.name} does not have a host assigned")


# ---- proxies


def split_target(name: str) -> tuple[str, str, str]:
    """`https:web:8080` → scheme, name, port."""
    parts = name.split(":")
    if len(parts) == 3 and parts[0] in ("http", "https", ""):
        return parts[0] or "http", parts[1], parts[2]
    if len(parts) == 2:
        return "http", parts[0], parts[1]
    return "http", name, ""


async def _proxy(
    call: ConnectCall, scheme: str, host: str, port: int, tls: ssl.SSLContext | None
) -> Answer | Upgraded:
    async def dial() -> Backend:
        return await nodes.connect(host, port, tls if scheme == "https" else None)

    return await _proxy_over(call, host, port, dial)


async def _proxy_over(
    call: ConnectCall, host: str, port: int, dial: Callable[[], Awaitable[Backend]]
) -> Answer | Upgraded:
    target = urllib.parse.quote(call.path or "/", safe="/%:@!$&'()*+,;=~-._") + (
        f"?{call.query}" if call.query else ""
    )
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        return await relay.exchange(call, await dial(), target, shown)
    except Unreachable as e:
        raise errors.ServiceUnavailable(f"error trying to reach service: {e}") from e


class PodProxy:
    def __init__(self, reader: Reader, tls: ssl.SSLContext | None) -> None:
        self._reader = reader
        self._tls = tls

    async def connect(self, call: ConnectCall) -> Answer | Upgraded:
        scheme, name, port = split_target(call.name)
        pod = self._reader.get("pods", call.namespace, name)
        if pod is None:
            raise errors.not_found("pods", name)
        address = nested(pod, "status", "podIP")
        if not address:
            raise errors.BadRequest("address not allowed")
        return await _proxy(call, scheme, address, _pod_port(pod, port), self._tls)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 5


def _pod_port(pod: Object, asked: str) -> int:
    if _is_port(asked):
        return int(asked)
    ports = [p for c in pod["spec"].get("containers") or () for p in c.get("ports") or ()]
    for port in ports:
        if not asked or port.get("name") == asked:
            found: int = port["containerPort"]
            return found
    return 80


class ServiceProxy:
    def __init__(self, reader: Reader, tls: ssl.SSLContext | None) -> None:
        self._reader = reader
        self._tls = tls

    async def connect(self, call: ConnectCall) -> Answer | Upgraded:
        scheme, name, port = split_target(call.name)
        service = self._reader.get("services", call.namespace, name)
        if service is None:
            raise errors.not_found("services", name)
        wanted = _service_port(service, port)
        for endpoints in self._slices(call.namespace, name):
            found = _ready_endpoint(endpoints, wanted.get("name", ""))
            if found is not None:
                return await _proxy(call, scheme, *found, self._tls)
        raise errors.ServiceUnavailable(f'no endpoints available for service "{name}"')

    def _slices(self, namespace: str, service: str) -> Sequence[Object]:
        label = "kubernetes.io/service-name"
        found = self._reader.list("endpointslices.discovery.k8s.io", namespace)
        return [s for s in found if (s["metadata"].get("labels") or {}).get(label) == service]


def _service_port(service: Object, asked: str) -> Object:
    ports: list[Object] = service["spec"].get("ports") or []
    for port in ports:
        if asked in ("", port.get("name", ""), str(port.get("port"))):
            return port
    name = service["metadata"]["name"]
    raise errors.ServiceUnavailable(f'no service port "{asked}" found for service "{name}"')


def _ready_endpoint(endpoints: Object, port_name: str) -> tuple[str, int] | None:
    port = next((p["port"] for p in endpoints.get("ports") or () if p.get("name", "") == port_name), None)
    if port is None:
        return None
    for endpoint in endpoints.get("endpoints") or ():
        if (endpoint.get("conditions") or {}).get("ready") is not False and endpoint.get("addresses"):
            return endpoint["addresses"][0], port
    return None


class NodeProxy:
    """To the node agent, unless a port names something else on the node."""

    def __init__(self, connections: NodeConnections, tls: ssl.SSLContext | None) -> None:
        self._connections = connections
        self._tls = tls

    async def connect(self, call: ConnectCall) -> Answer | Upgraded:
        scheme, name, port = split_target(call.name)
        host, kubelet = self._connections.address_of(name)
        if not port or port == str(kubelet):
            return await _proxy_over(call, host, kubelet, lambda: self._connections.connect(name))
        if not _is_port(port):
            raise errors.BadRequest(f'invalid node request "{call.name}"')
        return await _proxy(call, scheme, host, int(port), self._tls)
