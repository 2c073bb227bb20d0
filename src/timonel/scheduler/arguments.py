"""The arguments of the built-in plugins in a scheduler's configuration: checked, and made into plugins.

Upstream: pkg/scheduler/apis/config/validation/validation_pluginargs.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from timonel.scheduler.framework import Plugin
from timonel.scheduler.plugins import node_resources_balanced, node_resources_fit
from timonel.scheduler.plugins.default_preemption import DefaultPreemption
from timonel.scheduler.plugins.inter_pod_affinity import HARD_WEIGHT, InterPodAffinity
from timonel.scheduler.plugins.node_affinity import NodeAffinity
from timonel.scheduler.plugins.pod_topology_spread import PodTopologySpread
from timonel.scheduler.plugins.volume_binding import BIND_TIMEOUT, VolumeBinding

Tree = Mapping[str, Any]

STRATEGIES = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")
SKEWS = ("DoNotSchedule", "ScheduleAnyway")

FACTORIES: dict[str, Callable[[Tree], Plugin]] = {
    "NodeResourcesFit": node_resources_fit.from_arguments,
    "NodeResourcesBalancedAllocation": node_resources_balanced.from_arguments,
    "InterPodAffinity": lambda args: InterPodAffinity(
        hard_weight=args.get("hardPodAffinityWeight", HARD_WEIGHT),
        ignore_preferred_of_existing=args.get("ignorePreferredTermsOfExistingPods", False),
    ),
    "NodeAffinity": lambda args: NodeAffinity(args.get("addedAffinity")),
    "PodTopologySpread": lambda args: PodTopologySpread(
        (args.get("defaultConstraints") or ()) if args.get("defaultingType", "System") == "List" else None
    ),
    "DefaultPreemption": lambda args: DefaultPreemption(
        least_percentage=args.get("minCandidateNodesPercentage", 10),
        least_number=args.get("minCandidateNodesAbsolute", 100),
    ),
    "VolumeBinding": lambda args: VolumeBinding(
        timeout=float(args.get("bindTimeoutSeconds") or BIND_TIMEOUT)
    ),
}


def problems(plugin: str, args: Tree, path: str) -> Iterator[str]:
    """Causes, in upstream's form."""
    known = _FIELDS.get(plugin)
    if known is None:
        if args:
            yield f'{path}: Invalid value: plugin "{plugin}" takes no arguments'
        return
    for name in sorted(args.keys() - known - {"apiVersion", "kind"}):
        yield f'strict decoding error: unknown field "{path}.{name}"'
    kind = args.get("kind", f"{plugin}Args")
    if kind != f"{plugin}Args":
        yield f'{path}.kind: Invalid value: "{kind}": must be {plugin}Args'
    yield from _CHECKS.get(plugin, _nothing)(args, path)


def _nothing(args: Tree, path: str) -> Iterator[str]:
    yield from ()


def _fit(args: Tree, path: str) -> Iterator[str]:
    strategy = args.get("scoringStrategy") or {}
    kind = strategy.get("type", "LeastAllocated")
    if kind not in STRATEGIES:
        choices = ", ".join(f'"{s}"' for s in STRATEGIES)
        yield f'{path}.scoringStrategy.type: Unsupported value: "{kind}": supported values: {choices}'
        return
    yield from _weights(strategy.get("resources") or (), f"{path}.scoringStrategy.resources")
    if kind == "RequestedToCapacityRatio":
        shape = (strategy.get("requestedToCapacityRatio") or {}).get("shape") or ()
        yield from _shape(shape, f"{path}.scoringStrategy.requestedToCapacityRatio.shape")


def _weights(resources: Any, path: str) -> Iterator[str]:
    for number, resource in enumerate(resources):
        weight = resource.get("weight", 1)
        if not isinstance(weight, int) or not 1 <= weight <= 100:
            yield (
                f"{path}[{number}].weight: Invalid value: {weight}: "
                f"resource weight of {resource.get('name', '')} not in valid range [1, 100]"
            )


