"""A container's environment: from ConfigMaps, Secrets, fields, resources and services, with $(VAR) expanded. Pure.

Upstream: pkg/kubelet/kubelet_pods.go (makeEnvironmentVariables), pkg/kubelet/envvars, third_party/forked/golang/
expansion, pkg/fieldpath, pkg/api/v1/resource (ExtractContainerResourceValue). Messages are what users see in
CreateContainerConfigError.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any

from timonel.node import amounts
from timonel.objects.meta import Object
from timonel.records import dataclass

_VARIABLE = re.compile(r"\$(\$|\(([^()]*)\))")
_SUBSCRIPT = re.compile(r"^metadata\.(annotations|labels)\['(.*)'\]$")


class ConfigError(Exception):
    """The container cannot be made as its spec stands: CreateContainerConfigError, with this message."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything an environment can refer to. A ConfigMap or Secret that does not exist is None."""

    config_maps: Mapping[str, Object | None] = field(default_factory=dict)
    secrets: Mapping[str, Object | None] = field(default_factory=dict)
    services: Sequence[Object] = ()  # of the pod's namespace, and default/kubernetes
    node_name: str = ""
    host_ip: str = ""
    pod_ips: tuple[str, ...] = ()
    allocatable: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[tuple[str, str], Mapping[str, str] | None] = field(default_factory=dict)  # (volume, path)


def expand(text: str, values: Mapping[str, str]) -> str:
    """$(NAME) becomes its value; $$ is a dollar; an unknown name stays as it stands."""

    def replacement(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return values.get(match[2], match[0])

    return _VARIABLE.sub(replacement, text)


def build(pod: Object, container: Mapping[str, Any], sources: Sources) -> dict[str, str]:
    services = service_variables(pod, sources.services)
    env = dict[str, str]()
    for source in container.get("envFrom") or ():
        env.update(_from_source(source, sources))
    for entry in container.get("env") or ():
        value = _value(pod, container, entry, {**services, **env}, sources)
        if value is not None:
            env[entry["name"]] = value
    for name, value in services.items():
        env.setdefault(name, value)
    return env


def config_value(config_map: Object, key: str) -> str | None:
    """From data, else binaryData."""
    data = config_map.get("data") or {}
    if key in data:
        return str(data[key])
    binary = (config_map.get("binaryData") or {}).get(key)
    return None if binary is None else base64.b64decode(binary).decode("utf-8", "surrogateescape")


def secret_value(secret: Object, key: str) -> str | None:
    found = (secret.get("data") or {}).get(key)
    return None if found is None else base64.b64decode(found).decode("utf-8", "surrogateescape")


def _from_source(source: Mapping[str, Any], sources: Sources) -> dict[str, str]:
    prefix = source.get("prefix", "")
    found = dict[str, str]()
    ref = source.get("configMapRef")
    if ref is not None:
        config_map = sources.config_maps.get(ref["name"])
        if config_map is not None:
            names = [*(config_map.get("data") or {})]
            found = {name: config_value(config_map, name) or "" for name in names}
        elif not ref.get("optional"):
            raise ConfigError(f'configmap "{ref["name"]}" not found')
    ref = source.get("secretRef")
    if ref is not None:
        secret = sources.secrets.get(ref["name"])
        if secret is not None:
            found = {name: secret_value(secret, name) or "" for name in secret.get("data") or {}}
        elif not ref.get("optional"):
            raise ConfigError(f'secret "{ref["name"]}" not found')
    return {prefix + name: found[name] for name in sorted(found)}


def _value(
    pod: Object,
    container: Mapping[str, Any],
    entry: Mapping[str, Any],
    known: Mapping[str, str],
    sources: Sources,
) -> str | None:
    """None when an optional reference has nothing."""
    origin = entry.get("valueFrom")
    if origin is None:
        return expand(entry.get("value", ""), known)
    namespace = pod["metadata"]["namespace"]
    if (ref := origin.get("fieldRef")) is not None:
        return field_value(pod, ref["fieldPath"], sources)
    if (ref := origin.get("resourceFieldRef")) is not None:
        return resource_value(pod, ref, sources.allocatable, default=container)
    if (ref := origin.get("fileKeyRef")) is not None:
        return _from_file(ref, sources)
    if (ref := origin.get("configMapKeyRef")) is not None:
        return _keyed("ConfigMap", "configmap", ref, namespace, sources.config_maps, config_value)
    if (ref := origin.get("secretKeyRef")) is not None:
        return _keyed("Secret", "secret", ref, namespace, sources.secrets, secret_value)
    return ""


def file_refs(container: Mapping[str, Any]) -> set[tuple[str, str]]:
    """(volume, path) of the files that a container's environment names."""
    refs = ((e.get("valueFrom") or {}).get("fileKeyRef") for e in container.get("env") or ())
    return {(ref["volumeName"], ref["path"]) for ref in refs if ref is not None}


def _from_file(ref: Mapping[str, Any], sources: Sources) -> str | None:
    known = sources.files.get((ref["volumeName"], ref["path"]))
    value = None if known is None else known.get(ref["key"])
    if value is None and not ref.get("optional"):
        what = "file does not exist" if known is None else f"couldn't find key {ref['key']}"
        raise ConfigError(f"{what} in volume {ref['volumeName']}, path {ref['path']}")
    return value


def _keyed(
    kind: str,
    resource: str,
    ref: Mapping[str, Any],
    namespace: str,
    objects: Mapping[str, Object | None],
    read: Any,
) -> str | None:
    name, key = ref["name"], ref["key"]
    obj = objects.get(name)
    if obj is None:
        if ref.get("optional"):
            return None
        raise ConfigError(f'{resource} "{name}" not found')
    value: str | None = read(obj, key)
    if value is None and not ref.get("optional"):
        raise ConfigError(f"couldn't find key {key} in {kind} {namespace}/{name}")
    return value


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _mapping_text(values: Mapping[str, str]) -> str:
    """As the downward API writes labels and annotations: key="value" lines, sorted."""
    return "\n".join(f"{k}={_quoted(v)}" for k, v in sorted(values.items()))


def field_value(pod: Object, path: str, sources: Sources) -> str:
    meta, spec = pod["metadata"], pod["spec"]
    subscript = _SUBSCRIPT.match(path)
    if subscript is not None:
        found: str = (meta.get(subscript[1]) or {}).get(subscript[2], "")
        return found
    if path in ("metadata.labels", "metadata.annotations"):
        return _mapping_text(meta.get(path.removeprefix("metadata.")) or {})
    values = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta["namespace"],
        "metadata.uid": meta["uid"],
        "spec.nodeName": spec.get("nodeName") or sources.node_name,
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.hostIP": sources.host_ip,
        "status.hostIPs": sources.host_ip,
        "status.podIP": sources.pod_ips[0] if sources.pod_ips else "",
        "status.podIPs": ",".join(sources.pod_ips),
    }
    if path not in values:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return str(values[path])


