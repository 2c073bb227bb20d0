"""Plugins that fill in a cluster's defaults: storage and ingress class, finalizers of volumes, the taint of new nodes.

Upstream: plugin/pkg/admission/{storage/*,network/defaultingressclass,nodetaint}/admission.go.
"""

from __future__ import annotations

from collections.abc import Iterable

from timonel.apis.resource import ResourceType
from timonel.machinery.quantity import Quantity
from timonel.objects.meta import Object, annotations_of, nested
from timonel.server.admission.attributes import creates, forbidden
from timonel.server.request import AdmissionCall, OnlyMutates, OnlyValidates, Operation, Reader

STORAGE_CLASSES, INGRESS_CLASSES = "storageclasses.storage.k8s.io", "ingressclasses.networking.k8s.io"
_DEFAULT_STORAGE = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
_DEFAULT_INGRESS = ("ingressclass.kubernetes.io/is-default-class",)
_FINALIZERS = {
    "persistentvolumes": "kubernetes.io/pv-protection",
    "persistentvolumeclaims": "kubernetes.io/pvc-protection",
    "volumeattributesclasses.storage.k8s.io": "kubernetes.io/vac-protection",
}
NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}


def _marked(classes: Iterable[Object], annotations: tuple[str, ...]) -> str:
    """The name of the class marked as default: the newest where there are several."""
    marked = [c for c in classes if any(annotations_of(c).get(a) == "true" for a in annotations)]
    marked.sort(key=lambda c: str(c["metadata"]["name"]))
    marked.sort(key=lambda c: str(c["metadata"].get("creationTimestamp", "")), reverse=True)
    return marked[0]["metadata"]["name"] if marked else ""


class DefaultStorageClass(OnlyMutates):
    name = "DefaultStorageClass"

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        return creates(resource, subresource, operation, "persistentvolumeclaims")

    async def admit(self, call: AdmissionCall) -> None:
        assert call.obj is not None
        spec = call.obj.get("spec") or {}
        if spec.get("storageClassName") is not None or _BETA_CLASS in annotations_of(call.obj):
            return
        name = _marked(self._reader.list(STORAGE_CLASSES), _DEFAULT_STORAGE)
        if name:
            call.obj.setdefault("spec", {})["storageClassName"] = name


class StorageObjectInUseProtection(OnlyMutates):
    name = "StorageObjectInUseProtection"

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        return resource.qualified in _FINALIZERS and not subresource and operation is Operation.CREATE

    async def admit(self, call: AdmissionCall) -> None:
        assert call.obj is not None
        finalizer = _FINALIZERS[call.resource.qualified]
        finalizers = call.obj["metadata"].get("finalizers") or []
        if finalizer not in finalizers:
            call.obj["metadata"]["finalizers"] = [*finalizers, finalizer]


class PersistentVolumeClaimResize(OnlyValidates):
    """A claim grows only when it is bound and its class allows it."""

    name = "PersistentVolumeClaimResize"

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        is_claim = resource.qualified == "persistentvolumeclaims"
        return is_claim and not subresource and operation is Operation.UPDATE

    async def validate(self, call: AdmissionCall) -> None:
        before, after = _requested(call.old), _requested(call.obj)
        if before is None or after is None or not before < after:
            return
        if nested(call.old, "status", "phase") != "Bound":
            raise forbidden(call, "Only bound persistent volume claims can be expanded")
        assert call.obj is not None
        chosen = annotations_of(call.obj).get(_BETA_CLASS) or nested(call.obj, "spec", "storageClassName")
        found = self._reader.get(STORAGE_CLASSES, "", chosen) if chosen else None
        if found is None or not found.get("allowVolumeExpansion"):
            must = "the storageclass that provisions the pvc must support resize"
            raise forbidden(call, f"only dynamically provisioned pvc can be resized and {must}")


def _requested(claim: Object | None) -> Quantity | None:
    text = nested(claim, "spec", "resources", "requests", "storage")
    return None if text is None else Quantity.parse(text)


class DefaultIngressClass(OnlyMutates):
    name = "DefaultIngressClass"

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        return creates(resource, subresource, operation, "ingresses.networking.k8s.io")

    async def admit(self, call: AdmissionCall) -> None:
        assert call.obj is not None
        spec = call.obj.get("spec") or {}
        if spec.get("ingressClassName") is not None:
            return
        if "kubernetes.io/ingress.class" in annotations_of(call.obj):
            return
        name = _marked(self._reader.list(INGRESS_CLASSES), _DEFAULT_INGRESS)
        if name:
            call.obj.setdefault("spec", {})["ingressClassName"] = name


class TaintNodesByCondition(OnlyMutates):
    """A new node takes no pods until it is seen to be ready."""

    name = "TaintNodesByCondition"

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        return creates(resource, subresource, operation, "nodes")

    async def admit(self, call: AdmissionCall) -> None:
        assert call.obj is not None
        spec = call.obj.setdefault("spec", {})
        taints = spec.get("taints") or []
        if not any(t.get("key") == NOT_READY["key"] and t.get("effect") == "NoSchedule" for t in taints):
            spec["taints"] = [*taints, dict(NOT_READY)]
