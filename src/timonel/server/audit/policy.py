"""The audit policy: a list of rules, the first that fits says how much of a request is recorded. Pure.

Upstream: apiserver/pkg/audit/policy/{reader,checker}.go, apiserver/pkg/apis/audit/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from timonel.machinery import field
from timonel.machinery.errors import Cause
from timonel.records import dataclass
from timonel.server.chain.info import Info
from timonel.server.request import User

API_VERSION = "audit.k8s.io/v1"
NONE, METADATA, REQUEST, RESPONSE = LEVELS = ("None", "Metadata", "Request", "RequestResponse")
RECEIVED, STARTED, COMPLETE, PANIC = STAGES = (
    "RequestReceived", "ResponseStarted", "ResponseComplete", "Panic",
)  # fmt: skip
_POLICY = frozenset(("apiVersion", "kind", "metadata", "rules", "omitStages", "omitManagedFields"))
_RULE = frozenset(
    ("level", "users", "userGroups", "verbs", "resources", "namespaces", "nonResourceURLs", "omitStages",
     "omitManagedFields")
)  # fmt: skip
_RESOURCE = frozenset(("group", "resources", "resourceNames"))


class PolicyError(ValueError):
    """A policy that cannot be used, in upstream's words."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a request is recorded."""

    level: str
    omit_stages: frozenset[str] = frozenset()
    omit_managed_fields: bool = False


UNRECORDED = Verdict(NONE)


@dataclass(frozen=True, slots=True)
class Resources:
    group: str
    resources: tuple[str, ...]
    names: tuple[str, ...]

    def fits(self, info: Info) -> bool:
        if self.group != info.group:
            return False
        if not self.resources:
            return True
        if self.names and info.name not in self.names:
            return False
        combined = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
        return any(
            each in ("*", combined)
            or (info.subresource and each == f"*/{info.subresource}")
            or each == f"{info.resource}/*"
            for each in self.resources
        )


@dataclass(frozen=True, slots=True)
class Rule:
    verdict: Verdict
    users: frozenset[str]
    groups: frozenset[str]
    verbs: frozenset[str]
    namespaces: frozenset[str]
    resources: tuple[Resources, ...]
    urls: tuple[str, ...]

    def fits(self, user: User | None, info: Info) -> bool:
        if self.users and (user is None or user.name not in self.users):
            return False
        if self.groups and (user is None or self.groups.isdisjoint(user.groups)):
            return False
        if self.verbs and info.verb not in self.verbs:
            return False
        if self.namespaces or self.resources:
            return self._fits_resource(info)
        if self.urls:
            return not info.is_resource and any(_fits_path(info.path, url) for url in self.urls)
        return True

    def _fits_resource(self, info: Info) -> bool:
        if not info.is_resource or (self.namespaces and info.namespace not in self.namespaces):
            return False
        return not self.resources or any(each.fits(info) for each in self.resources)


@dataclass(frozen=True, slots=True)
class Policy:
    rules: tuple[Rule, ...]

    def judge(self, user: User | None, info: Info) -> Verdict:
        for rule in self.rules:
            if rule.fits(user, info):
                return rule.verdict
        return UNRECORDED


def _fits_path(path: str, url: str) -> bool:
    return url in ("*", path) or (url.endswith("*") and path.startswith(url.rstrip("*")))


def read(tree: Any) -> Policy:
    """From the tree of a policy file. Raises PolicyError."""
    if not isinstance(tree, dict) or tree.get("kind") != "Policy":
        raise PolicyError("failed decoding: the file holds no audit Policy")
    if tree.get("apiVersion") != API_VERSION:
        raise PolicyError(
            f"unknown group version field {tree.get('apiVersion')} in policy; expected {API_VERSION}"
        )
    unknown = sorted(set(tree) - _POLICY)
    if unknown:
        raise PolicyError(f'strict decoding error: unknown field "{unknown[0]}"')
    rules = tree.get("rules") or ()
    if not rules:
        raise PolicyError("loaded illegal policy with 0 rules")
    causes = [*_validate_stages("omitStages", tree.get("omitStages")), *_validate_rules(rules)]
    if causes:
        texts = [str(cause) for cause in causes]
        raise PolicyError(texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")
    return Policy(tuple(_rule(tree, rule) for rule in rules))


def _rule(policy: dict[str, Any], rule: dict[str, Any]) -> Rule:
    stages = frozenset((*(policy.get("omitStages") or ()), *(rule.get("omitStages") or ())))
    omit = rule.get("omitManagedFields")
    if omit is None:
        omit = policy.get("omitManagedFields") or False
    return Rule(
        Verdict(rule["level"], stages, omit),
        frozenset(rule.get("users") or ()),
        frozenset(rule.get("userGroups") or ()),
        frozenset(rule.get("verbs") or ()),
        frozenset(rule.get("namespaces") or ()),
        tuple(
            Resources(
                each.get("group", ""),
                tuple(each.get("resources") or ()),
                tuple(each.get("resourceNames") or ()),
            )
            for each in rule.get("resources") or ()
        ),
        tuple(rule.get("nonResourceURLs") or ()),
    )


def _validate_stages(path: str, stages: Any) -> Iterator[Cause]:
    for stage in stages or ():
        if stage not in STAGES:
            yield field.invalid(path, stage, f"must be one of {', '.join(STAGES)}")


def _validate_rules(rules: Any) -> Iterator[Cause]:
    for index, rule in enumerate(rules):
        path = f"rules[{index}]"
        if not isinstance(rule, dict) or set(rule) - _RULE:
            yield field.invalid(
                path, rule, "unknown field" if isinstance(rule, dict) else "must be an object"
            )
            continue
        level = rule.get("level", "")
        if not level:
            yield field.required(f"{path}.level")
        elif level not in LEVELS:
            yield field.not_supported(f"{path}.level", level, tuple(sorted(LEVELS)))
        urls = rule.get("nonResourceURLs") or ()
        if urls and (rule.get("resources") or rule.get("namespaces")):
            text = "rules cannot apply to both regular resources and non-resource URLs"
            yield field.invalid(f"{path}.nonResourceURLs", list(urls), text)
        yield from _validate_urls(f"{path}.nonResourceURLs", urls)
        yield from _validate_resources(f"{path}.resources", rule.get("resources") or ())
        yield from _validate_stages(f"{path}.omitStages", rule.get("omitStages"))


def _validate_urls(path: str, urls: Any) -> Iterator[Cause]:
    for index, url in enumerate(urls):
        if url == "*":
            continue
        if not url.startswith("/"):
            text = "non-resource URL rules must begin with a '/' character"
            yield field.invalid(f"{path}[{index}]", url, text)
        if "*" in url[:-1]:
            text = "non-resource URL wildcards '*' must be the final character of the rule"
            yield field.invalid(f"{path}[{index}]", url, text)


def _validate_resources(path: str, groups: Any) -> Iterator[Cause]:
    for index, group in enumerate(groups):
        at = f"{path}[{index}]"
        if not isinstance(group, dict) or set(group) - _RESOURCE:
            yield field.invalid(at, group, "unknown field")
            continue
        name = group.get("group", "")
        if "/" in name:
            yield field.invalid(f"{at}.group", name, "The API group must not contain a version")
        if group.get("resourceNames") and not group.get("resources"):
            text = "using resourceNames requires at least one resource"
            yield field.invalid(f"{at}.resourceNames", group["resourceNames"], text)
