"""Probes: whether a container has started, is alive, is ready.

The pure part counts results against thresholds (`Tally`); `Prober` asks once; `watch` is the loop of one probe of one
container. Upstream: pkg/kubelet/prober (worker.go, prober.go), pkg/probe.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote, urljoin, urlsplit

from timonel.aio.clock import Clock
from timonel.node import http1
from timonel.node.cri.errors import DeadlineExceeded, RuntimeFailure
from timonel.node.cri.runtime import Container, Containers
from timonel.records import dataclass

TITLES = {"startup": "Startup", "liveness": "Liveness", "readiness": "Readiness"}
OUTPUT_LIMIT = 10 * 1024
REDIRECTS, REDIRECTING = 10, (301, 302, 303, 307, 308)
# As kubelet, which learns of a start up to a second later, so that its probes never see the first moments: a failure
# does not count then. Unlike it we ask in that time already, and a quick container is soon ready.
EARLY, EARLY_RETRY = 1.0, 0.2


@dataclass(frozen=True, slots=True)
class Result:
    """`ok` None: the probe could not be made, which counts as a failure but is told differently. `is_warning`: it
    counts as a success, and is told all the same."""

    ok: bool | None
    output: str = ""
    is_warning: bool = False


@dataclass(frozen=True, slots=True)
class Tally:
    """`state` is what the thresholds made of the results so far; None while undecided."""

    state: bool | None = None
    run: int = 0  # how many like the last one in a row
    last: bool = False

    def after(self, ok: bool, probe: Mapping[str, Any]) -> Tally:
        run = self.run + 1 if self.run and ok == self.last else 1
        needed = probe.get("successThreshold") or 1 if ok else probe.get("failureThreshold") or 3
        return Tally(ok if run >= needed else self.state, run, ok)


class Prober(Protocol):
    def readiness(self, container: Container, spec: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """How a container is asked whether it is ready; None: it is, once it runs."""

    async def ask(self, target: Target, probe: Mapping[str, Any]) -> Result: ...


@dataclass(frozen=True, slots=True)
class Target:
    """Where a container is to be found."""

    container_id: str
    pod_ip: str
    container: Mapping[str, Any]


def port_number(container: Mapping[str, Any], port: int | str) -> int | None:
    """A name is looked up among the container's ports."""
    if isinstance(port, int):
        return port
    for entry in container.get("ports") or ():
        if entry.get("name") == port:
            return int(entry["containerPort"])
    return int(port) if port.isdigit() else None


