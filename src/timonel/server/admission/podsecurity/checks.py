"""What the pod security standards forbid, one function per check: a pod in, a refusal or None out. Pure.

Checks run in the order of their names, the baseline ones first; a restricted check may stand in for a baseline one.
Upstream: pod-security-admission/policy/check_*.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from timonel.machinery.field import quote
from timonel.objects.meta import Object, annotations_of, nested
from timonel.server.admission.podsecurity.policy import Level


class Refusal(NamedTuple):
    reason: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


class Check(NamedTuple):
    name: str
    run: Callable[[Object, Object], Refusal | None]  # (metadata, spec)
    since: int = 0  # minor version that brought it
    until: int = 10**6
    replaces: str = ""


def evaluate(level: Level, metadata: Object, spec: Object) -> list[Refusal]:
    """All refusals of a pod, in upstream's order."""
    if level.level == "privileged":
        return []
    strict = level.level == "restricted"
    restricted = [c for c in RESTRICTED if strict and c.since <= level.minor < c.until]
    replaced = {c.replaces for c in restricted}
    baseline = [c for c in BASELINE if c.since <= level.minor < c.until and c.name not in replaced]
    found = (check.run(metadata, spec) for check in (*baseline, *restricted))
    return [refusal for refusal in found if refusal is not None]


def containers_of(spec: Object) -> Iterator[Object]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(kind) or ()


def quoted(values: Iterable[str]) -> str:
    return ", ".join(quote(v) for v in values)


def plural(one: str, many: str, count: int) -> str:
    return one if count == 1 else many


def named(names: list[str], kind: str = "container") -> str:
    """`container "a"` or `containers "a", "b"`."""
    return f"{plural(kind, kind + 's', len(names))} {quoted(names)}"


def _context(holder: Object) -> Object:
    found: Object = holder.get("securityContext") or {}
    return found


def _is_windows(spec: Object) -> bool:
    return bool(nested(spec, "os", "name") == "windows")


# ---- baseline

_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"


def app_armor(metadata: Object, spec: Object) -> Refusal | None:
    found: list[str] = []
    for who, holder in (("pod", spec), *((named([c["name"]]), c) for c in containers_of(spec))):
        kind = nested(_context(holder), "appArmorProfile", "type")
        if kind not in (None, "", "RuntimeDefault", "Localhost"):
            found.append(f"{who} must not set AppArmor profile type to {quote(kind)}")
    annotations = sorted(
        f"{quote(key)}={quote(value)}"
        for key, value in annotations_of({"metadata": metadata}).items()
        if key.startswith(_APPARMOR)
        and value not in ("", "runtime/default")
        and not value.startswith("localhost/")
    )
    if annotations:
        found.append(f"{plural('annotation', 'annotations', len(annotations))} {', '.join(annotations)}")
    if not found:
        return None
    return Refusal(
        plural("forbidden AppArmor profile", "forbidden AppArmor profiles", len(found)), "; ".join(found)
    )


_DEFAULT_CAPABILITIES = frozenset(
    [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ]
)


def _added(spec: Object, allowed: frozenset[str]) -> tuple[list[str], list[str]]:
    """Containers that add capabilities beyond `allowed`, and these capabilities."""
    names: list[str] = []
    added: set[str] = set()
    for container in containers_of(spec):
        extra = set(nested(_context(container), "capabilities", "add") or ()) - allowed
        if extra:
            names.append(container["name"])
            added |= extra
    return names, sorted(added)


def capabilities_baseline(metadata: Object, spec: Object) -> Refusal | None:
    names, added = _added(spec, _DEFAULT_CAPABILITIES)
    if not names:
        return None
    detail = f"{named(names)} must not include {quoted(added)} in securityContext.capabilities.add"
    return Refusal("non-default capabilities", detail)


