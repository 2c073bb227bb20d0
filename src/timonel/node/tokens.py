"""Service account tokens for pods, asked of the API server and kept while they are fresh.

Upstream: pkg/kubelet/token/token_manager.go. A token is bound to its pod and dies with it.
"""

from __future__ import annotations

import asyncio

from timonel.aio.clock import Clock
from timonel.client.transport import Resource, Transport, Unreachable
from timonel.machinery.errors import StatusError
from timonel.node.volumes.projected import RENEW_AT, RENEW_AT_LATEST
from timonel.node.volumes.source import VolumeError
from timonel.objects.meta import Object, parse_time, uid_of

AT_ONCE = 8  # many pods that start together need not open as many connections
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", True)


class Tokens:
    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._kept: dict[tuple[str, str, int], tuple[str, float, float]] = {}  # token, expiry, renew at

    async def get(self, pod: Object, audience: str, seconds: int) -> tuple[str, float]:
        """Token and expiry."""
        key = (uid_of(pod), audience, seconds)
        kept = self._kept.get(key)
        now = self._clock.now()
        if kept is not None and now < kept[2]:
            return kept[0], kept[1]
        try:
            async with self._turns:
                token, expiry = await self._ask(pod, audience, seconds)
        except (StatusError, Unreachable) as e:
            if kept is not None and now < kept[1]:
                return kept[0], kept[1]
            raise VolumeError(f"failed to fetch token: {e}") from e
        renew_at = now + min((expiry - now) * RENEW_AT, RENEW_AT_LATEST)
        self._kept[key] = (token, expiry, renew_at)
        return token, expiry

    def forget(self, uid: str) -> None:
        for key in [key for key in self._kept if key[0] == uid]:
            del self._kept[key]

    async def _ask(self, pod: Object, audience: str, seconds: int) -> tuple[str, float]:
        meta = pod["metadata"]
        ref = {"kind": "Pod", "apiVersion": "v1", "name": meta["name"], "uid": meta["uid"]}
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [audience] if audience else [],
                "expirationSeconds": seconds,
                "boundObjectRef": ref,
            },
        }
        answer = await self._transport.create(
            SERVICE_ACCOUNTS,
            request,
            namespace=meta["namespace"],
            name=pod["spec"].get("serviceAccountName") or "default",
            subresource="token",
        )
        status = answer["status"]
        return status["token"], parse_time(status["expirationTimestamp"]) or 0.0
