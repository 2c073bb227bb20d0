"""Registers the node, renews its Lease and keeps its status: how the control plane knows that it is alive.

Upstream: pkg/kubelet/kubelet_node_status.go, component-helpers/apimachinery/lease/controller.go. The lease is renewed
every 10 s; the status is sent when something in it changed, and every 5 minutes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from timonel.aio.clock import Clock, wait_until
from timonel.client.transport import Resource, Transport, Unreachable
from timonel.machinery.errors import AlreadyExists, Conflict, NotFound, StatusError
from timonel.node import nodestatus
from timonel.node.follow import Replaced, follow
from timonel.node.nodestatus import Identity, Observed
from timonel.objects.meta import Key, Object, format_micro_time

logger = logging.getLogger(__name__)

NODES = Resource("", "v1", "nodes", False)
LEASES = Resource("coordination.k8s.io", "v1", "leases", True)
LEASE_NAMESPACE = "kube-node-lease"
LEASE_SECONDS = 40
RENEW_EVERY = 10.0
STATUS_CHECK = 10.0
UNREADY_CHECK = 0.2  # a node that is starting is soon ready
STATUS_EVERY = 300.0
RETRY, RETRY_LIMIT = 0.2, 7.0


class Heartbeat:
    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        identity: Identity,
        observe: Callable[[], Awaitable[Observed]],
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._identity = identity
        self._observe = observe
        self._sent_at = 0.0
        self._node: Object = {}
        self._news = asyncio.Event()

    @property
    def node(self) -> Object:
        """The Node as last seen."""
        return self._node

    def tell(self) -> None:
        """Something about the node is new: say it now."""
        self._news.set()

    async def register(self) -> None:
        """Until it succeeds: the Node exists with our labels and status."""
        delay = RETRY
        while True:
            try:
                await self._register()
                return
            except (StatusError, Unreachable) as e:
                logger.warning("Could not register the node, retrying", extra={"error": str(e)})
                await self._clock.sleep(delay)
                delay = min(delay * 2, RETRY_LIMIT)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._renew_for_ever(), name="node lease")
            group.create_task(self._report_for_ever(), name="node status")
            group.create_task(self._stay_registered(), name="node registration")

    # ---- the Node

    async def _register(self) -> None:
        seen = await self._observe()
        wanted = nodestatus.new_node(self._identity, seen.machine)
        wanted["status"] = nodestatus.status(self._identity, seen, {})
        try:
            self._node = await self._transport.create(NODES, wanted)
            self._sent_at = self._clock.monotonic()
        except AlreadyExists:
            self._node = await self._transport.get(NODES, Key("", self._identity.name))
            await self._reconcile(wanted)
            await self._send(seen, force=True)

    async def _reconcile(self, wanted: Object) -> None:
        """An older registration of ours keeps what others added; our own labels and annotations win."""
        meta = self._node["metadata"]
        patch: dict[str, Any] = {}
        for part in ("labels", "annotations"):
            missing = {
                k: v for k, v in wanted["metadata"][part].items() if (meta.get(part) or {}).get(k) != v
            }
            if missing:
                patch[part] = missing
        body: dict[str, Any] = {"metadata": patch} if patch else {}
        if wanted["spec"].get("podCIDR") and not (self._node.get("spec") or {}).get("podCIDR"):
            body["spec"] = {"podCIDR": wanted["spec"]["podCIDR"], "podCIDRs": wanted["spec"]["podCIDRs"]}
        if body:
            self._node = await self._transport.patch(NODES, Key("", self._identity.name), body)

    async def _report_for_ever(self) -> None:
        while True:
            await wait_until(self._clock, self._news, STATUS_CHECK if self._is_ready() else UNREADY_CHECK)
            self._news.clear()
            try:
                await self._send(await self._observe())
            except NotFound:
                logger.warning("The node object is gone, registering again")
                await self.register()
            except (StatusError, Unreachable) as e:
                logger.warning("Could not write node status", extra={"error": str(e)})

    def _is_ready(self) -> bool:
        conditions = (self._node.get("status") or {}).get("conditions") or ()
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    async def _send(self, seen: Observed, *, force: bool = False) -> None:
        old = self._node.get("status") or {}
        new = nodestatus.status(self._identity, seen, old)
        is_due = self._clock.monotonic() - self._sent_at >= STATUS_EVERY
        if not (force or is_due or nodestatus.is_worth_sending(old, new)):
            return
        patch = {key: value for key, value in new.items() if old.get(key) != value}
        for sizes in ("allocatable", "capacity"):
            gone = (old.get(sizes) or {}).keys() - new[sizes].keys()
            if gone:
                patch[sizes] = new[sizes] | dict.fromkeys(gone)
        key = Key("", self._identity.name)
        self._node = await self._transport.patch(
            NODES, key, {"status": patch}, kind="strategic", subresource="status"
        )
        self._sent_at = self._clock.monotonic()

    async def _stay_registered(self) -> None:
        """Differs from upstream, whose nodes stay away until they are restarted: a node that lives has a Node, before
        its pods are given up (pod_garbage_collector)."""
        mine = f"metadata.name={self._identity.name}"
        async for news in follow(self._transport, self._clock, NODES, field_selector=mine):
            if not news.objects if isinstance(news, Replaced) else news.is_deleted:
                logger.warning("The node object was deleted, registering again")
                await self.register()
            else:  # what others write, extended resources say, shows in the next status
                self._node = news.objects[0] if isinstance(news, Replaced) else news.object

    # ---- the Lease

    async def _renew_for_ever(self) -> None:
        lease: Object | None = None
        delay = RETRY
        while True:
            try:
                lease = await self._renew(lease)
                delay = RETRY
                await self._clock.sleep(RENEW_EVERY)
            except (Conflict, NotFound):
                lease = None
            except (StatusError, Unreachable) as e:
                logger.warning("Could not renew the node lease", extra={"error": str(e)})
                lease = None
                await self._clock.sleep(delay)
                delay = min(delay * 2, RETRY_LIMIT)

    async def _renew(self, lease: Object | None) -> Object:
        name = self._identity.name
        now = format_micro_time(self._clock.now())
        if lease is None:
            try:
                lease = await self._transport.get(LEASES, Key(LEASE_NAMESPACE, name))
            except NotFound:
                return await self._create_lease(now)
        spec = {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now}
        return await self._transport.update(LEASES, {**lease, "spec": {**(lease.get("spec") or {}), **spec}})

    async def _create_lease(self, now: str) -> Object:
        name = self._identity.name
        lease: Object = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": LEASE_NAMESPACE},
            "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now},
        }
        uid = (self._node.get("metadata") or {}).get("uid")
        if uid:
            owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}
            lease["metadata"]["ownerReferences"] = [owner]
        return await self._transport.create(LEASES, lease, namespace=LEASE_NAMESPACE)
