"""Rules for what says where a pod may run: affinity, spreading, gates, claims of devices.

Upstream: pkg/apis/core/validation/validation.go validateAffinity, validateTopologySpreadConstraints.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis import checks, nodeselector
from timonel.machinery import field, names, selectors
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_WEIGHT = "must be in the range 1-100"


def validate_affinity(path: str, affinity: Object) -> Iterator[Cause]:
    node = affinity.get("nodeAffinity")
    if node is not None:
        yield from _validate_node_affinity(f"{path}.nodeAffinity", node)
    for key in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(key)
        if rules is None:
            continue
        where = f"{path}.{key}"
        yield from checks.each(f"{where}.{REQUIRED}", rules.get(REQUIRED), _validate_pod_term)
        for index, weighted in enumerate(rules.get(PREFERRED) or ()):
            at = f"{where}.{PREFERRED}[{index}]"
            yield from _validate_weight(at, weighted)
            yield from _validate_pod_term(f"{at}.podAffinityTerm", weighted.get("podAffinityTerm") or {})


def _validate_weight(path: str, weighted: Object) -> Iterator[Cause]:
    weight = weighted.get("weight", 0)
    if not 1 <= weight <= 100:
        yield field.invalid(f"{path}.weight", weight, _WEIGHT)


def _validate_node_affinity(path: str, affinity: Object) -> Iterator[Cause]:
    if affinity.get(REQUIRED) is not None:
        yield from nodeselector.validate_node_selector(f"{path}.{REQUIRED}", affinity[REQUIRED])
    for index, weighted in enumerate(affinity.get(PREFERRED) or ()):
        at = f"{path}.{PREFERRED}[{index}]"
        yield from _validate_weight(at, weighted)
        values = f"{at}.preference.matchExpressions["
        for cause in nodeselector.validate_term(f"{at}.preference", weighted.get("preference") or {}):
            # What only is preferred may name values that no label can have.
            if not (cause.field.startswith(values) and ".values[" in cause.field):
                yield cause


def _validate_pod_term(path: str, term: Object) -> Iterator[Cause]:
    yield from selectors.validate_label_selector(term.get("labelSelector"), f"{path}.labelSelector")
    yield from selectors.validate_label_selector(term.get("namespaceSelector"), f"{path}.namespaceSelector")
    for name in term.get("namespaces") or ():
        yield from checks.label(f"{path}.namespace", name)
    yield from _validate_label_keys(path, term)
    key = term.get("topologyKey", "")
    if not key:
        yield field.required(f"{path}.topologyKey", "can not be empty")
    yield from checks.qualified_name(f"{path}.topologyKey", key)


def _validate_label_keys(path: str, term: Object) -> Iterator[Cause]:
    match, mismatch = term.get("matchLabelKeys") or [], term.get("mismatchLabelKeys") or []
    for name, keys in (("matchLabelKeys", match), ("mismatchLabelKeys", mismatch)):
        if not keys:
            continue
        if term.get("labelSelector") is None:
            message = "must not be specified when labelSelector is not set"
            yield field.forbidden(f"{path}.{name}", message)
            continue
        for index, key in enumerate(keys):
            yield from checks.qualified_name(f"{path}.{name}[{index}]", key)
    for index, key in enumerate(match):
        if key in mismatch:
            message = "exists in both matchLabelKeys and mismatchLabelKeys"
            yield field.invalid(f"{path}.matchLabelKeys[{index}]", key, message)


def validate_spreading(path: str, constraints: list[Object]) -> Iterator[Cause]:
    for index, constraint in enumerate(constraints):
        where = f"{path}[{index}]"
        skew, key = constraint.get("maxSkew", 0), constraint.get("topologyKey", "")
        when = constraint.get("whenUnsatisfiable", "")
        if skew <= 0:
            yield field.invalid(f"{where}.maxSkew", skew, "must be greater than zero")
        if not key:
            yield field.required(f"{where}.topologyKey", "can not be empty")
        yield from checks.one_of(f"{where}.whenUnsatisfiable", when, ("DoNotSchedule", "ScheduleAnyway"))
        if any(_tuple_of(other) == (key, when) for other in constraints[index + 1 :]):
            yield field.duplicate(f"{where}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {when}}}")
        yield from _validate_domains(f"{where}.minDomains", constraint.get("minDomains"), when)
        for name in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if constraint.get(name) is not None:
                yield from checks.one_of(f"{where}.{name}", constraint[name], ("Honor", "Ignore"))
        yield from _validate_spread_keys(f"{where}.matchLabelKeys", constraint)
        yield from selectors.validate_label_selector(
            constraint.get("labelSelector"), f"{where}.labelSelector"
        )


def _tuple_of(constraint: Object) -> tuple[str, str]:
    return constraint.get("topologyKey", ""), constraint.get("whenUnsatisfiable", "")


def _validate_domains(path: str, domains: int | None, when: str) -> Iterator[Cause]:
    if domains is None:
        return
    if domains <= 0:
        yield field.invalid(path, domains, "must be greater than zero")
    if when != "DoNotSchedule":
        message = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}"
        yield field.invalid(path, domains, message)


def _validate_spread_keys(path: str, constraint: Object) -> Iterator[Cause]:
    keys = constraint.get("matchLabelKeys") or []
    if keys and constraint.get("labelSelector") is None:
        yield field.forbidden(path, "must not be specified when labelSelector is not set")
        return
    selector = constraint.get("labelSelector") or {}
    taken = set(selector.get("matchLabels") or {})
    for index, key in enumerate(keys):
        yield from checks.qualified_name(f"{path}[{index}]", key)
        if key in taken:
            yield field.invalid(f"{path}[{index}]", key, "exists in both matchLabelKeys and labelSelector")


def validate_gates(path: str, gates: list[Object]) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, gate in enumerate(gates):
        name = gate.get("name", "")
        yield from checks.qualified_name(f"{path}[{index}]", name)
        if name in seen:
            yield field.duplicate(f"{path}[{index}]", name)
        seen.add(name)


def validate_claims(path: str, claims: list[Object]) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, claim in enumerate(claims):
        where, name = f"{path}[{index}]", claim.get("name", "")
        if not name:
            yield field.required(f"{where}.name")
        elif name in seen:
            yield field.duplicate(f"{where}.name", name)
        else:
            yield from checks.label(f"{where}.name", name)
            seen.add(name)
        own, template = claim.get("resourceClaimName"), claim.get("resourceClaimTemplateName")
        shown = {"Name": name, "ResourceClaimName": own, "ResourceClaimTemplateName": template}
        if own is not None and template is not None:
            message = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            yield field.invalid(where, shown, message)
        if own is None and template is None:
            message = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            yield field.invalid(where, shown, message)
        for key, value in (("resourceClaimName", own), ("resourceClaimTemplateName", template)):
            if value is not None:
                yield from checks.told(f"{where}.{key}", value, names.dns1123_subdomain(value))
