"""Rules for the volumes of a pod.

Upstream: pkg/apis/core/validation/validation.go ValidateVolumes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from timonel.apis import checks
from timonel.apis.core import persistentsources as sources
from timonel.apis.core import pod_refs
from timonel.apis.core.persistentvolumeclaim import validate_claim_spec
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

MODE = "must be a number between 0 and 0777 (octal), both inclusive"
MORE_THAN_ONE = "may not specify more than 1 volume type"
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_MAX_INITIATOR = 64
_TOO_LONG_INITIATOR = (
    "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters"
    " if iscsi.initiatorName is specified."
)

Rule = Callable[[str, Object], Iterator[Cause]]


def validate_volumes(
    path: str, volumes: list[Object], pod_name: str
) -> tuple[list[Cause], dict[str, Object]]:
    """What is wrong, and the volumes without fault by name: only those can be mounted.

    `pod_name` is empty in a template: the names of generic ephemeral claims are unknown there.
    """
    causes: list[Cause] = []
    sound: dict[str, Object] = {}
    for index, volume in enumerate(volumes):
        where = f"{path}[{index}]"
        name = volume.get("name", "")
        found = list(_validate_source(where, volume, name, pod_name))
        if not name:
            found.append(field.required(f"{where}.name"))
        else:
            found.extend(checks.told(f"{where}.name", name, names.dns1123_label(name)))
        if name in sound:
            found.append(field.duplicate(f"{where}.name", name))
        if not found:
            sound[name] = volume
        causes += found
    return causes, sound


def _validate_source(path: str, volume: Object, name: str, pod_name: str) -> Iterator[Cause]:
    found = False
    for wire, (shown, rule) in _SOURCES.items():
        source = volume.get(wire)
        if source is None:
            continue
        if found:
            yield field.forbidden(f"{path}.{_ODD_NAMES.get(wire, shown)}", MORE_THAN_ONE)
        else:
            found = True
            yield from rule(f"{path}.{shown}", source)
            if wire == "ephemeral" and pod_name and name:
                claim = f"{pod_name}-{name}"
                for message in names.dns1123_subdomain(claim):
                    yield field.invalid(f"{path}.name", name, f"PVC name {field.quote(claim)}: {message}")
        if wire == "iscsi" and _initiator_is_too_long(name, source):
            yield field.invalid(f"{path}.name", name, _TOO_LONG_INITIATOR)
    if not found:
        yield field.required(path, "must specify a volume type")


def _initiator_is_too_long(name: str, source: Object) -> bool:
    if source.get("initiatorName") is None:
        return False
    return len(f"{name}:{source.get('targetPortal', '')}".encode()) > _MAX_INITIATOR


def _must_have(*keys: str) -> Rule:
    def rule(path: str, source: Object) -> Iterator[Cause]:
        for key in keys:
            if not source.get(key):
                yield field.required(f"{path}.{key}")

    return rule


def _named_secret(path: str, source: Object) -> Iterator[Cause]:
    ref = source.get("secretRef")
    if ref is not None and not ref.get("name"):
        yield field.required(f"{path}.secretRef.name")


def no_backsteps(path: str, text: str) -> Iterator[Cause]:
    if ".." in text.split("/"):
        yield field.invalid(path, text, "must not contain '..'")


def descending_path(path: str, text: str) -> Iterator[Cause]:
    if text.startswith("/"):
        yield field.invalid(path, text, "must be a relative path")
    yield from no_backsteps(path, text)


def local_path(path: str, text: str) -> Iterator[Cause]:
    yield from descending_path(path, text)
    if text.startswith("..") and not text.startswith("../"):
        yield field.invalid(path, text, "must not start with '..'")


def _mode(path: str, mode: int | None) -> Iterator[Cause]:
    if mode is not None and not 0 <= mode <= 0o777:
        yield field.invalid(path, mode, MODE)


# ---- what a volume shows of other objects


def _key_to_path(path: str, item: Object) -> Iterator[Cause]:
    if not item.get("key"):
        yield field.required(f"{path}.key")
    if not item.get("path"):
        yield field.required(f"{path}.path")
    yield from local_path(f"{path}.path", item.get("path", ""))
    yield from _mode(f"{path}.mode", item.get("mode"))


def _files_of(name_key: str) -> Rule:
    def rule(path: str, source: Object) -> Iterator[Cause]:
        if not source.get(name_key):
            yield field.required(f"{path}.{name_key}")
        yield from _mode(f"{path}.defaultMode", source.get("defaultMode"))
        yield from checks.each(f"{path}.items", source.get("items"), _key_to_path)

    return rule


def _downward_file(path: str, item: Object) -> Iterator[Cause]:
    if not item.get("path"):
        yield field.required(f"{path}.path")
    yield from local_path(f"{path}.path", item.get("path", ""))
    ref, resource = item.get("fieldRef"), item.get("resourceFieldRef")
    if ref is not None:
        yield from pod_refs.validate_field_ref(f"{path}.fieldRef", ref, pod_refs.VOLUME_FIELDS)
        if resource is not None:
            message = "fieldRef and resourceFieldRef can not be specified simultaneously"
            yield field.invalid(path, "resource", message)
    elif resource is not None:
        yield from pod_refs.validate_resource_ref(f"{path}.resourceFieldRef", resource, in_volume=True)
    else:
        yield field.required(path, "one of fieldRef and resourceFieldRef is required")
    yield from _mode(f"{path}.mode", item.get("mode"))


def _downward(path: str, source: Object) -> Iterator[Cause]:
    yield from _mode(f"{path}.defaultMode", source.get("defaultMode"))
    for item in source.get("items") or ():
        yield from _downward_file(path, item)  # As upstream: without the index.


def _projected(path: str, source: Object) -> Iterator[Cause]:
    yield from _mode(f"{path}.defaultMode", source.get("defaultMode"))
    taken: set[str] = set()
    for index, projection in enumerate(source.get("sources") or ()):
        where = f"{path}.sources[{index}]"
        kinds = 0
        for kind in ("secret", "configMap"):
            if projection.get(kind) is not None:
                kinds += 1
                yield from _projected_files(path, f"{where}.{kind}", projection[kind], taken)
        if projection.get("downwardAPI") is not None:
            kinds += 1
            for item in projection["downwardAPI"].get("items") or ():
                yield from _downward_file(f"{where}.downwardAPI", item)
                yield from _take(path, item.get("path", ""), item.get("path", ""), taken)
        if projection.get("serviceAccountToken") is not None:
            kinds += 1
            yield from _token(path, f"{where}.serviceAccountToken", projection["serviceAccountToken"])
        if projection.get("clusterTrustBundle") is not None:
            kinds += 1
            yield from _trust_bundle(
                path, f"{where}.clusterTrustBundle", projection["clusterTrustBundle"], taken
            )
        if kinds > 1:
            yield field.forbidden(where, "may not specify more than 1 volume type per source")


def _take(path: str, file: str, shown: str, taken: set[str]) -> Iterator[Cause]:
    if file and file in taken:
        yield field.invalid(path, shown, "conflicting duplicate paths")
    taken.add(file)


def _projected_files(volume: str, path: str, source: Object, taken: set[str]) -> Iterator[Cause]:
    name = source.get("name", "")
    if not name:
        yield field.required(f"{path}.name")
    for index, item in enumerate(source.get("items") or ()):
        yield from _key_to_path(f"{path}.items[{index}]", item)
        yield from _take(volume, item.get("path", ""), name, taken)


def _token(volume: str, path: str, token: Object) -> Iterator[Cause]:
    seconds = token.get("expirationSeconds", 0)
    yield from checks.token_lifetime(f"{path}.expirationSeconds", seconds)
    if not token.get("path"):
        yield field.required(f"{volume}.path")
    else:
        yield from local_path(f"{volume}.path", token["path"])


def _trust_bundle(volume: str, path: str, bundle: Object, taken: set[str]) -> Iterator[Cause]:
    name, signer = bundle.get("name"), bundle.get("signerName")
    if name is not None and signer is not None:
        yield field.invalid(path, bundle, "only one of name and signerName may be used")
    elif name is not None:
        if not name:
            yield field.required(f"{path}.name", "must be a valid object name")
        for message in names.dns1123_subdomain(name.rpartition(":")[2]):
            yield field.invalid(f"{path}.name", name, f"not a valid clustertrustbundlename: {message}")
        if bundle.get("labelSelector") is not None:
            message = "labelSelector must be unset if name is specified"
            yield field.invalid(f"{path}.labelSelector", bundle["labelSelector"], message)
    elif signer is not None:
        if not signer:
            yield field.required(f"{path}.signerName", "must be a valid signer name")
    else:
        yield field.required(path, "either name or signerName must be specified")
    if not bundle.get("path"):
        yield field.required(f"{path}.path")
    yield from local_path(f"{path}.path", bundle.get("path", ""))
    yield from _take(volume, bundle.get("path", ""), bundle.get("path", ""), taken)


# ---- storage


def _empty_dir(path: str, source: Object) -> Iterator[Cause]:
    limit = source.get("sizeLimit")
    if limit is not None and checks.quantity(limit) < checks.quantity("0"):
        yield field.forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")


def _host_path(path: str, source: Object) -> Iterator[Cause]:
    if not source.get("path"):
        yield field.required(f"{path}.path")
        return
    yield from no_backsteps(f"{path}.path", source["path"])
    if source.get("type") is not None:
        yield from checks.one_of(f"{path}.type", source["type"], sources.HOST_PATH_TYPES)


def _git(path: str, source: Object) -> Iterator[Cause]:
    if not source.get("repository"):
        yield field.required(f"{path}.repository")
    yield from descending_path(f"{path}.directory", source.get("directory", ""))


def _iscsi_name(path: str, name: str) -> Iterator[Cause]:
    if not name.startswith(("iqn", "eui", "naa")):
        yield field.invalid(path, name, "must be valid format starting with iqn, eui, or naa")
        return
    for prefix, pattern in sources.ISCSI_NAMES:
        if name.startswith(prefix) and not pattern.search(name):
            yield field.invalid(path, name, "must be valid format")


def _iscsi(path: str, source: Object) -> Iterator[Cause]:
    yield from _must_have("targetPortal", "iqn")(path, source)
    if source.get("iqn"):
        yield from _iscsi_name(f"{path}.iqn", source["iqn"])
    if not 0 <= source.get("lun", 0) <= 255:
        yield field.invalid(f"{path}.lun", source["lun"], names.between(0, 255))
    if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and source.get("secretRef") is None:
        yield field.required(f"{path}.secretRef")
    if source.get("initiatorName") is not None:
        yield from _iscsi_name(f"{path}.initiatorname", source["initiatorName"])


def _glusterfs(path: str, source: Object) -> Iterator[Cause]:
    yield from _must_have("endpoints", "path")(path, source)


def _flocker(path: str, source: Object) -> Iterator[Cause]:
    name, uuid = source.get("datasetName", ""), source.get("datasetUUID", "")
    if not name and not uuid:
        yield field.required(path, "one of datasetName and datasetUUID is required")
    if name and uuid:
        message = "datasetName and datasetUUID can not be specified simultaneously"
        yield field.invalid(path, "resource", message)
    if "/" in name:
        yield field.invalid(f"{path}.datasetName", name, "must not contain '/'")


def _cinder(path: str, source: Object) -> Iterator[Cause]:
    yield from _must_have("volumeID")(path, source)
    yield from _named_secret(path, source)


def _flex(path: str, source: Object) -> Iterator[Cause]:
    yield from _must_have("driver")(path, source)
    for key in sorted(source.get("options") or {}):
        namespace = "." + key.partition("/")[0].lower()
        if namespace.endswith((".kubernetes.io", ".k8s.io")):
            message = "kubernetes.io and k8s.io namespaces are reserved"
            yield field.invalid(f"{path}.options[{key}]", key, message)


def _storage_os(path: str, source: Object) -> Iterator[Cause]:
    if not source.get("volumeName"):
        yield field.required(f"{path}.volumeName")
    else:
        yield from checks.label(f"{path}.volumeName", source["volumeName"])
    if source.get("volumeNamespace"):
        yield from checks.label(f"{path}.volumeNamespace", source["volumeNamespace"])
    yield from _named_secret(path, source)


def _csi(path: str, source: Object) -> Iterator[Cause]:
    driver = source.get("driver", "")
    if not driver:
        yield field.required(f"{path}.driver")
    if len(driver) > 63:
        yield field.too_long(f"{path}.driver", 63)
    if driver:
        yield from checks.told(f"{path}.driver", driver, names.dns1123_subdomain(driver.lower()))
    ref = source.get("nodePublishSecretRef")
    if ref is not None:
        if not ref.get("name"):
            yield field.required(f"{path}.nodePublishSecretRef.name")
        else:
            yield from checks.subdomain(f"{path}.name", ref["name"])


def _ephemeral(path: str, source: Object) -> Iterator[Cause]:
    template = source.get("volumeClaimTemplate")
    where = f"{path}.volumeClaimTemplate"
    if template is None:
        yield field.required(where)
        return
    metadata = template.get("metadata") or {}
    yield from checks.annotation_map(f"{where}.metadata.annotations", metadata.get("annotations"))
    yield from checks.label_map(f"{where}.metadata.labels", metadata.get("labels"))
    for key in _META_FIELDS:
        if metadata.get(key):
            yield field.forbidden(f"{where}.metadata.{key}", "cannot be set for an ephemeral volume")
    yield from validate_claim_spec(f"{where}.spec", template.get("spec") or {})


# In the order of the fields of ObjectMeta; labels and annotations are what may be set.
_META_FIELDS = (
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
    "finalizers",
    "managedFields",
)


def _image(path: str, source: Object) -> Iterator[Cause]:
    if not source.get("reference"):
        yield field.required(f"{path}.reference")
    policy = source.get("pullPolicy", "")
    if not policy:
        yield field.required(f"{path}.pullPolicy")
    else:
        yield from checks.one_of(f"{path}.pullPolicy", policy, _PULL_POLICIES)


# wire name -> (path in causes, rule), in the order that upstream looks
_SOURCES: dict[str, tuple[str, Rule]] = {
    "emptyDir": ("emptyDir", _empty_dir),
    "hostPath": ("hostPath", _host_path),
    "gitRepo": ("gitRepo", _git),
    "gcePersistentDisk": ("persistentDisk", sources.SOURCES["gcePersistentDisk"][1]),
    "awsElasticBlockStore": sources.SOURCES["awsElasticBlockStore"],
    "secret": ("secret", _files_of("secretName")),
    "nfs": sources.SOURCES["nfs"],
    "iscsi": ("iscsi", _iscsi),
    "glusterfs": ("glusterfs", _glusterfs),
    "flocker": ("flocker", _flocker),
    "persistentVolumeClaim": ("persistentVolumeClaim", _must_have("claimName")),
    "rbd": sources.SOURCES["rbd"],
    "cinder": ("cinder", _cinder),
    "cephfs": sources.SOURCES["cephfs"],
    "quobyte": sources.SOURCES["quobyte"],
    "downwardAPI": ("downwardAPI", _downward),
    "fc": sources.SOURCES["fc"],
    "flexVolume": ("flexVolume", _flex),
    "configMap": ("configMap", _files_of("name")),
    "azureFile": ("azureFile", _must_have("secretName", "shareName")),
    "vsphereVolume": sources.SOURCES["vsphereVolume"],
    "photonPersistentDisk": sources.SOURCES["photonPersistentDisk"],
    "portworxVolume": sources.SOURCES["portworxVolume"],
    "azureDisk": sources.SOURCES["azureDisk"],
    "storageos": ("storageos", _storage_os),
    "projected": ("projected", _projected),
    "scaleIO": sources.SOURCES["scaleIO"],
    "csi": ("csi", _csi),
    "ephemeral": ("ephemeral", _ephemeral),
    "image": ("image", _image),
}
_ODD_NAMES = {"cephfs": "cephFS", "downwardAPI": "downwarAPI"}  # As upstream spells them where there are two.
