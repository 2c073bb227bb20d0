"""rbac.authorization.k8s.io/v1: Role, ClusterRole, RoleBinding, ClusterRoleBinding.

Who may grant what (escalation) is the server's business: it needs an authorizer.

Upstream: pkg/apis/rbac/{v1/defaults.go,validation/validation.go}, pkg/registry/rbac/*/strategy.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from timonel.apis import checks
from timonel.apis.printing import AGE, CREATED_AT
from timonel.apis.resource import Column, ResourceType
from timonel.machinery import field, names, selectors
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

GROUP = "rbac.authorization.k8s.io"


# ---------------------------------------------------------------- roles


def _validate_rules(obj: Object, namespaced: bool) -> Iterator[Cause]:
    for index, rule in enumerate(obj.get("rules") or ()):
        yield from _validate_rule(f"rules[{index}]", rule, namespaced)


def _validate_rule(path: str, rule: Object, namespaced: bool) -> Iterator[Cause]:
    yield from checks.required(f"{path}.verbs", rule.get("verbs"), "verbs must contain at least one value")
    urls = rule.get("nonResourceURLs")
    if urls:
        if namespaced:
            message = "namespaced rules cannot apply to non-resource URLs"
            yield field.invalid(f"{path}.nonResourceURLs", urls, message)
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            message = "rules cannot apply to both regular resources and non-resource URLs"
            yield field.invalid(f"{path}.nonResourceURLs", urls, message)
        return
    message = "resource rules must supply at least one api group"
    yield from checks.required(f"{path}.apiGroups", rule.get("apiGroups"), message)
    message = "resource rules must supply at least one resource"
    yield from checks.required(f"{path}.resources", rule.get("resources"), message)


def validate_role(obj: Object) -> Iterator[Cause]:
    yield from _validate_rules(obj, namespaced=True)


def validate_role_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate_role(new)


def validate_cluster_role(obj: Object) -> Iterator[Cause]:
    yield from _validate_rules(obj, namespaced=False)
    aggregation = obj.get("aggregationRule")
    if aggregation is None:
        return
    path = "aggregationRule.clusterRoleSelectors"
    chosen = aggregation.get("clusterRoleSelectors") or []
    if not chosen:
        message = "at least one clusterRoleSelector required if aggregationRule is non-nil"
        yield field.required(path, message)
    for index, selector in enumerate(chosen):
        wrong = list(selectors.validate_label_selector(selector, f"{path}[{index}]"))
        yield from wrong
        if wrong:
            yield field.invalid(f"{path}[{index}]", None, "invalid label selector.")


def validate_cluster_role_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate_cluster_role(new)


# ---------------------------------------------------------------- bindings


def default_binding(obj: Object) -> None:
    ref = obj.setdefault("roleRef", {})
    ref["apiGroup"] = ref.get("apiGroup") or GROUP
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = subject.get("apiGroup") or GROUP


def _validate_binding(obj: Object, kinds: tuple[str, ...], namespaced: bool) -> Iterator[Cause]:
    ref = obj.get("roleRef") or {}
    yield from checks.one_of("roleRef.apiGroup", ref.get("apiGroup", ""), (GROUP,))
    yield from checks.one_of("roleRef.kind", ref.get("kind", ""), kinds)
    if not ref.get("name"):
        yield field.required("roleRef.name")
    else:
        yield from checks.told("roleRef.name", ref["name"], names.path_segment_name(ref["name"]))
    for index, subject in enumerate(obj.get("subjects") or ()):
        yield from _validate_subject(f"subjects[{index}]", subject, namespaced)


def _validate_subject(path: str, subject: Object, namespaced: bool) -> Iterator[Cause]:
    name, kind, group = (subject.get(key, "") for key in ("name", "kind", "apiGroup"))
    yield from checks.required(f"{path}.name", name)
    if kind == "ServiceAccount":
        if name:
            yield from checks.subdomain(f"{path}.name", name)
        yield from checks.one_of(f"{path}.apiGroup", group, ("",))
        if not namespaced:
            yield from checks.required(f"{path}.namespace", subject.get("namespace"))
    elif kind in ("User", "Group"):
        yield from checks.one_of(f"{path}.apiGroup", group, (GROUP,))
    else:
        yield field.not_supported(f"{path}.kind", kind, ("ServiceAccount", "User", "Group"))


def validate_role_binding(obj: Object) -> Iterator[Cause]:
    yield from _validate_binding(obj, ("Role", "ClusterRole"), namespaced=True)


def validate_cluster_role_binding(obj: Object) -> Iterator[Cause]:
    yield from _validate_binding(obj, ("ClusterRole",), namespaced=False)


def _same_role(new: Object, old: Object) -> Iterator[Cause]:
    if new.get("roleRef") != old.get("roleRef"):
        ref = new.get("roleRef") or {}
        shown = {
            name: ref.get(key, "")
            for name, key in (("APIGroup", "apiGroup"), ("Kind", "kind"), ("Name", "name"))
        }
        yield field.invalid("roleRef", shown, "cannot change roleRef")


def validate_role_binding_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate_role_binding(new)
    yield from _same_role(new, old)


def validate_cluster_role_binding_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate_cluster_role_binding(new)
    yield from _same_role(new, old)


def _role(obj: Object, now: float) -> str:
    ref = obj.get("roleRef") or {}
    return f"{ref.get('kind', '')}/{ref.get('name', '')}"


def _subjects(obj: Object, kind: str) -> Iterable[Object]:
    return (s for s in obj.get("subjects") or () if s.get("kind") == kind)


def _accounts(obj: Object, now: float) -> str:
    return ", ".join(
        f"{s.get('namespace', '')}/{s.get('name', '')}" for s in _subjects(obj, "ServiceAccount")
    )


_ROLE_REF = (
    "RoleRef can reference a Role in the current namespace or a ClusterRole in the global namespace. If the RoleRef "
    "cannot be resolved, the Authorizer must return an error."
)
_CLUSTER_ROLE_REF = (
    "RoleRef can only reference a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the "
    "Authorizer must return an error."
)


def _binding_columns(what: str, ref: str) -> tuple[Column, ...]:
    return (
        Column("Role", _role, description=ref),
        AGE,
        Column(
            "Users",
            lambda o, now: ", ".join(s.get("name", "") for s in _subjects(o, "User")),
            priority=1,
            description=f"Users in the {what}",
        ),
        Column(
            "Groups",
            lambda o, now: ", ".join(s.get("name", "") for s in _subjects(o, "Group")),
            priority=1,
            description=f"Groups in the {what}",
        ),
        Column("ServiceAccounts", _accounts, priority=1, description=f"ServiceAccounts in the {what}"),
    )


ROLE = ResourceType(
    group=GROUP,
    version="v1",
    kind="Role",
    plural="roles",
    create_on_update=True,
    validate_name=names.path_segment_name,
    validate=validate_role,
    validate_update=validate_role_update,
    columns=(CREATED_AT,),
)

CLUSTER_ROLE = ResourceType(
    group=GROUP,
    version="v1",
    kind="ClusterRole",
    plural="clusterroles",
    namespaced=False,
    create_on_update=True,
    validate_name=names.path_segment_name,
    validate=validate_cluster_role,
    validate_update=validate_cluster_role_update,
    columns=(CREATED_AT,),
)

ROLE_BINDING = ResourceType(
    group=GROUP,
    version="v1",
    kind="RoleBinding",
    plural="rolebindings",
    create_on_update=True,
    validate_name=names.path_segment_name,
    default=default_binding,
    validate=validate_role_binding,
    validate_update=validate_role_binding_update,
    columns=_binding_columns("roleBinding", _ROLE_REF),
)

CLUSTER_ROLE_BINDING = ResourceType(
    group=GROUP,
    version="v1",
    kind="ClusterRoleBinding",
    plural="clusterrolebindings",
    namespaced=False,
    create_on_update=True,
    validate_name=names.path_segment_name,
    default=default_binding,
    validate=validate_cluster_role_binding,
    validate_update=validate_cluster_role_binding_update,
    columns=_binding_columns("clusterRoleBinding", _CLUSTER_ROLE_REF),
)

RESOURCES = (ROLE, CLUSTER_ROLE, ROLE_BINDING, CLUSTER_ROLE_BINDING)
