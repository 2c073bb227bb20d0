"""The internal structs of pods and pod templates, for the messages that print them or what changed in them.

The parts that rarely matter (probes, volume sources, affinity) are printed under their wire names with a capital.

Upstream: pkg/apis/core/types.go.
"""

from __future__ import annotations

from typing import Any

from timonel.apis.core.gostructs import VOLUME_SOURCE
from timonel.apis.godiff import GoField, diff, in_go_form
from timonel.objects.meta import Object


def _fields(**zeros: Any) -> tuple[GoField, ...]:
    """Fields whose Go name is the wire name with a capital."""
    return tuple(GoField(wire, wire[0].upper() + wire[1:], zero) for wire, zero in zeros.items())


_RESOURCES = _fields(limits=None, requests=None, claims=None)
_PORT = (
    *_fields(name="", hostPort=0, containerPort=0, protocol=""),
    GoField("hostIP", "HostIP", ""),
)
_ENV = (*_fields(name="", value=""), GoField("valueFrom", "ValueFrom"))
_MOUNT = (
    *_fields(
        name="", readOnly=False, recursiveReadOnly=None, mountPath="", subPath="", mountPropagation=None
    ),
    GoField("subPathExpr", "SubPathExpr", ""),
)
_PROFILE = _fields(type="", localhostProfile=None)
_CONTEXT = (
    GoField("capabilities", "Capabilities", None, _fields(add=None, drop=None)),
    GoField("privileged", "Privileged"),
    GoField("seLinuxOptions", "SELinuxOptions", None, _fields(user="", role="", type="", level="")),
    *_fields(
        windowsOptions=None, runAsUser=None, runAsGroup=None, runAsNonRoot=None, readOnlyRootFilesystem=None
    ),
    *_fields(allowPrivilegeEscalation=None, procMount=None),
    GoField("seccompProfile", "SeccompProfile", None, _PROFILE),
    GoField("appArmorProfile", "AppArmorProfile", None, _PROFILE),
)
_CONTAINER = (
    *_fields(name="", image="", command=None, args=None, workingDir=""),
    GoField("ports", "Ports", None, _PORT),
    GoField("envFrom", "EnvFrom"),
    GoField("env", "Env", None, _ENV),
    GoField("resources", "Resources", {}, _RESOURCES),
    *_fields(resizePolicy=None, restartPolicy=None, restartPolicyRules=None),
    GoField("volumeMounts", "VolumeMounts", None, _MOUNT),
    *_fields(volumeDevices=None, livenessProbe=None, readinessProbe=None, startupProbe=None, lifecycle=None),
    *_fields(terminationMessagePath="", terminationMessagePolicy="", imagePullPolicy=""),
    GoField("securityContext", "SecurityContext", None, _CONTEXT),
    *_fields(stdin=False, stdinOnce=False),
    GoField("tty", "TTY", False),
)
_POD_CONTEXT = (
    GoField("hostNetwork", "HostNetwork", False),
    GoField("hostPID", "HostPID", False),
    GoField("hostIPC", "HostIPC", False),
    *_fields(shareProcessNamespace=None, hostUsers=None),
    GoField("seLinuxOptions", "SELinuxOptions", None, _fields(user="", role="", type="", level="")),
    *_fields(
        windowsOptions=None, runAsUser=None, runAsGroup=None, runAsNonRoot=None, supplementalGroups=None
    ),
    *_fields(supplementalGroupsPolicy=None),
    GoField("fsGroup", "FSGroup"),
    GoField("fsGroupChangePolicy", "FSGroupChangePolicy"),
    GoField("sysctls", "Sysctls"),
    GoField("seccompProfile", "SeccompProfile", None, _PROFILE),
    GoField("appArmorProfile", "AppArmorProfile", None, _PROFILE),
    GoField("seLinuxChangePolicy", "SELinuxChangePolicy"),
)
_TOLERATION = _fields(key="", operator="", value="", effect="", tolerationSeconds=None)
_SPEC = (
    GoField("volumes", "Volumes", None, (GoField("name", "Name", ""), *VOLUME_SOURCE)),
    GoField("initContainers", "InitContainers", None, _CONTAINER),
    GoField("containers", "Containers", None, _CONTAINER),
    GoField("ephemeralContainers", "EphemeralContainers"),
    *_fields(restartPolicy="", terminationGracePeriodSeconds=None, activeDeadlineSeconds=None),
    GoField("dnsPolicy", "DNSPolicy", ""),
    *_fields(nodeSelector=None, serviceAccountName="", automountServiceAccountToken=None, nodeName=""),
    GoField("securityContext", "SecurityContext", None, _POD_CONTEXT),
    *_fields(imagePullSecrets=None, hostname="", subdomain=""),
    GoField("setHostnameAsFQDN", "SetHostnameAsFQDN"),
    *_fields(affinity=None, schedulerName=""),
    GoField("tolerations", "Tolerations", None, _TOLERATION),
    *_fields(hostAliases=None, priorityClassName="", priority=None, preemptionPolicy=None),
    GoField("dnsConfig", "DNSConfig"),
    *_fields(readinessGates=None, runtimeClassName=None, overhead=None, enableServiceLinks=None),
    *_fields(topologySpreadConstraints=None),
    GoField("os", "OS", None, _fields(name="")),
    *_fields(schedulingGates=None, resourceClaims=None),
    GoField("resources", "Resources", None, _RESOURCES),
    *_fields(hostnameOverride=None, schedulingGroup=None),
)
_HOST_FLAGS = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers")


def spec_diff(old: Object, new: Object) -> str:
    """What changed between two pod specs, in their internal form."""
    return diff(_moved(old), _moved(new), _SPEC)


def shown_template(template: Object) -> Object:
    """A pod template as upstream prints its internal form; metadata keeps its wire names."""
    metadata = {key: value for key, value in (template.get("metadata") or {}).items() if value}
    for key in ("labels", "annotations"):
        if key in metadata:
            metadata[key] = dict(sorted(metadata[key].items()))
    return {**metadata, "Spec": in_go_form(_moved(template.get("spec") or {}), _SPEC)}


def _moved(spec: Object) -> Object:
    """Inside upstream the flags about the host are part of the security context."""
    flags = {key: spec[key] for key in _HOST_FLAGS if key in spec}
    return {**spec, "securityContext": {**(spec.get("securityContext") or {}), **flags}}
