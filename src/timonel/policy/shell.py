"""Keeps the kernel in step with NetworkPolicies, pods and namespaces.

A pod that comes or goes is an element in the sets of the groups it belongs to; only where policies change, or what pods
of this node are allowed, do chains come and go. One pass is: new sets and chains, then in one transaction all elements
(from which moment the new rules hold), then what nothing names any more goes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from timonel.aio.clock import Clock
from timonel.client.informer import InformerFactory
from timonel.netfilter.elements import Changes, Claims
from timonel.netfilter.kernel import Kernel, NftError
from timonel.objects.meta import Key, Object, key_of
from timonel.policy import rules
from timonel.policy.model import EGRESS, INGRESS, Matcher, Peers, Pod, Policy, pod_of, policy_of, rules_of

logger = logging.getLogger(__name__)

RETRY_INTERVAL = 5.0  # seconds


class Tables(Protocol):
    """Where rules go: the kernel, or a stand-in."""

    async def rules(self, text: str) -> None: ...

    async def elements(self, table: str, changes: Changes) -> None: ...

    def watch(self, table: str, gone: Callable[[], None]) -> None: ...

    def close(self) -> None: ...


class PolicyAgent:
    """A lifecycle Service; ready once the rules of the first picture are in the kernel."""

    name = "network policies"

    def __init__(
        self,
        *,
        informers: InformerFactory,
        table: str,
        node: str,
        clock: Clock,
        kernel: Tables | None = None,
    ) -> None:
        self._informers = {
            "policies": informers.get("networkpolicies.networking.k8s.io"),
            "pods": informers.get("pods"),
            "namespaces": informers.metadata("namespaces"),
        }
        self._table, self._node, self._clock = table, node, clock
        self._kernel: Tables = kernel or Kernel()
        self._changed = asyncio.Event()
        self._pods: dict[Key, Pod] = {}
        self._local: dict[Key, Pod] = {}
        self._policies: dict[str, dict[Key, Policy]] = {}  # by namespace
        self._namespaces: dict[str, dict[str, str]] = {}  # labels
        self._touched: set[Key] = set()  # pods that may be of other groups now
        self._start_over()
        self._lost = False  # the table is gone, and not by us
        self.healthy = False

    def _start_over(self) -> None:
        self._claims = Claims()
        self._chains: set[str] = set()  # that the kernel has
        self._matchers: dict[Peers, Matcher] = {}  # of the groups whose sets the kernel has
        self._members: dict[Peers, set[Key]] = {}  # of those groups
        self._isolated: set[str] = set()  # owners of elements, one per pod of this node
        self._replan = True

    async def run(self, ready: asyncio.Event) -> None:
        for informer in self._informers.values():
            await informer.synced.wait()
        self._informers["namespaces"].add_handler(self._namespace_changed)
        self._informers["policies"].add_handler(self._policy_changed)
        self._informers["pods"].add_handler(self._pod_changed)
        try:
            await self._keep(ready)
        finally:
            self._kernel.close()

    async def _keep(self, ready: asyncio.Event) -> None:
        fresh = True
        self._kernel.watch(self._table, self._removed)
        while True:
            self._changed.clear()
            if self._lost:
                logger.warning("Somebody removed table %s, making it anew", self._table)
                fresh, self._lost = True, False
            try:
                if fresh:
                    await self._kernel.rules(rules.base(self._table))
                    self._start_over()
                    fresh = False
                await self._sync()
                self.healthy = True
                ready.set()
            except NftError as exc:
                self.healthy = False
                logger.error("Network policies were refused, starting over in %s s: %s", RETRY_INTERVAL, exc)
                fresh = True
                await self._clock.sleep(RETRY_INTERVAL)
                continue
            await self._changed.wait()

    def _removed(self) -> None:
        self._lost = True
        self._changed.set()

    async def _sync(self) -> None:
        gone_chains: set[str] = set()
        gone_peers: set[Peers] = set()
        if self._replan:
            self._replan = False
            gone_chains, gone_peers = await self._plan()
        for key in self._touched:
            self._place(key, self._matchers.values())
        self._touched.clear()
        changes = self._claims.take()
        if changes:
            await self._kernel.elements(self._table, changes)
        if gone_chains or gone_peers:
            await self._kernel.rules(rules.removals(self._table, sorted(gone_chains), gone_peers))

    async def _plan(self) -> tuple[set[str], set[Peers]]:
        """What pods of this node are allowed: makes new chains and sets, and says which are of no use any more."""
        wanted: dict[str, rules.Chain] = {}
        isolated: set[str] = set()
        for key, pod in self._local.items():
            policies = self._policies.get(key.namespace, {}).values()
            ways: dict[str, str] = {}
            for direction in (INGRESS, EGRESS):
                allowed = rules_of(pod, policies, direction)
                if allowed is not None:
                    chain = rules.chain_of(pod, allowed, direction)
                    wanted[chain.name] = chain
                    ways[direction] = chain.name
            owner = f"isolated/{key.namespace}/{key.name}"
            if ways:
                isolated.add(owner)
                self._claims.put(owner, rules.isolation(pod, ways))
        for owner in self._isolated - isolated:
            self._claims.drop(owner)
        self._isolated = isolated
        groups = {peers for chain in wanted.values() for peers in chain.peers}
        new_chains = [chain for name, chain in wanted.items() if name not in self._chains]
        new_groups = groups - self._matchers.keys()
        if new_chains or new_groups:
            await self._kernel.rules(rules.additions(self._table, new_chains, new_groups))
        gone_groups = set(self._matchers.keys() - groups)
        for peers in gone_groups:
            del self._matchers[peers]
            for key in self._members.pop(peers, ()):
                self._claims.drop(_owner(peers, key))
        added = [Matcher(peers) for peers in new_groups]
        self._matchers.update({m.peers: m for m in added})
        for key in self._pods if added else ():
            self._place(key, added)
        gone_chains = self._chains - wanted.keys()
        self._chains = set(wanted)
        return gone_chains, gone_groups

    def _place(self, key: Key, matchers: Iterable[Matcher]) -> None:
        """Put a pod into the sets of these groups, or take it out."""
        pod = self._pods.get(key)
        for matcher in matchers:
            members = self._members.setdefault(matcher.peers, set())
            if pod is not None and matcher.matches(pod, self._namespaces):
                members.add(key)
                self._claims.put(_owner(matcher.peers, key), rules.membership(pod, matcher.peers))
            elif key in members:
                members.remove(key)
                self._claims.drop(_owner(matcher.peers, key))

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        assert obj is not None
        key = key_of(obj)
        before, now = self._pods.get(key), pod_of(new, self._node) if new is not None else None
        if before == now:
            return
        if now is None:
            self._pods.pop(key, None)
        else:
            self._pods[key] = now
        if self._local.pop(key, None) is not None:
            self._replan = True
        if now is not None and now.local:
            self._local[key] = now
            self._replan = True
        self._touched.add(key)
        self._changed.set()

    def _policy_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        assert obj is not None
        key = key_of(obj)
        mine = self._policies.setdefault(key.namespace, {})
        before = mine.pop(key, None)
        if new is not None:
            mine[key] = policy_of(new)
        if not mine:
            del self._policies[key.namespace]
        if before != mine.get(key):
            self._replan = True
            self._changed.set()

    def _namespace_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        assert obj is not None
        name = obj["metadata"]["name"]
        before = self._namespaces.pop(name, None)
        if new is not None:
            self._namespaces[name] = new["metadata"].get("labels") or {}
        if before != self._namespaces.get(name):
            self._touched.update(key for key in self._pods if key.namespace == name)
            self._changed.set()


def _owner(peers: Peers, key: Key) -> str:
    return f"{peers.id}/{key.namespace}/{key.name}"
