"""NamespaceLifecycle: nothing new in a namespace that ends or is not there; some namespaces never end.

Upstream: apiserver/pkg/admission/plugin/namespace/lifecycle/admission.go.
"""

from __future__ import annotations

from timonel.apis.resource import ResourceType
from timonel.machinery import errors
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object, nested
from timonel.server.admission.attributes import forbidden
from timonel.server.request import AdmissionCall, Objects, OnlyMutates, Operation, Reader

IMMORTAL = frozenset(("default", "kube-system", "kube-public"))


class NamespaceLifecycle(OnlyMutates):
    name = "NamespaceLifecycle"

    def __init__(self, reader: Reader, objects: Objects) -> None:
        self._reader = reader
        self._objects = objects

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        if resource.qualified == "namespaces":
            return operation is Operation.DELETE and not subresource
        is_review = resource.group == "authorization.k8s.io"
        return resource.namespaced and not is_review and operation in (Operation.CREATE, Operation.UPDATE)

    async def admit(self, call: AdmissionCall) -> None:
        if call.resource.qualified == "namespaces":
            if call.name in IMMORTAL:
                raise forbidden(call, "this namespace may not be deleted")
            return
        namespace = await self._find(call.namespace)
        is_ending = nested(namespace, "status", "phase") == "Terminating"
        if call.operation is Operation.CREATE and is_ending:
            why = f"unable to create new content in namespace {call.namespace} because it is being terminated"
            text = f"namespace {call.namespace} is being terminated"
            raise forbidden(call, why, (Cause("NamespaceTerminating", text, "metadata.namespace"),))

    async def _find(self, name: str) -> Object:
        """The store is asked only where the cache knows nothing: the namespace may be newer than the cache."""
        found = self._reader.get("namespaces", "", name)
        if found is not None:
            return found
        try:
            return await self._objects.get("namespaces", "", name)
        except errors.NotFound as e:
            raise errors.not_found("namespaces", name) from e