def resource_value(
    pod: Object,
    ref: Mapping[str, Any],
    allocatable: Mapping[str, str],
    *,
    default: Mapping[str, Any] | None = None,
) -> str:
    """The amount divided by the divisor, rounded up. A limit that is not set is the pod's, or what the node can
    allocate."""
    container = default
    if ref.get("containerName"):
        every = (*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ()))
        container = next((c for c in every if c["name"] == ref["containerName"]), None)
    if container is None:
        raise ConfigError(f"container {ref.get('containerName')} not found")
    side, _, name = ref["resource"].partition(".")
    resources = container.get("resources") or {}
    amount = (resources.get(side) or {}).get(name)
    if amount is None and side == "limits":
        whole = (pod["spec"].get("resources") or {}).get("limits") or {}
        amount = whole.get(name, allocatable.get(name))
    divisor = ref.get("divisor") or "1"
    return amounts.divided(amount or "0", "1" if divisor == "0" else divisor)


def service_variables(pod: Object, services: Iterable[Object]) -> dict[str, str]:
    """NAME_SERVICE_HOST and the old Docker link names of every service with a cluster IP (pkg/kubelet/envvars)."""
    namespace = pod["metadata"]["namespace"]
    links = pod["spec"].get("enableServiceLinks", True)
    found = dict[str, str]()
    for service in sorted(services, key=lambda s: str(s["metadata"]["name"])):
        meta, spec = service["metadata"], service["spec"]
        is_master = meta["namespace"] == "default" and meta["name"] == "kubernetes"
        if not is_master and not (links and meta["namespace"] == namespace):
            continue
        if spec.get("clusterIP") in (None, "", "None") or not spec.get("ports"):
            continue
        found.update(_service(meta["name"], spec))
    return found


def _service(name: str, spec: Mapping[str, Any]) -> dict[str, str]:
    prefix, ip = name.upper().replace("-", "_"), spec["clusterIP"]
    host = f"[{ip}]" if ":" in ip else ip
    found = {f"{prefix}_SERVICE_HOST": ip, f"{prefix}_SERVICE_PORT": str(spec["ports"][0]["port"])}
    for port in spec["ports"]:
        if port.get("name"):
            found[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
    for index, port in enumerate(spec["ports"]):
        protocol = port.get("protocol", "TCP")
        url = f"{protocol.lower()}://{host}:{port['port']}"
        link = f"{prefix}_PORT_{port['port']}_{protocol}"
        if index == 0:
            found[f"{prefix}_PORT"] = url
        found |= {
            link: url,
            f"{link}_PROTO": protocol.lower(),
            f"{link}_PORT": str(port["port"]),
            f"{link}_ADDR": ip,
        }
    return found
