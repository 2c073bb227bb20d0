"""Warnings about pods and templates that are valid and yet hardly what was meant.

Upstream: pkg/api/pod/warnings.go, pkg/registry/core/pod/strategy.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis import checks
from timonel.apis.core.pod_alike import Alike, asked
from timonel.apis.core.pod_scheduling import PREFERRED, REQUIRED
from timonel.apis.core.pod_security import APPARMOR
from timonel.machinery import field, names
from timonel.objects.meta import Object

_NODE_LABELS = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
}
_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": (
        'non-functional in v1.16+; use the "priorityClassName" field instead'
    ),
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
}
# source -> (name in the message, what became of it)
_VOLUMES = {
    "photonPersistentDisk": ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    "gitRepo": ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    "scaleIO": ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    "flocker": ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    "storageos": ("storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    "quobyte": ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    "glusterfs": ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    "cephfs": ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    "rbd": ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
}
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
_NO_SECCOMP = 'non-functional in v1.27+; use the "seccompProfile" field instead'
_NO_APPARMOR = 'deprecated since v1.30; use the "appArmorProfile" field instead'
_BYTES = ("memory", "ephemeral-storage")
_NULL_SELECTOR = "a null labelSelector results in matching no pod"


def pod_warnings(obj: Object, old: Object | None = None, silent: Alike | None = None) -> Iterator[str]:
    if old is None:
        yield from hostname_warning(obj, "the Pod's hostname")
    yield from asked(silent, obj, lambda pod: _warnings("", pod))


def hostname_warning(obj: Object, what: str) -> Iterator[str]:
    """Names become host names, where only labels work everywhere."""
    wrong = names.dns1123_label(obj["metadata"].get("name", ""))
    if wrong:
        yield (
            f"metadata.name: this is used in {what}, which can result in surprising behavior; "
            f"a DNS label is recommended: [{' '.join(wrong)}]"
        )


def template_warnings(
    template: Object, path: str, old: Object | None = None, silent: Alike | None = None
) -> Iterator[str]:
    """`silent`: templates that earned none are not looked at again, if no annotation is one that warnings are about."""
    if silent is None or any(map(_is_spoken_of, (template.get("metadata") or {}).get("annotations") or ())):
        yield from _warnings(f"{path}.", template)
    else:
        holder: Object = {"metadata": {}, "spec": template.get("spec")}
        yield from silent.ask(holder, lambda _: _warnings(f"{path}.", template))


def _is_spoken_of(annotation: str) -> bool:
    return annotation in _ANNOTATIONS or annotation.startswith((_SECCOMP_POD, _SECCOMP_CONTAINER, APPARMOR))


def _warnings(prefix: str, holder: Object) -> Iterator[str]:
    spec = holder.get("spec") or {}
    annotations = (holder.get("metadata") or {}).get("annotations") or {}
    path = f"{prefix}spec"
    yield from _about_placement(path, spec)
    if annotations:
        for key, message in _ANNOTATIONS.items():
            if key in annotations:
                yield f"{prefix}metadata.annotations[{key}]: {message}"
    if spec.get("volumes"):
        yield from _about_volumes(path, spec["volumes"])
    yield from _about_duplicates(path, spec)
    yield from _about_fractions(f"{path}.overhead", spec.get("overhead"))
    if annotations:
        yield from _about_profiles(prefix, annotations, spec)
    for where, container in _containers(path, spec):
        wanted = container.get("resources")
        if wanted:
            yield from _about_resources(f"{where}.resources", wanted)
        if len(container.get("env") or ()) > 1:
            yield from _about_env(f"{where}.env", container["env"])
    yield from _about_ports(path, spec)
    if spec.get("terminationGracePeriodSeconds", 0) < 0:
        yield (
            f"{path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be"
            " treated as 1"
        )
    yield from _about_affinity(f"{path}.affinity", spec.get("affinity") or {})


def _containers(path: str, spec: Object) -> Iterator[tuple[str, Object]]:
    for key in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(key) or ()):
            yield f"{path}.{key}[{index}]", container


def _about_placement(path: str, spec: Object) -> Iterator[str]:
    for key in sorted(spec.get("nodeSelector") or ()):
        if key in _NODE_LABELS:
            yield f"{path}.nodeSelector[{key}]: {_NODE_LABELS[key]}"
    node = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    where = f"{path}.affinity.nodeAffinity"
    for index, term in enumerate((node.get(REQUIRED) or {}).get("nodeSelectorTerms") or ()):
        yield from _about_node_term(f"{where}.{REQUIRED}.nodeSelectorTerms[{index}]", term)
    for index, weighted in enumerate(node.get(PREFERRED) or ()):
        yield from _about_node_term(
            f"{where}.{PREFERRED}[{index}].preference", weighted.get("preference") or {}
        )
    for index, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        at = f"{path}.topologySpreadConstraints[{index}]"
        key = constraint.get("topologyKey", "")
        if key in _NODE_LABELS:
            yield f"{at}.topologyKey: {key} is {_NODE_LABELS[key]}"
        if constraint.get("labelSelector") is None:
            yield f"{at}.labelSelector: {_NULL_SELECTOR}"


def _about_node_term(path: str, term: Object) -> Iterator[str]:
    for index, expression in enumerate(term.get("matchExpressions") or ()):
        key = expression.get("key", "")
        if key in _NODE_LABELS:
            yield f"{path}.matchExpressions[{index}].key: {key} is {_NODE_LABELS[key]}"


def _about_volumes(path: str, volumes: list[Object]) -> Iterator[str]:
    for index, volume in enumerate(volumes):
        for key, (shown, message) in _VOLUMES.items():
            if volume.get(key) is not None:
                yield f"{path}.volumes[{index}].{shown}: {message}"
        template = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
        if template is not None:
            where = f"{path}.volumes[{index}].ephemeral.volumeClaimTemplate.spec.resources.requests"
            wanted = ((template.get("spec") or {}).get("resources") or {}).get("requests") or {}
            if "storage" in wanted and checks.quantity(wanted["storage"]).milli() % 1000:
                yield _fractional(f"{where}[storage]", wanted["storage"])
    for volume in volumes:
        yield from _about_files(volume)


def _about_files(volume: Object) -> Iterator[str]:
    """Files that hide each other, within one volume."""
    name = field.quote(volume.get("name", ""))
    for key, kind, name_key in (("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")):
        source = volume.get(key)
        if source is not None:
            files = [(item.get("path", ""), "") for item in source.get("items") or ()]
            yield from _overlaps(f"volume {name} ({kind} {field.quote(source.get(name_key, ''))})", files)
    if volume.get("downwardAPI") is not None:
        files = [(item.get("path", ""), "") for item in volume["downwardAPI"].get("items") or ()]
        yield from _overlaps(f"volume {name} (DownwardAPI)", files)
    projected = volume.get("projected")
    if projected is not None:
        sources = projected.get("sources") or []
        for source in sources:
            if not any(found is not None for found in source.values()):
                yield f"volume {name} (Projected) has no sources provided"
        yield from _overlaps(f"volume {name} (Projected)", [f for s in sources for f in _projected_files(s)])


def _projected_files(source: Object) -> Iterator[tuple[str, str]]:
    for key, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
        found = source.get(key) or {}
        for item in found.get("items") or ():
            yield item.get("path", ""), f" ({kind} {field.quote(found.get('name', ''))})"
    for item in (source.get("downwardAPI") or {}).get("items") or ():
        yield item.get("path", ""), " (DownwardAPI)"
    if source.get("serviceAccountToken") is not None:
        yield source["serviceAccountToken"].get("path", ""), " (ServiceAccountToken)"
    bundle = source.get("clusterTrustBundle")
    if bundle is not None:
        name = bundle.get("name") or bundle.get("signerName") or ""
        yield bundle.get("path", ""), f" (ClusterTrustBundle {field.quote(name)})"


def _overlaps(volume: str, files: list[tuple[str, str]]) -> Iterator[str]:
    for index, (path, source) in enumerate(files):
        for other, other_source in files[:index]:
            one, two = path.rstrip("/") + "/", other.rstrip("/") + "/"
            if path and other and (one.startswith(two) or two.startswith(one)):
                pair = f"{field.quote(path)}{source} with {field.quote(other)}{other_source}"
                yield f"{volume}: overlapping paths: {pair}"


def _about_duplicates(path: str, spec: Object) -> Iterator[str]:
    seen: set[str] = set()
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        ip = alias.get("ip", "")
        if ip in seen:
            yield f"{path}.hostAliases[{index}].ip: duplicate ip {field.quote(ip)}"
        seen.add(ip)
    seen = set()
    secrets = [secret.get("name", "") for secret in spec.get("imagePullSecrets") or ()]
    for index, name in enumerate(secrets):
        if name in seen:
            yield f"{path}.imagePullSecrets[{index}].name: duplicate name {field.quote(name)}"
        seen.add(name)
    for index, name in enumerate(secrets):
        if not name:
            yield f'{path}.imagePullSecrets[{index}].name: invalid empty name ""'


def _fractional(path: str, amount: str) -> str:
    text = str(checks.quantity(amount))
    return f"{path}: fractional byte value {field.quote(text)} is invalid, must be an integer"


def _about_fractions(path: str, amounts: Object | None) -> Iterator[str]:
    for name in _BYTES:
        if amounts and name in amounts and checks.quantity(amounts[name]).milli() % 1000:
            yield _fractional(f"{path}[{name}]", amounts[name])


def _about_resources(path: str, wanted: Object) -> Iterator[str]:
    for name in _BYTES:
        for key in ("limits", "requests"):
            amount = (wanted.get(key) or {}).get(name)
            if amount is not None and checks.quantity(amount).milli() % 1000:
                yield _fractional(f"{path}.{key}[{name}]", amount)


def _about_profiles(prefix: str, annotations: dict[str, str], spec: Object) -> Iterator[str]:
    of_pod = spec.get("securityContext") or {}
    where = f"{prefix}metadata.annotations"
    if _SECCOMP_POD in annotations and of_pod.get("seccompProfile") is None:
        yield f"{where}[{_SECCOMP_POD}]: {_NO_SECCOMP}"
    for _, container in _containers("", spec):
        context, name = container.get("securityContext") or {}, container.get("name", "")
        if _SECCOMP_CONTAINER + name in annotations and context.get("seccompProfile") is None:
            yield f"{where}[{_SECCOMP_CONTAINER}{name}]: {_NO_SECCOMP}"
        without = of_pod.get("appArmorProfile") is None and context.get("appArmorProfile") is None
        if without and APPARMOR + name in annotations:
            yield f"{where}[{APPARMOR}{name}]: {_NO_APPARMOR}"


def _about_env(path: str, variables: list[Object]) -> Iterator[str]:
    seen: set[str] = set()
    for index, variable in enumerate(variables):
        name, value = variable.get("name", ""), variable.get("value", "")
        reference = f"$({name})"
        if name in seen and (
            variable.get("valueFrom") is not None or value == reference or reference not in value
        ):
            shown = field.quote(name)
            yield f"{path}[{index}]: hides previous definition of {shown}, which may be dropped when using apply"
        seen.add(name)


def _about_ports(path: str, spec: Object) -> Iterator[str]:
    known: dict[tuple[int, str], list[tuple[str, Object]]] = {}
    for where, container in _containers(path, spec):
        for index, port in enumerate(container.get("ports") or ()):
            at = f"{where}.ports[{index}]"
            ip, on_host = port.get("hostIP", ""), port.get("hostPort", 0)
            if ip and not on_host:
                yield f"{at}: hostIP set without hostPort: {_go_port(port)}"
            others = known.setdefault((port.get("containerPort", 0), port.get("protocol", "")), [])
            for other, there in others:
                yield from _about_two_ports(at, (ip, on_host), other, there)
            others.append((at, port))


def _about_two_ports(at: str, mine: tuple[str, int], other: str, there: Object) -> Iterator[str]:
    (ip, on_host), other_ip, other_port = mine, there.get("hostIP", ""), there.get("hostPort", 0)
    if (ip, on_host) == (other_ip, other_port):
        yield f"{at}: duplicate port definition with {other}"
    elif not on_host or not other_port:
        yield f"{at}: overlapping port definition with {other}"
    elif on_host == other_port and not (ip and other_ip):
        yield f"{at}: dangerously ambiguous port definition with {other}"


def _go_port(port: Object) -> str:
    shown = (
        ("Name", "name", ""),
        ("HostPort", "hostPort", 0),
        ("ContainerPort", "containerPort", 0),
        ("Protocol", "protocol", ""),
        ("HostIP", "hostIP", ""),
    )
    return "{" + " ".join(f"{name}:{port.get(key, zero)}" for name, key, zero in shown) + "}"


def _about_affinity(path: str, affinity: Object) -> Iterator[str]:
    for key in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(key) or {}
        for index, term in enumerate(rules.get(REQUIRED) or ()):
            if term.get("labelSelector") is None:
                yield f"{path}.{key}.{REQUIRED}[{index}].labelSelector: {_NULL_SELECTOR}"
        for index, weighted in enumerate(rules.get(PREFERRED) or ()):
            if (weighted.get("podAffinityTerm") or {}).get("labelSelector") is None:
                yield f"{path}.{key}.{PREFERRED}[{index}].podAffinityTerm.labelSelector: {_NULL_SELECTOR}"
