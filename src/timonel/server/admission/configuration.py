"""AdmissionConfiguration: the file of --admission-control-config-file, and what it says to plugins.

Upstream: apiserver/pkg/admission/config.go, pod-security-admission/admission/api,
apiserver/pkg/admission/plugin/{webhook/config,resourcequota/apis/resourcequota}.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from timonel.objects.meta import Object
from timonel.records import dataclass
from timonel.server.admission.pods import TOLERATED
from timonel.server.admission.podsecurity import policy
from timonel.server.admission.podsecurity.policy import Policy
from timonel.server.outbound import ClientAuth

FLAG = "admission-control-config-file"
MODES = ("enforce", "audit", "warn")


@dataclass(frozen=True, slots=True)
class PodSecuritySettings:
    """`defaults` are as labels of a namespace; the others are exempt."""

    defaults: Mapping[str, str] = field(default_factory=dict)
    users: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    runtime_classes: frozenset[str] = frozenset()

    def policy(self, labels: Mapping[str, str]) -> Policy:
        return policy.parse({**self.defaults, **labels})[0]


@dataclass(frozen=True, slots=True)
class Limited:
    """Pods of these scopes, or objects that take of these amounts, may exist only where a quota covers them."""

    resource: str  # qualified
    contains: tuple[str, ...] = ()
    scopes: tuple[Object, ...] = ()


@dataclass(frozen=True, slots=True)
class Configuration:
    pod_security: PodSecuritySettings = field(default_factory=PodSecuritySettings)
    limited: tuple[Limited, ...] = ()
    webhook_users: Mapping[str, ClientAuth] = field(default_factory=dict)  # by host:port, host, *.domain, *
    # seconds that pods stay on a node that is not ready, or cannot be reached
    tolerated: tuple[int, int] = (TOLERATED, TOLERATED)

    def credentials(self, authority: str) -> ClientAuth | None:
        """Of a webhook at host:port: the most exact entry. Upstream: apiserver/pkg/util/webhook/authentication.go."""
        users = self.webhook_users
        if not users:
            return None
        host = authority.removesuffix(":443")
        for name in (authority, host):
            if name in users:
                return users[name]
        parts = authority.partition(":")[0].split(".")
        for index in range(1, len(parts)):
            found = users.get(".".join(("*", *parts[index:])))
            if found is not None:
                return found
        return users.get("*")


def load(path: str) -> Configuration:
    """Raises ValueError."""
    import yaml  # here: most servers have no such file

    def read(file: Path) -> Object:
        try:
            tree = yaml.safe_load(file.read_text())
        except (OSError, yaml.YAMLError) as exc:
            raise ValueError(
                f"unable to read admission control configuration from {str(file)!r}: {exc}"
            ) from exc
        if not isinstance(tree, dict):
            raise ValueError(f"{file}: not a mapping")
        return tree

    root = Path(path)
    tree = read(root)
    if tree.get("kind") != "AdmissionConfiguration":
        raise ValueError(f"{path}: no AdmissionConfiguration")
    found: dict[str, Any] = {}
    users: dict[str, ClientAuth] = {}
    for plugin in tree.get("plugins") or ():
        name, given = plugin.get("name", ""), plugin.get("configuration")
        if given is None and plugin.get("path"):
            given = read(root.parent / plugin["path"])
        if not isinstance(given, dict):
            continue
        match name:
            case "PodSecurity":
                found["pod_security"] = pod_security(given)
            case "ResourceQuota":
                found["limited"] = limited(given)
            case "MutatingAdmissionWebhook" | "ValidatingAdmissionWebhook":
                if given.get("kubeConfigFile"):
                    users |= webhook_users(str(root.parent / given["kubeConfigFile"]))
    return Configuration(**found, webhook_users=users)


def pod_security(tree: Object) -> PodSecuritySettings:
    """Raises ValueError."""
    defaults: Object = tree.get("defaults") or {}
    exemptions: Object = tree.get("exemptions") or {}
    labels = {}
    for mode in MODES:
        for key in (mode, f"{mode}-version"):
            if key in defaults:
                labels[policy.PREFIX + key] = str(defaults[key])
    _, causes = policy.parse(labels)
    if causes:
        raise ValueError(f"PodSecurity: {', '.join(map(str, causes))}")
    return PodSecuritySettings(
        labels,
        frozenset(exemptions.get("usernames") or ()),
        frozenset(exemptions.get("namespaces") or ()),
        frozenset(exemptions.get("runtimeClasses") or ()),
    )


def limited(tree: Object) -> tuple[Limited, ...]:
    found = []
    for each in tree.get("limitedResources") or ():
        group, resource = each.get("apiGroup") or "", each.get("resource", "")
        scopes = tuple(each.get("matchScopes") or ())
        qualified = f"{resource}.{group}" if group else resource
        found.append(Limited(qualified, tuple(each.get("matchContains") or ()), scopes))
    return tuple(found)


def webhook_users(path: str) -> dict[str, ClientAuth]:
    """Raises ValueError."""
    from timonel.client import kubeconfig  # here: it reads YAML, too

    try:
        users = kubeconfig.load(path).users
    except kubeconfig.ConfigError as exc:
        raise ValueError(str(exc)) from exc
    return {name: ClientAuth.of(user) for name, user in users.items()}
