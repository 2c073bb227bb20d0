"""Whether this node takes a pod that was bound to it. Pure.

The scheduler decided on what it saw; the node has the last word. First what the node cannot do at all, then what it has
not enough of, then where the pod does not belong. Upstream: pkg/kubelet/lifecycle/predicate.go, handlers.go,
pkg/kubelet/sysctl/allowlist.go, pkg/kubelet/preemption/preemption.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field

from timonel.node import amounts, podresources, pressure
from timonel.node.manifests import is_mirror, is_static
from timonel.node.podspec import SYSTEM_CRITICAL_PRIORITY, qos_of, sysctl_name
from timonel.node.references import containers_of
from timonel.objects import nodes
from timonel.objects.meta import Object
from timonel.records import dataclass

REJECTED = "Pod was rejected: "
RESOURCES = ("cpu", "memory", "ephemeral-storage")
SAFE_SYSCTLS = frozenset({
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
})  # fmt: skip
IPC_SYSCTLS = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")
UNCONFINED_SELINUX = "spc_t"  # what a host without SELinux does anyway
QOS_RANK = {"BestEffort": 0, "Burstable": 1, "Guaranteed": 2}


@dataclass(frozen=True, slots=True)
class Refusal:
    """`missing` is what to free for a critical pod: the resource and how much of it."""

    reason: str
    message: str
    missing: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Abilities:
    """What host, runtime and configuration allow. `unsafe_sysctls` are names, or prefixes that end in `*`.

    AppArmor and SELinux are off in the node's own containerd, whatever the host has: a profile would be silently left
    out, and so it is refused."""

    user_namespaces: bool = False
    strict_groups: bool = False  # supplementalGroupsPolicy: Strict
    app_armor: bool = False
    selinux: bool = False
    unsafe_sysctls: Sequence[str] = field(default_factory=tuple)


def requested(pod: Object, resource: str) -> int:
    """cpu in thousandths, the rest in whole units."""
    return podresources.requests(pod).get(resource, 0)


def fits_anywhere(pod: Object) -> bool:
    """It asks for nothing that could be short or in the way, but for its place."""
    spec = pod["spec"]
    plain = ("hostUsers", "os", "nodeSelector", "affinity", "securityContext", "runtimeClassName")
    if any(spec.get(key) not in (None, {}) for key in plain):
        return False
    if any(c.get("securityContext") for c in containers_of(pod)) or any(host_ports(pod)):
        return False
    return not any(podresources.requests(pod).values())


class Requests:
    """A pod's requests, worked out once per pod and generation: each new pod is held against all others."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, dict[str, int]]] = {}  # by uid

    def __call__(self, pod: Object) -> dict[str, int]:
        metadata = pod["metadata"]
        generation = metadata.get("generation", 0)
        known = self._known.get(metadata["uid"])
        if known is None or known[0] != generation:
            known = self._known[metadata["uid"]] = (generation, podresources.requests(pod))
        return known[1]

    def forget(self, uid: str) -> None:
        self._known.pop(uid, None)


def admit(
    pod: Object,
    others: Iterable[Object],
    allocatable: Mapping[str, str],
    asks: Callable[[Object], Mapping[str, int]] = podresources.requests,
    *,
    node: Object | None = None,
    abilities: Abilities | None = None,
    pressures: frozenset[str] = frozenset(),
) -> Refusal | None:
    """`others` are the pods that the node already carries, `asks` says what a pod requests or remembers it,
    `pressures` are the node's conditions of that kind."""
    here = list(others)
    able = abilities or Abilities()
    return next(
        (
            refusal
            for refusal in (
                _pressed(pod, pressures),
                _sysctls(pod, able),
                _operating_system(pod),
                _features(pod, able),
                _resources(pod, here, allocatable, asks),
                _place(pod, here, node),
            )
            if refusal is not None
        ),
        None,
    )


def _rejected(reason: str, message: str, missing: tuple[str, int] | None = None) -> Refusal:
    return Refusal(reason, REJECTED + message, missing)


def _pressed(pod: Object, pressures: frozenset[str]) -> Refusal | None:
    why = pressure.admits(
        pod, pressures, is_critical=is_critical(pod), is_best_effort=qos_of(pod) == "BestEffort"
    )
    return _rejected(pressure.REASON, why) if why else None


