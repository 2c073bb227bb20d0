"""NodePorts: two pods cannot have the same host port on one node; 0.0.0.0 stands for every address."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from timonel.scheduler.framework import Refusal, Skip, State
from timonel.scheduler.nodes import Ints
from timonel.scheduler.podinfo import HostPort

REASON = "node(s) didn't have free ports for the requested pod ports"
ANY = "0.0.0.0"


class NodePorts:
    name = "NodePorts"
    scope = "row"
    events = frozenset({"node-added", "node-changed", "pod-deleted"})

    def pre_filter(self, state: State) -> set[str] | None:
        if not state.info.ports:
            raise Skip
        return None

    def filter(self, state: State, rows: Ints) -> Iterable[Refusal]:
        wanted = state.info.ports
        busy = [_conflict(wanted, state.nodes.used_ports(row)) for row in rows.tolist()]
        yield Refusal(np.array(busy, dtype=np.bool_), REASON, resolvable=True)


def _conflict(wanted: Iterable[HostPort], used: set[HostPort]) -> bool:
    if not used:
        return False
    return any(
        protocol == p and port == n and (address == a or ANY in (address, a))
        for protocol, address, port in wanted
        for p, a, n in used
    )
