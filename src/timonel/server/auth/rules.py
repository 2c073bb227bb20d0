"""RBAC rules as values: what a rule matches, what it covers, how it is written in a message. No state, no I/O.

A rule is a `rbac.authorization.k8s.io/v1` PolicyRule (a dict). Upstream: pkg/apis/rbac/v1/evaluation_helpers.go,
component-helpers/auth/rbac/validation/policy_comparator.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from timonel.machinery.field import quote
from timonel.server.request import Attributes

Rule = dict[str, Any]

EVERYTHING: tuple[Rule, ...] = (
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
)


def allows(rule: Rule, asked: Attributes) -> bool:
    """Whether one rule permits what is asked."""
    verbs = rule.get("verbs") or ()
    if "*" not in verbs and asked.verb not in verbs:
        return False
    if not asked.is_resource:
        return any(url_matches(pattern, asked.path) for pattern in rule.get("nonResourceURLs") or ())
    groups = rule.get("apiGroups") or ()
    if "*" not in groups and asked.group not in groups:
        return False
    names = rule.get("resourceNames") or ()
    if names and asked.name not in names:
        return False
    return _resource_matches(rule.get("resources") or (), asked.resource, asked.subresource)


def _resource_matches(patterns: Iterable[str], resource: str, subresource: str) -> bool:
    full = f"{resource}/{subresource}" if subresource else resource
    any_parent = f"*/{subresource}" if subresource else None
    return any(p in ("*", full) or p == any_parent for p in patterns)


def url_matches(pattern: str, path: str) -> bool:
    """`*` matches all, `/healthz/*` what is below; anything else only itself."""
    if pattern in ("*", path):
        return True
    return pattern.endswith("*") and path.startswith(pattern.rstrip("*"))


def uncovered(owned: Sequence[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """The single permissions in `wanted` that no rule of `owned` gives."""
    return [
        single
        for rule in wanted
        for single in break_down(rule)
        if not any(_covers(owner, single) for owner in owned)
    ]


def break_down(rule: Rule) -> Iterator[Rule]:
    """The rule as permissions of one verb on one thing each."""
    for group in rule.get("apiGroups") or ():
        for resource in rule.get("resources") or ():
            for verb in rule.get("verbs") or ():
                single: Rule = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
                names = rule.get("resourceNames") or ()
                if not names:
                    yield single
                for name in names:
                    yield {**single, "resourceNames": [name]}
    for url in rule.get("nonResourceURLs") or ():
        for verb in rule.get("verbs") or ():
            yield {"nonResourceURLs": [url], "verbs": [verb]}


def _covers(owner: Rule, single: Rule) -> bool:
    if not _has_all(owner.get("verbs"), single["verbs"]):
        return False
    urls = single.get("nonResourceURLs")
    if urls:
        return all(any(url_matches(own, url) for own in owner.get("nonResourceURLs") or ()) for url in urls)
    if not _has_all(owner.get("apiGroups"), single["apiGroups"]):
        return False
    resource, _, subresource = single["resources"][0].partition("/")
    if not _resource_matches(owner.get("resources") or (), resource, subresource):
        return False
    own_names = owner.get("resourceNames") or ()
    names = single.get("resourceNames") or ()
    return not own_names or (bool(names) and set(names) <= set(own_names))


def _has_all(owned: Sequence[str] | None, wanted: Iterable[str]) -> bool:
    have = owned or ()
    return "*" in have or all(w in have for w in wanted)


def compact(rules: Iterable[Rule]) -> list[Rule]:
    """Joins the verbs of permissions on the same thing (the inverse of `break_down`, as far as messages need it)."""
    joined: dict[tuple[str, str, str], Rule] = {}
    others: list[Rule] = []
    for rule in rules:
        if rule.get("nonResourceURLs"):
            others.append(rule)
            continue
        key = (rule["apiGroups"][0], rule["resources"][0], (rule.get("resourceNames") or [""])[0])
        if key in joined:
            joined[key]["verbs"] = [*joined[key]["verbs"], *rule["verbs"]]
        else:
            joined[key] = dict(rule)
    return [*joined.values(), *others]


def describe(rule: Rule) -> str:
    """One rule as a message shows it: `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`."""
    parts = [f"{title}:[{' '.join(map(quote, rule[key]))}]" for key, title in _TITLES if rule.get(key)]
    return "{" + ", ".join(parts) + "}"


_TITLES = (
    ("apiGroups", "APIGroups"),
    ("resources", "Resources"),
    ("nonResourceURLs", "NonResourceURLs"),
    ("resourceNames", "ResourceNames"),
    ("verbs", "Verbs"),
)