def host_namespaces(metadata: Object, spec: Object) -> Refusal | None:
    used = [f"{key}=true" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    return Refusal("host namespaces", ", ".join(used)) if used else None


def host_path_volumes(metadata: Object, spec: Object) -> Refusal | None:
    names = [v["name"] for v in spec.get("volumes") or () if "hostPath" in v]
    return Refusal("hostPath volumes", named(names, "volume")) if names else None


def host_ports(metadata: Object, spec: Object) -> Refusal | None:
    names: list[str] = []
    ports: set[str] = set()
    for container in containers_of(spec):
        used = {str(p["hostPort"]) for p in container.get("ports") or () if p.get("hostPort")}
        if used:
            names.append(container["name"])
            ports |= used
    if not names:
        return None
    what = plural("hostPort", "hostPorts", len(ports))
    verb = plural("uses", "use", len(names))
    return Refusal(what, f"{named(names)} {verb} {what} {', '.join(sorted(ports))}")


def host_probes(metadata: Object, spec: Object) -> Refusal | None:
    names = [c["name"] for c in containers_of(spec) if any(_probe_hosts(c))]
    if not names:
        return None
    return Refusal(
        "probe or lifecycle host", f"{named(names)} must not set a host in probes or lifecycle hooks"
    )


def _probe_hosts(container: Object) -> Iterator[str]:
    hooks = container.get("lifecycle") or {}
    handlers = [container.get(k) for k in ("livenessProbe", "readinessProbe", "startupProbe")]
    for handler in (*handlers, hooks.get("postStart"), hooks.get("preStop")):
        for action in ("httpGet", "tcpSocket"):
            host = nested(handler, action, "host")
            if host not in (None, "", "127.0.0.1", "::1"):
                yield host


def privileged(metadata: Object, spec: Object) -> Refusal | None:
    names = [c["name"] for c in containers_of(spec) if _context(c).get("privileged")]
    return (
        Refusal("privileged", f"{named(names)} must not set securityContext.privileged=true")
        if names
        else None
    )


def proc_mount(metadata: Object, spec: Object) -> Refusal | None:
    if spec.get("hostUsers") is False:
        return None
    names: list[str] = []
    values: set[str] = set()
    for container in containers_of(spec):
        value = _context(container).get("procMount", "Default")
        if value != "Default":
            names.append(container["name"])
            values.add(value)
    if not names:
        return None
    return Refusal(
        "procMount", f"{named(names)} must not set securityContext.procMount to {quoted(sorted(values))}"
    )


_SELINUX_TYPES = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")


def selinux_options(metadata: Object, spec: Object) -> Refusal | None:
    types: set[str] = set()
    problems: list[str] = []
    who = _setters(spec, lambda context: _bad_selinux(context, types, problems))
    if not who:
        return None
    parts = [f"{plural('type', 'types', len(types))} {quoted(sorted(types))}"] if types else []
    parts += [f"{key} may not be set" for key in ("user", "role") if key in problems]
    return Refusal(
        "seLinuxOptions", f"{who} set forbidden securityContext.seLinuxOptions: {'; '.join(parts)}"
    )


def _bad_selinux(context: Object, types: set[str], problems: list[str]) -> bool:
    options = context.get("seLinuxOptions") or {}
    bad = False
    if options.get("type", "") not in _SELINUX_TYPES:
        types.add(options["type"])
        bad = True
    for key in ("user", "role"):
        if options.get(key):
            problems.append(key)
            bad = True
    return bad


def _setters(spec: Object, is_bad: Callable[[Object], bool]) -> str:
    """Who sets something bad: `pod`, `containers "a", "b"`, or both."""
    parts = ["pod"] if is_bad(_context(spec)) else []
    names = [c["name"] for c in containers_of(spec) if is_bad(_context(c))]
    if names:
        parts.append(named(names))
    return " and ".join(parts)


def seccomp_baseline(metadata: Object, spec: Object) -> Refusal | None:
    problems = _bad_seccomp(spec, ("RuntimeDefault", "Localhost"))
    return Refusal("seccompProfile", "; ".join(problems)) if problems else None


def _bad_seccomp(spec: Object, allowed: tuple[str, ...]) -> list[str]:
    problems = []
    set_to = "must not set securityContext.seccompProfile.type to"
    own = nested(_context(spec), "seccompProfile", "type")
    if own is not None and own not in allowed:
        problems.append(f"pod {set_to} {quote(own)}")
    names: list[str] = []
    values: set[str] = set()
    for container in containers_of(spec):
        kind = nested(_context(container), "seccompProfile", "type")
        if kind is not None and kind not in allowed:
            names.append(container["name"])
            values.add(kind)
    if names:
        problems.append(f"{named(names)} {set_to} {quoted(sorted(values))}")
    return problems


_SYSCTLS = frozenset(
    [
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    ]
)


def sysctls(metadata: Object, spec: Object) -> Refusal | None:
    bad = [s["name"] for s in _context(spec).get("sysctls") or () if s.get("name") not in _SYSCTLS]
    return Refusal("forbidden sysctls", ", ".join(bad)) if bad else None


def windows_host_process(metadata: Object, spec: Object) -> Refusal | None:
    who = _setters(spec, lambda context: bool(nested(context, "windowsOptions", "hostProcess")))
    if not who:
        return None
    return Refusal("hostProcess", f"{who} must not set securityContext.windowsOptions.hostProcess=true")


# ---- restricted


def allow_privilege_escalation(metadata: Object, spec: Object) -> Refusal | None:
    if _is_windows(spec):
        return None
    names = [
        c["name"] for c in containers_of(spec) if _context(c).get("allowPrivilegeEscalation") is not False
    ]
    if not names:
        return None
    detail = f"{named(names)} must set securityContext.allowPrivilegeEscalation=false"
    return Refusal("allowPrivilegeEscalation != false", detail)


def capabilities_restricted(metadata: Object, spec: Object) -> Refusal | None:
    if _is_windows(spec):
        return None
    keeping = [
        c["name"]
        for c in containers_of(spec)
        if "ALL" not in (nested(_context(c), "capabilities", "drop") or ())
    ]
    details = []
    if keeping:
        details.append(f'{named(keeping)} must set securityContext.capabilities.drop=["ALL"]')
    names, added = _added(spec, frozenset({"NET_BIND_SERVICE"}))
    if names:
        details.append(f"{named(names)} must not include {quoted(added)} in securityContext.capabilities.add")
    return Refusal("unrestricted capabilities", "; ".join(details)) if details else None


_VOLUMES = (
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
)


def restricted_volumes(metadata: Object, spec: Object) -> Refusal | None:
    names: list[str] = []
    types: set[str] = set()
    for volume in spec.get("volumes") or ():
        bad = [key for key in volume if key != "name" and key not in _VOLUMES]
        if bad:
            names.append(volume["name"])
            types.update(bad)
    if not names:
        return None
    kinds = plural("restricted volume type", "restricted volume types", len(types))
    detail = f"{named(names, 'volume')} {plural('uses', 'use', len(names))} {kinds} {quoted(sorted(types))}"
    return Refusal("restricted volume types", detail)


def run_as_non_root(metadata: Object, spec: Object) -> Refusal | None:
    own = _context(spec).get("runAsNonRoot")
    explicit: list[str] = []
    implicit: list[str] = []
    for container in containers_of(spec):
        value = _context(container).get("runAsNonRoot")
        if value is False:
            explicit.append(container["name"])
        elif value is None and not own:
            implicit.append(container["name"])
    details = []
    if own is False:
        details.append("pod must not set securityContext.runAsNonRoot=false")
    if explicit:
        details.append(f"{named(explicit)} must not set securityContext.runAsNonRoot=false")
    if implicit and own is None:
        details.append(f"pod or {named(implicit)} must set securityContext.runAsNonRoot=true")
    return Refusal("runAsNonRoot != true", "; ".join(details)) if details else None


def run_as_user(metadata: Object, spec: Object) -> Refusal | None:
    if _is_windows(spec):
        return None
    who = _setters(spec, lambda context: context.get("runAsUser") == 0)
    return Refusal("runAsUser=0", f"{who} must not set runAsUser=0") if who else None


def seccomp_restricted(metadata: Object, spec: Object) -> Refusal | None:
    if _is_windows(spec):
        return None
    details = _bad_seccomp(spec, ("RuntimeDefault", "Localhost"))
    if nested(_context(spec), "seccompProfile", "type") is None:
        unset = [
            c["name"] for c in containers_of(spec) if nested(_context(c), "seccompProfile", "type") is None
        ]
        if unset:
            wanted = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
            details.append(f"pod or {named(unset)} {wanted}")
    return Refusal("seccompProfile", "; ".join(details)) if details else None


BASELINE = (
    Check("appArmorProfile", app_armor),
    Check("capabilities_baseline", capabilities_baseline),
    Check("hostNamespaces", host_namespaces),
    Check("hostPathVolumes", host_path_volumes),
    Check("hostPorts", host_ports),
    Check("hostProbesAndhostLifecycle", host_probes, since=34),
    Check("privileged", privileged),
    Check("procMount", proc_mount),
    Check("seLinuxOptions", selinux_options),
    Check("seccompProfile_baseline", seccomp_baseline, since=19),
    Check("sysctls", sysctls),
    Check("windowsHostProcess", windows_host_process),
)
RESTRICTED = (
    Check("allowPrivilegeEscalation", allow_privilege_escalation, since=8),
    Check("capabilities_restricted", capabilities_restricted, since=22, replaces="capabilities_baseline"),
    Check("restrictedVolumes", restricted_volumes, replaces="hostPathVolumes"),
    Check("runAsNonRoot", run_as_non_root),
    Check("runAsUser", run_as_user, since=23),
    Check("seccompProfile_restricted", seccomp_restricted, since=19, replaces="seccompProfile_baseline"),
)
