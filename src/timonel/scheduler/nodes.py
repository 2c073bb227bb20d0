"""All nodes as columns: row i of every array is the i-th node, so that one expression looks at all nodes at once.

Labels become columns of small numbers when something first selects by their key. Rows of removed nodes are filled by
the last one; order among nodes has no meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timonel.objects.meta import Object, labels_of
from timonel.scheduler.podinfo import HostPort, PodInfo, amount_of

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]

CPU, MEMORY, STORAGE, PODS = "cpu", "memory", "ephemeral-storage", "pods"
MISSING = -1

Taints = tuple[tuple[str, str, str], ...]  # key, value, effect


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
        self.repelling: dict[str, tuple[str, PodInfo]] = {}  # by uid: node, and pod that keeps others away
        self.attracting: dict[str, tuple[str, PodInfo]] = {}  # by uid: pods that have wishes about others
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
        row = self.row.pop(name)
        if self.pods[row]:
            self._waiting[name] = self.pods[row]
            for uid in self.pods[row]:
                self.repelling.pop(uid, None)
                self.attracting.pop(uid, None)
        self._drop_images(name, self.objects[row])
        last = len(self.objects) - 1
        if row != last:
            for column in (self.allocatable, self.requested, self.scored, self.unschedulable, self.taints):
                column[row] = column[last]
            self.objects[row], self.pods[row] = self.objects[last], self.pods[last]
            self.ports[row] = self.ports[last]
            self.row[self.name(row)] = row
        self.objects.pop()
        self.pods.pop()
        self.ports.pop()
        self._shrink(last)
        self._columns.clear()

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
        if info.terms.apart:
            self.repelling[info.uid] = (node, info)
        if info.terms.has_preferences:
            self.attracting[info.uid] = (node, info)
        self._account(row, info, 1)

    def remove_pod(self, node: str, uid: str) -> None:
        row = self.row.get(node)
        if row is None:
            self._waiting.get(node, {}).pop(uid, None)
            return
        info = self.pods[row].pop(uid, None)
        self.repelling.pop(uid, None)
        self.attracting.pop(uid, None)
        if info is not None:
            self._account(row, info, -1)

    def _account(self, row: int, info: PodInfo, sign: int) -> None:
        for resource, amount in info.requests.items():
            column = self.column_of(resource)
            self.requested[row, column] += sign * amount
        self.requested[row, self.resources[PODS]] += sign
        self.scored[row, 0] += sign * info.scored_cpu
        self.scored[row, 1] += sign * info.scored_memory
        self.ports[row] = None

    def used_ports(self, row: int) -> set[HostPort]:
        found = self.ports[row]
        if found is None:
            found = self.ports[row] = {port for info in self.pods[row].values() for port in info.ports}
        return found

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

    def free(self, resource: str) -> Ints:
        column = self.column_of(resource)
        count = len(self)
        return self.allocatable[:count, column] - self.requested[:count, column]

    def capacity(self, resource: str) -> Ints:
        return self.allocatable[: len(self), self.column_of(resource)]

    def _shrink(self, row: int) -> None:
        """Clear a row that is no longer used."""
        self.allocatable[row] = self.requested[row] = 0
        self.scored[row] = 0
        self.unschedulable[row] = False
        self.taints[row] = 0
