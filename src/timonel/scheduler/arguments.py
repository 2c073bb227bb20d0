"""The arguments of the built-in plugins in a scheduler's configuration: checked, and made into plugins.

Upstream: pkg/scheduler/apis/config/validation/validation_pluginargs.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from timonel.machinery import names
from timonel.scheduler.configfields import seconds
from timonel.scheduler.framework import Plugin
from timonel.scheduler.plugins import node_resources_balanced, node_resources_fit
from timonel.scheduler.plugins.default_preemption import DefaultPreemption
from timonel.scheduler.plugins.dynamic_resources import BINDING_TIMEOUT, DynamicResources
from timonel.scheduler.plugins.inter_pod_affinity import HARD_WEIGHT, InterPodAffinity
from timonel.scheduler.plugins.node_affinity import PREFERRED, REQUIRED, NodeAffinity
from timonel.scheduler.plugins.pod_topology_spread import PodTopologySpread
from timonel.scheduler.plugins.volume_binding import BIND_TIMEOUT, VolumeBinding

Tree = Mapping[str, Any]

STRATEGIES = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")
SKEWS = ("DoNotSchedule", "ScheduleAnyway")
OPERATORS = ("DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn")

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
    "DynamicResources": lambda args: DynamicResources(
        binding_timeout=seconds(args.get("bindingTimeout")) or BINDING_TIMEOUT
    ),
    "VolumeBinding": lambda args: VolumeBinding(
        timeout=float(args.get("bindTimeoutSeconds") or BIND_TIMEOUT)
    ),
}


def problems(plugin: str, args: Tree, path: str) -> Iterator[str]:
    """Causes, in upstream's form; `path` is that of the entry. What a plugin without arguments gets is ignored."""
    known = _FIELDS.get(plugin)
    if known is None:
        return
    decoding = f"decoding .{path}"
    if not isinstance(args, dict):
        yield f"{decoding}: decoding args for plugin {plugin}: json: cannot unmarshal into Go value of an object"
        return
    kind = args.get("kind", f"{plugin}Args")
    if kind != f"{plugin}Args":
        group = "kubescheduler.config.k8s.io"
        yield (
            f"{decoding}: args for plugin {plugin} were not of type {plugin}Args.{group}, got {kind}.{group}"
        )
        return
    strange = sorted(args.keys() - known - {"apiVersion", "kind"})
    if strange:
        fields = ", ".join(f'unknown field "{name}"' for name in strange)
        strict = "strict decoding error"
        yield f"{strict}: {decoding}: {strict}: decoding args for plugin {plugin}: {strict}: {fields}"
        return
    try:
        yield from _CHECKS.get(plugin, _nothing)(args, f"{path}.args")
    except (AttributeError, KeyError, TypeError, ValueError):
        yield f"{decoding}: decoding args for plugin {plugin}: a value is not of the type that it must have"


def _nothing(args: Tree, path: str) -> Iterator[str]:
    yield from ()


def _fit(args: Tree, path: str) -> Iterator[str]:
    for number, resource in enumerate(args.get("ignoredResources") or ()):
        yield from _label_name(resource, f"{path}.ignoredResources[{number}]")
    for number, group in enumerate(args.get("ignoredResourceGroups") or ()):
        where = f"{path}.ignoredResourceGroups[{number}]"
        if "/" in group:
            yield f"{where}: Invalid value: \"{group}\": resource group name can't contain '/'"
        yield from _label_name(group, where)
    strategy = args.get("scoringStrategy")
    if strategy is not None:
        yield from _strategy(strategy, f"{path}.scoringStrategy")


def _strategy(strategy: Tree, path: str) -> Iterator[str]:
    kind = strategy.get("type") or "LeastAllocated"
    if kind not in STRATEGIES:
        yield f'{path}.type: Unsupported value: "{kind}": supported values: {_quoted(STRATEGIES)}'
    yield from _weights(strategy.get("resources") or (), f"{path}.resources")
    ratio, where = strategy.get("requestedToCapacityRatio"), f"{path}.requestedToCapacityRatio"
    if kind == "RequestedToCapacityRatio":
        if ratio is None:
            yield f"{where}: Required value: must be specified when type is RequestedToCapacityRatio"
        else:
            yield from _shape(ratio.get("shape") or (), f"{where}.shape")
    elif ratio is not None:
        yield f"{where}: Forbidden: must be nil when type is not RequestedToCapacityRatio"


def _weights(resources: Any, path: str) -> Iterator[str]:
    for number, resource in enumerate(resources):
        weight = resource.get("weight") or 1
        if not 1 <= weight <= 100:
            yield (
                f"{path}[{number}].weight: Invalid value: {weight}: "
                f"resource weight of {resource.get('name', '')} not in valid range (0, 100]"
            )


def _shape(points: Any, path: str) -> Iterator[str]:
    if not points:
        yield f"{path}: Required value: at least one point must be specified"
    used = [point.get("utilization") or 0 for point in points]
    for number in range(1, len(used)):
        if used[number - 1] >= used[number]:
            yield (
                f"{path}[{number}].utilization: Invalid value: {used[number]}: "
                "values must be sorted in increasing order"
            )
            break
    for number, point in enumerate(points):
        for name, most in (("utilization", 100), ("score", 10)):
            value = point.get(name) or 0
            if not 0 <= value <= most:
                yield f"{path}[{number}].{name}: Invalid value: {value}: not in valid range [0, {most}]"


def _balanced(args: Tree, path: str) -> Iterator[str]:
    known: set[str] = set()
    for number, resource in enumerate(args.get("resources") or ()):
        where, name, weight = (
            f"{path}.resources[{number}]",
            resource.get("name", ""),
            resource.get("weight") or 1,
        )
        if name in known:
            yield f'{where}.name: Duplicate value: "{name}"'
        known.add(name)
        if weight != 1:
            yield f"{where}.weight: Invalid value: {weight}: must be 1"


