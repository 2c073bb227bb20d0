"""A question to a webhook of authentication or authorization, asked again where that may help.

Upstream: apiserver/pkg/util/webhook/webhook.go (GenericWebhook, DefaultShouldRetry, WithExponentialBackoff).
"""

from __future__ import annotations

from typing import Any

from timonel.aio.clock import Clock
from timonel.client.https import Endpoint
from timonel.server.outbound import CallFailed, Outbound

TIMEOUT = 30.0  # seconds for one attempt
FIRST_DELAY, FACTOR, ATTEMPTS = 0.5, 1.5, 5
WORTH_RETRYING = (429, 500, 503, 504)  # 0: there was no answer


async def post(
    outbound: Outbound,
    endpoint: Endpoint,
    body: bytes,
    clock: Clock,
    *,
    timeout: float = TIMEOUT,
    attempts: int = ATTEMPTS,
) -> Any:
    """The tree of a successful answer. Raises CallFailed after the last attempt."""
    target = outbound.target_of(endpoint)
    delay = FIRST_DELAY
    for attempt in range(1, attempts + 1):
        try:
            reply = await outbound.send(
                target, "POST", body, timeout=timeout, headers={"Content-Type": "application/json"}
            )
            return reply.tree()
        except CallFailed as e:
            is_final = attempt == attempts or not (e.status in WORTH_RETRYING or e.status == 0)
            if is_final:
                raise
        await clock.sleep(delay)
        delay *= FACTOR
    raise CallFailed("the webhook was not asked")