# ---- what the node cannot do


def _sysctls(pod: Object, able: Abilities) -> Refusal | None:
    spec = pod["spec"]
    for entry in (spec.get("securityContext") or {}).get("sysctls") or ():
        name = sysctl_name(entry["name"])
        is_allowed = name in SAFE_SYSCTLS or any(
            name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
            for pattern in map(sysctl_name, able.unsafe_sysctls)
        )
        if not is_allowed:
            return _rejected("SysctlForbidden", f'forbidden sysctl: "{name}" not allowlisted')
        is_ipc = name.startswith(IPC_SYSCTLS)
        if spec.get("hostIPC" if is_ipc else "hostNetwork"):
            group = "ipc" if is_ipc else "net"
            return _rejected(
                "SysctlForbidden", f'forbidden sysctl: "{name}" not allowed with host {group} enabled'
            )
    return None


def _operating_system(pod: Object) -> Refusal | None:
    spec = pod["spec"]
    if (spec.get("nodeSelector") or {}).get("kubernetes.io/os", "linux") != "linux":
        return _rejected(
            "PodOSSelectorNodeLabelDoesNotMatch",
            "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
        )
    if (spec.get("os") or {}).get("name", "linux") != "linux":
        return _rejected("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
    return None


def _features(pod: Object, able: Abilities) -> Refusal | None:
    spec = pod["spec"]
    security = spec.get("securityContext") or {}
    every = [security, *((c.get("securityContext") or {}) for c in containers_of(pod))]
    if spec.get("hostUsers") is False and not able.user_namespaces:
        return _rejected("UnsupportedUserNamespaces", "the runtime has no user namespaces")
    if security.get("supplementalGroupsPolicy") == "Strict" and not able.strict_groups:
        message = "SupplementalGroupsPolicy=Strict is not supported in this node"
        return _rejected("SupplementalGroupsPolicyNotSupported", message)
    profiles = {(s.get("appArmorProfile") or {}).get("type", "Unconfined") for s in every}
    if profiles != {"Unconfined"} and not able.app_armor:
        message = "Cannot enforce AppArmor: AppArmor is not enabled on the host"
        return _rejected("AppArmor", message)
    if not able.selinux and any(_confines(s.get("seLinuxOptions") or {}) for s in every):
        return _rejected("SELinux", "Cannot enforce SELinux: SELinux is not enabled on the host")
    return None


def _confines(options: Mapping[str, str]) -> bool:
    return bool(options) and options.get("type") != UNCONFINED_SELINUX


# ---- what it has not enough of


def _resources(
    pod: Object,
    here: Sequence[Object],
    allocatable: Mapping[str, str],
    asks: Callable[[Object], Mapping[str, int]],
) -> Refusal | None:
    limit = amounts.whole(allocatable.get("pods"))
    if len(here) + 1 > limit:
        return _out_of("pods", 1, len(here), limit)
    return short_of(pod, here, allocatable, asks)


def short_of(
    pod: Object,
    others: Iterable[Object],
    allocatable: Mapping[str, str],
    asks: Callable[[Object], Mapping[str, int]],
) -> Refusal | None:
    """The first resource of which there is not enough beside the others."""
    here = [asks(other) for other in others]
    wanted = asks(pod)
    used = {resource: sum(each.get(resource, 0) for each in here) for resource in wanted}
    return short_beside(wanted, used, allocatable)


def short_beside(
    wanted: Mapping[str, int], used: Mapping[str, int], allocatable: Mapping[str, str]
) -> Refusal | None:
    """The same for who keeps sums: `used` is what all the others ask for."""
    for resource, number in wanted.items():
        if number == 0 or (resource not in RESOURCES and resource not in allocatable):
            continue  # what nobody advertises here is somebody else's business, as upstream
        capacity = podresources.amount(allocatable.get(resource), resource)
        if used.get(resource, 0) + number > capacity:
            return _out_of(resource, number, used.get(resource, 0), capacity)
    return None


def admit_beside(
    pod: Object,
    wanted: Mapping[str, int],
    used: Mapping[str, int],
    node: Object,
    allocatable: Mapping[str, str],
) -> Refusal | None:
    """Whether there is room, pods themselves among what is counted, and whether the pod belongs there."""
    refusal = short_beside({"pods": 1, **wanted}, used, allocatable)
    return refusal or _elsewhere(pod, node)


def _out_of(resource: str, wanted: int, used: int, capacity: int) -> Refusal:
    message = (
        f"Node didn't have enough resource: {resource}, "
        f"requested: {wanted}, used: {used}, capacity: {capacity}"
    )
    return _rejected(f"OutOf{resource}", message, (resource, wanted + used - capacity))


# ---- where it does not belong


def _place(pod: Object, here: Sequence[Object], node: Object | None) -> Refusal | None:
    if node is not None and (refusal := _elsewhere(pod, node)) is not None:
        return refusal
    taken = {port for other in here for port in host_ports(other)}
    if any(_collides(port, other) for port in host_ports(pod) for other in taken):
        return _misplaced("NodePorts", "node(s) didn't have free ports for the requested pod ports")
    if node is not None and not is_static(pod):
        tolerations = pod["spec"].get("tolerations") or ()
        if nodes.untolerated(nodes.taints_of(node), tolerations, ("NoExecute",)) is not None:
            return _misplaced("TaintToleration", "node(s) had taints that the pod didn't tolerate")
    return None


def _elsewhere(pod: Object, node: Object) -> Refusal | None:
    if nodes.suits(pod["spec"], node):
        return None
    return _misplaced("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")


def _misplaced(predicate: str, message: str) -> Refusal:
    return _rejected(predicate, f"Predicate {predicate} failed: {message}")


HostPort = tuple[str, str, int]


def host_ports(pod: Object) -> Iterator[HostPort]:
    """(address, protocol, port); init containers' count only for sidecars, as upstream."""
    spec = pod["spec"]
    inits = [c for c in spec.get("initContainers") or () if podresources.is_sidecar(c)]
    for c in (*spec["containers"], *inits):
        for port in c.get("ports") or ():
            if port.get("hostPort"):
                yield port.get("hostIP") or "0.0.0.0", port.get("protocol", "TCP"), int(port["hostPort"])


def _collides(one: HostPort, other: HostPort) -> bool:
    return one[1:] == other[1:] and (one[0] == other[0] or "0.0.0.0" in (one[0], other[0]))


# ---- critical pods


def is_critical(pod: Object) -> bool:
    """Upstream: pkg/kubelet/types/pod_update.go (IsCriticalPod)."""
    priority: int = pod["spec"].get("priority") or 0
    return is_static(pod) or is_mirror(pod) or priority >= SYSTEM_CRITICAL_PRIORITY


def resize_rank(pod: Object) -> tuple[int, int, str]:
    """Who gets more first when something becomes free: by priority, then by quality of service, then by age."""
    return (
        -(pod["spec"].get("priority") or 0),
        -QOS_RANK[qos_of(pod)],
        str(pod["metadata"].get("creationTimestamp") or ""),
    )


def victims(others: Iterable[Object], missing: tuple[str, int]) -> list[Object]:
    """Pods to end so that a critical one fits: the least quality of service, then the fewest; [] if none suffice."""
    resource, wanted = missing
    candidates = [other for other in others if not is_critical(other)]

    def gives(other: Object) -> int:
        return 1 if resource == "pods" else requested(other, resource)

    chosen, freed = list[Object](), 0
    for other in sorted(candidates, key=lambda o: (QOS_RANK[qos_of(o)], -gives(o))):
        if freed >= wanted:
            break
        if gives(other):
            chosen.append(other)
            freed += gives(other)
    return _without_needless(chosen, gives, wanted) if freed >= wanted else []


def _without_needless(chosen: list[Object], gives: Callable[[Object], int], wanted: int) -> list[Object]:
    """Those of better service may have made some of the lesser ones needless."""
    spare = sum(map(gives, chosen)) - wanted
    kept = list[Object]()
    for other in sorted(chosen, key=lambda o: (-QOS_RANK[qos_of(o)], gives(o))):
        if gives(other) <= spare:
            spare -= gives(other)
        else:
            kept.append(other)
    return kept
