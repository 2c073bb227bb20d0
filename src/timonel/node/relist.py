"""Asking the runtime what it has of a pod, also right after it was away.

A call that broke off says nothing about how far it went: the container may exist, may even run. Only a list tells.
Upstream: pkg/kubelet/pleg/generic.go (relist), kuberuntime_manager.go (GetPodStatus).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from timonel.aio.clock import Clock
from timonel.node.cri.errors import Missing, RuntimeFailure
from timonel.node.cri.runtime import Runtime
from timonel.node.podruntime import PodRuntime, merged, pod_runtime

logger = logging.getLogger(__name__)

ASK_AGAIN, ASK_LIMIT = 0.2, 2.0

T = TypeVar("T")


async def insist(
    clock: Clock, ask: Callable[[], Awaitable[T]], *, only: type[RuntimeFailure] = RuntimeFailure
) -> T:
    """What cannot be done without is asked for until the runtime answers: it may just be starting again.

    That something does not exist is an answer; other failures are, too, where `only` says which are not."""
    delay = ASK_AGAIN
    while True:
        try:
            return await ask()
        except Missing:
            raise
        except only as e:
            logger.info("Asking the runtime again", extra={"error": e.message})
        await clock.sleep(delay)
        delay = min(2 * delay, ASK_LIMIT)


async def read_pod(runtime: Runtime, labels: Mapping[str, str], known: PodRuntime) -> PodRuntime:
    """A pod's sandboxes and containers with their full status; `known` has the messages read before."""
    sandboxes = []
    for listed in await runtime.list_sandboxes(labels):
        try:
            sandboxes.append(await runtime.sandbox_status(listed.id))
        except Missing:
            continue
    containers = []
    for found in await runtime.list_containers(labels):
        try:
            status = await runtime.container_status(found.id)
        except Missing:
            continue
        before = known.find(found.id)
        containers.append(merged(status, found.sandbox_id, before.message if before else ""))
    return pod_runtime(sandboxes, containers)
