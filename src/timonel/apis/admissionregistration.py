"""admissionregistration.k8s.io/v1: webhook configurations, admission policies and their bindings.

What does not compile as CEL is refused (`expressions`).

Upstream: pkg/apis/admissionregistration/{v1/defaults.go,validation/validation.go},
pkg/registry/admissionregistration/*/strategy.go, pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from timonel.apis import checks
from timonel.apis.admissionmatch import (
    MATCH_POLICIES,
    default_match,
    default_rules,
    validate_conditions,
    validate_match,
    validate_rule,
)
from timonel.apis.expressions import (
    BOOLEAN,
    CONFIGURATION,
    JSON_PATCH,
    TEXT,
    TEXT_OR_NULL,
    Expressions,
    validate,
    validate_variable,
)
from timonel.apis.printing import AGE
from timonel.apis.resource import Column, ResourceType
from timonel.apis.webhooks import validate_service, validate_url
from timonel.machinery import field, names, selectors
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

GROUP = "admissionregistration.k8s.io"
REVIEW_VERSIONS = ("v1", "v1beta1")
FAILURE_POLICIES = ("Fail", "Ignore")
REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")

# ---------------------------------------------------------------- webhooks


def _default_webhooks(obj: Object, mutating: bool) -> None:
    for hook in obj.get("webhooks") or ():
        defaults = {"failurePolicy": "Fail", "matchPolicy": "Equivalent", "timeoutSeconds": 10}
        if mutating:
            defaults["reinvocationPolicy"] = "Never"
        for key, value in defaults.items():
            if hook.get(key) is None:
                hook[key] = value
        for key in ("namespaceSelector", "objectSelector"):
            if hook.get(key) is None:
                hook[key] = {}
        service = (hook.get("clientConfig") or {}).get("service")
        if service is not None and service.get("port") is None:
            service["port"] = 443
        default_rules(hook.get("rules"))


def default_mutating(obj: Object) -> None:
    _default_webhooks(obj, mutating=True)


def default_validating(obj: Object) -> None:
    _default_webhooks(obj, mutating=False)


def validate_webhooks(obj: Object) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, hook in enumerate(obj.get("webhooks") or ()):
        path, name = f"webhooks[{index}]", hook.get("name", "")
        yield from _validate_webhook(path, hook)
        yield from _validate_versions(
            f"{path}.admissionReviewVersions", hook.get("admissionReviewVersions") or []
        )
        if name in seen:
            yield field.duplicate(f"{path}.name", name)
        seen.add(name)


def _validate_webhook(path: str, hook: Object) -> Iterator[Cause]:
    yield from _validate_full_name(f"{path}.name", hook.get("name", ""))
    yield from checks.each(f"{path}.rules", hook.get("rules"), validate_rule)
    if hook.get("failurePolicy") is not None:
        yield from checks.one_of(f"{path}.failurePolicy", hook["failurePolicy"], FAILURE_POLICIES)
    if hook.get("matchPolicy") is not None:
        yield from checks.one_of(f"{path}.matchPolicy", hook["matchPolicy"], MATCH_POLICIES)
    effects = hook.get("sideEffects")
    if effects is None:
        yield field.required(f"{path}.sideEffects", "must specify one of None, NoneOnDryRun")
    else:
        yield from checks.one_of(f"{path}.sideEffects", effects, ("None", "NoneOnDryRun"))
    seconds = hook.get("timeoutSeconds")
    if seconds is not None and not 1 <= seconds <= 30:
        message = "the timeout value must be between 1 and 30 seconds"
        yield field.invalid(f"{path}.timeoutSeconds", seconds, message)
    for key in ("namespaceSelector", "objectSelector"):
        if hook.get(key) is not None:
            yield from selectors.validate_label_selector(hook[key], f"{path}.{key}")
    if hook.get("reinvocationPolicy") is not None:
        yield from checks.one_of(
            f"{path}.reinvocationPolicy", hook["reinvocationPolicy"], ("IfNeeded", "Never")
        )
    config = hook.get("clientConfig") or {}
    if (config.get("url") is None) == (config.get("service") is None):
        yield field.required(f"{path}.clientConfig", "exactly one of url or service is required")
    elif config.get("url") is not None:
        yield from validate_url(f"{path}.clientConfig.url", config["url"])
    else:
        yield from validate_service(f"{path}.clientConfig.service", config["service"])
    yield from validate_conditions(f"{path}.matchConditions", hook.get("matchConditions") or [])


def _validate_full_name(path: str, name: str) -> Iterator[Cause]:
    """A domain name of at least three parts."""
    if not name:
        yield field.required(path)
        return
    wrong = names.dns1123_subdomain(name)
    yield from checks.told(path, name, wrong)
    if not wrong and name.count(".") < 2:
        yield field.invalid(path, name, "should be a domain with at least three segments separated by dots")


def _validate_versions(path: str, versions: list[str]) -> Iterator[Cause]:
    known = ", ".join(REVIEW_VERSIONS)
    if not versions:
        yield field.required(path, f"must specify one of {known}")
        return
    for index, version in enumerate(versions):
        if version in versions[:index]:
            yield field.invalid(f"{path}[{index}]", version, "duplicate version")
            continue
        yield from checks.told(f"{path}[{index}]", version, names.dns1035_label(version))
    if not set(versions) & set(REVIEW_VERSIONS):
        yield field.invalid(path, versions, f"must include at least one of {known}")


def validate_webhooks_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate_webhooks(new)


def _webhook_columns() -> tuple[Column, ...]:
    return (
        Column(
            "Webhooks",
            lambda o, now: len(o.get("webhooks") or ()),
            "integer",
            description="Webhooks indicates the number of webhooks registered in this configuration",
        ),
        AGE,
    )


# ---------------------------------------------------------------- policies


def default_policy(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if spec.get("failurePolicy") is None:
        spec["failurePolicy"] = "Fail"
    default_match(spec.get("matchConstraints"))


def default_binding(obj: Object) -> None:
    default_match((obj.get("spec") or {}).get("matchResources"))


def prepare_policy(obj: Object) -> None:
    obj["status"] = {}


def prepare_policy_update(new: Object, old: Object) -> None:
    new["status"] = old.get("status", {})


def _validate_param_kind(path: str, kind: Object) -> Iterator[Cause]:
    version, name = kind.get("apiVersion", ""), kind.get("kind", "")
    if not version:
        yield field.required(f"{path}.apiVersion")
    elif version.count("/") > 1:
        yield field.invalid(f"{path}.apiVersion", version, f"unexpected GroupVersion string: {version}")
    else:
        group, _, number = version.rpartition("/")
        if group:
            yield from checks.told(f"{path}.apiVersion", group, names.dns1123_subdomain(group))
        yield from checks.told(f"{path}.apiVersion", number, names.dns1035_label(number))
    if not name:
        yield field.required(f"{path}.kind")
    else:
        for message in names.dns1035_label(name.lower()):
            text = f"may have mixed case, but should otherwise match: {message}"
            yield field.invalid(f"{path}.kind", name, text)


def _validate_common(spec: Object) -> Iterator[Cause]:
    policy = spec.get("failurePolicy")
    if policy is None:
        yield field.required("spec.failurePolicy")
    else:
        yield from checks.one_of("spec.failurePolicy", policy, FAILURE_POLICIES)
    if spec.get("paramKind") is not None:
        yield from _validate_param_kind("spec.paramKind", spec["paramKind"])
    match = spec.get("matchConstraints")
    if match is None:
        yield field.required("spec.matchConstraints")
    else:
        yield from validate_match("spec.matchConstraints", match)
        if not match.get("resourceRules"):
            yield field.required("spec.matchConstraints.resourceRules")
    has_params = spec.get("paramKind") is not None
    yield from validate_conditions(
        "spec.matchConditions", spec.get("matchConditions") or [], params=has_params
    )


def _validate_variables(path: str, variables: list[Object], expressions: Expressions) -> Iterator[Cause]:
    for index, variable in enumerate(variables):
        at, name = f"{path}[{index}]", variable.get("name", "")
        if not name.strip():
            yield field.required(f"{at}.name", "name is not specified")
        elif names.c_identifier(name):
            yield field.invalid(f"{at}.name", name, "must be a valid CEL identifier")
        if not variable.get("expression", "").strip():
            yield field.required(f"{at}.expression", "expression is not specified")
        else:
            yield from validate_variable(f"{at}.expression", name, variable["expression"], expressions)


def validate_validating_policy(obj: Object) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    yield from _validate_common(spec)
    expressions = Expressions(params=spec.get("paramKind") is not None, composed=bool(spec.get("variables")))
    yield from _validate_variables("spec.variables", spec.get("variables") or [], expressions)
    validations, annotations = spec.get("validations") or [], spec.get("auditAnnotations") or []
    if not validations and not annotations:
        message = "validations or auditAnnotations must contain at least one item"
        yield field.required("spec.validations", message)
        yield field.required("spec.auditAnnotations", message)
    yield from checks.each(
        "spec.validations", validations, lambda path, item: _validate_validation(path, item, expressions)
    )
    yield from _validate_annotations(obj["metadata"].get("name", ""), annotations, expressions)


def _validate_validation(path: str, item: Object, expressions: Expressions) -> Iterator[Cause]:
    rule, text = item.get("expression", ""), item.get("messageExpression", "")
    if not rule.strip():
        yield field.required(f"{path}.expression", "expression is not specified")
    else:
        yield from validate(f"{path}.expression", rule, expressions, BOOLEAN)
    if text and not text.strip():
        yield field.invalid(f"{path}.messageExpression", text, "must be non-empty if specified")
    elif text:
        yield from validate(f"{path}.messageExpression", text, expressions, TEXT, authorizer=False)
    message = item.get("message", "")
    if message and not message.strip():
        yield field.invalid(f"{path}.message", message, "message must be non-empty if specified")
    elif "\n" in message.strip():
        yield field.invalid(f"{path}.message", message, "message must not contain line breaks")
    elif "\n" in rule.strip() and not message:
        yield field.required(
            f"{path}.message", "message must be specified if expression contains line breaks"
        )
    if item.get("reason") is not None:
        yield from checks.one_of(f"{path}.reason", item["reason"], REASONS)


def _validate_annotations(
    policy: str, annotations: list[Object], expressions: Expressions
) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, item in enumerate(annotations):
        path, key = f"spec.auditAnnotations[{index}]", item.get("key", "")
        if not policy:
            yield field.invalid(f"{path}.key", key, "requires metadata.name be non-empty")
        else:
            yield from checks.told(f"{path}.key", f"{policy}/{key}", names.qualified_name(f"{policy}/{key}"))
        if not item.get("valueExpression", "").strip():
            yield field.required(f"{path}.valueExpression", "valueExpression is not specified")
        else:
            yield from validate(f"{path}.valueExpression", item["valueExpression"], expressions, TEXT_OR_NULL)
        if key in seen:
            yield field.duplicate(f"{path}.key", key)
        seen.add(key)


def validate_mutating_policy(obj: Object) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    yield from _validate_common(spec)
    for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        for operation in rule.get("operations") or ():
            allowed = ("*", "CONNECT", "CREATE", "UPDATE")
            yield from checks.one_of("spec.matchConstraints.resourceRules.operations", operation, allowed)
    expressions = Expressions(params=spec.get("paramKind") is not None, composed=True, patches=True)
    yield from _validate_variables("spec.variables", spec.get("variables") or [], expressions)
    if not spec.get("mutations"):
        yield field.required("spec.mutations", "mutations must contain at least one item")
    yield from checks.each(
        "spec.mutations",
        spec.get("mutations"),
        lambda path, mutation: _validate_mutation(path, mutation, expressions),
    )
    policy = spec.get("reinvocationPolicy", "")
    if not policy:
        yield field.required("spec.reinvocationPolicy")
    else:
        yield from checks.one_of("spec.reinvocationPolicy", policy, ("IfNeeded", "Never"))


def _validate_mutation(path: str, mutation: Object, expressions: Expressions) -> Iterator[Cause]:
    kind = mutation.get("patchType", "")
    if not kind:
        yield field.required(f"{path}.patchType")
        return
    forms = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}
    yield from checks.one_of(f"{path}.patchType", kind, tuple(forms))
    key = forms.get(kind)
    if key is None:
        return
    if mutation.get(key) is None:
        yield field.required(f"{path}.{key}", f"must be specified when patchType is {kind}")
    elif not mutation[key].get("expression", "").strip():
        yield field.required(f"{path}.{key}.expression")
    else:
        returns = JSON_PATCH if kind == "JSONPatch" else CONFIGURATION
        yield from validate(f"{path}.{key}.expression", mutation[key]["expression"], expressions, returns)


# ---------------------------------------------------------------- bindings


def _validate_binding(obj: Object) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    if not spec.get("policyName"):
        yield field.required("spec.policyName")
    else:
        yield from checks.subdomain("spec.policyName", spec["policyName"])
    ref = spec.get("paramRef")
    if ref is not None:
        yield from _validate_param_ref("spec.paramRef", ref)
    if spec.get("matchResources") is not None:
        yield from validate_match("spec.matchResources", spec["matchResources"])


def _validate_param_ref(path: str, ref: Object) -> Iterator[Cause]:
    name, selector, action = ref.get("name", ""), ref.get("selector"), ref.get("parameterNotFoundAction")
    if name:
        yield from checks.told(f"{path}.name", name, names.path_segment_name(name))
        if selector is not None:
            yield field.forbidden(path, "name and selector are mutually exclusive")
    if selector is not None:
        yield from selectors.validate_label_selector(selector, f"{path}.selector")
    if not name and selector is None:
        yield field.required(path, "one of name or selector must be specified")
    if action is None:
        yield field.required(f"{path}.parameterNotFoundAction")
    else:
        yield from checks.one_of(f"{path}.parameterNotFoundAction", action, ("Deny", "Allow"))


def validate_validating_binding(obj: Object) -> Iterator[Cause]:
    yield from _validate_binding(obj)
    actions: list[str] = (obj.get("spec") or {}).get("validationActions") or []
    path = "spec.validationActions"
    if not actions:
        yield field.required(path, "at least one validation action is required")
    for index, action in enumerate(actions):
        yield from checks.one_of(f"{path}[{index}]", action, ("Audit", "Deny", "Warn"))
        if action in actions[:index]:
            yield field.duplicate(f"{path}[{index}]", action)
    if {"Deny", "Warn"} <= set(actions):
        message = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the API "
            "response and headers serves no purpose)"
        )
        yield field.invalid(path, actions, message)


def _on_update(rule: Callable[[Object], Iterator[Cause]]) -> Callable[[Object, Object], Iterator[Cause]]:
    return lambda new, old: rule(new)


def _count(*path: str) -> Callable[[Object, float], int]:
    def cell(obj: Object, now: float) -> int:
        found: Any = obj
        for key in path:
            found = (found or {}).get(key)
        return len(found or ())

    return cell


def _param_kind(obj: Object, now: float) -> str:
    kind = (obj.get("spec") or {}).get("paramKind")
    return f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind is not None else "<unset>"


def _param_ref(obj: Object, now: float) -> str:
    ref = (obj.get("spec") or {}).get("paramRef")
    if ref is None:
        return "<unset>"
    if ref.get("selector") is not None:
        return str(selectors.from_label_selector(ref["selector"]))
    return f"{ref['namespace']}/{ref.get('name', '')}" if ref.get("namespace") else f"*/{ref.get('name', '')}"


_BINDING_COLUMNS = (
    Column("PolicyName", lambda o, now: (o.get("spec") or {}).get("policyName", ""), doc="spec.policyName"),
    Column("ParamRef", _param_ref, doc="spec.paramRef"),
    AGE,
)

MUTATING_WEBHOOK_CONFIGURATION = ResourceType(
    group=GROUP,
    version="v1",
    kind="MutatingWebhookConfiguration",
    plural="mutatingwebhookconfigurations",
    namespaced=False,
    categories=("api-extensions",),
    generation=True,
    unconditional_update=False,
    default=default_mutating,
    validate=validate_webhooks,
    validate_update=validate_webhooks_update,
    columns=_webhook_columns(),
)

VALIDATING_WEBHOOK_CONFIGURATION = ResourceType(
    group=GROUP,
    version="v1",
    kind="ValidatingWebhookConfiguration",
    plural="validatingwebhookconfigurations",
    namespaced=False,
    categories=("api-extensions",),
    generation=True,
    unconditional_update=False,
    default=default_validating,
    validate=validate_webhooks,
    validate_update=validate_webhooks_update,
    columns=_webhook_columns(),
)

VALIDATING_ADMISSION_POLICY = ResourceType(
    group=GROUP,
    version="v1",
    kind="ValidatingAdmissionPolicy",
    plural="validatingadmissionpolicies",
    namespaced=False,
    categories=("api-extensions",),
    status=True,
    generation=True,
    unconditional_update=False,
    default=default_policy,
    prepare_create=prepare_policy,
    prepare_update=prepare_policy_update,
    validate=validate_validating_policy,
    validate_update=_on_update(validate_validating_policy),
    columns=(
        Column(
            "Validations",
            _count("spec", "validations"),
            "integer",
            description="Validations indicates the number of validation rules defined in this configuration",
        ),
        Column("ParamKind", _param_kind, doc="spec.paramKind"),
        AGE,
    ),
)

VALIDATING_ADMISSION_POLICY_BINDING = ResourceType(
    group=GROUP,
    version="v1",
    kind="ValidatingAdmissionPolicyBinding",
    plural="validatingadmissionpolicybindings",
    namespaced=False,
    categories=("api-extensions",),
    generation=True,
    unconditional_update=False,
    default=default_binding,
    validate=validate_validating_binding,
    validate_update=_on_update(validate_validating_binding),
    columns=_BINDING_COLUMNS,
)

MUTATING_ADMISSION_POLICY = ResourceType(
    group=GROUP,
    version="v1",
    kind="MutatingAdmissionPolicy",
    plural="mutatingadmissionpolicies",
    namespaced=False,
    categories=("api-extensions",),
    generation=True,
    unconditional_update=False,
    default=default_policy,
    validate=validate_mutating_policy,
    validate_update=_on_update(validate_mutating_policy),
    columns=(
        Column(
            "Mutations",
            _count("spec", "mutations"),
            "integer",
            description="Mutation indicates the number of mutations rules defined in this configuration",
        ),
        Column("ParamKind", _param_kind, doc="spec.paramKind"),
        AGE,
    ),
)

MUTATING_ADMISSION_POLICY_BINDING = ResourceType(
    group=GROUP,
    version="v1",
    kind="MutatingAdmissionPolicyBinding",
    plural="mutatingadmissionpolicybindings",
    namespaced=False,
    categories=("api-extensions",),
    generation=True,
    unconditional_update=False,
    default=default_binding,
    validate=_validate_binding,
    validate_update=_on_update(_validate_binding),
    columns=_BINDING_COLUMNS,
)

RESOURCES = (
    MUTATING_WEBHOOK_CONFIGURATION,
    VALIDATING_WEBHOOK_CONFIGURATION,
    VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING,
    MUTATING_ADMISSION_POLICY,
    MUTATING_ADMISSION_POLICY_BINDING,
)
