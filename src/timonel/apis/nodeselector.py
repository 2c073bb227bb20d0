"""Rules for NodeSelectors: of persistent volumes, resource slices and pods' affinity.

Upstream: pkg/apis/core/validation/validation.go ValidateNodeSelector.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis import checks
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

# label of old -> (since when it is deprecated, what to use)
_OLD_LABELS = {
    "beta.kubernetes.io/arch": ("v1.14", "kubernetes.io/arch"),
    "beta.kubernetes.io/os": ("v1.14", "kubernetes.io/os"),
    "failure-domain.beta.kubernetes.io/region": ("v1.17", "topology.kubernetes.io/region"),
    "failure-domain.beta.kubernetes.io/zone": ("v1.17", "topology.kubernetes.io/zone"),
    "beta.kubernetes.io/instance-type": ("v1.17", "node.kubernetes.io/instance-type"),
}

_FIELDS = {"metadata.name": names.dns1123_subdomain}


def label_warnings(path: str, label: str) -> Iterator[str]:
    if label in _OLD_LABELS:
        since, instead = _OLD_LABELS[label]
        yield f'{path}: deprecated since {since}; use "{instead}" instead'


def selector_warnings(path: str, selector: Object) -> Iterator[str]:
    for index, term in enumerate(selector.get("nodeSelectorTerms") or ()):
        for number, expression in enumerate(term.get("matchExpressions") or ()):
            at = f"{path}.nodeSelectorTerms[{index}].matchExpressions[{number}].key"
            yield from label_warnings(at, expression.get("key", ""))


def validate_node_selector(path: str, selector: Object) -> Iterator[Cause]:
    terms = selector.get("nodeSelectorTerms") or []
    if not terms:
        yield field.required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")
    yield from checks.each(f"{path}.nodeSelectorTerms", terms, validate_term)


def validate_term(path: str, term: Object) -> Iterator[Cause]:
    yield from checks.each(f"{path}.matchExpressions", term.get("matchExpressions"), _validate_expression)
    yield from checks.each(f"{path}.matchFields", term.get("matchFields"), _validate_field)


def _validate_expression(path: str, expression: Object) -> Iterator[Cause]:
    operator, values = expression.get("operator", ""), expression.get("values") or []
    if operator in ("In", "NotIn"):
        if not values:
            yield field.required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            message = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            yield field.forbidden(f"{path}.values", message)
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            message = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            yield field.required(f"{path}.values", message)
    else:
        yield field.invalid(f"{path}.operator", operator, "not a valid selector operator")
    yield from checks.qualified_name(f"{path}.key", expression.get("key", ""))
    for index, value in enumerate(values):
        yield from checks.told(f"{path}.values[{index}]", value, names.label_value(value))


def _validate_field(path: str, requirement: Object) -> Iterator[Cause]:
    operator, values = requirement.get("operator", ""), requirement.get("values") or []
    if operator not in ("In", "NotIn"):
        yield field.invalid(f"{path}.operator", operator, "not a valid selector operator")
    elif len(values) != 1:
        message = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        yield field.required(f"{path}.values", message)
    key = requirement.get("key", "")
    if key not in _FIELDS:
        yield field.invalid(f"{path}.key", key, "not a valid field selector key")
        return
    for index, value in enumerate(values):
        yield from checks.told(f"{path}.values[{index}]", value, _FIELDS[key](value))
