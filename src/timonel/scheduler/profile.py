"""Which plugins a scheduler runs: upstream's default profile, in its order and with its weights.

Upstream: pkg/scheduler/apis/config/v1/default_plugins.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timonel.scheduler import framework
from timonel.scheduler.framework import Plugin
from timonel.scheduler.plugins.default_binder import DefaultBinder
from timonel.scheduler.plugins.default_preemption import DefaultPreemption
from timonel.scheduler.plugins.image_locality import ImageLocality
from timonel.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from timonel.scheduler.plugins.node_affinity import NodeAffinity
from timonel.scheduler.plugins.node_name import NodeName
from timonel.scheduler.plugins.node_ports import NodePorts
from timonel.scheduler.plugins.node_resources_balanced import NodeResourcesBalancedAllocation
from timonel.scheduler.plugins.node_resources_fit import NodeResourcesFit
from timonel.scheduler.plugins.node_unschedulable import NodeUnschedulable
from timonel.scheduler.plugins.pod_topology_spread import PodTopologySpread
from timonel.scheduler.plugins.priority_sort import PrioritySort
from timonel.scheduler.plugins.scheduling_gates import SchedulingGates
from timonel.scheduler.plugins.taint_toleration import TaintToleration
from timonel.scheduler.plugins.volume_binding import VolumeBinding
from timonel.scheduler.plugins.volume_restrictions import VolumeRestrictions

WEIGHTS = {"TaintToleration": 3, "NodeAffinity": 2, "PodTopologySpread": 2, "InterPodAffinity": 2}


class Profile:
    """An ordered set of plugins, sorted by extension point once."""

    def __init__(self, plugins: Sequence[Plugin], *, scheduler_name: str = "default-scheduler") -> None:
        self.scheduler_name = scheduler_name
        self.plugins = tuple(plugins)
        self.sort = next(p for p in self.plugins if isinstance(p, PrioritySort))
        found = self.plugins
        self.pre_enqueue = [p for p in found if isinstance(p, framework.PreEnqueuePlugin)]
        self.pre_filter = [p for p in found if isinstance(p, framework.PreFilterPlugin)]
        self.filter = [p for p in found if isinstance(p, framework.FilterPlugin)]
        self.post_filter = [p for p in found if isinstance(p, framework.PostFilterPlugin)]
        self.score = [p for p in found if isinstance(p, framework.ScorePlugin)]
        self.reserve = [p for p in found if isinstance(p, framework.ReservePlugin)]
        self.permit = [p for p in found if isinstance(p, framework.PermitPlugin)]
        self.pre_bind = [p for p in found if isinstance(p, framework.PreBindPlugin)]
        self.bind = [p for p in found if isinstance(p, framework.BindPlugin)]
        self.post_bind = [p for p in found if isinstance(p, framework.PostBindPlugin)]

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
        PodTopologySpread(),
        InterPodAffinity(),
        DefaultPreemption(),
        NodeResourcesBalancedAllocation(),
        ImageLocality(),
        DefaultBinder(),
    ]
