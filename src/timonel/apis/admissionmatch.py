"""Which requests an admission webhook or policy wants to see: rules, selectors, match conditions.

Upstream: pkg/apis/admissionregistration/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis import checks
from timonel.apis.expressions import BOOLEAN, Expressions, validate
from timonel.machinery import field, names, selectors
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
SCOPES = ("*", "Cluster", "Namespaced")
MATCH_POLICIES = ("Equivalent", "Exact")
MAX_CONDITIONS = 64


def default_rules(rules: list[Object] | None) -> None:
    for rule in rules or ():
        if rule.get("scope") is None:
            rule["scope"] = "*"


def validate_rule(path: str, rule: Object) -> Iterator[Cause]:
    operations: list[str] = rule.get("operations") or []
    if not operations:
        yield field.required(f"{path}.operations")
    if len(operations) > 1 and "*" in operations:
        message = "if '*' is present, must not specify other operations"
        yield field.invalid(f"{path}.operations", operations, message)
    for index, operation in enumerate(operations):
        yield from checks.one_of(f"{path}.operations[{index}]", operation, OPERATIONS)
    for key, what in (("apiGroups", "API groups"), ("apiVersions", "API versions")):
        items: list[str] = rule.get(key) or []
        if not items:
            yield field.required(f"{path}.{key}")
        if len(items) > 1 and "*" in items:
            yield field.invalid(f"{path}.{key}", items, f"if '*' is present, must not specify other {what}")
        if key == "apiVersions":
            for index, item in enumerate(items):
                yield from checks.required(f"{path}.{key}[{index}]", item)
    yield from _validate_resources(f"{path}.resources", rule.get("resources") or [])
    if rule.get("scope") is not None:
        yield from checks.one_of(f"{path}.scope", rule["scope"], SCOPES)


def _validate_resources(path: str, resources: list[str]) -> Iterator[Cause]:
    """`*`, `pods`, `pods/*`, `*/scale`: each part once, none that another covers."""
    if not resources:
        yield field.required(path)
    whole: set[str] = set()
    parts: set[str] = set()
    for index, item in enumerate(resources):
        at = f"{path}[{index}]"
        if not item:
            yield field.required(at)
        if item == "*/*" and len(resources) > 1:
            yield field.invalid(path, resources, "if '*/*' is present, must not specify other resources")
        name, slash, part = item.partition("/")
        if not slash:
            continue
        if part == "*":
            whole.add(name)
        if name == "*":
            parts.add(part)
        if part != "*" and name in whole:
            yield field.invalid(at, item, f"if '{name}/*' is present, must not specify {item}")
        if name != "*" and part in parts:
            yield field.invalid(at, item, f"if '*/{part}' is present, must not specify {item}")
    if len(resources) > 1 and "*" in resources and any("/" not in item for item in resources if item != "*"):
        message = "if '*' is present, must not specify other resources without subresources"
        yield field.invalid(path, resources, message)


def _validate_named_rule(path: str, rule: Object) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, name in enumerate(rule.get("resourceNames") or ()):
        at = f"{path}.resourceNames[{index}]"
        yield from checks.told(at, name, names.path_segment_name(name))
        if name in seen:
            yield field.duplicate(at, name)
        seen.add(name)
    yield from validate_rule(path, rule)


def validate_conditions(path: str, conditions: list[Object], *, params: bool = False) -> Iterator[Cause]:
    expressions = Expressions(params=params)
    if len(conditions) > MAX_CONDITIONS:
        yield field.too_many(path, len(conditions), MAX_CONDITIONS)
    seen: set[str] = set()
    for index, condition in enumerate(conditions):
        at, name = f"{path}[{index}]", condition.get("name", "")
        if not condition.get("expression", "").strip():
            yield field.required(f"{at}.expression")
        else:
            yield from validate(f"{at}.expression", condition["expression"], expressions, BOOLEAN)
        if not name:
            yield field.required(f"{at}.name")
            continue
        yield from checks.qualified_name(f"{at}.name", name)
        if name in seen:
            yield field.duplicate(f"{at}.name", name)
        seen.add(name)


def default_match(match: Object | None) -> None:
    if match is None:
        return
    if match.get("matchPolicy") is None:
        match["matchPolicy"] = "Equivalent"
    for key in ("namespaceSelector", "objectSelector"):
        if match.get(key) is None:
            match[key] = {}
    default_rules(match.get("resourceRules"))
    default_rules(match.get("excludeResourceRules"))


def validate_match(path: str, match: Object) -> Iterator[Cause]:
    if match.get("matchPolicy") is None:
        yield field.required(f"{path}.matchPolicy")
    else:
        yield from checks.one_of(f"{path}.matchPolicy", match["matchPolicy"], MATCH_POLICIES)
    for key in ("namespaceSelector", "objectSelector"):
        if match.get(key) is None:
            yield field.required(f"{path}.{key}")
        else:
            yield from selectors.validate_label_selector(match[key], f"{path}.{key}")
    for key in ("resourceRules", "excludeResourceRules"):
        yield from checks.each(f"{path}.{key}", match.get(key), _validate_named_rule)
