"""Our records to CRI messages and back. The only module that reads and fills the generated classes."""

from __future__ import annotations

from typing import Any

from timonel.node.cri.pb import cri_pb2 as pb
from timonel.node.cri.runtime import (
    Container,
    ContainerConfig,
    ContainerState,
    Image,
    Mount,
    NamespaceMode,
    Namespaces,
    Resources,
    Sandbox,
    SandboxConfig,
    SandboxState,
    Seccomp,
    Stats,
)

NANO = 1_000_000_000
_MODES = {
    NamespaceMode.POD: pb.POD,
    NamespaceMode.CONTAINER: pb.CONTAINER,
    NamespaceMode.NODE: pb.NODE,
    NamespaceMode.TARGET: pb.TARGET,
}
_PROTOCOLS = {"TCP": pb.TCP, "UDP": pb.UDP, "SCTP": pb.SCTP}
_PROPAGATION = {
    "None": pb.PROPAGATION_PRIVATE,
    "HostToContainer": pb.PROPAGATION_HOST_TO_CONTAINER,
    "Bidirectional": pb.PROPAGATION_BIDIRECTIONAL,
}
_SECCOMP = {
    "RuntimeDefault": pb.SecurityProfile.RuntimeDefault,
    "Unconfined": pb.SecurityProfile.Unconfined,
    "Localhost": pb.SecurityProfile.Localhost,
}
_CONTAINER_STATES = {
    pb.CONTAINER_CREATED: ContainerState.CREATED,
    pb.CONTAINER_RUNNING: ContainerState.RUNNING,
    pb.CONTAINER_EXITED: ContainerState.EXITED,
    pb.CONTAINER_UNKNOWN: ContainerState.UNKNOWN,
}


def _seccomp(profile: Seccomp) -> Any:
    return pb.SecurityProfile(profile_type=_SECCOMP[profile.type], localhost_ref=profile.path)


def _namespaces(n: Namespaces) -> Any:
    return pb.NamespaceOption(
        network=_MODES[n.network], pid=_MODES[n.pid], ipc=_MODES[n.ipc], target_id=n.target
    )


def _optional(value: int | None) -> Any:
    return None if value is None else pb.Int64Value(value=value)


def sandbox_config(c: SandboxConfig) -> Any:
    security = pb.LinuxSandboxSecurityContext(
        namespace_options=_namespaces(c.namespaces),
        run_as_user=_optional(c.run_as_user),
        run_as_group=_optional(c.run_as_group),
        supplemental_groups=c.supplemental_groups,
        privileged=c.privileged,
        seccomp=_seccomp(c.seccomp),
    )
    dns = c.dns and pb.DNSConfig(servers=c.dns.servers, searches=c.dns.searches, options=c.dns.options)
    return pb.PodSandboxConfig(
        metadata=pb.PodSandboxMetadata(name=c.name, uid=c.uid, namespace=c.namespace, attempt=c.attempt),
        hostname=c.hostname,
        log_directory=c.log_directory,
        dns_config=dns,
        port_mappings=[
            pb.PortMapping(
                protocol=_PROTOCOLS[m.protocol],
                container_port=m.container_port,
                host_port=m.host_port,
                host_ip=m.host_ip,
            )
            for m in c.port_mappings
        ],
        labels=c.labels,
        annotations=c.annotations,
        linux=pb.LinuxPodSandboxConfig(
            cgroup_parent=c.cgroup_parent, security_context=security, sysctls=c.sysctls
        ),
    )


def resources(r: Resources) -> Any:
    return pb.LinuxContainerResources(
        cpu_period=r.cpu_period,
        cpu_quota=r.cpu_quota,
        cpu_shares=r.cpu_shares,
        memory_limit_in_bytes=r.memory_limit,
        oom_score_adj=r.oom_score_adj,
        cpuset_cpus=r.cpuset,
        hugepage_limits=[pb.HugepageLimit(page_size=size, limit=limit) for size, limit in r.hugepages],
    )