class NetworkProber:
    """Asks real containers: over the pod network, or by running a command in them."""

    def __init__(self, runtime: Containers) -> None:
        self._runtime = runtime

    def readiness(self, container: Container, spec: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return spec.get("readinessProbe")

    async def ask(self, target: Target, probe: Mapping[str, Any]) -> Result:
        timeout = float(probe.get("timeoutSeconds") or 1)
        if (action := probe.get("exec")) is not None:
            return await self._exec(target, action.get("command") or (), timeout)
        if (action := probe.get("httpGet")) is not None:
            return await _http(target, action, timeout)
        if (action := probe.get("tcpSocket")) is not None:
            return await _tcp(target, action, timeout)
        if (action := probe.get("grpc")) is not None:
            return await _grpc(target, action, timeout)
        return Result(None, "missing probe handler")

    async def _exec(self, target: Target, command: Sequence[str], timeout: float) -> Result:
        try:
            result = await self._runtime.exec_sync(target.container_id, command, timeout)
        except DeadlineExceeded:
            return Result(False, f'command timed out: "{" ".join(command)}" timed out after {timeout:g}s')
        except RuntimeFailure as e:
            return Result(None, e.text)
        output = (result.stdout + result.stderr)[:OUTPUT_LIMIT].decode("utf-8", "replace")
        return Result(result.exit_code == 0, output)


def _dial_error(address: str, e: OSError) -> str:
    known = {
        errno.ECONNREFUSED: "connect: connection refused",
        errno.EHOSTUNREACH: "connect: no route to host",
        errno.ENETUNREACH: "connect: network is unreachable",
    }
    return f"dial tcp {address}: {known.get(e.errno or 0, str(e))}"


async def _http(target: Target, action: Mapping[str, Any], timeout: float) -> Result:
    port = port_number(target.container, action["port"])
    if port is None:
        return Result(None, f'couldn\'t find port: "{action["port"]}"')
    host = action.get("host") or target.pod_ip
    tls = action.get("scheme") == "HTTPS"
    path = action.get("path") or "/"
    path = quote(path if path.startswith("/") else f"/{path}", safe="/?=&%:;,+$!*'()@~#[]")
    bracketed = f"[{host}]" if ":" in host else host
    url = f"{'https' if tls else 'http'}://{bracketed}:{port}{path}"
    headers = {"User-Agent": "kube-probe/1.36", "Accept": "*/*"}
    headers |= {h["name"]: h.get("value", "") for h in action.get("httpHeaders") or ()}
    try:
        async with asyncio.timeout(timeout):
            answer = await _get(url, headers)
    except TimeoutError:
        why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        return Result(False, f'Get "{url}": {why}')
    except (http1.BadAnswer, OSError) as e:
        why = _dial_error(f"{host}:{port}", e) if isinstance(e, OSError) else str(e)
        return Result(False, f'Get "{url}": {why}')
    body = answer.body.decode("utf-8", "replace")
    if 300 <= answer.status < 400:
        return Result(True, f"Probe terminated redirects, Response body: {body}", is_warning=True)
    if 200 <= answer.status < 300:
        return Result(True, body)
    return Result(False, f"HTTP probe failed with statuscode: {answer.status}")


async def _get(url: str, headers: Mapping[str, str]) -> http1.Answer:
    """The answer after redirects within the host; one to another host is the answer itself, as upstream's
    redirectChecker (pkg/probe/http/http.go)."""
    first = urlsplit(url)
    for _ in range(REDIRECTS):
        target = urlsplit(url)
        port = target.port or (443 if target.scheme == "https" else 80)
        path = (target.path or "/") + (f"?{target.query}" if target.query else "")
        tls = target.scheme == "https"
        answer = await http1.get(target.hostname or "", port, path, tls=tls, headers=headers.items())
        if answer.status not in REDIRECTING or not answer.header("location"):
            return answer
        url = urljoin(url, answer.header("location"))
        if urlsplit(url).hostname != first.hostname:
            return answer
    raise http1.BadAnswer(f"stopped after {REDIRECTS} redirects")


async def _tcp(target: Target, action: Mapping[str, Any], timeout: float) -> Result:
    port = port_number(target.container, action["port"])
    if port is None:
        return Result(None, f'couldn\'t find port: "{action["port"]}"')
    host = action.get("host") or target.pod_ip
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return Result(False, f"dial tcp {host}:{port}: i/o timeout")
    except OSError as e:
        return Result(False, _dial_error(f"{host}:{port}", e))
    writer.close()
    return Result(True)


async def _grpc(target: Target, action: Mapping[str, Any], timeout: float) -> Result:
    """grpc.health.v1.Health/Check; the two one-field messages are written and read by hand."""
    import grpc.aio

    address = f"{target.pod_ip}:{action['port']}"
    service = (action.get("service") or "").encode()
    request = b"\x0a" + _varint(len(service)) + service if service else b""
    async with grpc.aio.insecure_channel(address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check", request_serializer=bytes, response_deserializer=bytes
        )
        try:
            answer: bytes = await check(request, timeout=timeout)
        except grpc.aio.AioRpcError as e:
            if e.code() is grpc.StatusCode.DEADLINE_EXCEEDED or e.code() is grpc.StatusCode.UNAVAILABLE:
                why = f'timeout: failed to connect service "{address}" within {timeout:g}s: {e.details()}'
            else:
                why = f"error: health rpc probe failed: {e.details()}"
            return Result(False, why)
    status = answer[1] if len(answer) > 1 and answer[0] == 8 else 0
    names = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
    if status == 1:
        return Result(True)
    return Result(False, f'service unhealthy (responded with "{names.get(status, status)}")')


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


async def watch(
    clock: Clock,
    probe: Mapping[str, Any],
    ask: Callable[[], Awaitable[Result]],
    told: Callable[[bool, Result], bool],
    failed: Callable[[Result], None],
    *,
    started_at: float,
) -> None:
    """Ask every period. `failed` hears of each failure and warning; `told(state, result)` of each change of the state,
    and answers whether to go on."""
    delay = started_at + float(probe.get("initialDelaySeconds") or 0) - clock.now()
    if delay > 0:
        await clock.sleep(delay)
    tally = Tally()
    early_until = started_at + EARLY if not probe.get("initialDelaySeconds") else 0.0
    period = float(probe.get("periodSeconds") or 10)
    while True:
        result = await ask()
        if not result.ok and clock.now() < early_until:
            await clock.sleep(EARLY_RETRY)
            continue
        if not result.ok or result.is_warning:
            failed(result)
        before = tally.state
        tally = tally.after(bool(result.ok), probe)
        if tally.state is not None and tally.state != before and not told(tally.state, result):
            return
        await clock.sleep(period)
