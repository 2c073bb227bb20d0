"""Who may delete what cannot be read: `ignoreStoreReadErrorWithClusterBreakingPotential` asks for a verb of its own.

Upstream: apiserver/pkg/endpoints/handlers/delete.go (authorizeUnsafeDelete).
"""

from __future__ import annotations

from timonel.apis.resource import ResourceType
from timonel.machinery.field import quote
from timonel.server.admission.attributes import forbidden
from timonel.server.options import IGNORE_READ_ERROR
from timonel.server.request import AdmissionCall, Attributes, Authorizer, OnlyValidates, Operation, Verdict

VERB = "unsafe-delete-ignore-read-errors"


class UnsafeDelete(OnlyValidates):
    name = "UnsafeDelete"
    stores = True  # no plugin that could be turned off

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        return operation is Operation.DELETE and not subresource

    async def validate(self, call: AdmissionCall) -> None:
        if not (call.options or {}).get(IGNORE_READ_ERROR):
            return
        resource = call.resource
        asked = Attributes(
            call.user,
            VERB,
            group=resource.group,
            version=resource.version,
            resource=resource.plural,
            namespace=call.namespace,
            name=call.name,
        )
        decision = self._authorizer.authorize(asked)
        if decision.verdict is not Verdict.ALLOW:
            raise forbidden(call, f"not permitted to do {quote(VERB)}, reason: {decision.reason}")
