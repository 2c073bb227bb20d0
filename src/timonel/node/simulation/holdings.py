"""What the engine keeps of the nodes and pods that are simulated here.

A pod has at most one address, from when its sandbox is made until that is stopped, wherever its status says so still:
so it is given back exactly once, whether the pod ends, is deleted or is not ours any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field

from timonel.node import admission
from timonel.node.admission import Refusal
from timonel.node.simulation import machines
from timonel.node.simulation.addresses import Addresses
from timonel.node.simulation.life import FINAL, Life
from timonel.objects.meta import Key, Object
from timonel.records import dataclass


@dataclass(slots=True)
class Node:
    """A simulated node as the engine keeps it."""

    name: str
    object: Object
    ip: str
    addresses: Addresses
    pods: set[str] = field(default_factory=set)  # uids
    status_at: float = 0.0  # when its status was last sent
    has_lease: bool = False
    used: dict[str, int] = field(
        default_factory=dict
    )  # what its pods ask for, and how many they are ("pods")

    @property
    def is_stopped(self) -> bool:
        return machines.is_stopped(self.object)

    def refusal(self, pod: Object, wanted: Mapping[str, int]) -> Refusal | None:
        return admission.admit_beside(pod, wanted, self.used, self.object, machines.allocatable(self.object))

    def count(self, amounts: Mapping[str, int], sign: int) -> None:
        for resource, number in (("pods", 1), *amounts.items()):
            self.used[resource] = self.used.get(resource, 0) + sign * number


@dataclass(slots=True)
class Held:
    """A pod of ours. `pod` is None while it is at rest; `version` is that of the newest object seen."""

    key: Key
    node: Node
    life: Life
    pod: Object | None
    version: int
    is_busy: bool = False
    newer: Object | None = None  # seen while it was busy
    address: str = ""
    range: Addresses | None = None  # that the address is of
    amounts: Mapping[str, int] | None = None  # what it has of its node, from its admission to its end

    def take_address(self) -> str:
        """The one it has, or a fresh one. Raises NoAddress."""
        if self.range is None:
            self.address, self.range = self.node.addresses.take(), self.node.addresses
        return self.address

    def hold(self, amounts: Mapping[str, int] | None) -> None:
        """So much of its node from now on; nothing where it is None."""
        if self.amounts is not None:
            self.node.count(self.amounts, -1)
        if amounts is not None:
            self.node.count(amounts, 1)
        self.amounts = amounts

    def keep_address(self, address: str, ranges: Iterable[Addresses]) -> None:
        """It had this one before it was seen here."""
        self.range = reserved(address, ranges)
        self.address = address if self.range is not None else ""

    def free_address(self) -> None:
        if self.range is not None:
            self.range.free(self.address)
            self.range = None


def reserved(address: str, ranges: Iterable[Addresses]) -> Addresses | None:
    """The range that the address was taken from, by somebody who has it; None if there is none, or it is taken."""
    return next((each for each in ranges if each.seen(address)), None)


def address_in_use(pod: Object) -> str:
    """By the pod's own sandbox, as its status tells it."""
    status = pod.get("status") or {}
    if pod["spec"].get("hostNetwork") or status.get("phase") in FINAL:
        return ""
    return str(status.get("podIP") or "")
