"""The RBAC authorizer: roles and bindings in memory, indexed by subject; decisions are remembered until one changes.

A ClusterRole with an aggregationRule is evaluated as the union of the roles that it selects, so that `edit` and `view`
work before (and without) the controller that writes their rules down.

Upstream: plugin/pkg/auth/authorizer/rbac/rbac.go, pkg/registry/rbac/validation/rule.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from timonel.machinery import selectors
from timonel.machinery.field import quote
from timonel.objects.meta import Object, labels_of
from timonel.server.auth import rules as rulelib
from timonel.server.auth.rules import Rule
from timonel.server.request import Attributes, Decision, Reader, User, Verdict

GROUP = "rbac.authorization.k8s.io"
ROLES, ROLE_BINDINGS = f"roles.{GROUP}", f"rolebindings.{GROUP}"
CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS = f"clusterroles.{GROUP}", f"clusterrolebindings.{GROUP}"

_REMEMBERED = 20_000
_RETAINED = 1024  # characters of the names and the path of a question that is remembered


class Grant(NamedTuple):
    """One binding as one of its subjects sees it."""

    binding: str  # as messages name it
    namespace: str  # where the Role is looked up
    kind: str  # Role or ClusterRole
    role: str
    subject: str  # as messages name it
    order: str


class RoleMissing(LookupError):
    """The role that a binding refers to does not exist."""


_Subject = tuple[str, str]
_Bindings = dict[_Subject, dict[str, Grant]]


class RbacAuthorizer:
    def __init__(self, reader: Reader) -> None:
        self._roles: dict[tuple[str, str], list[Rule]] = {}
        self._cluster_roles: dict[str, Object] = {}
        self._cluster_rules: dict[str, list[Rule]] = {}  # with aggregation resolved; filled on demand
        self._cluster_bindings: _Bindings = {}
        self._bindings: dict[str, _Bindings] = {}
        self._decisions: dict[Any, Decision] = {}
        self._by_name: dict[Any, bool] = {}  # by question but for the name: whether a rule asks for it
        reader.on_change(ROLES, self._role_changed)
        reader.on_change(CLUSTER_ROLES, self._cluster_role_changed)
        reader.on_change(ROLE_BINDINGS, self._binding_changed)
        reader.on_change(CLUSTER_ROLE_BINDINGS, self._binding_changed)

    def authorize(self, attributes: Attributes) -> Decision:
        a = attributes
        if not a.is_resource:
            return self._remembered((a.user.name, a.user.groups, a.verb, a.path), a)
        question = (a.user.name, a.user.groups, a.verb, a.group, a.resource, a.subresource, a.namespace)
        by_name = self._by_name.get(question) if a.name else True
        if by_name is None:
            by_name = self._asks_for_names(a)
            if self._has_place(a):
                self._by_name[question] = by_name
        return self._remembered((*question, a.name if by_name else None), a)

    def _remembered(self, key: Any, a: Attributes) -> Decision:
        known = self._decisions.get(key)
        if known is None:
            known = self._decide(a)
            if self._has_place(a):
                self._decisions[key] = known
        return known

    def _has_place(self, a: Attributes) -> bool:
        """Whether a question is worth remembering; room is made for it."""
        if len(self._decisions) + len(self._by_name) >= _REMEMBERED:
            self._forget()
        return len(a.path) + len(a.name) + len(a.namespace) + len(a.user.name) <= _RETAINED

    def rules_for(self, user: User, namespace: str) -> tuple[list[Rule], list[str]]:
        """All rules that apply to `user` in a namespace, and what could not be resolved."""
        found: list[Rule] = []
        problems: list[str] = []
        for grant in self._grants(user, namespace):
            try:
                found.extend(self.rules_of(grant.kind, grant.namespace, grant.role))
            except RoleMissing as problem:
                problems.append(str(problem))
        return found, list(dict.fromkeys(problems))

    def rules_of(self, kind: str, namespace: str, name: str) -> list[Rule]:
        """The rules of a Role or ClusterRole; raises RoleMissing."""
        if kind == "Role":
            rules = self._roles.get((namespace, name))
        else:
            rules = self._rules_of_cluster_role(name)
        if rules is None:
            raise RoleMissing(f"{kind.lower()}.{GROUP} {quote(name)} not found")
        return rules

    def _decide(self, asked: Attributes) -> Decision:
        problems: list[str] = []
        for grant in self._grants(asked.user, asked.namespace):
            try:
                rules = self.rules_of(grant.kind, grant.namespace, grant.role)
            except RoleMissing as problem:
                problems.append(str(problem))
                continue
            if any(rulelib.allows(rule, asked) for rule in rules):
                why = f"{grant.binding} of {grant.kind} {quote(grant.role)} to {grant.subject}"
                return Decision(Verdict.ALLOW, f"RBAC: allowed by {why}")
        if not problems:
            return Decision(Verdict.NO_OPINION)
        texts = list(dict.fromkeys(problems))
        return Decision(
            Verdict.NO_OPINION, "RBAC: " + (texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")
        )

    def _asks_for_names(self, asked: Attributes) -> bool:
        """Whether a rule that might apply does so to some names alone."""
        rules, _ = self.rules_for(asked.user, asked.namespace)
        return any(
            rule.get("resourceNames") and rulelib.allows({**rule, "resourceNames": ()}, asked)
            for rule in rules
        )

    def _forget(self) -> None:
        self._decisions.clear()
        self._by_name.clear()

    def _grants(self, user: User, namespace: str) -> Iterator[Grant]:
        subjects = (("User", user.name), *(("Group", group) for group in user.groups))
        yield from _of(self._cluster_bindings, subjects)
        if namespace:
            yield from _of(self._bindings.get(namespace, {}), subjects)

    # ---- following the cluster

    def _role_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        assert obj is not None
        key = (obj["metadata"]["namespace"], obj["metadata"]["name"])
        if new is None:
            self._roles.pop(key, None)
        else:
            self._roles[key] = new.get("rules") or []
        self._forget()

    def _cluster_role_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        assert obj is not None
        if new is None:
            self._cluster_roles.pop(obj["metadata"]["name"], None)
        else:
            self._cluster_roles[new["metadata"]["name"]] = new
        self._cluster_rules.clear()
        self._forget()

    def _rules_of_cluster_role(self, name: str) -> list[Rule] | None:
        known = self._cluster_rules.get(name)
        if known is None:
            role = self._cluster_roles.get(name)
            if role is None:
                return None
            known = self._cluster_rules[name] = list(self._with_aggregated(role, {name}))
        return known

    def _with_aggregated(self, role: Object, seen: set[str]) -> Iterator[Rule]:
        yield from role.get("rules") or ()
        for terms in (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ():
            selector = selectors.from_label_selector(terms)
            for name, other in sorted(self._cluster_roles.items()):
                if name not in seen and selector.matches(labels_of(other)):
                    seen.add(name)
                    yield from self._with_aggregated(other, seen)

    def _binding_changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None:
            self._unbind(old)
        if new is not None:
            self._bind(new)
        self._forget()

    def _index_of(self, binding: Object) -> _Bindings:
        namespace = binding["metadata"].get("namespace", "")
        return self._bindings.setdefault(namespace, {}) if namespace else self._cluster_bindings

    def _unbind(self, binding: Object) -> None:
        index = self._index_of(binding)
        for subject in binding.get("subjects") or ():
            key = _subject_key(subject, binding["metadata"].get("namespace", ""))
            grants = index.get(key)
            if grants is not None:
                grants.pop(binding["metadata"]["name"], None)
                if not grants:
                    del index[key]

    def _bind(self, binding: Object) -> None:
        index = self._index_of(binding)
        name, namespace = binding["metadata"]["name"], binding["metadata"].get("namespace", "")
        ref = binding["roleRef"]
        text = (
            f"RoleBinding {quote(f'{name}/{namespace}')}"
            if namespace
            else f"ClusterRoleBinding {quote(name)}"
        )
        for subject in binding.get("subjects") or ():
            grant = Grant(text, namespace, ref["kind"], ref["name"], _describe(subject), name)
            index.setdefault(_subject_key(subject, namespace), {}).setdefault(name, grant)


def _of(bindings: _Bindings, subjects: tuple[_Subject, ...]) -> Iterator[Grant]:
    """Last name first: deterministic, and what a broad early name also gives does not hide a later one."""
    found = [grant for subject in subjects for grant in bindings.get(subject, {}).values()]
    if len(found) > 1:
        found.sort(key=lambda grant: grant.order, reverse=True)
    return iter(found)


def _subject_key(subject: Object, namespace: str) -> _Subject:
    if subject["kind"] == "ServiceAccount":
        where = subject.get("namespace") or namespace
        return ("User", f"system:serviceaccount:{where}:{subject['name']}")
    return (subject["kind"], subject["name"])


def _describe(subject: Object) -> str:
    if subject["kind"] == "ServiceAccount":
        return f"ServiceAccount {quote(subject['name'] + '/' + subject.get('namespace', ''))}"
    return f"{subject['kind']} {quote(subject['name'])}"
