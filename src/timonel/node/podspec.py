"""A pod as the runtime wants it: SandboxConfig and ContainerConfig from spec, environment, mounts and node facts. Pure.

Upstream: pkg/kubelet/kuberuntime/kuberuntime_sandbox.go, kuberuntime_container_linux.go, security_context.go,
pkg/kubelet/network/dns, pkg/kubelet/qos/policy.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Any

from timonel.node import amounts, environment, podresources
from timonel.node.cri.runtime import (
    ContainerConfig,
    Device,
    Dns,
    Image,
    Mount,
    NamespaceMode,
    Namespaces,
    PortMapping,
    Resources,
    SandboxConfig,
    Seccomp,
)
from timonel.node.environment import ConfigError
from timonel.node.podruntime import container_annotations, container_labels, sandbox_labels
from timonel.node.podstatus import qos_class
from timonel.node.references import containers_of
from timonel.objects.meta import Object
from timonel.records import dataclass

CPU_PERIOD = 100_000
SYSTEM_CRITICAL_PRIORITY = 2_000_000_000
FQDN_LIMIT = 64  # the kernel's for a host name
NAMESERVERS_LIMIT, SEARCHES_LIMIT = 3, 32
MASKED_PATHS = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
)  # fmt: skip
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What the node contributes. `host_dns` is what its own /etc/resolv.conf says."""

    name: str
    ip: str
    cluster_domain: str
    cluster_dns: tuple[str, ...]
    host_dns: Dns
    cgroup_root: str  # /kubepods-NODE
    log_root: str
    seccomp_root: str
    memory_capacity: int
    pids_limit: int = 0  # of each pod; 0 is none


# ---- sandbox


def sandbox_config(pod: Object, attempt: int, node: NodeFacts) -> SandboxConfig:
    meta, spec = pod["metadata"], pod["spec"]
    security = spec.get("securityContext") or {}
    host_network = bool(spec.get("hostNetwork"))
    is_privileged = any(_security(c).get("privileged") for c in containers_of(pod))
    return SandboxConfig(
        name=meta["name"],
        uid=meta["uid"],
        namespace=meta["namespace"],
        attempt=attempt,
        hostname="" if host_network else kernel_hostname(pod, node.cluster_domain),
        log_directory=log_directory(pod, node.log_root),
        dns=dns_config(pod, node),
        port_mappings=() if host_network else port_mappings(spec),
        labels=sandbox_labels(pod),
        annotations=meta.get("annotations") or {},
        cgroup_parent=cgroup_parent(pod, node.cgroup_root),
        sysctls={sysctl_name(s["name"]): s["value"] for s in security.get("sysctls") or ()},
        namespaces=_pod_namespaces(spec),
        run_as_user=security.get("runAsUser"),
        run_as_group=security.get("runAsGroup") if security.get("runAsUser") is not None else None,
        supplemental_groups=_groups(security),
        privileged=is_privileged,
        seccomp=Seccomp("Unconfined") if is_privileged else _seccomp(security, {}, node.seccomp_root),
    )


def sysctl_name(name: str) -> str:
    """With dots between the parts, whichever way it was written."""
    first = next((c for c in name if c in "./"), ".")
    return name if first == "." else name.translate(str.maketrans("./", "/."))


def tells_differently(before: Object, after: Object) -> bool:
    """Whether what the downward API says of the pod may have changed, other than by its containers' resources."""
    fields = ("labels", "annotations", "generation")
    return any(before["metadata"].get(f) != after["metadata"].get(f) for f in fields)


def log_directory(pod: Object, root: str) -> str:
    meta = pod["metadata"]
    return f"{root}/{meta['namespace']}_{meta['name']}_{meta['uid']}"


def cgroup_parent(pod: Object, root: str) -> str:
    qos = qos_of(pod)
    middle = "" if qos == "Guaranteed" else f"/{qos.lower()}"
    return f"{root}{middle}/pod{pod['metadata']['uid']}"


def qos_of(pod: Object) -> str:
    found: str = (pod.get("status") or {}).get("qosClass") or qos_class(pod["spec"])
    return found


def hostname_of(pod: Object) -> str:
    """As kubelet: a too long name loses its end, and dashes and dots left hanging there."""
    spec = pod["spec"]
    if spec.get("hostnameOverride"):
        return str(spec["hostnameOverride"])
    name: str = spec.get("hostname") or pod["metadata"]["name"]
    return name[:63].rstrip("-.")


