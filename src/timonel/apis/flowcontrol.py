"""flowcontrol.apiserver.k8s.io/v1: FlowSchema, PriorityLevelConfiguration.

Upstream: pkg/apis/flowcontrol/{v1/defaults.go,validation/validation.go}, pkg/registry/flowcontrol/*/strategy.go,
pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from timonel.apis import checks
from timonel.apis.printing import AGE
from timonel.apis.resource import Column, ResourceType
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

GROUP = "flowcontrol.apiserver.k8s.io"
LAST_PRECEDENCE, DEFAULT_PRECEDENCE = 10000, 1000
MAX_QUEUES = 10_000_000
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")

# ---------------------------------------------------------------- FlowSchema


def default_flow_schema(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec["matchingPrecedence"] = spec.get("matchingPrecedence") or DEFAULT_PRECEDENCE


def prepare_create(obj: Object) -> None:
    obj["status"] = {}


def prepare_update(new: Object, old: Object) -> None:
    new["status"] = old.get("status", {})


def validate_flow_schema(obj: Object) -> Iterator[Cause]:
    spec = obj["spec"]
    precedence, path = spec.get("matchingPrecedence", 0), "spec.matchingPrecedence"
    if precedence <= 0:
        yield field.invalid(path, precedence, "must be a positive value")
    if precedence > LAST_PRECEDENCE:
        yield field.invalid(path, precedence, f"must not be greater than {LAST_PRECEDENCE}")
    if precedence == 1 and obj["metadata"].get("name") != "exempt":
        yield field.invalid(path, precedence, "only the schema named 'exempt' may have matchingPrecedence 1")
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type") not in ("ByNamespace", "ByUser"):
        shown = {"Type": method.get("type", "")}
        yield field.not_supported("spec.distinguisherMethod.type", shown, ("ByNamespace", "ByUser"))
    level = (spec.get("priorityLevelConfiguration") or {}).get("name", "")
    if level:
        yield from checks.subdomain("spec.priorityLevelConfiguration.name", level)
    else:
        yield field.required("spec.priorityLevelConfiguration.name", "must reference a priority level")
    yield from checks.each("spec.rules", spec.get("rules"), _validate_rules)


def _validate_rules(path: str, rules: Object) -> Iterator[Cause]:
    if not rules.get("subjects"):
        yield field.required(f"{path}.subjects", "subjects must contain at least one value")
    yield from checks.each(f"{path}.subjects", rules.get("subjects"), _validate_subject)
    if not rules.get("resourceRules") and not rules.get("nonResourceRules"):
        yield field.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty")
    yield from checks.each(f"{path}.resourceRules", rules.get("resourceRules"), _validate_resource_rule)
    yield from checks.each(f"{path}.nonResourceRules", rules.get("nonResourceRules"), _validate_url_rule)


_SUBJECTS = {"ServiceAccount": "serviceAccount", "User": "user", "Group": "group"}


def _validate_subject(path: str, subject: Object) -> Iterator[Cause]:
    kind = subject.get("kind", "")
    key = _SUBJECTS.get(kind)
    if key is None:
        yield field.not_supported(f"{path}.kind", kind, ("Group", "ServiceAccount", "User"))
        return
    found = subject.get(key)
    if found is None:
        yield field.required(f"{path}.{key}", f"{key} is required when subject kind is '{kind}'")
    elif kind == "ServiceAccount":
        yield from _validate_account(f"{path}.{key}", found)
    else:
        yield from checks.required(f"{path}.{key}.name", found.get("name"))
    for other_kind, other in _SUBJECTS.items():
        if other != key and subject.get(other) is not None:
            message = f"{other} is forbidden when subject kind is not '{other_kind}'"
            yield field.forbidden(f"{path}.{other}", message)


def _validate_account(path: str, account: Object) -> Iterator[Cause]:
    name, namespace = account.get("name", ""), account.get("namespace", "")
    if not name:
        yield field.required(f"{path}.name")
    elif name != "*":
        yield from checks.subdomain(f"{path}.name", name)
    if not namespace:
        yield field.required(f"{path}.namespace", "must specify namespace for service account")
    else:
        yield from checks.label(f"{path}.namespace", namespace)


def _validate_verbs(path: str, verbs: list[str]) -> Iterator[Cause]:
    if not verbs:
        yield field.required(path, "verbs must contain at least one value")
    elif "*" in verbs:
        if len(verbs) > 1:
            yield field.invalid(path, verbs, "if '*' is present, must not specify other verbs")
    elif not set(verbs) <= set(VERBS):
        yield field.not_supported(path, verbs, VERBS)


def _validate_all_or_some(path: str, items: list[str], missing: str, what: str) -> Iterator[Cause]:
    if not items:
        yield field.required(path, missing)
    elif "*" in items and len(items) > 1:
        yield field.invalid(path, items, f"if '*' is present, must not specify other {what}")


def _validate_resource_rule(path: str, rule: Object) -> Iterator[Cause]:
    yield from _validate_verbs(f"{path}.verbs", rule.get("verbs") or [])
    missing = "resource rules must supply at least one api group"
    yield from _validate_all_or_some(f"{path}.apiGroups", rule.get("apiGroups") or [], missing, "api groups")
    missing = "resource rules must supply at least one resource"
    yield from _validate_all_or_some(f"{path}.resources", rule.get("resources") or [], missing, "resources")
    namespaces: list[str] = rule.get("namespaces") or []
    if not namespaces and not rule.get("clusterScope"):
        message = "resource rules that are not cluster scoped must supply at least one namespace"
        yield field.required(f"{path}.namespaces", message)
    elif "*" in namespaces:
        if len(namespaces) > 1:
            message = "if '*' is present, must not specify other namespaces"
            yield field.invalid(f"{path}.namespaces", namespaces, message)
    else:
        for index, name in enumerate(namespaces):
            for message in names.dns1123_label(name):
                text = f"each member of this list must be '*' or a DNS-1123 label; {message}"
                yield field.invalid(f"{path}.namespaces[{index}]", name, text)


def _validate_url_rule(path: str, rule: Object) -> Iterator[Cause]:
    yield from _validate_verbs(f"{path}.verbs", rule.get("verbs") or [])
    urls: list[str] = rule.get("nonResourceURLs") or []
    at = f"{path}.nonResourceURLs"
    if not urls:
        yield field.required(at, "nonResourceURLs must contain at least one value")
    elif "*" in urls:
        if len(urls) > 1:
            yield field.invalid(at, urls, "if '*' is present, must not specify other non-resource URLs")
        return
    for index, url in enumerate(urls):
        wrong = _wrong_url(url)
        if wrong:
            yield field.invalid(f"{at}[{index}]", url, wrong)


def _wrong_url(url: str) -> str:
    if not url:
        return "must not be empty"
    if url == "/":
        return ""
    if not url.startswith("/"):
        return "must start with slash"
    if " " in url:
        return "must not contain white-space"
    if "//" in url:
        return "must not contain double slash"
    if "*" in url.removesuffix("/*"):
        return "wildcard can only do suffix matching"
    return ""


def validate_flow_schema_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate_flow_schema(new)


def _missing_level(obj: Object, now: float) -> str:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((c.get("status", "?") for c in conditions if c.get("type") == "Dangling"), "?")


FLOW_SCHEMA = ResourceType(
    group=GROUP,
    version="v1",
    kind="FlowSchema",
    plural="flowschemas",
    namespaced=False,
    status=True,
    generation=True,
    unconditional_update=False,
    default=default_flow_schema,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate_flow_schema,
    validate_update=validate_flow_schema_update,
    columns=(
        Column(
            "PriorityLevel",
            lambda o, now: (o["spec"].get("priorityLevelConfiguration") or {}).get("name", ""),
            doc="spec.priorityLevelConfiguration.name",
        ),
        Column(
            "MatchingPrecedence",
            lambda o, now: o["spec"].get("matchingPrecedence", 0),
            doc="spec.matchingPrecedence",
        ),
        Column(
            "DistinguisherMethod",
            lambda o, now: (o["spec"].get("distinguisherMethod") or {}).get("type") or "<none>",
            doc="spec.distinguisherMethod.type",
        ),
        AGE,
        Column(
            "MissingPL",
            _missing_level,
            description="references a broken or non-existent PriorityLevelConfiguration",
        ),
    ),
)

# ---------------------------------------------------------------- PriorityLevelConfiguration


def default_priority_level(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    exempt, limited = spec.get("exempt"), spec.get("limited")
    if spec.get("type") == "Exempt" and exempt is None:
        exempt = spec["exempt"] = {}
    if exempt is not None:
        for key in ("nominalConcurrencyShares", "lendablePercent"):
            if exempt.get(key) is None:
                exempt[key] = 0
    if limited is not None:
        for key, value in (("nominalConcurrencyShares", 30), ("lendablePercent", 0)):
            if limited.get(key) is None:
                limited[key] = value
        queuing = (limited.get("limitResponse") or {}).get("queuing")
        if queuing is not None:
            for key, value in (("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)):
                queuing[key] = queuing.get(key) or value


def validate_priority_level(obj: Object) -> Iterator[Cause]:
    spec = obj["spec"]
    kind, limited, exempt = spec.get("type", ""), spec.get("limited"), spec.get("exempt")
    if (obj["metadata"].get("name") == "exempt") != (kind == "Exempt"):
        message = "must be 'Exempt' if and only if `name` is 'exempt'"
        if kind in ("Exempt", "Limited"):
            yield field.invalid("spec.type", kind, message)
    yield from checks.one_of("spec.type", kind, ("Exempt", "Limited"))
    if kind == "Exempt" and limited is not None:
        yield field.forbidden("spec.limited", "must be nil if the type is not Limited")
    if kind == "Limited":
        if exempt is not None:
            yield field.forbidden("spec.exempt", "must be nil if the type is Limited")
        if limited is None:
            yield field.required("spec.limited", "must not be empty when type is Limited")
        else:
            yield from _validate_limited("spec.limited", limited)


def _validate_limited(path: str, limited: Object) -> Iterator[Cause]:
    shares = limited.get("nominalConcurrencyShares", 0)
    if shares < 0:
        yield field.invalid(f"{path}.nominalConcurrencyShares", shares, "must be a non-negative integer")
    response = limited.get("limitResponse") or {}
    yield from _validate_response(f"{path}.limitResponse", response)
    lendable, borrowing = limited.get("lendablePercent"), limited.get("borrowingLimitPercent")
    if lendable is not None and not 0 <= lendable <= 100:
        yield field.invalid(f"{path}.lendablePercent", lendable, "must be between 0 and 100, inclusive")
    if borrowing is not None and borrowing < 0:
        message = "if specified, must be a non-negative integer"
        yield field.invalid(f"{path}.borrowingLimitPercent", borrowing, message)


def _validate_response(path: str, response: Object) -> Iterator[Cause]:
    kind, queuing = response.get("type", ""), response.get("queuing")
    if kind == "Reject":
        if queuing is not None:
            message = "must be nil if limited.limitResponse.type is not Limited"
            yield field.forbidden(f"{path}.queuing", message)
    elif kind == "Queue":
        if queuing is None:
            message = "must not be empty if limited.limitResponse.type is Limited"
            yield field.required(f"{path}.queuing", message)
        else:
            yield from _validate_queuing(f"{path}.queuing", queuing)
    else:
        yield field.not_supported(f"{path}.type", kind, ("Queue", "Reject"))


def _validate_queuing(path: str, queuing: Object) -> Iterator[Cause]:
    limit, queues, hand = (queuing.get(key, 0) for key in ("queueLengthLimit", "queues", "handSize"))
    if limit <= 0:
        yield field.invalid(f"{path}.queueLengthLimit", limit, "must be positive")
    if queues <= 0:
        yield field.invalid(f"{path}.queues", queues, "must be positive")
    elif queues > MAX_QUEUES:
        yield field.invalid(f"{path}.queues", queues, f"must not be greater than {MAX_QUEUES}")
    if hand <= 0:
        yield field.invalid(f"{path}.handSize", hand, "must be positive")
    elif hand > queues:
        yield field.invalid(f"{path}.handSize", hand, f"should not be greater than queues ({queues})")


def validate_priority_level_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate_priority_level(new)


def _limited(*path: str) -> Any:
    def cell(obj: Object, now: float) -> Any:
        found: Any = obj["spec"].get("limited")
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return "<none>" if found is None else found

    return cell


_QUEUING = "spec.limited.limitResponse.queuing"

PRIORITY_LEVEL_CONFIGURATION = ResourceType(
    group=GROUP,
    version="v1",
    kind="PriorityLevelConfiguration",
    plural="prioritylevelconfigurations",
    namespaced=False,
    status=True,
    generation=True,
    unconditional_update=False,
    default=default_priority_level,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate_priority_level,
    validate_update=validate_priority_level_update,
    columns=(
        Column("Type", lambda o, now: o["spec"].get("type", ""), doc="spec.type"),
        Column(
            "NominalConcurrencyShares",
            _limited("nominalConcurrencyShares"),
            doc="spec.limited.nominalConcurrencyShares",
        ),
        Column("Queues", _limited("limitResponse", "queuing", "queues"), doc=f"{_QUEUING}.queues"),
        Column("HandSize", _limited("limitResponse", "queuing", "handSize"), doc=f"{_QUEUING}.handSize"),
        Column(
            "QueueLengthLimit",
            _limited("limitResponse", "queuing", "queueLengthLimit"),
            doc=f"{_QUEUING}.queueLengthLimit",
        ),
        AGE,
    ),
)

RESOURCES = (FLOW_SCHEMA, PRIORITY_LEVEL_CONFIGURATION)
