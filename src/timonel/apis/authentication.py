"""authentication.k8s.io/v1: TokenReview, SelfSubjectReview."""

from __future__ import annotations

from timonel.apis.resource import ResourceType

TOKEN_REVIEW = ResourceType(
    group="authentication.k8s.io",
    version="v1",
    kind="TokenReview",
    plural="tokenreviews",
    namespaced=False,
    verbs=("create",),
)

SELF_SUBJECT_REVIEW = ResourceType(
    group="authentication.k8s.io",
    version="v1",
    kind="SelfSubjectReview",
    plural="selfsubjectreviews",
    namespaced=False,
    verbs=("create",),
)

RESOURCES = (
    TOKEN_REVIEW,
    SELF_SUBJECT_REVIEW,
)
