"""All nodes as columns: row i of every array is the i-th node, so that one expression looks at all nodes at once.

Labels become columns of small numbers when something first selects by their key. Rows of removed nodes are filled by
the last one; order among nodes has no meaning. Pods that look alike to other pods (namespace, labels, affinity) are
counted in groups, so that a selector is matched once per group.

Whoever remembers something about rows compares `epoch`, which tells that nodes changed, and reads the `journal` of pods
that came and went since (`mark`, `since`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timonel.objects.meta import Object, labels_of
from timonel.records import dataclass
from timonel.scheduler.affinityterms import Terms
from timonel.scheduler.podinfo import HostPort, PodInfo, amount_of

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]

CPU, MEMORY, STORAGE, PODS = "cpu", "memory", "ephemeral-storage", "pods"
MISSING = -1
JOURNAL = 16_384  # entries kept at least

Taints = tuple[tuple[str, str, str], ...]  # key, value, effect
Change = tuple[int, PodInfo | None, int]  # row, pod, +1 or -1; without a pod: something else about the row


class LabelColumn:
    """The values of one label on all nodes, as numbers."""

    def __init__(self, values: Iterable[str | None]) -> None:
        self.numbers: dict[str, int] = {}
        numbers = self.numbers
        self.column: Ints = np.array(
            [MISSING if v is None else numbers.setdefault(v, len(numbers)) for v in values], dtype=np.int64
        )

    def of(self, value: str) -> int:
        return self.numbers.get(value, MISSING - 1)


@dataclass(slots=True)
class Group:
    """Pods that no selector and no term tells apart, and on which rows how many of them are."""

    namespace: str
    labels: Mapping[str, str]
    terms: Terms
    deleting: bool
    sample: Object
    rows: dict[int, int] = field(default_factory=dict)


class Nodes:
    def __init__(self) -> None:
        self.objects: list[Object] = []
        self.row: dict[str, int] = {}
        self.resources: dict[str, int] = {}  # resource -> column of the two tables below
        self.allocatable: Ints = np.zeros((0, 0), dtype=np.int64)
        self.requested: Ints = np.zeros((0, 0), dtype=np.int64)
        self.scored: Ints = np.zeros((0, 2), dtype=np.int64)  # cpu, memory with defaults
        self.unschedulable: Mask = np.zeros(0, dtype=np.bool_)
        self.taints: Ints = np.zeros(0, dtype=np.int64)  # numbers of taint sets
        self.taint_sets: list[Taints] = []
        self.pods: list[dict[str, PodInfo]] = []  # per node, by uid
        self.ports: list[set[HostPort] | None] = []  # worked out when asked for
        self.images: dict[str, dict[str, int]] = {}  # image -> node -> bytes
        self.groups: dict[tuple[Any, ...], Group] = {}
        self.repelling: dict[tuple[Any, ...], Group] = {}  # of which some term keeps others away
        self.attracting: dict[tuple[Any, ...], Group] = {}  # that have wishes about others
        self.nominated: dict[str, tuple[str, PodInfo]] = {}  # by uid: pods that others make room for
        self.nominations: dict[str, dict[str, PodInfo]] = {}  # the same by node
        self.nominated_repelling = 0  # how many of them keep others away
        self.epoch = 0
        self.turn = 0  # where the next decision begins that does not look at all nodes
        self._journal: list[Change] = []
        self._forgotten = 0  # entries of the journal that were dropped
        self._supposing = False
        self._taint_numbers: dict[Taints, int] = {}
        self._columns: dict[str, LabelColumn] = {}
        self._waiting: dict[str, dict[str, PodInfo]] = {}  # pods on nodes that are not there (yet)
        for name in (CPU, MEMORY, STORAGE, PODS):
            self.column_of(name)

    def __len__(self) -> int:
        return len(self.objects)

    def name(self, row: int) -> str:
        found: str = self.objects[row]["metadata"]["name"]
        return found

    @property
    def names(self) -> list[str]:
        return [node["metadata"]["name"] for node in self.objects]

    # ---- nodes come and go

    def put(self, node: Object) -> None:
        name = node["metadata"]["name"]
        self.epoch += 1
        row = self.row.get(name)
        if row is None:
            row = self.row[name] = len(self.objects)
            self.objects.append(node)
            self.pods.append({})
            self.ports.append(None)
            self._reserve_rows(row + 1)
            self._columns.clear()
        else:
            if labels_of(self.objects[row]) != labels_of(node):
                self._columns.clear()
            self._drop_images(name, self.objects[row])
            self.objects[row] = node
        self.allocatable[row] = 0
        for resource, text in ((node.get("status") or {}).get("allocatable") or {}).items():
            column = self.column_of(resource)  # may replace the array by a wider one
            self.allocatable[row, column] = amount_of(resource, text)
        spec = node.get("spec") or {}
        self.unschedulable[row] = bool(spec.get("unschedulable"))
        self.taints[row] = self._taint_number(spec.get("taints") or ())
        for image in (node.get("status") or {}).get("images") or ():
            for image_name in image.get("names") or ():
                self.images.setdefault(image_name, {})[name] = image.get("sizeBytes", 0)
        for info in self._waiting.pop(name, {}).values():
            self.add_pod(name, info)

    def remove(self, name: str) -> None:
        self.epoch += 1
        row, last = self.row[name], len(self.objects) - 1
        leaving, moving = dict(self.pods[row]), dict(self.pods[last])
        for uid in leaving:
            self.remove_pod(name, uid)
        if leaving:
            self._waiting[name] = leaving
        self._drop_images(name, self.objects[row])
        if row != last:
            moved = self.name(last)
            for uid in moving:
                self.remove_pod(moved, uid)
            for column in (self.allocatable, self.unschedulable, self.taints):
                column[row] = column[last]
            self.objects[row] = self.objects[last]
            self.row[moved] = row
        del self.row[name]
        self.objects.pop()
        self.pods.pop()
        self.ports.pop()
        self._clear_row(last)
        self._columns.clear()
        if row != last:
            for info in moving.values():
                self.add_pod(self.name(row), info)

    def _drop_images(self, name: str, node: Object) -> None:
        for image in (node.get("status") or {}).get("images") or ():
            for image_name in image.get("names") or ():
                holders = self.images.get(image_name)
                if holders is not None:
                    holders.pop(name, None)
                    if not holders:
                        del self.images[image_name]

    def _taint_number(self, taints: Iterable[Mapping[str, Any]]) -> int:
        found = tuple((t["key"], t.get("value", ""), t["effect"]) for t in taints)
        number = self._taint_numbers.get(found)
        if number is None:
            number = self._taint_numbers[found] = len(self.taint_sets)
            self.taint_sets.append(found)
        return number

    # ---- pods come and go

    def add_pod(self, node: str, info: PodInfo) -> None:
        row = self.row.get(node)
        if row is None:
            self._waiting.setdefault(node, {})[info.uid] = info
            return
        if info.uid in self.pods[row]:
            self.remove_pod(node, info.uid)
        self.pods[row][info.uid] = info
        self._account(row, info, 1)

    def remove_pod(self, node: str, uid: str) -> None:
        row = self.row.get(node)
        if row is None:
            self._waiting.get(node, {}).pop(uid, None)
            return
        info = self.pods[row].pop(uid, None)
        if info is not None:
            self._account(row, info, -1)

    def _account(self, row: int, info: PodInfo, sign: int) -> None:
        requested = self.requested[row]
        for resource, amount in info.requests.items():
            column = self.resources.get(resource)
            if column is None:
                column = self.column_of(resource)
                requested = self.requested[row]
            requested[column] += sign * amount
        requested[self.resources[PODS]] += sign
        scored = self.scored[row]
        scored[0] += sign * info.scored_cpu
        scored[1] += sign * info.scored_memory
        if info.ports:
            self.ports[row] = None
        self._count(row, info, sign)
        if not self._supposing:
            self._note((row, info, sign))

    def _count(self, row: int, info: PodInfo, sign: int) -> None:
        key = info.group
        group = self.groups.get(key)
        if group is None:
            group = self.groups[key] = Group(
                info.key.namespace, labels_of(info.pod), info.terms, info.deleting, info.pod
            )
            if info.terms.apart:
                self.repelling[key] = group
            if info.terms.has_preferences:
                self.attracting[key] = group
        count = group.rows.get(row, 0) + sign
        if count:
            group.rows[row] = count
            return
        group.rows.pop(row, None)
        if not group.rows:
            for table in (self.groups, self.repelling, self.attracting):
                table.pop(key, None)

    def used_ports(self, row: int) -> set[HostPort]:
        found = self.ports[row]
        if found is None:
            found = self.ports[row] = {port for info in self.pods[row].values() for port in info.ports}
        return found

    @contextmanager
    def supposing(self, row: int) -> Iterator[None]:
        """What is done to the pods of this row within the block is undone after it, and nobody is told."""
        before, pods, name = self._supposing, dict(self.pods[row]), self.name(row)
        self._supposing = True
        try:
            yield
        finally:
            here = self.pods[row]
            for uid in [uid for uid in here if uid not in pods]:
                self.remove_pod(name, uid)
            for uid, info in pods.items():
                if uid not in here:
                    self.add_pod(name, info)
            self.pods[row] = pods  # in their order
            self._supposing = before

    # ---- pods that others make room for

    def nominate(self, info: PodInfo, node: str) -> None:
        self.withdraw(info.uid)
        self.nominated[info.uid] = (node, info)
        self.nominated_repelling += bool(info.terms.apart)
        self.nominations.setdefault(node, {})[info.uid] = info
        self._touch(node)

    def withdraw(self, uid: str) -> None:
        found = self.nominated.pop(uid, None)
        if found is None:
            return
        node, info = found
        self.nominated_repelling -= bool(info.terms.apart)
        there = self.nominations[node]
        del there[uid]
        if not there:
            del self.nominations[node]
        self._touch(node)

    def _touch(self, node: str) -> None:
        row = self.row.get(node)
        if row is not None:
            self._note((row, None, 0))

    # ---- what has changed

    @property
    def mark(self) -> int:
        return self._forgotten + len(self._journal)

    def since(self, mark: int) -> list[Change] | None:
        """What happened to pods since; None where that is no longer known."""
        return None if mark < self._forgotten else self._journal[mark - self._forgotten :]

    def _note(self, change: Change) -> None:
        self._journal.append(change)
        if len(self._journal) > 2 * JOURNAL:
            del self._journal[:JOURNAL]
            self._forgotten += JOURNAL

    # ---- columns

    def column_of(self, resource: str) -> int:
        """The column of a resource, made when it is first heard of."""
        column = self.resources.get(resource)
        if column is None:
            column = self.resources[resource] = len(self.resources)
            widened = [
                np.concatenate([t, np.zeros((t.shape[0], 1), dtype=np.int64)], axis=1)
                for t in (self.allocatable, self.requested)
            ]
            self.allocatable, self.requested = widened
        return column

    def labels(self, key: str) -> LabelColumn:
        column = self._columns.get(key)
        if column is None:
            column = self._columns[key] = LabelColumn(labels_of(node).get(key) for node in self.objects)
        return column

    def _reserve_rows(self, count: int) -> None:
        """The arrays are longer than the nodes are many, so that adding one is cheap; readers cut them to length."""
        size = self.unschedulable.shape[0]
        if count <= size:
            return

        def grown(array: NDArray[Any]) -> NDArray[Any]:
            more = np.zeros((max(16, 2 * count) - size, *array.shape[1:]), dtype=array.dtype)
            return np.concatenate([array, more])

        self.allocatable, self.requested = grown(self.allocatable), grown(self.requested)
        self.scored, self.unschedulable = grown(self.scored), grown(self.unschedulable)
        self.taints = grown(self.taints)

    def free(self, resource: str, rows: Ints) -> Ints:
        column = self.column_of(resource)
        found: Ints = self.allocatable[rows, column] - self.requested[rows, column]
        return found

    def capacity(self, resource: str, rows: Ints) -> Ints:
        found: Ints = self.allocatable[rows, self.column_of(resource)]
        return found

    def _clear_row(self, row: int) -> None:
        """A row that is no longer used."""
        self.allocatable[row] = self.requested[row] = 0
        self.scored[row] = 0
        self.unschedulable[row] = False
        self.taints[row] = 0
