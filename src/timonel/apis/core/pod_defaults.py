"""Defaults of pods and of the pod templates in workloads.

A template gets fewer defaults than a Pod: what came later (service links, requests from limits, ports of the host
network) is set only on the Pod made from it, so that old templates keep their hash.

Upstream: pkg/apis/core/v1/{defaults.go,conversion.go}, pkg/util/parsers/parsers.go.
"""

from __future__ import annotations

import re
from functools import lru_cache

from timonel.apis.core import pod_amounts
from timonel.apis.core.persistentsources import default_source
from timonel.machinery.quantity import Quantity, QuantityError
from timonel.objects.meta import Object

CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")
_DEFAULT_MODE = 0o644
_MILLI = 1_000_000  # nanos


def default_pod(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    default_pod_spec(spec)
    if spec["terminationGracePeriodSeconds"] < 0:
        spec["terminationGracePeriodSeconds"] = 1  # in a Pod only: templates keep what they say
    default_pod_status(obj)
    for key in ("containers", "initContainers"):
        for container in spec.get(key) or ():
            _default_requests(container)
    pod_amounts.default_pod_level(spec)
    spec.setdefault("enableServiceLinks", True)
    if spec.get("hostNetwork"):
        for key in ("containers", "initContainers"):
            for container in spec.get(key) or ():
                for port in container.get("ports") or ():
                    if not port.get("hostPort") and port.get("containerPort"):
                        port["hostPort"] = port["containerPort"]


def default_pod_status(obj: Object) -> None:
    """`podIP` speaks for clients that know no list; without it the list's first is it."""
    status = obj.get("status")
    if not status:
        return
    first, addresses = status.get("podIP"), status.get("podIPs") or []
    if first and (not addresses or addresses[0].get("ip") != first):
        status["podIPs"] = [{"ip": first}]
    elif addresses and not first:
        status["podIP"] = addresses[0].get("ip", "")


def _default_requests(container: Object) -> None:
    wanted = container.get("resources") or {}
    if wanted.get("limits"):
        requests = wanted.get("requests") or {}
        wanted["requests"] = {**wanted["limits"], **requests}


def default_pod_template(template: Object) -> None:
    """A template of a workload: `{metadata, spec}`."""
    template.setdefault("metadata", {})
    default_pod_spec(template.setdefault("spec", {}))


def default_pod_spec(spec: Object) -> None:
    spec["dnsPolicy"] = spec.get("dnsPolicy") or "ClusterFirst"
    spec["restartPolicy"] = spec.get("restartPolicy") or "Always"
    spec["schedulerName"] = spec.get("schedulerName") or "default-scheduler"
    if spec.get("securityContext") is None:
        spec["securityContext"] = {}
    if spec.get("terminationGracePeriodSeconds") is None:
        spec["terminationGracePeriodSeconds"] = 30
    _sync_service_account(spec)
    spec.pop("schedulingGroup", None)  # behind a feature gate that is off by default
    for volume in spec.get("volumes") or ():
        default_volume(volume)
    for key in CONTAINER_LISTS:
        for container in spec.get(key) or ():
            default_container(container)
    if spec.get("overhead"):
        spec["overhead"] = rounded_list(spec["overhead"])
    if spec.get("resources"):
        _round_resources(spec["resources"])


def _sync_service_account(spec: Object) -> None:
    """`serviceAccount` is the name of old; both are always shown."""
    name = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if name:
        spec["serviceAccountName"] = spec["serviceAccount"] = name


# ---- volumes

_MODED = ("secret", "configMap", "downwardAPI", "projected")


def default_volume(volume: Object) -> None:
    if not any(value is not None for key, value in volume.items() if key != "name"):
        volume["emptyDir"] = {}
        return
    for key in _MODED:
        source = volume.get(key)
        if source is not None and source.get("defaultMode") is None:
            source["defaultMode"] = _DEFAULT_MODE
    default_source(volume)
    for item in (volume.get("downwardAPI") or {}).get("items") or ():
        _default_field_ref(item.get("fieldRef"))
    for source in (volume.get("projected") or {}).get("sources") or ():
        token = source.get("serviceAccountToken")
        if token is not None and token.get("expirationSeconds") is None:
            token["expirationSeconds"] = 3600
        for item in (source.get("downwardAPI") or {}).get("items") or ():
            _default_field_ref(item.get("fieldRef"))
    claim = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
    if claim is not None:
        default_claim_spec(claim.setdefault("spec", {}))
    image = volume.get("image")
    if image is not None and not image.get("pullPolicy"):
        image["pullPolicy"] = pull_policy_for(image.get("reference", ""))


def default_claim_spec(spec: Object) -> None:
    if spec.get("volumeMode") is None:
        spec["volumeMode"] = "Filesystem"
    if spec.get("resources"):
        _round_resources(spec["resources"])


def _default_field_ref(ref: Object | None) -> None:
    if ref is not None:
        ref["apiVersion"] = ref.get("apiVersion") or "v1"


# ---- containers


def default_container(container: Object) -> None:
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = pull_policy_for(container.get("image", ""))
    container["terminationMessagePath"] = container.get("terminationMessagePath") or "/dev/termination-log"
    container["terminationMessagePolicy"] = container.get("terminationMessagePolicy") or "File"
    if container.get("resources") is None:
        container["resources"] = {}
    else:
        _round_resources(container["resources"])
    for port in container.get("ports") or ():
        port["protocol"] = port.get("protocol") or "TCP"
    for variable in container.get("env") or ():
        source = variable.get("valueFrom")
        if source is not None:
            _default_field_ref(source.get("fieldRef"))
            key_ref = source.get("fileKeyRef")
            if key_ref is not None and key_ref.get("optional") is None:
                key_ref["optional"] = False
    for key in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(key) is not None:
            _default_probe(container[key])
    lifecycle = container.get("lifecycle")
    if lifecycle is not None:
        lifecycle.pop("stopSignal", None)  # behind a feature gate that is off by default
        for hook in lifecycle.values():
            if hook.get("httpGet") is not None:
                _default_http_get(hook["httpGet"])


def _default_probe(probe: Object) -> None:
    for key, value in _PROBE.items():
        probe[key] = probe.get(key) or value
    if probe.get("httpGet") is not None:
        _default_http_get(probe["httpGet"])
    if probe.get("grpc") is not None and probe["grpc"].get("service") is None:
        probe["grpc"]["service"] = ""


_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}


