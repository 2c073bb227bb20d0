"""`authorizer` in expressions: the steps of a question, and the server's authorizer to answer it.

Upstream: apiserver/pkg/cel/library/authz.go, admission/plugin/cel/condition.go.
"""

from __future__ import annotations

from dataclasses import dataclass

from timonel.server.admission.forms import Form
from timonel.server.request import AdmissionCall, Attributes, Authorizer, Decision, User


@dataclass(frozen=True, slots=True)
class Check:
    """`authorizer`: asks for one user."""

    authorizer: Authorizer
    user: User
    cel_type: str = "kubernetes.authorization.Authorizer"


@dataclass(frozen=True, slots=True)
class ResourceCheck:
    """A question about a resource; its verb comes last."""

    check: Check
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    cel_type: str = "kubernetes.authorization.ResourceCheck"

    @classmethod
    def of_call(cls, authorizer: Authorizer, call: AdmissionCall, form: Form) -> ResourceCheck:
        """`authorizer.requestResource`: about what the call is about."""
        place = form.place
        check = Check(authorizer, call.user)
        return cls(check, place.group, place.resource, place.subresource, call.namespace, call.name)

    def decide(self, verb: str) -> Decision:
        attributes = Attributes(
            self.check.user,
            verb,
            group=self.group,
            version="*",
            resource=self.resource,
            subresource=self.subresource,
            namespace=self.namespace,
            name=self.name,
        )
        return self.check.authorizer.authorize(attributes)
