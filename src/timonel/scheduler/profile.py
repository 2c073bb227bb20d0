"""Which plugins a scheduler runs, at which extension points, in which order and with which weights.

Upstream: pkg/scheduler/apis/config/v1/default_plugins.go, pkg/scheduler/framework/runtime/framework.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from timonel.objects.meta import Object
from timonel.scheduler import failures, framework
from timonel.scheduler.framework import MAX_SCORE, Plugin, PluginFailed, State
from timonel.scheduler.measures import Measures
from timonel.scheduler.nodes import Ints
from timonel.scheduler.plugins.default_binder import DefaultBinder
from timonel.scheduler.plugins.default_preemption import DefaultPreemption
from timonel.scheduler.plugins.dynamic_resources import DynamicResources
from timonel.scheduler.plugins.image_locality import ImageLocality
from timonel.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from timonel.scheduler.plugins.node_affinity import NodeAffinity
from timonel.scheduler.plugins.node_declared_features import NodeDeclaredFeatures
from timonel.scheduler.plugins.node_name import NodeName
from timonel.scheduler.plugins.node_ports import NodePorts
from timonel.scheduler.plugins.node_resources_balanced import NodeResourcesBalancedAllocation
from timonel.scheduler.plugins.node_resources_fit import NodeResourcesFit
from timonel.scheduler.plugins.node_unschedulable import NodeUnschedulable
from timonel.scheduler.plugins.node_volume_limits import NodeVolumeLimits
from timonel.scheduler.plugins.pod_topology_spread import PodTopologySpread
from timonel.scheduler.plugins.priority_sort import PrioritySort
from timonel.scheduler.plugins.scheduling_gates import SchedulingGates
from timonel.scheduler.plugins.taint_toleration import TaintToleration
from timonel.scheduler.plugins.volume_binding import VolumeBinding
from timonel.scheduler.plugins.volume_restrictions import VolumeRestrictions
from timonel.scheduler.plugins.volume_zone import VolumeZone
from timonel.scheduler.podinfo import PodInfo

DEFAULT_NAME = "default-scheduler"
WEIGHTS = {"TaintToleration": 3, "NodeAffinity": 2, "PodTopologySpread": 2, "InterPodAffinity": 2}

# The points by upstream's names; what normalizes, follows or forgets goes with the point it serves.
POINTS: Mapping[str, type] = {
    "preEnqueue": framework.PreEnqueuePlugin,
    "queueSort": framework.QueueSortPlugin,
    "preFilter": framework.PreFilterPlugin,
    "filter": framework.FilterPlugin,
    "postFilter": framework.PostFilterPlugin,
    "preScore": framework.PreScorePlugin,
    "score": framework.ScorePlugin,
    "reserve": framework.ReservePlugin,
    "permit": framework.PermitPlugin,
    "preBind": framework.PreBindPlugin,
    "bind": framework.BindPlugin,
    "postBind": framework.PostBindPlugin,
}

P = TypeVar("P")
MayHelp = Callable[[PodInfo, str, Object | None, Object | None], bool]


class Profile:
    """An ordered set of plugins, sorted by extension point once.

    `points` names the plugins of a point and their order; a point that is left out has all that can serve it.
    """

    def __init__(
        self,
        plugins: Sequence[Plugin],
        *,
        scheduler_name: str = DEFAULT_NAME,
        weights: Mapping[str, int] | None = None,
        points: Mapping[str, Sequence[str]] | None = None,
        percentage: int | None = None,
    ) -> None:
        """`percentage` of the nodes that are looked at until enough pass; None for all of them."""
        self.scheduler_name = scheduler_name
        self.percentage = percentage
        self.measures = Measures()  # who runs the profile may put its own here
        self.plugins = tuple(plugins)
        self._weights = WEIGHTS if weights is None else weights
        self._points = points or {}
        self.sort = self._serving("queueSort", framework.QueueSortPlugin)[0]
        self.pre_enqueue = self._serving("preEnqueue", framework.PreEnqueuePlugin)
        self.pre_filter = self._serving("preFilter", framework.PreFilterPlugin)
        self.filter = self._serving("filter", framework.FilterPlugin)
        self.post_filter = self._serving("postFilter", framework.PostFilterPlugin)
        self.pre_score = self._serving("preScore", framework.PreScorePlugin)
        self.score = self._serving("score", framework.ScorePlugin)
        self.reserve = self._serving("reserve", framework.ReservePlugin)
        self.permit = self._serving("permit", framework.PermitPlugin)
        self.pre_bind = self._serving("preBind", framework.PreBindPlugin)
        self.pre_flight = _of(self.pre_bind, framework.PreFlightPlugin)
        self.bind = self._serving("bind", framework.BindPlugin)
        self.post_bind = self._serving("postBind", framework.PostBindPlugin)
        self.following = _of(self.pre_filter, framework.FollowingPlugin)
        self.forgetting = _of(self.plugins, framework.ForgettingPlugin)
        asked = (*self.pre_filter, *self.filter, *self.score)
        self.remembers = all(
            self.scope_of(plugin) for plugin in asked
        )  # a plugin that says nothing may know anything
        self._interested: dict[str, list[tuple[str, MayHelp]]] = {}
        self.normalizing = {self.name_of(p): p for p in _of(self.score, framework.NormalizePlugin)}

    def _serving(self, point: str, protocol: Callable[..., P]) -> list[P]:
        able = _of(self.plugins, protocol)
        wanted = self._points.get(point)
        if wanted is None:
            return able
        by_name = {self.name_of(plugin): plugin for plugin in able}
        return [by_name[name] for name in wanted if name in by_name]

    @staticmethod
    def name_of(plugin: Any) -> str:
        name: str = plugin.name
        return name

    @staticmethod
    def scope_of(plugin: Any) -> str:
        """How long an answer is good; empty where nothing is said."""
        scope: str = getattr(plugin, "scope", "")
        return scope

    def weight_of(self, plugin: Any) -> int:
        return self._weights.get(plugin.name) or 1

    def normalized(self, plugin: Any, state: State, rows: Ints, scores: Any) -> Ints:
        normalizing = self.normalizing.get(plugin.name)
        try:
            found = scores if normalizing is None else normalizing.normalize(state, rows, scores)
            if not self.scope_of(plugin):
                found = np.asarray(found).astype(np.int64)
        except Exception as exc:
            raise failures.at_scores("running Normalize on", plugin.name, exc) from exc
        if not self.scope_of(plugin) and len(found) and not 0 <= found.min() <= found.max() <= MAX_SCORE:
            wrong = int(found.min() if found.min() < 0 else found.max())
            raise PluginFailed(
                f'applying score defaultWeights on Score plugins: plugin "{plugin.name}" returns an invalid score '
                f"{wrong}, it should in the range of [0, {MAX_SCORE}] after normalizing"
            )
        points: Ints = found
        return points

    def scored(self, plugin: framework.ScorePlugin, state: State, rows: Ints) -> Any:
        """What it says; raises PluginFailed."""
        try:
            return plugin.score(state, rows)
        except Exception as exc:
            raise failures.at_scores("running", self.name_of(plugin), exc) from exc

    def prepare_scores(self, state: State, rows: Ints) -> None:
        """Raises PluginFailed."""
        for plugin in self.pre_score:
            try:
                plugin.pre_score(state, rows)
            except Exception as exc:
                raise failures.at_point("PreScore", self.name_of(plugin), exc) from exc

    def follow(self, state: State, info: PodInfo, row: int, sign: int) -> None:
        """A pod came to (+1) or left (-1) a row. Raises PluginFailed."""
        for plugin in self.following:
            try:
                plugin.pod_changed(state, info, row, sign)
            except Exception as exc:
                raise failures.at_change(sign, self.name_of(plugin), exc) from exc

    def interested_in(self, event: str) -> list[tuple[str, MayHelp]]:
        """The plugins that an event may cause to change their mind, and what they say about it for a pod.

        Those that name no events may be helped by any.
        """
        found = self._interested.get(event)
        if found is None:
            found = self._interested[event] = [
                (p.name, p.may_help if isinstance(p, framework.QueueingHintPlugin) else _always)
                for p in self.plugins
                if event in getattr(p, "events", (event,))
            ]
        return found


def _of(plugins: Iterable[Any], protocol: Callable[..., P]) -> list[P]:
    kind: Any = protocol  # mypy would have a concrete class
    return [plugin for plugin in plugins if isinstance(plugin, kind)]


def _always(info: PodInfo, event: str, old: Object | None, new: Object | None) -> bool:
    return True


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
        NodeVolumeLimits(),
        VolumeBinding(),
        VolumeZone(),
        PodTopologySpread(),
        InterPodAffinity(),
        DynamicResources(),
        DefaultPreemption(),
        NodeResourcesBalancedAllocation(),
        ImageLocality(),
        DefaultBinder(),
        NodeDeclaredFeatures(),
    ]
