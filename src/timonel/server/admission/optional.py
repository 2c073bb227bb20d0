"""Plugins that are off unless they are switched on.

Upstream: plugin/pkg/admission/{gc/gc_admission.go,alwayspullimages/admission.go,network/denyserviceexternalips}.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from timonel.apis.resource import ResourceType
from timonel.machinery import errors, field
from timonel.objects.meta import Object, nested
from timonel.server.admission.attributes import WRITES, forbidden
from timonel.server.registry import Registry
from timonel.server.request import (
    AdmissionCall,
    Attributes,
    Authorizer,
    Decision,
    OnlyValidates,
    Operation,
    Undecided,
    Verdict,
)


class OwnerReferencesPermissionEnforcement(OnlyValidates):
    """Who names an owner must be allowed to delete the object; who makes it block its owner's deletion, to set the
    owner's finalizers."""

    name = "OwnerReferencesPermissionEnforcement"

    def __init__(self, registry: Registry, authorizer: Authorizer) -> None:
        self._registry, self._authorizer = registry, authorizer

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        return operation in WRITES and (resource.qualified, subresource) != ("pods", "status")

    async def validate(self, call: AdmissionCall) -> None:
        new, old = _references(call.obj), _references(call.old)
        if new == old:
            return
        rtype = call.resource
        decision = await self._ask(call, "delete", rtype.group, rtype.plural, name=call.name)
        if decision.verdict is not Verdict.ALLOW:
            raise forbidden(
                call, f"cannot set an ownerRef on a resource you can't delete: {decision.reason}, <nil>"
            )
        for reference in _newly_blocking(new, old):
            await self._check_owner(call, reference)

    async def _check_owner(self, call: AdmissionCall, reference: Object) -> None:
        version, kind = str(reference.get("apiVersion", "")), str(reference.get("kind", ""))
        owner = next(
            (
                e.rtype
                for e in self._registry.served()
                if (e.rtype.api_version, e.rtype.kind) == (version, kind)
            ),
            None,
        )
        if owner is None:
            why = f'no matches for kind "{kind}" in version "{version}"'
            raise forbidden(
                call,
                "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion "
                f"{version} Kind {kind}: {why}",
            )
        decision = await self._ask(
            call, "update", owner.group, owner.plural, name=str(reference.get("name", "")), finalizers=True
        )
        if decision.verdict is not Verdict.ALLOW:
            raise forbidden(
                call,
                "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: "
                f"{decision.reason}, <nil>",
            )

    async def _ask(
        self,
        call: AdmissionCall,
        verb: str,
        group: str,
        resource: str,
        *,
        name: str,
        finalizers: bool = False,
    ) -> Decision:
        asked = Attributes(
            call.user,
            verb,
            group=group,
            version="*",
            resource=resource,
            subresource="finalizers" if finalizers else "",
            namespace=call.namespace,
            name=name,
        )
        try:
            return self._authorizer.authorize(asked)
        except Undecided as question:
            await question.ask()
        return self._authorizer.authorize(asked)


def _references(obj: Object | None) -> Sequence[Object]:
    found: Sequence[Object] = nested(obj, "metadata", "ownerReferences") or ()
    return found


def _newly_blocking(new: Sequence[Object], old: Sequence[Object]) -> Iterator[Object]:
    blocked = {r.get("uid") for r in old if r.get("blockOwnerDeletion")}
    return (r for r in new if r.get("blockOwnerDeletion") and r.get("uid") not in blocked)


class AlwaysPullImages:
    """Every container pulls its image anew, so that credentials are needed each time."""

    name = "AlwaysPullImages"

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        return resource.qualified == "pods" and not subresource and operation in WRITES

    async def admit(self, call: AdmissionCall) -> None:
        assert call.obj is not None
        if not _same_images(call.obj, call.old):
            for _, container in _containers(call.obj):
                container["imagePullPolicy"] = "Always"

    async def validate(self, call: AdmissionCall) -> None:
        assert call.obj is not None
        if _same_images(call.obj, call.old):
            return
        for path, container in _containers(call.obj):
            if container.get("imagePullPolicy") != "Always":
                cause = field.not_supported(
                    f"{path}.imagePullPolicy", container.get("imagePullPolicy", ""), ("Always",)
                )
                raise forbidden(call, str(cause))


def _containers(pod: Object) -> Iterator[tuple[str, Object]]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(pod["spec"].get(kind) or ()):
            yield f"spec.{kind}[{index}]", container


def _same_images(new: Object, old: Object | None) -> bool:
    """An update that brings no image is none of this plugin's business."""
    if old is None:
        return False
    known = {container.get("image") for _, container in _containers(old)}
    return all(container.get("image") in known for _, container in _containers(new))


class DenyServiceExternalIPs(OnlyValidates):
    """Nobody may claim further addresses by externalIPs."""

    name = "DenyServiceExternalIPs"

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        return resource.qualified == "services" and not subresource and operation in WRITES

    async def validate(self, call: AdmissionCall) -> None:
        new = set(nested(call.obj, "spec", "externalIPs") or ())
        old = set(nested(call.old, "spec", "externalIPs") or ())
        if new - old:
            raise errors.Forbidden("Use of external IPs is denied by admission control.", details=False)