def _shape(points: Any, path: str) -> Iterator[str]:
    if not points:
        yield f"{path}: Required value: at least one point must be specified"
    last = -1
    for number, point in enumerate(points):
        used, score = point.get("utilization", 0), point.get("score", 0)
        if not 0 <= used <= 100:
            yield f"{path}[{number}].utilization: Invalid value: {used}: not in valid range [0-100]"
        elif used <= last:
            yield f"{path}[{number}].utilization: Invalid value: {used}: must be greater than the one before"
        if not 0 <= score <= 10:
            yield f"{path}[{number}].score: Invalid value: {score}: not in valid range [0-10]"
        last = used


def _balanced(args: Tree, path: str) -> Iterator[str]:
    for number, resource in enumerate(args.get("resources") or ()):
        if resource.get("weight", 1) != 1:
            yield f"{path}.resources[{number}].weight: Invalid value: {resource['weight']}: must be 1"


def _pod_affinity(args: Tree, path: str) -> Iterator[str]:
    weight = args.get("hardPodAffinityWeight", HARD_WEIGHT)
    if not isinstance(weight, int) or not 0 <= weight <= 100:
        yield f"{path}.hardPodAffinityWeight: Invalid value: {weight}: not in valid range [0-100]"


def _preemption(args: Tree, path: str) -> Iterator[str]:
    percentage, number = (
        args.get("minCandidateNodesPercentage", 10),
        args.get("minCandidateNodesAbsolute", 100),
    )
    if not 0 <= percentage <= 100:
        yield f"{path}.minCandidateNodesPercentage: Invalid value: {percentage}: not in valid range [0, 100]"
    if number < 0:
        yield f"{path}.minCandidateNodesAbsolute: Invalid value: {number}: not in valid range [0, inf)"
    if percentage == 0 and number == 0:
        yield f"{path}: Invalid value: cannot set both minCandidateNodesPercentage and minCandidateNodesAbsolute to 0"


def _spread(args: Tree, path: str) -> Iterator[str]:
    kind, constraints = args.get("defaultingType", "System"), args.get("defaultConstraints") or ()
    if kind not in ("System", "List"):
        yield f'{path}.defaultingType: Unsupported value: "{kind}": supported values: "List", "System"'
    elif kind == "System" and constraints:
        yield f'{path}.defaultingType: Invalid value: "System": when .defaultConstraints are specified, must be List'
    for number, constraint in enumerate(constraints):
        where = f"{path}.defaultConstraints[{number}]"
        if constraint.get("maxSkew", 0) <= 0:
            yield f"{where}.maxSkew: Invalid value: {constraint.get('maxSkew', 0)}: must be greater than zero"
        if not constraint.get("topologyKey"):
            yield f"{where}.topologyKey: Required value: can not be empty"
        if constraint.get("whenUnsatisfiable") not in SKEWS:
            yield f'{where}.whenUnsatisfiable: Unsupported value: "{constraint.get("whenUnsatisfiable", "")}"'
        if constraint.get("labelSelector"):
            yield f"{where}.labelSelector: Forbidden: constraint must not define a selector"


def _volume_binding(args: Tree, path: str) -> Iterator[str]:
    seconds = args.get("bindTimeoutSeconds", 0)
    if not isinstance(seconds, int) or seconds < 0:
        yield f"{path}.bindTimeoutSeconds: Invalid value: {seconds}: should not be a negative value"


_FIELDS: dict[str, frozenset[str]] = {
    "NodeResourcesFit": frozenset({"ignoredResources", "ignoredResourceGroups", "scoringStrategy"}),
    "NodeResourcesBalancedAllocation": frozenset({"resources"}),
    "InterPodAffinity": frozenset({"hardPodAffinityWeight", "ignorePreferredTermsOfExistingPods"}),
    "NodeAffinity": frozenset({"addedAffinity"}),
    "PodTopologySpread": frozenset({"defaultConstraints", "defaultingType"}),
    "DefaultPreemption": frozenset({"minCandidateNodesPercentage", "minCandidateNodesAbsolute"}),
    "VolumeBinding": frozenset({"bindTimeoutSeconds", "shape"}),
    "DynamicResources": frozenset({"filterTimeout", "bindingTimeout"}),
}
_CHECKS: dict[str, Callable[[Tree, str], Iterator[str]]] = {
    "NodeResourcesFit": _fit,
    "NodeResourcesBalancedAllocation": _balanced,
    "InterPodAffinity": _pod_affinity,
    "PodTopologySpread": _spread,
    "DefaultPreemption": _preemption,
    "VolumeBinding": _volume_binding,
}
