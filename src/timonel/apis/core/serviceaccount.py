"""core/v1: ServiceAccount.

Upstream: pkg/registry/core/serviceaccount/strategy.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis.printing import AGE
from timonel.apis.resource import ResourceType
from timonel.objects.meta import Object, annotations_of

MOUNTABLE_SECRETS = "kubernetes.io/enforce-mountable-secrets"


def prepare_create(obj: Object) -> None:
    """References to secrets keep nothing but the name: they are always of the same namespace."""
    if obj.get("secrets"):
        obj["secrets"] = [{"name": ref["name"]} if ref.get("name") else {} for ref in obj["secrets"]]


def prepare_update(new: Object, old: Object) -> None:
    prepare_create(new)


def warnings(obj: Object) -> Iterator[str]:
    if MOUNTABLE_SECRETS in annotations_of(obj):
        yield (
            f"metadata.annotations[{MOUNTABLE_SECRETS}]: deprecated in v1.32+; prefer separate namespaces to "
            "isolate access to mounted secrets"
        )


def warnings_update(new: Object, old: Object) -> Iterator[str]:
    if annotations_of(new).get(MOUNTABLE_SECRETS) != annotations_of(old).get(MOUNTABLE_SECRETS):
        yield from warnings(new)


SERVICE_ACCOUNT = ResourceType(
    group="",
    version="v1",
    kind="ServiceAccount",
    plural="serviceaccounts",
    short_names=("sa",),
    subresources=("token",),
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    warnings=warnings,
    warnings_update=warnings_update,
    columns=(AGE,),
)

RESOURCES = (SERVICE_ACCOUNT,)
