"""Which plugins a scheduler runs: upstream's default profile, in its order and with its weights.

Upstream: pkg/scheduler/apis/config/v1/default_plugins.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from timonel.scheduler.framework import Plugin
from timonel.scheduler.plugins.default_preemption import DefaultPreemption
from timonel.scheduler.plugins.image_locality import ImageLocality
from timonel.scheduler.plugins.node_affinity import NodeAffinity
from timonel.scheduler.plugins.node_name import NodeName
from timonel.scheduler.plugins.node_ports import NodePorts
from timonel.scheduler.plugins.node_resources_balanced import NodeResourcesBalancedAllocation
from timonel.scheduler.plugins.node_resources_fit import NodeResourcesFit
from timonel.scheduler.plugins.node_unschedulable import NodeUnschedulable
from timonel.scheduler.plugins.priority_sort import PrioritySort
from timonel.scheduler.plugins.scheduling_gates import SchedulingGates
from timonel.scheduler.plugins.taint_toleration import TaintToleration
from timonel.scheduler.plugins.volume_binding import VolumeBinding
from timonel.scheduler.plugins.volume_restrictions import VolumeRestrictions

T = TypeVar("T")

WEIGHTS = {"TaintToleration": 3, "NodeAffinity": 2, "PodTopologySpread": 2, "InterPodAffinity": 2}


class Profile:
    """An ordered set of plugins, sorted by extension point once."""

    def __init__(self, plugins: Sequence[Plugin], *, scheduler_name: str = "default-scheduler") -> None:
        self.scheduler_name = scheduler_name
        self.plugins = tuple(plugins)
        self.sort = next(p for p in self.plugins if isinstance(p, PrioritySort))
        self._points: dict[Any, tuple[Any, ...]] = {}

    def of(self, point: type[T]) -> tuple[T, ...]:
        found = self._points.get(point)
        if found is None:
            found = self._points[point] = tuple(p for p in self.plugins if isinstance(p, point))
        return found

    @staticmethod
    def name_of(plugin: Any) -> str:
        name: str = plugin.name
        return name

    @staticmethod
    def weight_of(plugin: Any) -> int:
        return WEIGHTS.get(plugin.name, 1)

    def events_of(self, names: set[str]) -> frozenset[str]:
        """The events that may help a pod which these plugins refused."""
        return frozenset().union(*(p.events for p in self.plugins if p.name in names))


def default_plugins() -> list[Plugin]:
    return [
        SchedulingGates(),
        PrioritySort(),
        NodeUnschedulable(),
        NodeName(),
        TaintToleration(),
        NodeAffinity(),
        NodePorts(),
        NodeResourcesFit(),
        VolumeRestrictions(),
        VolumeBinding(),
        DefaultPreemption(),
        NodeResourcesBalancedAllocation(),
        ImageLocality(),
    ]
