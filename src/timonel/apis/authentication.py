"""authentication.k8s.io/v1: TokenReview, SelfSubjectReview, and TokenRequest, which is a subresource of accounts.

None is stored: the server answers each from its authenticators.

Upstream: pkg/apis/authentication/{v1/defaults.go,validation/validation.go}, pkg/registry/authentication/*/storage.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis.resource import ResourceType
from timonel.machinery import field
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

GROUP = "authentication.k8s.io"
SHORTEST, LONGEST = 600, 1 << 32


def default_token_request(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if spec.get("expirationSeconds") is None:
        spec["expirationSeconds"] = 3600
    spec.setdefault("boundObjectRef", None)


def validate_token_request(obj: Object) -> Iterator[Cause]:
    path, seconds = "spec.expirationSeconds", (obj.get("spec") or {}).get("expirationSeconds", 0)
    if seconds < SHORTEST:
        yield field.invalid(path, seconds, "may not specify a duration less than 10 minutes")
    if seconds > LONGEST:
        yield field.invalid(path, seconds, "may not specify a duration larger than 2^32 seconds")


TOKEN_REVIEW = ResourceType(
    group=GROUP,
    version="v1",
    kind="TokenReview",
    plural="tokenreviews",
    namespaced=False,
    verbs=("create",),
)

SELF_SUBJECT_REVIEW = ResourceType(
    group=GROUP,
    version="v1",
    kind="SelfSubjectReview",
    plural="selfsubjectreviews",
    namespaced=False,
    verbs=("create",),
)

# not in RESOURCES: it is served as serviceaccounts/token
TOKEN_REQUEST = ResourceType(
    group=GROUP,
    version="v1",
    kind="TokenRequest",
    plural="tokenrequests",
    verbs=("create",),
    default=default_token_request,
    validate=validate_token_request,
)

RESOURCES = (TOKEN_REVIEW, SELF_SUBJECT_REVIEW)
