"""NodePorts: two pods cannot have the same host port on one node; 0.0.0.0 stands for every address."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from timonel.objects.meta import Object
from timonel.scheduler.framework import Refusal, Skip, State
from timonel.scheduler.nodes import Ints
from timonel.scheduler.podinfo import HostPort, PodInfo, host_ports

REASON = "node(s) didn't have free ports for the requested pod ports"
ANY = "0.0.0.0"


class NodePorts:
    name = "NodePorts"
    scope = "row"
    events = frozenset({"node-added", "node-changed", "pod-deleted"})

    def may_help(self, info: PodInfo, event: str, old: Object | None, new: Object | None) -> bool:
        """A pod that goes helps if it had one of the ports."""
        if event != "pod-deleted" or old is None:
            return True
        return _conflict(info.ports, set(host_ports(old)))

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
