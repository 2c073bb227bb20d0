"""The kinds of storage behind a PersistentVolume: what each must say, and its defaults.

Upstream: pkg/apis/core/{v1/defaults.go,validation/validation.go}, pkg/api/persistentvolume/util.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from timonel.apis import checks
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

Rule = Callable[[str, Object], Iterator[Cause]]

HOST_PATH_TYPES = ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate",
                   "Socket")  # fmt: skip
_MANAGED_DISK = (
    "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
)
_BLOB_DISK = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
_IQN = re.compile(r"iqn\.\d{4}-\d{2}\.[0-9a-zA-Z-.]+(:[^,;*&$|\s]+)?$")
_EUI = re.compile(r"eui\.[0-9a-fA-F]{16}$")
_NAA = re.compile(r"naa\.[0-9a-fA-F]{32}$")
ISCSI_NAMES = (("iqn", _IQN), ("eui", _EUI), ("naa", _NAA))


def _must_have(*keys: str) -> Rule:
    def rule(path: str, source: Object) -> Iterator[Cause]:
        for key in keys:
            yield from checks.required(f"{path}.{key}", source.get(key))

    return rule


def _no_backsteps(path: str, text: str) -> Iterator[Cause]:
    if ".." in text.split("/"):
        yield field.invalid(path, text, "must not contain '..'")


def _whole_secret(path: str, source: Object) -> Iterator[Cause]:
    """A secret reference that names its namespace too."""
    ref = source.get("secretRef")
    if ref is not None:
        yield from _must_have("name", "namespace")(f"{path}.secretRef", ref)


def _host_path(path: str, source: Object) -> Iterator[Cause]:
    where = source.get("path", "")
    if where:
        yield from _no_backsteps(f"{path}.path", where)
    else:
        yield field.required(f"{path}.path")
    if source.get("type") is not None:
        yield from checks.one_of(f"{path}.type", source["type"], HOST_PATH_TYPES)


def _local(path: str, source: Object) -> Iterator[Cause]:
    where = source.get("path", "")
    if where:
        yield from _no_backsteps(f"{path}.path", where)
    else:
        yield field.required(f"{path}.path")


def _gce(path: str, source: Object) -> Iterator[Cause]:
    yield from _must_have("pdName")(path, source)
    yield from _partition(path, source)


def _aws(path: str, source: Object) -> Iterator[Cause]:
    yield from _must_have("volumeID")(path, source)
    yield from _partition(path, source)


def _partition(path: str, source: Object) -> Iterator[Cause]:
    if not 0 <= source.get("partition", 0) <= 255:
        yield field.invalid(f"{path}.partition", source["partition"], "must be between 1 and 255, inclusive")


def _nfs(path: str, source: Object) -> Iterator[Cause]:
    yield from _must_have("server", "path")(path, source)
    if not source.get("path", "").startswith("/"):
        yield field.invalid(f"{path}.path", source.get("path", ""), "must be an absolute path")


def _glusterfs(path: str, source: Object) -> Iterator[Cause]:
    yield from _must_have("endpoints", "path")(path, source)
    namespace = source.get("endpointsNamespace")
    if namespace == "":
        message = "if the endpointnamespace is set, it must be a valid namespace name"
        yield field.invalid(f"{path}.endpointsNamespace", namespace, message)
    elif namespace is not None:
        yield from checks.label(f"{path}.endpointsNamespace", namespace)


def _iscsi(path: str, source: Object) -> Iterator[Cause]:
    yield from _must_have("targetPortal", "iqn")(path, source)
    iqn = source.get("iqn", "")
    if iqn:
        if not iqn.startswith(("iqn", "eui", "naa")):
            yield field.invalid(f"{path}.iqn", iqn, "must be valid format starting with iqn, eui, or naa")
        for prefix, pattern in ISCSI_NAMES:
            if iqn.startswith(prefix) and not pattern.match(iqn):
                yield field.invalid(f"{path}.iqn", iqn, "must be valid format")
    if not 0 <= source.get("lun", 0) <= 255:
        yield field.invalid(f"{path}.lun", source["lun"], "must be between 0 and 255, inclusive")
    ref = source.get("secretRef")
    if ref is None and (source.get("chapAuthDiscovery") or source.get("chapAuthSession")):
        yield field.required(f"{path}.secretRef")
    if ref is not None:
        yield from checks.required(f"{path}.secretRef.name", ref.get("name"))


def _fibre_channel(path: str, source: Object) -> Iterator[Cause]:
    either = "must specify either targetWWNs or wwids, but not both"
    targets, wwids = source.get("targetWWNs"), source.get("wwids")
    if not targets and not wwids:
        yield field.required(f"{path}.targetWWNs", either)
    if targets and wwids:
        yield field.invalid(f"{path}.targetWWNs", targets, either)
    if targets:
        if source.get("lun") is None:
            yield field.required(f"{path}.lun", "lun is required if targetWWNs is specified")
        elif not 0 <= source["lun"] <= 255:
            yield field.invalid(f"{path}.lun", source["lun"], "must be between 0 and 255, inclusive")


def _azure_file(path: str, source: Object) -> Iterator[Cause]:
    yield from _must_have("secretName", "shareName")(path, source)
    if source.get("secretNamespace") == "":
        yield field.required(f"{path}.secretNamespace")


def _azure_disk(path: str, source: Object) -> Iterator[Cause]:
    uri = source.get("diskURI", "")
    yield from _must_have("diskName", "diskURI")(path, source)
    if source.get("cachingMode") is not None:
        yield from checks.one_of(
            f"{path}.cachingMode", source["cachingMode"], ("None", "ReadOnly", "ReadWrite")
        )
    kind = source.get("kind")
    if kind is not None:
        yield from checks.one_of(f"{path}.kind", kind, ("Dedicated", "Managed", "Shared"))
    if kind == "Managed":
        if not uri.startswith("/subscriptions/"):
            yield field.not_supported(f"{path}.diskURI", uri, (_MANAGED_DISK,))
    elif not uri.startswith("https://"):
        yield field.not_supported(f"{path}.diskURI", uri, (_BLOB_DISK,))


def _storage_os(path: str, source: Object) -> Iterator[Cause]:
    name, namespace = source.get("volumeName", ""), source.get("volumeNamespace", "")
    if name:
        yield from checks.label(f"{path}.volumeName", name)
    else:
        yield field.required(f"{path}.volumeName")
    if namespace:
        yield from checks.label(f"{path}.volumeNamespace", namespace)
    yield from _whole_secret(path, source)


def _quobyte(path: str, source: Object) -> Iterator[Cause]:
    pairs = "must be a host:port pair or multiple pairs separated by commas"
    registry, tenant = source.get("registry", ""), source.get("tenant", "")
    if not registry:
        yield field.required(f"{path}.registry", pairs)
    elif len(tenant) >= 65:
        yield field.required(f"{path}.tenant", "must be a UUID and may not exceed a length of 64 characters")
    else:
        for pair in registry.split(","):
            if not re.match(r"^\[?[^\[\]]*\]?:[^:\[\]]*$", pair):
                yield field.invalid(f"{path}.registry", registry, pairs)
    yield from checks.required(f"{path}.volume", source.get("volume"))


def _scale_io(path: str, source: Object) -> Iterator[Cause]:
    yield from _must_have("gateway", "system", "volumeName")(path, source)


def _cinder(path: str, source: Object) -> Iterator[Cause]:
    yield from _must_have("volumeID")(path, source)
    yield from _whole_secret(path, source)


def _csi(path: str, source: Object) -> Iterator[Cause]:
    yield from validate_driver_name(f"{path}.driver", source.get("driver", ""))
    yield from checks.required(f"{path}.volumeHandle", source.get("volumeHandle"))
    for key in (
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ):
        ref = source.get(key)
        if ref is None:
            continue
        for part, rule in (("name", names.dns1123_subdomain), ("namespace", names.dns1123_label)):
            if not ref.get(part):
                yield field.required(f"{path}.{key}.{part}")
            else:
                yield from checks.told(f"{path}.{key}.{part}", ref[part], rule(ref[part]))


def validate_driver_name(path: str, name: str) -> Iterator[Cause]:
    """The name of a CSI driver, in upper or lower case."""
    if not name:
        yield field.required(path)
    if len(name) > 63:
        yield field.too_long(path, 63)
    if name:
        for message in names.dns1123_subdomain(name.lower()):
            yield field.invalid(path, name, message)


# wire name -> (path in causes, rule), in the order that upstream looks
SOURCES: dict[str, tuple[str, Rule]] = {
    "hostPath": ("hostPath", _host_path),
    "gcePersistentDisk": ("persistentDisk", _gce),
    "awsElasticBlockStore": ("awsElasticBlockStore", _aws),
    "glusterfs": ("glusterfs", _glusterfs),
    "flocker": ("flocker", _must_have()),
    "nfs": ("nfs", _nfs),
    "rbd": ("rbd", _must_have("monitors", "image")),
    "quobyte": ("quobyte", _quobyte),
    "cephfs": ("cephfs", _must_have("monitors")),
    "iscsi": ("iscsi", _iscsi),
    "cinder": ("cinder", _cinder),
    "fc": ("fc", _fibre_channel),
    "flexVolume": ("flexVolume", _must_have("driver")),
    "azureFile": ("azureFile", _azure_file),
    "vsphereVolume": ("vsphereVolume", _must_have("volumePath")),
    "photonPersistentDisk": ("photonPersistentDisk", _must_have("pdID")),
    "portworxVolume": ("portworxVolume", _must_have("volumeID")),
    "azureDisk": ("azureDisk", _azure_disk),
    "scaleIO": ("scaleIO", _scale_io),
    "local": ("local", _local),
    "storageos": ("storageos", _storage_os),
    "csi": ("csi", _csi),
}

# wire name -> since when it is deprecated, and removed
DEPRECATED = {
    "cephfs": "spec.cephfs: deprecated in v1.28, non-functional in v1.31+",
    "photonPersistentDisk": "spec.photonPersistentDisk: deprecated in v1.11, non-functional in v1.16+",
    "scaleIO": "spec.scaleIO: deprecated in v1.16, non-functional in v1.22+",
    "storageos": "spec.storageOS: deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "spec.glusterfs: deprecated in v1.25, non-functional in v1.26+",
    "rbd": "spec.rbd: deprecated in v1.28, non-functional in v1.31+",
}

# values of a source that may be left out; a value set here replaces an empty one, except for pointers (None below)
_DEFAULTS: dict[str, dict[str, str]] = {
    "iscsi": {"iscsiInterface": "default"},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
}
_POINTER_DEFAULTS: dict[str, dict[str, object]] = {
    "azureDisk": {"cachingMode": "ReadWrite", "fsType": "ext4", "readOnly": False, "kind": "Shared"},
    "hostPath": {"type": ""},
}


def default_source(spec: Object) -> None:
    for wire, defaults in _DEFAULTS.items():
        source = spec.get(wire)
        if source is not None:
            for key, value in defaults.items():
                source[key] = source.get(key) or value
    for wire, pointers in _POINTER_DEFAULTS.items():
        source = spec.get(wire)
        if source is not None:
            for key, found in pointers.items():
                if source.get(key) is None:
                    source[key] = found
