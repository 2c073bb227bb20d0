"""Which group, and which version of it, clients should try first; and the APIServices that say so. Pure.

Upstream: pkg/controlplane/apiserver/aggregator.go (DefaultGenericAPIServicePriorities), pkg/kubeapiserver,
kube-aggregator/pkg/apis/apiregistration/v1/helper/helpers.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from timonel.objects.meta import Object, labels_of

OWN_GROUP = "apiregistration.k8s.io"  # first of all, and without APIServices
AUTOMANAGED = "kube-aggregator.kubernetes.io/automanaged"
ON_START, ALWAYS = "onstart", "true"
CUSTOM = (1000, 100)

_GROUPS = {
    "": 18000,
    "apps": 17800,
    "events.k8s.io": 17750,
    "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600,
    "autoscaling": 17500,
    "batch": 17400,
    "certificates.k8s.io": 17300,
    "networking.k8s.io": 17200,
    "policy": 17100,
    "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800,
    "apiextensions.k8s.io": 16700,
    "admissionregistration.k8s.io": 16700,
    "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500,
    "node.k8s.io": 16300,
    "discovery.k8s.io": 16200,
    "resource.k8s.io": 16200,
    "flowcontrol.apiserver.k8s.io": 16100,
    "extensions": 15000,  # retired: the last of all
}
_VERSIONS = {("", "v1"): 1, ("autoscaling", "v2"): 30, ("flowcontrol.apiserver.k8s.io", "v1"): 21}
_STAGES = {"": 15, "beta": 9, "alpha": 1}


def of_built_in(group: str, version: str) -> tuple[int, int]:
    stage = next((s for s in ("alpha", "beta") if s in version), "")
    return _GROUPS.get(group, CUSTOM[0]), _VERSIONS.get((group, version), _STAGES[stage])


def name_of(group: str, version: str) -> str:
    return f"{version}.{group}"


def local(group: str, version: str, *, managed: str, priorities: tuple[int, int]) -> Object:
    """The APIService of a group version that this server serves itself."""
    spec: Object = {
        "version": version,
        "groupPriorityMinimum": priorities[0],
        "versionPriority": priorities[1],
    }
    if group:
        spec["group"] = group
    metadata = {"name": name_of(group, version), "labels": {AUTOMANAGED: managed}}
    return {"metadata": metadata, "spec": spec}


def essence(definition: Object) -> Object:
    """What `of_definitions` reads of a definition."""
    spec, metadata = definition.get("spec") or {}, definition["metadata"]
    return {
        "metadata": {k: v for k, v in metadata.items() if k == "deletionTimestamp"},
        "spec": {
            "group": spec.get("group", ""),
            "versions": [{k: v.get(k) for k in ("name", "served")} for v in spec.get("versions") or ()],
        },
    }


def of_definitions(definitions: Iterable[Object]) -> dict[tuple[str, str], Object]:
    """Those of the served versions of CustomResourceDefinitions."""
    found: dict[tuple[str, str], Object] = {}
    for definition in definitions:
        if "deletionTimestamp" in definition["metadata"]:
            continue
        spec = definition.get("spec") or {}
        for version in spec.get("versions") or ():
            if version.get("served"):
                group, name = spec.get("group", ""), version.get("name", "")
                found[group, name] = local(group, name, managed=ALWAYS, priorities=CUSTOM)
    return found


def is_managed(api_service: Object) -> bool:
    return labels_of(api_service).get(AUTOMANAGED) == ALWAYS


def in_order(api_services: Iterable[Object]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Named groups with their versions, as clients should try them."""
    groups: dict[str, list[Object]] = {}
    for api_service in api_services:
        group = api_service["spec"].get("group", "")
        if group:
            groups.setdefault(group, []).append(api_service)

    def rank(group: str) -> tuple[int, str]:
        return -max(s["spec"].get("groupPriorityMinimum", 0) for s in groups[group]), group

    for group in sorted(groups, key=rank):
        yield group, tuple(s["spec"]["version"] for s in sorted(groups[group], key=_version_rank))


def _version_rank(api_service: Object) -> tuple[int, tuple[int, int, int, str]]:
    spec = api_service["spec"]
    return -spec.get("versionPriority", 0), version_rank(spec["version"])


def version_rank(version: str) -> tuple[int, int, int, str]:
    """GA before beta before alpha, newer before older, what is no version last."""
    stage = 2 if "alpha" in version else 1 if "beta" in version else 0
    digits = version.replace("alpha", " ").replace("beta", " ").removeprefix("v").split()
    if not digits or not all(d.isascii() and d.isdecimal() and len(d) < 18 for d in digits):
        return 3, 0, 0, version
    numbers: Sequence[int] = [*(int(d) for d in digits), 0, 0]
    return stage, -numbers[0], -numbers[1], version
