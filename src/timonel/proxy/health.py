"""Health-check node ports: a load balancer asks each node whether it has endpoints of a Service with the policy Local.

Upstream: pkg/proxy/healthcheck/service_health.go.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping

from timonel.proxy.model import HealthPort

logger = logging.getLogger(__name__)

LONGEST_WAIT = 5.0  # seconds that a client has for its request


def answer(port: HealthPort, *, healthy: bool) -> tuple[int, dict[str, str], str]:
    """Code, headers and body, as upstream's."""
    body = {
        "service": {"namespace": port.namespace, "name": port.name},
        "localEndpoints": port.local_endpoints,
        "serviceProxyHealthy": healthy,
    }
    code = 200 if port.local_endpoints and healthy else 503
    headers = {
        "Content-Type": "application/json",
        "X-Content-Type-Options": "nosniff",
        "X-Load-Balancing-Endpoint-Weight": str(port.local_endpoints),
    }
    return code, headers, json.dumps(body, indent="\t")


class HealthServers:
    """One small HTTP server per port. The owner calls `close`."""

    def __init__(self, healthy: Callable[[], bool], host: str = "") -> None:
        self._healthy, self._host = healthy, host
        self._ports: dict[int, HealthPort] = {}
        self._servers: dict[int, asyncio.Server] = {}

    async def update(self, ports: Mapping[int, HealthPort]) -> None:
        self._ports = dict(ports)
        for number in self._servers.keys() - ports.keys():
            self._servers.pop(number).close()
        for number in ports.keys() - self._servers.keys():
            try:
                self._servers[number] = await asyncio.start_server(
                    lambda r, w, n=number: self._serve(n, r, w),  # type: ignore[misc]
                    self._host or None,
                    number,
                    reuse_address=True,
                )
            except OSError as exc:
                logger.warning("Could not serve health-check node port %s: %s", number, exc)

    def close(self) -> None:
        for server in self._servers.values():
            server.close()
        self._servers.clear()

    async def _serve(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(LONGEST_WAIT):
                await reader.readuntil(b"\r\n\r\n")
                port = self._ports.get(number)
                if port is not None:
                    code, headers, body = answer(port, healthy=self._healthy())
                    text = "OK" if code == 200 else "Service Unavailable"
                    lines = [f"HTTP/1.1 {code} {text}", *(f"{k}: {v}" for k, v in headers.items())]
                    lines += [f"Content-Length: {len(body.encode())}", "Connection: close", "", body]
                    writer.write("\r\n".join(lines).encode())
                    await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass
        finally:
            writer.close()