def _default_http_get(action: Object) -> None:
    action["path"] = action.get("path") or "/"
    action["scheme"] = action.get("scheme") or "HTTP"


# The grammar of image references (github.com/distribution/reference).
_PATH = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[a-fA-F0-9:]+\])"
_parse_image = re.compile(
    rf"(?P<name>(?:{_HOST}(?::[0-9]+)?/)?{_PATH}(?:/{_PATH})*)(?::(?P<tag>\w[\w.-]{{0,127}}))?"
    r"(?P<digest>@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?",
    re.ASCII,
).fullmatch
_MAX_IMAGE_NAME = 255
_DEFAULT_REGISTRY = "docker.io/library/"


@lru_cache(maxsize=4096)
def pull_policy_for(image: str) -> str:
    """Always for the tag `latest`, said or meant, else IfNotPresent, as for what is no reference."""
    parts = _parse_image(image)
    if parts is None or len(_full_name(parts["name"])) > _MAX_IMAGE_NAME:
        return "IfNotPresent"
    return "Always" if parts["tag"] == "latest" or not (parts["tag"] or parts["digest"]) else "IfNotPresent"


def _full_name(name: str) -> str:
    first, slash, _ = name.partition("/")
    has_host = slash and ("." in first or ":" in first or first == "localhost" or first.lower() != first)
    return name if has_host else _DEFAULT_REGISTRY + name


# ---- amounts


def _round_resources(requirements: Object) -> None:
    for key in ("limits", "requests"):
        if requirements.get(key):
            requirements[key] = rounded_list(requirements[key])


def rounded_list(amounts: Object) -> Object:
    return {name: _rounded(str(amount)) for name, amount in amounts.items()}


@lru_cache(maxsize=4096)
def _rounded(text: str) -> str:
    """Rounded up to thousandths, in canonical form; what cannot be read is left to the codec's complaint."""
    try:
        return str(Quantity.parse(text).rounded_up(_MILLI))
    except QuantityError:
        return text
