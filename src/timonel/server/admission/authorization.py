"""`authorizer` in expressions: how their questions are put to the server's authorizer.

Upstream: apiserver/pkg/cel/library/authz.go, admission/plugin/cel/activation.go.
"""

from __future__ import annotations

from timonel.machinery.cel.library.authz import Answer, AuthorizerValue, Question, ResourceCheck
from timonel.server.admission.forms import Form
from timonel.server.request import AdmissionCall, Attributes, Authorizer, User, Verdict


class Asked:
    """Answers for one user, or for the service account that an expression names."""

    def __init__(self, authorizer: Authorizer, user: User) -> None:
        self._authorizer, self._user = authorizer, user

    def __call__(self, question: Question) -> Answer:
        user = self._user if question.service_account is None else _service_account(*question.service_account)
        if question.path:
            attributes = Attributes(user, question.verb, path=question.path)
        else:
            attributes = Attributes(
                user,
                question.verb,
                group=question.group,
                version="*",
                resource=question.resource,
                subresource=question.subresource,
                namespace=question.namespace,
                name=question.name,
                field_selector=question.field_selector,
                label_selector=question.label_selector,
            )
        decision = self._authorizer.authorize(attributes)
        return Answer(decision.verdict is Verdict.ALLOW, decision.reason, decision.problem)


def _service_account(namespace: str, name: str) -> User:
    groups = (
        "system:serviceaccounts",
        f"system:serviceaccounts:{namespace}",
        "system:authenticated",
    )
    return User(f"system:serviceaccount:{namespace}:{name}", groups)


def of_user(authorizer: Authorizer, user: User) -> AuthorizerValue:
    """The variable `authorizer`."""
    return AuthorizerValue(Asked(authorizer, user))


def of_call(authorizer: Authorizer, call: AdmissionCall, form: Form) -> ResourceCheck:
    """`authorizer.requestResource`: about what the call is about."""
    place = form.place
    question = Question(
        "",
        group=place.group,
        resource=place.resource,
        subresource=place.subresource,
        namespace=call.namespace,
        name=call.name,
    )
    return ResourceCheck(Asked(authorizer, call.user), question)