def kernel_hostname(pod: Object, cluster_domain: str) -> str:
    """What `hostname` prints in the pod; the full name with setHostnameAsFQDN."""
    full = domain_name(pod, cluster_domain) if pod["spec"].get("setHostnameAsFQDN") else ""
    if len(full) > FQDN_LIMIT:
        raise ConfigError(
            f"failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long "
            f"({FQDN_LIMIT} characters is the max, {len(full)} characters requested)"
        )
    return full or hostname_of(pod)


def domain_name(pod: Object, cluster_domain: str) -> str:
    """The pod's full name, when spec.subdomain gives it one."""
    subdomain = pod["spec"].get("subdomain")
    if not subdomain or pod["spec"].get("hostnameOverride"):
        return ""
    return f"{hostname_of(pod)}.{subdomain}.{pod['metadata']['namespace']}.svc.{cluster_domain}"


def port_mappings(spec: Mapping[str, Any]) -> tuple[PortMapping, ...]:
    found = []
    for c in (*(spec.get("initContainers") or ()), *spec["containers"]):
        for port in c.get("ports") or ():
            if port.get("hostPort"):
                ip = port.get("hostIP", "")
                found.append(
                    PortMapping(port["containerPort"], port["hostPort"], port.get("protocol", "TCP"), ip)
                )
    return tuple(found)


def dns_config(pod: Object, node: NodeFacts) -> Dns:
    spec = pod["spec"]
    policy = spec.get("dnsPolicy", "ClusterFirst")
    if policy == "ClusterFirst" and spec.get("hostNetwork"):
        policy = "Default"
    if policy in ("ClusterFirst", "ClusterFirstWithHostNet") and node.cluster_dns:
        domain, namespace = node.cluster_domain, pod["metadata"]["namespace"]
        searches = (f"{namespace}.svc.{domain}", f"svc.{domain}", domain, *node.host_dns.searches)
        base = Dns(node.cluster_dns, searches, ("ndots:5",))
    elif policy == "None":
        base = Dns()
    else:
        base = node.host_dns
    extra = spec.get("dnsConfig") or {}
    options = {o.partition(":")[0]: o for o in base.options}
    for option in extra.get("options") or ():
        value = option.get("value")
        options[option["name"]] = f"{option['name']}:{value}" if value else option["name"]
    servers = dict.fromkeys((*base.servers, *(extra.get("nameservers") or ())))
    searches = tuple(dict.fromkeys((*base.searches, *(extra.get("searches") or ()))))
    return Dns(tuple(servers)[:NAMESERVERS_LIMIT], searches[:SEARCHES_LIMIT], tuple(options.values()))


def parse_resolv_conf(text: str) -> Dns:
    servers, searches, options = list[str](), tuple[str, ...](), tuple[str, ...]()
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        match words:
            case ["nameserver", address, *_]:
                servers.append(address)
            case ["search", *names]:
                searches = tuple(n.rstrip(".") or "." for n in names)
            case ["options", *found]:
                options = tuple(found)
    return Dns(tuple(servers), searches, options)


def etc_hosts(pod: Object, pod_ips: Sequence[str], cluster_domain: str, node_hosts: str) -> str:
    """The pod's /etc/hosts; a pod on the node's network has the node's own file, with its aliases added."""
    aliases = _aliases(pod["spec"].get("hostAliases") or ())
    if pod["spec"].get("hostNetwork"):
        return f"# Kubernetes-managed hosts file (host network).\n{node_hosts}{aliases}"
    names = "\t".join(filter(None, (domain_name(pod, cluster_domain), hostname_of(pod))))
    own = "".join(f"{ip}\t{names}\n" for ip in pod_ips)
    return (
        "# Kubernetes-managed hosts file.\n"
        "127.0.0.1\tlocalhost\n"
        "::1\tlocalhost ip6-localhost ip6-loopback\n"
        "fe00::0\tip6-localnet\n"
        "fe00::0\tip6-mcastprefix\n"
        "fe00::1\tip6-allnodes\n"
        "fe00::2\tip6-allrouters\n"
        f"{own}{aliases}"
    )


