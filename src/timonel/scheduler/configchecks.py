"""What is wrong with the values of a KubeSchedulerConfiguration, in upstream's words. Pure.

Upstream: pkg/scheduler/apis/config/validation/validation.go, component-base/config/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from timonel.machinery import names
from timonel.scheduler.configfields import seconds
from timonel.scheduler.profile import POINTS

Tree = Mapping[str, Any]

REMOVED = ("AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits")
LEASE, RENEW, RETRY = 15.0, 10.0, 2.0


def problems(tree: Tree) -> Iterator[str]:
    """Of a tree whose fields are known and of the right types."""
    yield from _connection(tree.get("clientConnection") or {})
    yield from _election(tree.get("leaderElection") or {})
    parallelism = tree.get("parallelism", 16)
    if parallelism <= 0:
        yield f"parallelism: Invalid value: {parallelism}: should be an integer value greater than zero"
    profiles = tree.get("profiles") or [{}]
    yield from _profiles(profiles, tree.get("apiVersion", ""))
    yield from _percentage(tree, "percentageOfNodesToScore")
    first, longest = tree.get("podInitialBackoffSeconds", 1), tree.get("podMaxBackoffSeconds", 10)
    if first <= 0:
        yield f"podInitialBackoffSeconds: Invalid value: {first}: must be greater than 0"
    if longest < first:
        yield (
            f"podMaxBackoffSeconds: Invalid value: {longest}: "
            "must be greater than or equal to PodInitialBackoffSeconds"
        )
    yield from _extenders(tree.get("extenders") or ())


def _connection(tree: Tree) -> Iterator[str]:
    burst = tree.get("burst") or 0
    if burst < 0:
        yield f"clientConnection.burst: Invalid value: {burst}: must be non-negative"


def _election(tree: Tree) -> Iterator[str]:
    if tree.get("leaderElect") is False:
        return
    given = {
        name: seconds(tree.get(name) or "0s") or 0.0
        for name in ("leaseDuration", "renewDeadline", "retryPeriod")
    }
    for name, value in given.items():
        if value < 0:
            yield f'leaderElection.{name}: Invalid value: "{tree[name]}": must be greater than zero'
    if (given["leaseDuration"] or LEASE) <= (given["renewDeadline"] or RENEW):
        shown = tree.get("renewDeadline") or "10s"
        yield f'leaderElection.leaseDuration: Invalid value: "{shown}": must be greater than `RenewDeadline`'
    lock = tree.get("resourceLock") or "leases"
    if lock != "leases":
        yield f'leaderElection.resourceLock: Invalid value: "{lock}": resourceLock value must be "leases"'


def _percentage(tree: Tree, path: str) -> Iterator[str]:
    percentage = tree.get("percentageOfNodesToScore") or 0
    if not 0 <= percentage <= 100:
        yield f"{path}: Invalid value: {percentage}: not in valid range [0-100]"


def _profiles(profiles: Sequence[Tree], version: str) -> Iterator[str]:
    seen: dict[str, int] = {}
    for number, profile in enumerate(profiles):
        path = f"profiles[{number}]"
        name = scheduler_name(profile, profiles)
        if not name:
            yield f"{path}.schedulerName: Required value"
        yield from _percentage(profile, f"{path}.percentageOfNodesToScore")
        yield from _removed(profile, path, version)
        if name in seen:
            yield f'{path}.schedulerName: Duplicate value: "profiles[{seen[name]}].schedulerName"'
        seen[name] = number
    yield from _queue_sorts(profiles)


def scheduler_name(profile: Tree, profiles: Sequence[Tree]) -> str:
    """Only a profile that is alone may leave its name out."""
    return profile.get("schedulerName") or ("default-scheduler" if len(profiles) == 1 else "")


def _removed(profile: Tree, path: str, version: str) -> Iterator[str]:
    why = f'was invalid in version "v1" (KubeSchedulerConfiguration is version "{version}")'
    for point in POINTS:
        chosen = ((profile.get("plugins") or {}).get(point) or {}).get("enabled") or ()
        for number, plugin in enumerate(chosen):
            if plugin.get("name") in REMOVED:
                where = f"{path}.plugins.{point}.enabled[{number}]"
                yield f'{where}: Invalid value: "{plugin["name"]}": {why}'
    known: set[str] = set()
    for number, entry in enumerate(profile.get("pluginConfig") or ()):
        name, where = entry.get("name", ""), f"{path}.pluginConfig[{number}]"
        if name in known:
            yield f'{where}: Duplicate value: "{name}"'
        known.add(name)
        if name in REMOVED:
            yield f'{where}: Invalid value: "{name}": {why}'


def _queue_sorts(profiles: Sequence[Tree]) -> Iterator[str]:
    sets = [(profile.get("plugins") or {}).get("queueSort") or {} for profile in profiles]
    first = sets[0].get("enabled") or ()
    if len(first) > 1:
        yield (
            f"profiles[0].plugins.queueSort.Enabled: Invalid value: {len(first)}: "
            "only one queue sort plugin can be enabled"
        )
    name = first[0].get("name") if first else ""
    arguments = _arguments_of(name, profiles[0])
    for number in range(1, len(profiles)):
        if _plain(sets[number]) != _plain(sets[0]):
            yield (
                f"profiles[{number}].plugins.queueSort: Invalid value: {_as_json(sets[number])}: "
                "must be the same for all profiles"
            )
        if name and _arguments_of(name, profiles[number]) != arguments:
            yield f"profiles[{number}].pluginConfig.args: Invalid value: queueSort must be the same for all profiles"


def _arguments_of(name: str, profile: Tree) -> Any:
    return next((e.get("args") for e in profile.get("pluginConfig") or () if e.get("name") == name), None)


def _plain(plugins: Tree) -> tuple[tuple[tuple[str, int], ...], ...]:
    return tuple(
        tuple((e.get("name", ""), e.get("weight") or 0) for e in plugins.get(part) or ())
        for part in ("enabled", "disabled")
    )


def _as_json(plugins: Tree) -> str:
    enabled, disabled = (
        "[" + ",".join(f'{{"Name":"{n}","Weight":{w}}}' for n, w in part) + "]" if part else "null"
        for part in _plain(plugins)
    )
    return f'{{"Enabled":{enabled},"Disabled":{disabled}}}'


def _extenders(extenders: Sequence[Tree]) -> Iterator[str]:
    binders, managed = 0, set()
    for number, extender in enumerate(extenders):
        path = f"extenders[{number}]"
        weight = extender.get("weight") or 0
        if extender.get("prioritizeVerb") and weight <= 0:
            yield f"{path}.weight: Invalid value: {weight}: must have a positive weight applied to it"
        if not extender.get("urlPrefix"):
            yield f"{path}.urlPrefix: Required value"
        binders += bool(extender.get("bindVerb"))
        for at, resource in enumerate(extender.get("managedResources") or ()):
            name, where = resource.get("name") or "", f"{path}.managedResources[{at}].name"
            yield from _extended_resource(name, where)
            if name in managed:
                yield f'{where}: Invalid value: "{name}": duplicate extender managed resource name'
            managed.add(name)
    if binders > 1:
        yield (
            f'extenders: Invalid value: "found {binders} extenders implementing bind": '
            "only one extender can implement bind"
        )


def _extended_resource(name: str, path: str) -> Iterator[str]:
    wrong = names.qualified_name(name)
    if wrong:
        yield from (f'{path}: Invalid value: "{name}": {why}' for why in wrong)
        return
    native = "/" not in name or "kubernetes.io/" in name
    if native or name.startswith("requests.") or names.qualified_name(f"requests.{name}"):
        yield f'{path}: Invalid value: "{name}": is an invalid extended resource name'