def container_config(c: ContainerConfig) -> Any:
    security = pb.LinuxContainerSecurityContext(
        capabilities=pb.Capability(
            add_capabilities=c.add_capabilities, drop_capabilities=c.drop_capabilities
        ),
        privileged=c.privileged,
        namespace_options=_namespaces(c.namespaces),
        run_as_user=_optional(c.run_as_user),
        run_as_username=c.run_as_username,
        run_as_group=_optional(c.run_as_group),
        readonly_rootfs=c.readonly_rootfs,
        supplemental_groups=c.supplemental_groups,
        no_new_privs=c.no_new_privs,
        masked_paths=c.masked_paths,
        readonly_paths=c.readonly_paths,
        seccomp=_seccomp(c.seccomp),
    )
    return pb.ContainerConfig(
        metadata=pb.ContainerMetadata(name=c.name, attempt=c.attempt),
        image=pb.ImageSpec(image=c.image),
        command=c.command,
        args=c.args,
        working_dir=c.working_dir,
        envs=[pb.KeyValue(key=k, value=v.encode("utf-8", "surrogateescape")) for k, v in c.envs],
        mounts=[
            pb.Mount(
                container_path=m.container_path,
                host_path=m.host_path,
                readonly=m.readonly,
                propagation=_PROPAGATION[m.propagation],
            )
            for m in c.mounts
        ],
        devices=[
            pb.Device(container_path=d.container_path, host_path=d.host_path, permissions=d.permissions)
            for d in c.devices
        ],
        CDI_devices=[pb.CDIDevice(name=name) for name in c.cdi_devices],
        labels=c.labels,
        annotations=c.annotations,
        log_path=c.log_path,
        stdin=c.stdin,
        stdin_once=c.stdin_once,
        tty=c.tty,
        linux=pb.LinuxContainerConfig(resources=resources(c.resources), security_context=security),
    )


def sandbox_of(m: Any) -> Sandbox:
    """A PodSandboxStatus, or a PodSandbox of a list (which knows no addresses)."""
    ips: tuple[str, ...] = ()
    if isinstance(m, pb.PodSandboxStatus) and m.network.ip:
        ips = (m.network.ip, *(extra.ip for extra in m.network.additional_ips))
    meta = m.metadata
    return Sandbox(
        id=m.id,
        name=meta.name,
        uid=meta.uid,
        namespace=meta.namespace,
        attempt=meta.attempt,
        state=SandboxState.READY if m.state == pb.SANDBOX_READY else SandboxState.NOT_READY,
        created_at=m.created_at / NANO,
        ips=ips,
        labels=dict(m.labels),
        annotations=dict(m.annotations),
    )


def container_of_list(m: Any) -> Container:
    return Container(
        id=m.id,
        sandbox_id=m.pod_sandbox_id,
        name=m.metadata.name,
        attempt=m.metadata.attempt,
        state=_CONTAINER_STATES[m.state],
        image=m.image.image,
        image_ref=m.image_ref,
        created_at=m.created_at / NANO,
        labels=dict(m.labels),
        annotations=dict(m.annotations),
    )


def container_of_status(m: Any, sandbox_id: str = "") -> Container:
    return Container(
        id=m.id,
        sandbox_id=sandbox_id,
        name=m.metadata.name,
        attempt=m.metadata.attempt,
        state=_CONTAINER_STATES[m.state],
        image=m.image.image,
        image_ref=m.image_ref,
        created_at=m.created_at / NANO,
        started_at=m.started_at / NANO,
        finished_at=m.finished_at / NANO,
        exit_code=m.exit_code,
        reason=m.reason,
        message=m.message,
        log_path=m.log_path,
        labels=dict(m.labels),
        annotations=dict(m.annotations),
        mounts=tuple(Mount(x.container_path, x.host_path, x.readonly) for x in m.mounts),
    )


def image_of(m: Any) -> Image:
    return Image(
        id=m.id,
        tags=tuple(m.repo_tags),
        digests=tuple(m.repo_digests),
        size=m.size,
        uid=m.uid.value if m.HasField("uid") else None,
        username=m.username,
    )


def stats_of(m: Any) -> Stats:
    return Stats(
        container_id=m.attributes.id,
        labels=dict(m.attributes.labels),
        time=m.cpu.timestamp / NANO,
        cpu_nanoseconds=m.cpu.usage_core_nano_seconds.value,
        memory_usage=m.memory.usage_bytes.value,
        memory_working_set=m.memory.working_set_bytes.value,
        memory_rss=m.memory.rss_bytes.value,
        disk_used=m.writable_layer.used_bytes.value,
    )