def _aliases(aliases: Sequence[Mapping[str, Any]]) -> str:
    if not aliases:
        return ""
    lines = "".join(f"{a['ip']}\t" + "\t".join(a.get("hostnames") or ()) + "\n" for a in aliases)
    return f"\n# Entries added by HostAliases.\n{lines}"


def _pod_namespaces(spec: Mapping[str, Any]) -> Namespaces:
    pid = NamespaceMode.CONTAINER
    if spec.get("hostPID"):
        pid = NamespaceMode.NODE
    elif spec.get("shareProcessNamespace"):
        pid = NamespaceMode.POD
    return Namespaces(
        network=NamespaceMode.NODE if spec.get("hostNetwork") else NamespaceMode.POD,
        pid=pid,
        ipc=NamespaceMode.NODE if spec.get("hostIPC") else NamespaceMode.POD,
    )


def _container_namespaces(spec: Mapping[str, Any], target: str) -> Namespaces:
    found = _pod_namespaces(spec)
    return replace(found, pid=NamespaceMode.TARGET, target=target) if target else found


# ---- containers


@dataclass(frozen=True, slots=True)
class ContainerParts:
    """What was prepared for one container: where its volumes are, its environment, and the image's own user."""

    attempt: int
    image: str  # the reference that the pull gave
    env: Mapping[str, str]
    mounts: tuple[Mount, ...] = ()
    devices: tuple[Device, ...] = ()
    image_facts: Image | None = None
    target: str = ""  # the container whose processes it shares, by id
    cpuset: str = ""  # the processors that it may use; empty: all
    annotations: Mapping[str, str] = field(default_factory=dict)
    cdi_devices: tuple[str, ...] = ()


def container_config(
    pod: Object, container: Mapping[str, Any], parts: ContainerParts, node: NodeFacts
) -> ContainerConfig:
    spec = pod["spec"]
    pod_security = spec.get("securityContext") or {}
    security = _security(container)
    user = security.get("runAsUser", pod_security.get("runAsUser"))
    group = security.get("runAsGroup", pod_security.get("runAsGroup"))
    verify_run_as_non_root(pod, container, parts.image_facts)
    privileged = bool(security.get("privileged"))
    unmasked = privileged or security.get("procMount") == "Unmasked"
    capabilities = security.get("capabilities") or {}
    username = ""
    image = parts.image_facts
    if user is None and image is not None:
        user, username = (image.uid, "") if image.uid is not None else (None, image.username)
    return ContainerConfig(
        name=container["name"],
        attempt=parts.attempt,
        image=parts.image,
        command=tuple(environment.expand(word, parts.env) for word in container.get("command") or ()),
        args=tuple(environment.expand(word, parts.env) for word in container.get("args") or ()),
        working_dir=container.get("workingDir", ""),
        envs=tuple(parts.env.items()),
        mounts=parts.mounts,
        devices=parts.devices,
        cdi_devices=parts.cdi_devices,
        labels=container_labels(pod, container),
        annotations={**container_annotations(pod, container, parts.attempt), **parts.annotations},
        log_path=f"{container['name']}/{parts.attempt}.log",
        stdin=bool(container.get("stdin")),
        stdin_once=bool(container.get("stdinOnce")),
        tty=bool(container.get("tty")),
        resources=replace(resources_of(pod, container, node.memory_capacity), cpuset=parts.cpuset),
        namespaces=_container_namespaces(spec, parts.target),
        run_as_user=user,
        run_as_username=username,
        run_as_group=group,
        supplemental_groups=_groups(pod_security),
        privileged=privileged,
        readonly_rootfs=bool(security.get("readOnlyRootFilesystem")),
        no_new_privs=security.get("allowPrivilegeEscalation") is False,
        add_capabilities=tuple(capabilities.get("add") or ()),
        drop_capabilities=tuple(capabilities.get("drop") or ()),
        masked_paths=() if unmasked else MASKED_PATHS,
        readonly_paths=() if unmasked else READONLY_PATHS,
        seccomp=Seccomp("Unconfined") if privileged else _seccomp(pod_security, security, node.seccomp_root),
    )


