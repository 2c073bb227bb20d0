"""Rules for the spec of pods and of pod templates, in the order in which upstream reports.

Upstream: pkg/apis/core/validation/validation.go ValidatePodCreate, ValidatePodSpec, ValidatePodTemplateSpec.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from timonel.apis import checks
from timonel.apis.core import pod_containers, pod_resources, pod_scheduling, pod_security
from timonel.apis.core.pod_alike import Alike, asked
from timonel.apis.core.pod_volumes import validate_volumes
from timonel.apis.tolerations import validate_toleration
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_PREEMPTION = ("PreemptLowerPriority", "Never")
_MAX_NAMESERVERS, _MAX_SEARCHES, _MAX_SEARCH_TEXT = 3, 32, 2048
_MAX_INT32 = 2**31 - 1
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
MIRROR = "kubernetes.io/config.mirror"


def validate_pod(obj: Object, sound: Alike | None = None) -> Iterator[Cause]:
    """A pod as it is created."""
    spec, annotations = obj.get("spec") or {}, obj["metadata"].get("annotations") or {}
    yield from validate_metadata_and_spec(obj, sound)
    if spec.get("ephemeralContainers"):
        yield field.forbidden("spec.ephemeralContainers", "cannot be set on create")
    if spec.get("nodeName") and spec.get("schedulingGates"):
        message = "cannot be set until all schedulingGates have been cleared"
        yield field.forbidden("spec.nodeName", message)
    if annotations:
        yield from pod_security.validate_apparmor_agrees("spec", annotations, spec)


def validate_metadata_and_spec(obj: Object, sound: Alike | None = None) -> Iterable[Cause]:
    return asked(sound, obj, _validate_metadata_and_spec)


def _validate_metadata_and_spec(obj: Object) -> Iterator[Cause]:
    spec, metadata = obj.get("spec") or {}, obj["metadata"]
    annotations = metadata.get("annotations")
    if annotations:
        yield from validate_annotations("metadata.annotations", annotations, spec)
    yield from validate_pod_spec("spec", spec, pod_name=metadata.get("name", ""), is_pod=True)
    if not spec.get("serviceAccountName"):
        yield from _no_tokens(spec)
    for key in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(key) or ()):
            yield from pod_containers.validate_image_text(f"spec.{key}[{index}]", container)


def _no_tokens(spec: Object) -> Iterator[Cause]:
    for index, volume in enumerate(spec.get("volumes") or ()):
        for at, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
            if source.get("serviceAccountToken") is not None:
                path = f"spec.volumes[{index}].projected.sources[{at}].serviceAccountToken"
                yield field.forbidden(path, "must not be specified when serviceAccountName is not set")


def validate_annotations(path: str, annotations: dict[str, str], spec: Object) -> Iterator[Cause]:
    if MIRROR in annotations and not spec.get("nodeName"):
        message = "must set spec.nodeName if mirror pod annotation is set"
        yield field.invalid(f"{path}[{MIRROR}]", annotations[MIRROR], message)
    cost = annotations.get(DELETION_COST)
    if cost is not None and not _is_int32(cost):
        yield field.invalid(f"{path}[{DELETION_COST}]", cost, "must be a 32bit integer")
    yield from pod_security.validate_annotations(path, annotations, spec)


def _is_int32(text: str) -> bool:
    digits = text.removeprefix("-")
    if (
        not digits.isascii()
        or not digits.isdigit()
        or (digits != "0" and digits.startswith("0"))
        or text == "-0"
    ):
        return False
    return -(2**31) <= int(text) <= _MAX_INT32


def validate_pod_template(
    template: Object, path: str, claims: Sequence[Object] = (), sound: Alike | None = None
) -> Iterator[Cause]:
    """`claims`: the claim templates of a StatefulSet, which its pods may mount as volumes."""
    metadata, spec = template.get("metadata") or {}, template.get("spec") or {}
    yield from checks.label_map(f"{path}.labels", metadata.get("labels"))
    annotations = metadata.get("annotations")
    if annotations:
        yield from checks.annotation_map(f"{path}.annotations", annotations)
        yield from validate_annotations(f"{path}.annotations", annotations, spec)
    if claims:
        spec = with_claims(spec, claims)
    yield from asked(sound, {"metadata": {}, "spec": spec}, lambda _: validate_pod_spec(f"{path}.spec", spec))
    if annotations:
        yield from pod_security.validate_apparmor_agrees(f"{path}.spec", annotations, spec)
    if spec.get("ephemeralContainers"):
        message = "ephemeral containers not allowed in pod template"
        yield field.forbidden(f"{path}.spec.ephemeralContainers", message)


def with_claims(spec: Object, claims: Sequence[Object]) -> Object:
    """The spec with a volume for every claim template; volumes of the same name are replaced."""
    added = {
        name: {"name": name, "persistentVolumeClaim": {"claimName": name}}
        for name in ((claim.get("metadata") or {}).get("name", "") for claim in claims)
    }
    rest = [volume for volume in spec.get("volumes") or () if volume.get("name", "") not in added]
    return {**spec, "volumes": [*added.values(), *rest]}


def validate_template_object(obj: Object) -> Iterator[Cause]:
    yield from validate_pod_template(obj.get("template") or {}, "template")


def validate_pod_spec(
    path: str, spec: Object, *, pod_name: str = "", is_pod: bool = False
) -> Iterator[Cause]:
    get = spec.get
    volumes, claims = get("volumes") or [], get("resourceClaims") or []
    wrong_volumes, sound = validate_volumes(f"{path}.volumes", volumes, pod_name)
    surroundings = pod_containers.Surroundings(
        volumes=sound,
        claims={c["name"] for c in claims if c.get("name")},
        grace=get("terminationGracePeriodSeconds"),
        restart_policy=get("restartPolicy", ""),
        host_users=get("hostUsers") is not False,
    )
    containers, initial = get("containers") or [], get("initContainers") or []
    yield from wrong_volumes
    yield from pod_scheduling.validate_claims(f"{path}.resourceClaims", claims)
    yield from pod_containers.validate_containers(f"{path}.containers", containers, surroundings)
    if initial:
        yield from pod_containers.validate_init_containers(
            f"{path}.initContainers", initial, containers, surroundings
        )
    if get("ephemeralContainers"):
        yield from pod_containers.validate_ephemeral_containers(
            f"{path}.ephemeralContainers", spec, surroundings
        )
    yield from pod_resources.validate_pod_level(f"{path}.resources", spec, surroundings.claims)
    if get("hostNetwork"):
        yield from _validate_host_network(f"{path}.containers", containers, is_pod)
    yield from _known(f"{path}.restartPolicy", surroundings.restart_policy, _RESTART_POLICIES)
    yield from _known(f"{path}.dnsPolicy", get("dnsPolicy", ""), _DNS_POLICIES)
    if get("nodeSelector"):
        yield from checks.label_map(f"{path}.nodeSelector", get("nodeSelector"))
    yield from pod_security.validate_pod_context(f"{path}.securityContext", spec)
    yield from _validate_placement(path, spec)
    yield from pod_security.validate_host_process(path, spec)
    yield from pod_security.validate_host_users(path, spec)
    yield from _validate_names(path, spec)
    yield from _validate_rest(path, spec)


def _known(path: str, value: str, valid: tuple[str, ...]) -> Iterator[Cause]:
    if not value:
        yield field.required(path)
    elif value not in valid:
        yield field.not_supported(path, value, valid)


def _validate_host_network(path: str, containers: list[Object], is_pod: bool) -> Iterator[Cause]:
    message = "must match `containerPort` when `hostNetwork` is true"
    for at, container in enumerate(containers):
        for index, port in enumerate(container.get("ports") or ()):
            on_host = port.get("hostPort", 0)
            if (is_pod or on_host) and on_host != port.get("containerPort", 0):
                yield field.invalid(f"{path}[{at}].ports[{index}].hostPort", on_host, message)


def _validate_placement(path: str, spec: Object) -> Iterator[Cause]:
    get = spec.get
    if get("affinity"):
        yield from pod_scheduling.validate_affinity(f"{path}.affinity", spec["affinity"])
    if get("dnsConfig") is not None or get("dnsPolicy") == "None":
        yield from _validate_dns(f"{path}.dnsConfig", get("dnsConfig"), get("dnsPolicy", ""))
    for index, gate in enumerate(get("readinessGates") or ()):
        where = f"{path}.readinessGates[{index}].conditionType"
        yield from checks.qualified_name(where, gate.get("conditionType", ""))
    if get("schedulingGates"):
        yield from pod_scheduling.validate_gates(f"{path}.schedulingGates", spec["schedulingGates"])
    if get("topologySpreadConstraints"):
        where = f"{path}.topologySpreadConstraints"
        yield from pod_scheduling.validate_spreading(where, spec["topologySpreadConstraints"])


def _validate_dns(path: str, config: Object | None, policy: str) -> Iterator[Cause]:
    if policy == "None":
        if config is None:
            yield field.required(path, "must provide `dnsConfig` when `dnsPolicy` is None")
            return
        if not config.get("nameservers"):
            message = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            yield field.required(f"{path}.nameservers", message)
            return
    if config is None:
        return
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    if len(servers) > _MAX_NAMESERVERS:
        message = f"must not have more than {_MAX_NAMESERVERS} nameservers"
        yield field.invalid(f"{path}.nameservers", servers, message)
    yield from checks.each(f"{path}.nameservers", servers, checks.ip)
    if len(searches) > _MAX_SEARCHES:
        message = f"must not have more than {_MAX_SEARCHES} search paths"
        yield field.invalid(f"{path}.searches", searches, message)
    if len(" ".join(searches)) > _MAX_SEARCH_TEXT:
        message = (
            f"must not have more than {_MAX_SEARCH_TEXT} characters (including spaces) in the search list"
        )
        yield field.invalid(f"{path}.searches", searches, message)
    for index, search in enumerate(searches):
        if search != ".":
            bare = search.removesuffix(".")
            rule = names.dns1123_subdomain_with_underscore(bare)
            yield from checks.told(f"{path}.searches[{index}]", bare, rule)
    for index, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            yield field.required(f"{path}.options[{index}]", "must not be empty")


def _validate_names(path: str, spec: Object) -> Iterator[Cause]:
    get = spec.get
    for key in ("serviceAccountName", "nodeName"):
        if get(key):
            yield from checks.subdomain(f"{path}.{key}", spec[key])
    deadline = get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= _MAX_INT32:
        yield field.invalid(f"{path}.activeDeadlineSeconds", deadline, names.between(1, _MAX_INT32))
    for key in ("hostname", "subdomain"):
        if get(key):
            yield from checks.label(f"{path}.{key}", spec[key])


def _validate_rest(path: str, spec: Object) -> Iterator[Cause]:
    get = spec.get
    if get("tolerations"):
        yield from checks.each(f"{path}.tolerations", spec["tolerations"], validate_toleration)
    for index, alias in enumerate(get("hostAliases") or ()):
        where = f"{path}.hostAliases[{index}]"
        yield from checks.ip(f"{where}.ip", alias.get("ip", ""))
        yield from checks.each(f"{where}.hostnames", alias.get("hostnames"), checks.subdomain)
    if get("priorityClassName"):
        yield from checks.subdomain(f"{path}.priorityClassName", spec["priorityClassName"])
    if get("runtimeClassName") is not None:
        yield from checks.subdomain(f"{path}.runtimeClassName", spec["runtimeClassName"])
    if get("preemptionPolicy") is not None:
        yield from _known(f"{path}.preemptionPolicy", spec["preemptionPolicy"], _PREEMPTION)
    if get("overhead"):
        where = f"{path}.overhead"
        yield from pod_resources.validate_requirements(where, {"limits": spec["overhead"]}, None)
    yield from pod_security.validate_os(path, spec)
    override = get("hostnameOverride")
    if override is not None:
        yield from _validate_hostname_override(path, spec, override)


def _validate_hostname_override(path: str, spec: Object, override: str) -> Iterator[Cause]:
    where = f"{path}.hostnameOverride"
    yield from checks.subdomain(where, override)
    if len(override) > 64:
        yield field.invalid(where, override, names.max_length(64, "bytes"))
    if spec.get("hostNetwork"):
        yield field.forbidden(where, "cannot be set when hostNetwork is true")
