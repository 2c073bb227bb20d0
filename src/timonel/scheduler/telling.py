"""What the scheduler says about pods: their status, and Events, which give way to decisions.

While pods wait to be scheduled, few Events are sent.

Upstream's scheduler sends them at most at the rate of its client, 50 a second, and drops what does not fit its buffer;
here all of them follow once there is time, as long as there are not more than the backlog holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from timonel.aio.clock import Clock, outside
from timonel.client.events import EventRecorder
from timonel.client.rest import Client
from timonel.client.transport import Transport
from timonel.objects.meta import Key, Object, format_time
from timonel.scheduler.framework import Nomination

BACKLOG = 20_000
INTERVAL = 0.02  # seconds between two of them while pods wait


class PatientRecorder(EventRecorder):
    def __init__(
        self, transport: Transport, clock: Clock, component: str, *, busy: Callable[[], bool]
    ) -> None:
        super().__init__(transport, clock, component)
        self._queue = asyncio.Queue(BACKLOG)
        self._busy = busy

    async def _send(self, event: Object) -> None:
        if self._busy():
            await outside(self._clock).sleep(INTERVAL)  # also while a virtual clock stands still
        await super()._send(event)


class Statuses:
    """Conditions and nominations of pods."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client, self._clock = client, clock

    async def update(self, pod: Object, wanted: dict[str, Any] | None, nomination: Nomination | None) -> None:
        """Patches a condition and the nomination, where they are not as they should be."""
        status = pod.get("status") or {}
        conditions = status.get("conditions") or ()
        kind = wanted["type"] if wanted else ""
        known = next((c for c in conditions if c["type"] == kind), None)
        told: dict[str, Any] = {}
        if wanted and (known is None or any(known.get(k) != v for k, v in wanted.items())):
            since = known["lastTransitionTime"] if known and known["status"] == wanted["status"] else None
            condition = {
                **wanted,
                "lastProbeTime": None,
                "lastTransitionTime": since or format_time(self._clock.now()),
            }
            generation = pod["metadata"].get("generation")
            if generation:
                condition["observedGeneration"] = generation
            told["conditions"] = [condition]
        if nomination is not None and (status.get("nominatedNodeName") or "") != nomination.node:
            told["nominatedNodeName"] = nomination.node or None
        if not told:
            return
        patch = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": told}
        key = Key(pod["metadata"].get("namespace", ""), pod["metadata"]["name"])
        await self._client.patch("pods", key, patch, kind="strategic", subresource="status")
