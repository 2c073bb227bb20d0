"""Rules for security contexts, of pods and of containers, and for what an operating system allows.

Upstream: pkg/apis/core/validation/validation.go ValidateSecurityContext, validatePodSpecSecurityContext, validateOS.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from timonel.apis import checks
from timonel.apis.core.pod_volumes import descending_path
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

PROFILE_TYPES = ("Localhost", "RuntimeDefault", "Unconfined")
_SYSCTL = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
_is_sysctl = re.compile(_SYSCTL).match
_IPC_SYSCTLS = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")
_MAX_SYSCTL, _MAX_PROFILE = 253, 4095
_MAX_ID = 2**31 - 1
APPARMOR = "container.apparmor.security.beta.kubernetes.io/"


def _ids(path: str, context: Object, *keys: str) -> Iterator[Cause]:
    for key in keys:
        if context.get(key) is not None:
            yield from checks.told(f"{path}.{key}", context[key], names.in_range(context[key], 0, _MAX_ID))


# ---- pods


def validate_pod_context(path: str, spec: Object) -> Iterator[Cause]:
    context = spec.get("securityContext")
    if not context:
        if spec.get("shareProcessNamespace") and spec.get("hostPID"):
            yield _share_with_host(path)
        return
    yield from _ids(path, context, "fsGroup", "runAsUser", "runAsGroup")
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        yield from checks.told(
            f"{path}.supplementalGroups[{index}]", group, names.in_range(group, 0, _MAX_ID)
        )
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        yield _share_with_host(path)
    if context.get("sysctls"):
        yield from _validate_sysctls(f"{path}.sysctls", context["sysctls"], spec)
    if context.get("fsGroupChangePolicy") is not None:
        where = f"{path}.fsGroupChangePolicy"
        yield from checks.one_of(where, context["fsGroupChangePolicy"], ("Always", "OnRootMismatch"))
    yield from _validate_seccomp(f"{path}.seccompProfile", context.get("seccompProfile"))
    yield from _validate_windows_options(f"{path}.windowsOptions", context.get("windowsOptions"))
    yield from _validate_apparmor(f"{path}.appArmorProfile", context.get("appArmorProfile"))
    if context.get("supplementalGroupsPolicy") is not None:
        where = f"{path}.supplementalGroupsPolicy"
        yield from checks.one_of(where, context["supplementalGroupsPolicy"], ("Merge", "Strict"))
    if context.get("seLinuxChangePolicy") is not None:
        where = f"{path}.seLinuxChangePolicy"
        yield from checks.one_of(where, context["seLinuxChangePolicy"], ("Recursive",))


def _share_with_host(path: str) -> Cause:
    message = "ShareProcessNamespace and HostPID cannot both be enabled"
    return field.invalid(f"{path}.shareProcessNamespace", True, message)


def _validate_sysctls(path: str, sysctls: list[Object], spec: Object) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, sysctl in enumerate(sysctls):
        name, where = sysctl.get("name", ""), f"{path}[{index}].name"
        if not name:
            yield field.required(where)
        elif len(name) > _MAX_SYSCTL or not _is_sysctl(name):
            message = f"must have at most {_MAX_SYSCTL} characters and match regex {_SYSCTL}"
            yield field.invalid(where, name, message)
        elif name in seen:
            yield field.duplicate(where, name)
        dotted = name.replace("/", ".")
        if spec.get("hostNetwork") and dotted.startswith("net."):
            yield field.invalid(where, name, "may not be specified when 'hostNetwork' is true")
        elif spec.get("hostIPC") and dotted.startswith(_IPC_SYSCTLS):
            yield field.invalid(where, name, "may not be specified when 'hostIPC' is true")
        seen.add(name)


def validate_host_users(path: str, spec: Object) -> Iterator[Cause]:
    if spec.get("hostUsers") is not False:
        return
    for key, shown in (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")):
        if spec.get(key):
            yield field.forbidden(f"{path}.{shown}", "when `pod.Spec.HostUsers` is false")


# ---- containers


def validate_container_context(path: str, context: Object, host_users: bool) -> Iterator[Cause]:
    yield from _ids(path, context, "runAsUser", "runAsGroup")
    proc_mount = context.get("procMount")
    if proc_mount is not None:
        yield from checks.one_of(f"{path}.procMount", proc_mount, ("Default", "Unmasked"))
        if host_users and proc_mount == "Unmasked":
            message = "`hostUsers` must be false to use `Unmasked`"
            yield field.invalid(f"{path}.procMount", proc_mount, message)
    yield from _validate_seccomp(f"{path}.seccompProfile", context.get("seccompProfile"))
    if context.get("allowPrivilegeEscalation") is False:
        yield from _validate_escalation(path, context)
    yield from _validate_windows_options(f"{path}.windowsOptions", context.get("windowsOptions"))
    yield from _validate_apparmor(f"{path}.appArmorProfile", context.get("appArmorProfile"))


_CONTEXT_FIELDS = (
    ("Capabilities", "capabilities"),
    ("Privileged", "privileged"),
    ("SELinuxOptions", "seLinuxOptions"),
    ("WindowsOptions", "windowsOptions"),
    ("RunAsUser", "runAsUser"),
    ("RunAsGroup", "runAsGroup"),
    ("RunAsNonRoot", "runAsNonRoot"),
    ("ReadOnlyRootFilesystem", "readOnlyRootFilesystem"),
    ("AllowPrivilegeEscalation", "allowPrivilegeEscalation"),
    ("ProcMount", "procMount"),
    ("SeccompProfile", "seccompProfile"),
    ("AppArmorProfile", "appArmorProfile"),
)


def _validate_escalation(path: str, context: Object) -> Iterator[Cause]:
    shown = {name: _go_names(context.get(key)) for name, key in _CONTEXT_FIELDS}
    if context.get("privileged"):
        message = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
        yield field.invalid(path, shown, message)
    added = (context.get("capabilities") or {}).get("add") or ()
    if "CAP_SYS_ADMIN" in added:
        message = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
        yield field.invalid(path, shown, message)


def _go_names(value: object) -> object:
    """The small structs of a security context under the names that they have in Go."""
    if not isinstance(value, dict):
        return value
    if value.keys() & {"add", "drop"}:
        return {"Add": value.get("add"), "Drop": value.get("drop")}
    if "type" in value:
        return {"Type": value["type"], "LocalhostProfile": value.get("localhostProfile")}
    return {k[0].upper() + k[1:]: v for k, v in value.items()}


def _validate_seccomp(path: str, profile: Object | None) -> Iterator[Cause]:
    if profile is None:
        return
    kind, local = profile.get("type", ""), profile.get("localhostProfile")
    if not kind:
        yield field.required(f"{path}.type", "type is required when seccompProfile is set")
    else:
        yield from checks.one_of(f"{path}.type", kind, PROFILE_TYPES)
    if kind == "Localhost":
        if local is None:
            message = "must be set when seccomp type is Localhost"
            yield field.required(f"{path}.localhostProfile", message)
        else:
            yield from descending_path(f"{path}.localhostProfile", local)
    elif local is not None:
        shown = {"Type": kind, "LocalhostProfile": local}
        message = "can only be set when seccomp type is Localhost"
        yield field.invalid(f"{path}.localhostProfile", shown, message)


def _validate_apparmor(path: str, profile: Object | None) -> Iterator[Cause]:
    if profile is None:
        return
    kind, local = profile.get("type", ""), profile.get("localhostProfile")
    where = f"{path}.localhostProfile"
    if kind == "Localhost":
        if local is None or not local:
            yield field.required(where, "must be set when AppArmor type is Localhost")
        elif local.strip() != local:
            yield field.invalid(where, local, "must not be padded with whitespace")
        if local is not None and len(local) > _MAX_PROFILE:
            yield field.too_long(where, _MAX_PROFILE)
    elif kind in PROFILE_TYPES:
        if local is not None:
            yield field.invalid(where, local, "can only be set when AppArmor type is Localhost")
    elif not kind:
        yield field.required(f"{path}.type", "type is required when appArmorProfile is set")
    else:
        yield field.not_supported(f"{path}.type", kind, PROFILE_TYPES)


# ---- Windows

_MAX_SPEC, _MAX_DOMAIN, _MAX_USER = 64 * 1024, 256, 104
_has_control = re.compile(r"[\x00-\x1f\x7f]").search
_is_netbios = re.compile(r'^[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}$').match
_is_domain = re.compile(
    r"^(([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9\-]*[a-zA-Z0-9])\.)*([A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9\-]*[A-Za-z0-9])$"
).match
_bad_user = re.compile(r'["/\\:;|=,+*?<>@\[\]]').search
_only_dots = re.compile(r"^[. ]+$").match


def _validate_windows_options(path: str, options: Object | None) -> Iterator[Cause]:
    if options is None:
        return
    name = options.get("gmsaCredentialSpecName")
    if name is not None:
        yield from checks.told(f"{path}.gmsaCredentialSpecName", name, names.dns1123_subdomain(name))
    text = options.get("gmsaCredentialSpec")
    if text is not None:
        where = f"{path}.gmsaCredentialSpec"
        if not text:
            yield field.invalid(where, text, "gmsaCredentialSpec cannot be an empty string")
        elif len(text) > _MAX_SPEC:
            yield field.invalid(where, text, f"gmsaCredentialSpec size must be under {_MAX_SPEC // 1024} KiB")
    if options.get("runAsUserName") is not None:
        yield from _validate_user_name(f"{path}.runAsUserName", options["runAsUserName"])


def _validate_user_name(path: str, name: str) -> Iterator[Cause]:
    if not name:
        yield field.invalid(path, name, "runAsUserName cannot be an empty string")
        return
    if _has_control(name):
        yield field.invalid(path, name, "runAsUserName cannot contain control characters")
        return
    parts = name.split("\\")
    if len(parts) > 2:
        yield field.invalid(path, name, "runAsUserName cannot contain more than one backslash")
        return
    domain, user = (parts[0], parts[1]) if len(parts) == 2 else ("", parts[0])
    if len(parts) == 2:
        if len(domain) >= _MAX_DOMAIN:
            message = f"runAsUserName's Domain length must be under {_MAX_DOMAIN} characters"
            yield field.invalid(path, name, message)
        elif not _is_netbios(domain) and not _is_domain(domain):
            yield field.invalid(
                path, name, "runAsUserName's Domain doesn't match the NetBios nor the DNS format"
            )
    if not user:
        yield field.invalid(path, name, "runAsUserName's User cannot be empty")
    elif len(user) > _MAX_USER:
        message = f"runAsUserName's User length must not be longer than {_MAX_USER} characters"
        yield field.invalid(path, name, message)
    if _bad_user(user):
        message = r'runAsUserName\'s User cannot contain the following characters: "/\:;|=,+*?<>@[]'
        yield field.invalid(path, name, message.replace("\\'", "'"))
    if _only_dots(user):
        yield field.invalid(path, name, "runAsUserName's User cannot contain only periods or spaces")


def _containers(path: str, spec: Object) -> Iterator[tuple[str, Object]]:
    for key in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(key) or ()):
            yield f"{path}.{key}[{index}]", container


def validate_host_process(path: str, spec: Object) -> Iterator[Cause]:
    """Either all containers of a pod are processes of the Windows host, or none."""
    of_pod = ((spec.get("securityContext") or {}).get("windowsOptions") or {}).get("hostProcess")
    with_it = without = 0
    for where, container in _containers(path, spec):
        own = ((container.get("securityContext") or {}).get("windowsOptions") or {}).get("hostProcess")
        if of_pod is not None and own is not None and of_pod != own:
            message = "pod hostProcess value must be identical if both are specified, was"
            shown = "true" if of_pod else "false"
            yield field.invalid(
                f"{where}.securityContext.windowsOptions.hostProcess", own, f"{message} {shown}"
            )
        if own if own is not None else of_pod:
            with_it += 1
        else:
            without += 1
    if not with_it:
        return
    if without:
        message = (
            "If pod contains any hostProcess containers then all containers must be HostProcess containers"
        )
        yield field.invalid(path, "", message)
    if not spec.get("hostNetwork"):
        message = "hostNetwork must be true if pod contains any hostProcess containers"
        yield field.invalid(f"{path}.hostNetwork", False, message)


_POD_CONTEXT_LINUX = (
    ("appArmorProfile", "securityContext.appArmorProfile"),
    ("seLinuxOptions", "securityContext.seLinuxOptions"),
    ("", "hostUsers"),
    ("", "hostPID"),
    ("", "hostIPC"),
    ("seccompProfile", "securityContext.seccompProfile"),
    ("fsGroup", "securityContext.fsGroup"),
    ("fsGroupChangePolicy", "securityContext.fsGroupChangePolicy"),
    ("sysctls", "securityContext.sysctls"),
    ("", "shareProcessNamespace"),
    ("runAsUser", "securityContext.runAsUser"),
    ("runAsGroup", "securityContext.runAsGroup"),
    ("supplementalGroups", "securityContext.supplementalGroups"),
    ("supplementalGroupsPolicy", "securityContext.supplementalGroupsPolicy"),
    ("seLinuxChangePolicy", "securityContext.seLinuxChangePolicy"),
)
_CONTAINER_CONTEXT_LINUX = ("appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities",
                            "readOnlyRootFilesystem", "privileged", "allowPrivilegeEscalation", "procMount",
                            "runAsUser", "runAsGroup")  # fmt: skip
_POD_FLAGS = ("hostPID", "hostIPC")


def validate_os(path: str, spec: Object) -> Iterator[Cause]:
    system = spec.get("os")
    if system is None:
        return
    name = system.get("name", "")
    if not name:
        yield field.required(f"{path}.os.name")
    elif name == "linux":
        yield from _validate_linux(path, spec)
    elif name == "windows":
        yield from _validate_windows(path, spec)
    else:
        yield field.not_supported(f"{path}.os", name, ("linux", "windows"))


def _validate_linux(path: str, spec: Object) -> Iterator[Cause]:
    message = "windows options cannot be set for a linux pod"
    for where, holder in ((path, spec), *_containers(path, spec)):
        if (holder.get("securityContext") or {}).get("windowsOptions") is not None:
            yield field.forbidden(f"{where}.securityContext.windowsOptions", message)


def _validate_windows(path: str, spec: Object) -> Iterator[Cause]:
    message = "cannot be set for a windows pod"
    context = spec.get("securityContext") or {}
    for key, shown in _POD_CONTEXT_LINUX:
        found = context.get(key) if key else spec.get(shown)
        if found is not None and (found or shown not in _POD_FLAGS):
            yield field.forbidden(f"{path}.{shown}", message)
    for where, container in _containers(path, spec):
        for key in _CONTAINER_CONTEXT_LINUX:
            if (container.get("securityContext") or {}).get(key) is not None:
                yield field.forbidden(f"{where}.securityContext.{key}", message)


# ---- annotations of old, which must agree with the fields


def validate_annotations(path: str, annotations: dict[str, str], spec: Object) -> Iterator[Cause]:
    known = {container.get("name") for _, container in _containers("spec", spec)}
    for key, profile in sorted(annotations.items()):
        if not key.startswith(APPARMOR):
            continue
        name = key.removeprefix(APPARMOR)
        if name not in known:
            yield field.invalid(f"{path}[{key}]", name, "container not found")
        if profile not in ("", "runtime/default", "unconfined") and not profile.startswith("localhost/"):
            message = f"invalid AppArmor profile name: {field.quote(profile)}"
            yield field.invalid(f"{path}[{key}]", profile, message)


def validate_apparmor_agrees(path: str, annotations: dict[str, str], spec: Object) -> Iterator[Cause]:
    if (spec.get("os") or {}).get("name") == "windows" or not annotations:
        return
    of_pod = (spec.get("securityContext") or {}).get("appArmorProfile")
    for where, container in _containers(path, spec):
        profile = (container.get("securityContext") or {}).get("appArmorProfile") or of_pod
        said = annotations.get(APPARMOR + container.get("name", ""))
        if profile is None or said is None:
            continue
        place = f"{where}.securityContext.appArmorProfile"
        kind = profile.get("type", "")
        if kind == "Localhost" and said.startswith("localhost/"):
            if said.removeprefix("localhost/") != profile.get("localhostProfile"):
                message = "apparmor profile in annotation and field must match"
                yield field.forbidden(f"{place}.localhostProfile", message)
        elif kind in PROFILE_TYPES and said != {
            "Unconfined": "unconfined",
            "RuntimeDefault": "runtime/default",
        }.get(kind):
            yield field.forbidden(f"{place}.type", "apparmor type in annotation and field must match")