def _pod_affinity(args: Tree, path: str) -> Iterator[str]:
    weight = args.get("hardPodAffinityWeight", HARD_WEIGHT)
    if not 0 <= weight <= 100:
        yield f"{path}.hardPodAffinityWeight: Invalid value: {weight}: not in valid range [0, 100]"


def _preemption(args: Tree, path: str) -> Iterator[str]:
    percentage, number = (
        args.get("minCandidateNodesPercentage", 10),
        args.get("minCandidateNodesAbsolute", 100),
    )
    relative, absolute = f"{path}.minCandidateNodesPercentage", f"{path}.minCandidateNodesAbsolute"
    if not 0 <= percentage <= 100:
        yield f"{relative}: Invalid value: {percentage}: not in valid range [0, 100]"
    if number < 0:
        yield f"{absolute}: Invalid value: {number}: not in valid range [0, inf)"
    if percentage == 0 and number == 0:
        why = "cannot be zero at the same time as"
        yield f"{relative}: Invalid value: 0: {why} minCandidateNodesAbsolute"
        yield f"{absolute}: Invalid value: 0: {why} minCandidateNodesPercentage"


def _spread(args: Tree, path: str) -> Iterator[str]:
    kind, constraints = args.get("defaultingType") or "System", args.get("defaultConstraints") or ()
    if kind not in ("System", "List"):
        yield f'{path}.defaultingType: Unsupported value: "{kind}": supported values: "System", "List"'
    elif kind == "System" and constraints:
        yield f'{path}.defaultingType: Invalid value: "System": when .defaultConstraints are not empty'
    known: set[tuple[str, str]] = set()
    for number, constraint in enumerate(constraints):
        where = f"{path}.defaultConstraints[{number}]"
        skew, key = constraint.get("maxSkew") or 0, constraint.get("topologyKey") or ""
        reaction = constraint.get("whenUnsatisfiable") or ""
        if skew <= 0:
            yield f"{where}.maxSkew: Invalid value: {skew}: not in valid range (0, inf)"
        if not key:
            yield f"{where}.topologyKey: Required value: can not be empty"
        else:
            yield from _label_name(key, f"{where}.topologyKey")
        if not reaction:
            yield f"{where}.whenUnsatisfiable: Required value: can not be empty"
        elif reaction not in SKEWS:
            yield (
                f'{where}.whenUnsatisfiable: Unsupported value: "{reaction}": '
                f"supported values: {_quoted(SKEWS)}"
            )
        if constraint.get("labelSelector") is not None:
            yield (
                f"{where}.labelSelector: Forbidden: "
                "constraint must not define a selector, as they deduced for each pod"
            )
        if (key, reaction) in known:
            yield f'{where}: Duplicate value: "{{{key}, {reaction}}}"'
        known.add((key, reaction))


def _volume_binding(args: Tree, path: str) -> Iterator[str]:
    timeout = args.get("bindTimeoutSeconds") or 0
    if timeout < 0:
        yield (
            f"{path}.bindTimeoutSeconds: Invalid value: {timeout}: "
            "invalid BindTimeoutSeconds, should not be a negative value"
        )
    if args.get("shape") is not None:
        yield (
            f"{path}.shape: Invalid value: unexpected field `shape`, "
            "remove it or turn on the feature gate StorageCapacityScoring"
        )


def _devices(args: Tree, path: str) -> Iterator[str]:
    for name, least, why in (
        ("filterTimeout", 0.0, "must be zero or positive"),
        ("bindingTimeout", 1.0, "must be at least 1 second"),
    ):
        given = args.get(name)
        if given is None:
            continue
        found = seconds(given)
        if found is None:
            yield f'{path}.{name}: Invalid value: time: invalid duration "{given}"'
        elif found < least:
            yield f'{path}.{name}: Invalid value: "{given}": {why}'


def _node_affinity(args: Tree, path: str) -> Iterator[str]:
    added, where = args.get("addedAffinity") or {}, f"{path}.addedAffinity"
    required = added.get(REQUIRED)
    if required is not None:
        for number, term in enumerate(required.get("nodeSelectorTerms") or ()):
            yield from _term(term, f"{where}.{REQUIRED}.nodeSelectorTerms[{number}]")
    for number, preferred in enumerate(added.get(PREFERRED) or ()):
        yield from _term(preferred.get("preference") or {}, f"{where}.{PREFERRED}[{number}]")


def _term(term: Tree, path: str) -> Iterator[str]:
    for number, requirement in enumerate(term.get("matchExpressions") or ()):
        at = f"{path}.matchExpressions[{number}]"
        operator, values = requirement.get("operator") or "", requirement.get("values") or ()
        if operator not in OPERATORS:
            yield f'{at}.operator: Unsupported value: "{operator}": supported values: {_quoted(OPERATORS)}'
        elif operator in ("In", "NotIn") and not values:
            yield f"{at}.values: Required value: must be specified when `operator` is 'In' or 'NotIn'"
        elif operator in ("Exists", "DoesNotExist") and values:
            yield f"{at}.values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        elif operator in ("Gt", "Lt") and len(values) != 1:
            yield f"{at}.values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'"
        yield from _label_name(requirement.get("key") or "", f"{at}.key")


def _label_name(text: str, path: str) -> Iterator[str]:
    return (f'{path}: Invalid value: "{text}": {why}' for why in names.qualified_name(text))


def _quoted(choices: Iterable[str]) -> str:
    return ", ".join(f'"{choice}"' for choice in choices)


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
    "NodeAffinity": _node_affinity,
    "DynamicResources": _devices,
}
