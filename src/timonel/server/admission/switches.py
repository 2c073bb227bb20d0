"""Which plugins run: --enable-admission-plugins and --disable-admission-plugins of kube-apiserver.

Upstream: apiserver/pkg/server/options/admission.go, pkg/kubeapiserver/options/plugins.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from timonel.machinery.field import quote
from timonel.records import dataclass
from timonel.server.request import AdmissionPlugin

ENABLE, DISABLE = "enable-admission-plugins", "disable-admission-plugins"

ON = (
    "CertificateApproval", "CertificateSigning", "CertificateSubjectRestriction", "DefaultIngressClass",
    "DefaultStorageClass", "DefaultTolerationSeconds", "LimitRanger", "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook", "NamespaceLifecycle", "NodeRestriction", "PersistentVolumeClaimResize", "PodSecurity",
    "Priority", "ResourceQuota", "RuntimeClass", "ServiceAccount", "StorageObjectInUseProtection",
    "TaintNodesByCondition", "ValidatingAdmissionPolicy", "ValidatingAdmissionWebhook",
)  # fmt: skip
OFF = ("AlwaysPullImages", "DenyServiceExternalIPs", "OwnerReferencesPermissionEnforcement")


@dataclass(frozen=True, slots=True)
class Switches:
    enabled: frozenset[str] = frozenset()  # besides those that are on by themselves
    disabled: frozenset[str] = frozenset()

    def is_on(self, name: str) -> bool:
        return name not in self.disabled and (name not in OFF or name in self.enabled)

    def chosen(self, plugins: Iterable[AdmissionPlugin]) -> Sequence[AdmissionPlugin]:
        """Those that store are no plugins in upstream's sense, and stay."""
        return tuple(p for p in plugins if getattr(p, "stores", False) or self.is_on(p.name))


def parse(enable: Sequence[str], disable: Sequence[str]) -> Switches:
    """Raises ValueError."""
    for flag, names in ((ENABLE, enable), (DISABLE, disable)):
        for name in names:
            if name not in ON and name not in OFF:
                raise ValueError(f"{flag} plugin {quote(name)} is unknown")
    both = sorted(set(enable) & set(disable))
    if both:
        raise ValueError(f"[{' '.join(both)}] in {ENABLE} and {DISABLE} overlapped")
    return Switches(frozenset(enable), frozenset(disable))
