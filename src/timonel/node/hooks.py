"""postStart and preStop: a command, an HTTP request or a sleep. Upstream: pkg/kubelet/lifecycle/handlers.go."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from timonel.aio.clock import Clock
from timonel.node import http1
from timonel.node.cri.errors import RuntimeFailure
from timonel.node.cri.runtime import Containers
from timonel.node.probes import port_number


class HookFailed(Exception):
    """The hook ran and failed, or could not run."""


class Hooks:
    def __init__(self, runtime: Containers, clock: Clock) -> None:
        self._runtime = runtime
        self._clock = clock

    async def run(
        self, handler: Mapping[str, Any], container: Mapping[str, Any], container_id: str, pod_ip: str
    ) -> None:
        """To its end; the caller limits the time. Raises HookFailed."""
        if (action := handler.get("exec")) is not None:
            await self._exec(container_id, action.get("command") or ())
        elif (action := handler.get("httpGet")) is not None:
            await _http(action, container, pod_ip)
        elif (action := handler.get("sleep")) is not None:
            await self._clock.sleep(float(action["seconds"]))

    async def _exec(self, container_id: str, command: tuple[str, ...]) -> None:
        try:
            result = await self._runtime.exec_sync(container_id, command)
        except RuntimeFailure as e:
            raise HookFailed(e.text) from e
        if result.exit_code != 0:
            output = (result.stdout + result.stderr).decode("utf-8", "replace")
            raise HookFailed(f"command '{' '.join(command)}' exited with {result.exit_code}: {output}")


# What OpenSSL says when the other side speaks plain HTTP; kubelet asks again without TLS then.
PLAIN_ANSWERS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")


async def _http(action: Mapping[str, Any], container: Mapping[str, Any], pod_ip: str) -> None:
    port = port_number(container, action.get("port") or 80)
    if port is None:
        raise HookFailed(f'couldn\'t find port: "{action["port"]}"')
    host = action.get("host") or pod_ip
    path = action.get("path") or "/"
    headers = [(h["name"], h.get("value", "")) for h in action.get("httpHeaders") or ()]
    path = path if path.startswith("/") else f"/{path}"
    try:
        if action.get("scheme") == "HTTPS":
            try:
                await http1.get(host, port, path, tls=True, headers=headers)
                return
            except ssl.SSLError as e:
                if e.reason not in PLAIN_ANSWERS:
                    raise
                headers = [(k, v) for k, v in headers if k.lower() != "authorization"]
        await http1.get(host, port, path, headers=headers)
    except (http1.BadAnswer, OSError) as e:
        raise HookFailed(str(e)) from e
