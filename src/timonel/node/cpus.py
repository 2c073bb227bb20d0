"""Processors of their own for containers that ask for whole ones (`--cpu-manager-policy=static`). No I/O.

A container of a Guaranteed pod whose cpu limit is a whole number gets that many processors to itself; all others share
the rest, among them the reserved ones, which nobody gets alone. Upstream: pkg/kubelet/cm/cpumanager/policy_static.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from timonel.node import podresources
from timonel.node.podspec import qos_of
from timonel.objects.meta import Object

CPUS = "timonel.dev/cpus"  # annotation of a container that has its own


class NotEnough(Exception):
    """There are too few processors left; the message is upstream's."""


def wanted(pod: Object, container: Mapping[str, Any]) -> int:
    """How many a container is to have alone; 0: it shares."""
    if qos_of(pod) != "Guaranteed" or pod["spec"].get("resources"):
        return 0
    milli = podresources.own(container, "requests").get("cpu", 0)
    return milli // 1000 if milli % 1000 == 0 else 0


def entitled(pod: Object) -> list[tuple[str, int]]:
    """Containers that are to have processors alone. Init containers that end are not: they share."""
    spec = pod["spec"]
    sidecars = [c for c in spec.get("initContainers") or () if podresources.is_sidecar(c)]
    found = ((c["name"], wanted(pod, c)) for c in (*sidecars, *spec["containers"]))
    return [(name, count) for name, count in found if count]


def written(cpus: Iterable[int]) -> str:
    """As the kernel lists processors: 0-2,5."""
    found = sorted(cpus)
    parts = list[str]()
    while found:
        end = 0
        while end + 1 < len(found) and found[end + 1] == found[end] + 1:
            end += 1
        parts.append(str(found[0]) if end == 0 else f"{found[0]}-{found[end]}")
        found = found[end + 1 :]
    return ",".join(parts)


def parsed(text: str) -> frozenset[int]:
    """Raises ValueError for what is no list of processors."""
    found = set[int]()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


class CpuPool:
    """Who has which processors. `siblings` maps each to its physical core: cores are given whole where that is
    possible. `keep` hears of each change: pod uid and container -> list of processors."""

    def __init__(
        self,
        online: Sequence[int],
        reserved: Iterable[int],
        siblings: Mapping[int, int],
        keep: Callable[[Mapping[tuple[str, str], str]], None] = lambda given: None,
    ) -> None:
        self._online = frozenset(online)
        self._reserved = frozenset(reserved) & self._online
        self._core = {cpu: siblings.get(cpu, cpu) for cpu in self._online}
        self._given: dict[tuple[str, str], frozenset[int]] = {}
        self._keep = keep

    @property
    def shared(self) -> frozenset[int]:
        return self._online.difference(*self._given.values())

    @property
    def allocatable(self) -> frozenset[int]:
        return self._online - self._reserved

    def of(self, uid: str, container: str) -> frozenset[int] | None:
        """What a container has alone."""
        return self._given.get((uid, container))

    def assign(self, pod: Object) -> None:
        """All or nothing. Raises NotEnough."""
        uid = pod["metadata"]["uid"]
        before = dict(self._given)
        for name, count in entitled(pod):
            if (uid, name) in self._given:
                continue
            free = self.shared - self._reserved
            if len(free) < count:
                self._given = before
                raise NotEnough(
                    "Allocate failed due to not enough cpus available to satisfy request: "
                    f"requested={count}, available={len(free)}, which is unexpected"
                )
            self._given[(uid, name)] = self._take(free, count)
        if self._given != before:
            self._tell()

    def restore(self, uid: str, container: str, text: str) -> None:
        """A container that was found running has these."""
        cpus = parsed(text) & self._online
        if (uid, container) not in self._given and cpus and cpus <= self.shared:
            self._given[(uid, container)] = cpus

    def release(self, *uids: str) -> bool:
        """Whether anything came free."""
        gone = [key for key in self._given if key[0] in uids]
        for key in gone:
            del self._given[key]
        if gone:
            self._tell()
        return bool(gone)

    def holders(self) -> set[str]:
        """Uids of the pods that have some."""
        return {uid for uid, _ in self._given}

    def _tell(self) -> None:
        self._keep({key: written(cpus) for key, cpus in self._given.items()})

    def _take(self, free: frozenset[int], count: int) -> frozenset[int]:
        """Whole cores first, then what is left of cores that are broken anyway."""
        by_core: dict[int, list[int]] = {}
        for cpu in sorted(free):
            by_core.setdefault(self._core[cpu], []).append(cpu)
        size = {core: sum(c == core for c in self._core.values()) for core in by_core}
        chosen = list[int]()
        for core, cpus in sorted(by_core.items()):
            if len(cpus) == size[core] and len(chosen) + len(cpus) <= count:
                chosen += cpus
        rest = [cpu for core in sorted(by_core, key=lambda c: (len(by_core[c]), c)) for cpu in by_core[core]]
        chosen += [cpu for cpu in rest if cpu not in chosen][: count - len(chosen)]
        return frozenset(chosen)