def verify_run_as_non_root(pod: Object, container: Mapping[str, Any], image: Image | None) -> None:
    pod_security = pod["spec"].get("securityContext") or {}
    security = _security(container)
    if not security.get("runAsNonRoot", pod_security.get("runAsNonRoot")):
        return
    name = f"{pod['metadata']['name']}_{pod['metadata']['namespace']}({pod['metadata']['uid']})"
    where = f'(pod: "{name}", container: {container["name"]})'
    user = security.get("runAsUser", pod_security.get("runAsUser"))
    if user is not None:
        if user == 0:
            raise ConfigError(f"container's runAsUser breaks non-root policy {where}")
        return
    if image is None or (image.uid in (None, 0) and not image.username):
        raise ConfigError(f"container has runAsNonRoot and image will run as root {where}")
    if image.uid is None:
        raise ConfigError(
            f"container has runAsNonRoot and image has non-numeric user ({image.username}), "
            f"cannot verify user is non-root {where}"
        )


def resources_of(pod: Object, container: Mapping[str, Any], memory_capacity: int) -> Resources:
    resources = container.get("resources") or {}
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    whole = (pod["spec"].get("resources") or {}).get(
        "limits"
    ) or {}  # bounds each container that has no bound
    limits = {**{name: whole[name] for name in ("cpu", "memory") if name in whole}, **limits}
    cpu_request, cpu_limit = amounts.milli(requests.get("cpu")), amounts.milli(limits.get("cpu"))
    return Resources(
        cpu_shares=cpu_shares(cpu_request or cpu_limit),
        cpu_period=CPU_PERIOD,
        cpu_quota=cpu_quota(cpu_limit),
        memory_limit=amounts.whole(limits.get("memory")),
        oom_score_adj=oom_score_adj(pod, container, memory_capacity),
        hugepages=tuple(
            (page_of(name), amounts.whole(str(size)))
            for name, size in limits.items()
            if name.startswith("hugepages-")
        ),
    )


def page_of(resource: str) -> str:
    """hugepages-2Mi is 2MB to the kernel."""
    return resource.removeprefix("hugepages-").removesuffix("i") + "B"


def cpu_shares(milli: int) -> int:
    return max(milli * 1024 // 1000, 2) if milli else 2


def cpu_quota(milli: int) -> int:
    """Microseconds of each period; 0 is no limit. The kernel takes no less than a millisecond."""
    return max(milli * CPU_PERIOD // 1000, 1000) if milli else 0


def oom_score_adj(pod: Object, container: Mapping[str, Any], memory_capacity: int) -> int:
    if (pod["spec"].get("priority") or 0) >= SYSTEM_CRITICAL_PRIORITY:
        return -997
    qos = qos_of(pod)
    if qos == "Guaranteed":
        return -997
    if qos == "BestEffort":
        return 1000
    share = _share_of_pod(pod["spec"])
    adjusted = _burstable_score(container, share, memory_capacity)
    if podresources.is_sidecar(container):  # it goes no sooner than those that it serves
        others = pod["spec"]["containers"]
        adjusted = min(adjusted, *(_burstable_score(c, share, memory_capacity) for c in others))
    return adjusted


def _share_of_pod(spec: Mapping[str, Any]) -> int:
    """What each container has of the memory that the pod requests as a whole, beyond its containers' requests."""
    whole = podresources.own(spec, "requests").get("memory", 0)
    if not whole:
        return 0
    of_containers = podresources.together(spec, "requests").get("memory", 0)
    return (whole - of_containers) // (len(spec["containers"]) + len(spec.get("initContainers") or ()))


def _burstable_score(container: Mapping[str, Any], share: int, memory_capacity: int) -> int:
    requested = podresources.own(container, "requests").get("memory", 0) + share
    return max(min(1000 - 1000 * requested // max(memory_capacity, 1), 999), 3)


def _security(container: Mapping[str, Any]) -> Mapping[str, Any]:
    return container.get("securityContext") or {}


def _groups(pod_security: Mapping[str, Any]) -> tuple[int, ...]:
    groups = list(pod_security.get("supplementalGroups") or ())
    fs_group = pod_security.get("fsGroup")
    return tuple(groups if fs_group is None or fs_group in groups else [*groups, fs_group])


def _seccomp(pod_security: Mapping[str, Any], security: Mapping[str, Any], root: str) -> Seccomp:
    """CRI's zero value is RuntimeDefault, Kubernetes' default is Unconfined: it is always said."""
    profile = security.get("seccompProfile") or pod_security.get("seccompProfile") or {}
    kind = profile.get("type", "Unconfined")
    path = f"{root}/{profile['localhostProfile']}" if kind == "Localhost" else ""
    return Seccomp(kind, path)
