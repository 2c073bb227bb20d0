"""authorization.k8s.io/v1: the access reviews. None is stored: the server answers each from its authorizer.

Upstream: pkg/apis/authorization/validation/validation.go, pkg/registry/authorization/*/rest.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from timonel.apis import checks
from timonel.apis.resource import ResourceType
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

GROUP = "authorization.k8s.io"
_ONE_KIND = "exactly one of nonResourceAttributes or resourceAttributes must be specified"


def validate_review(obj: Object) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    yield from _validate_attributes(spec)
    if not spec.get("user") and not spec.get("groups"):
        yield field.invalid(
            "spec.user", spec.get("user", ""), "at least one of user or group must be specified"
        )


def validate_self_review(obj: Object) -> Iterator[Cause]:
    yield from _validate_attributes(obj.get("spec") or {})


def validate_local_review(obj: Object) -> Iterator[Cause]:
    spec, meta = obj.get("spec") or {}, obj.get("metadata") or {}
    yield from validate_review(obj)
    extra = {key for key, value in meta.items() if value and key not in ("namespace", "managedFields")}
    if extra:
        message = "must be empty except for namespace"
        yield field.invalid("metadata", {k: meta[k] for k in sorted(extra)}, message)
    attributes = spec.get("resourceAttributes")
    if attributes is not None and attributes.get("namespace", "") != meta.get("namespace", ""):
        message = "must match metadata.namespace"
        yield field.invalid("spec.resourceAttributes.namespace", attributes.get("namespace", ""), message)
    if spec.get("nonResourceAttributes") is not None:
        message = "disallowed on this kind of request"
        yield field.invalid("spec.nonResourceAttributes", spec["nonResourceAttributes"], message)


def _validate_attributes(spec: Object) -> Iterator[Cause]:
    resource, url = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    path = "spec.resourceAttributes"
    if resource is not None and url is not None:
        yield field.invalid(
            "spec.nonResourceAttributes", url, "cannot be specified in combination with resourceAttributes"
        )
    if resource is None and url is None:
        yield field.invalid(path, None, _ONE_KIND)
    if resource is not None:
        for key, rule in (("fieldSelector", _validate_field), ("labelSelector", _validate_label)):
            if resource.get(key) is not None:
                yield from _validate_selector(f"{path}.{key}", resource[key], rule)


def _validate_selector(
    path: str, selector: Object, rule: Callable[[str, Object], Iterator[Cause]]
) -> Iterator[Cause]:
    raw, requirements = selector.get("rawSelector", ""), selector.get("requirements") or []
    if raw and requirements:
        message = "may not specified at the same time as requirements"
        yield field.invalid(f"{path}.rawSelector", raw, message)
    if not raw and not requirements:
        message = f"when {path} is specified, requirements or rawSelector is required"
        yield field.required(f"{path}.requirements", message)
    yield from checks.each(f"{path}.requirements", requirements, rule)


def _validate_values(path: str, requirement: Object) -> Iterator[Cause]:
    operator, values = requirement.get("operator", ""), requirement.get("values") or []
    if operator in ("In", "NotIn") and not values:
        yield field.required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    if operator in ("Exists", "DoesNotExist") and values:
        message = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        yield field.forbidden(f"{path}.values", message)


def _validate_field(path: str, requirement: Object) -> Iterator[Cause]:
    if not requirement.get("key"):
        yield field.required(f"{path}.key", "must be specified")
    yield from _validate_values(path, requirement)


def _validate_label(path: str, requirement: Object) -> Iterator[Cause]:
    yield from _validate_values(path, requirement)
    yield from checks.qualified_name(f"{path}.key", requirement.get("key", ""))
    for index, value in enumerate(requirement.get("values") or ()):
        yield from checks.told(f"{path}.values[{index}]", value, names.label_value(value))


LOCAL_SUBJECT_ACCESS_REVIEW = ResourceType(
    group=GROUP,
    version="v1",
    kind="LocalSubjectAccessReview",
    plural="localsubjectaccessreviews",
    verbs=("create",),
    validate=validate_local_review,
)

SELF_SUBJECT_ACCESS_REVIEW = ResourceType(
    group=GROUP,
    version="v1",
    kind="SelfSubjectAccessReview",
    plural="selfsubjectaccessreviews",
    namespaced=False,
    verbs=("create",),
    validate=validate_self_review,
)

SELF_SUBJECT_RULES_REVIEW = ResourceType(
    group=GROUP,
    version="v1",
    kind="SelfSubjectRulesReview",
    plural="selfsubjectrulesreviews",
    namespaced=False,
    verbs=("create",),
)

SUBJECT_ACCESS_REVIEW = ResourceType(
    group=GROUP,
    version="v1",
    kind="SubjectAccessReview",
    plural="subjectaccessreviews",
    namespaced=False,
    verbs=("create",),
    validate=validate_review,
)

RESOURCES = (
    LOCAL_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_RULES_REVIEW,
    SUBJECT_ACCESS_REVIEW,
)
