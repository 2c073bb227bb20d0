"""A CustomResourceDefinition as values: what to serve, under which names, in which versions.

Schemas stay where they are, in the bytes of the stored definition, until somebody uses a version.

Upstream: apiextensions-apiserver/pkg/apis/apiextensions/helpers.go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

import orjson

from timonel.objects.meta import Object
from timonel.records import dataclass

GROUP, KIND = "apiextensions.k8s.io", "CustomResourceDefinition"
QUALIFIED = f"customresourcedefinitions.{GROUP}"
ESTABLISHED, NAMES_ACCEPTED, TERMINATING = "Established", "NamesAccepted", "Terminating"
NON_STRUCTURAL, API_APPROVAL = "NonStructuralSchema", "KubernetesAPIApprovalPolicyConformant"


@dataclass(frozen=True, slots=True)
class Names:
    plural: str = ""
    singular: str = ""
    kind: str = ""
    list_kind: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Version:
    """One version as the definition words it, without its schema."""

    name: str
    served: bool
    storage: bool
    warning: str  # empty: not deprecated
    columns: Sequence[Mapping[str, Any]]
    status: bool
    scale: Mapping[str, str] | None
    selectable: tuple[str, ...]  # JSON paths


@dataclass(frozen=True, slots=True)
class Definition:
    name: str
    uid: str
    digest: str  # of the spec
    group: str
    names: Names  # those that were accepted
    namespaced: bool
    versions: tuple[Version, ...]
    conversion: Mapping[str, Any] = field(default_factory=dict)
    keeps_unknown: bool = False  # nothing is pruned, as definitions of old could ask for
    established: bool = False
    terminating: bool = False

    @property
    def storage(self) -> Version:
        return next(v for v in self.versions if v.storage)

    @property
    def qualified(self) -> str:
        return f"{self.names.plural}.{self.group}"

    def version(self, name: str) -> Version | None:
        return next((v for v in self.versions if v.name == name), None)


def names_of(tree: Mapping[str, Any]) -> Names:
    return Names(
        plural=tree.get("plural") or "",
        singular=tree.get("singular") or "",
        kind=tree.get("kind") or "",
        list_kind=tree.get("listKind") or "",
        short_names=tuple(tree.get("shortNames") or ()),
        categories=tuple(tree.get("categories") or ()),
    )


def condition(crd: Object, kind: str) -> Mapping[str, Any] | None:
    conditions = (crd.get("status") or {}).get("conditions") or ()
    found: Mapping[str, Any] | None = next((c for c in conditions if c.get("type") == kind), None)
    return found


def is_true(crd: Object, kind: str) -> bool:
    found = condition(crd, kind)
    return found is not None and found.get("status") == "True"


def definition_of(crd: Object) -> Definition:
    """Of a stored definition, which is a valid one."""
    spec, metadata = crd["spec"], crd["metadata"]
    group = spec["group"]
    kind = spec["names"]["kind"]
    return Definition(
        name=metadata["name"],
        uid=metadata["uid"],
        digest=hashlib.sha256(orjson.dumps(spec)).hexdigest(),
        group=group,
        names=names_of((crd.get("status") or {}).get("acceptedNames") or {}),
        namespaced=spec["scope"] == "Namespaced",
        versions=tuple(_version(v, group, kind) for v in spec["versions"]),
        conversion=spec.get("conversion") or {},
        keeps_unknown=bool(spec.get("preserveUnknownFields")),
        established=is_true(crd, ESTABLISHED),
        terminating=is_true(crd, TERMINATING),
    )


def _version(version: Mapping[str, Any], group: str, kind: str) -> Version:
    subresources = version.get("subresources") or {}
    warning = ""
    if version.get("deprecated"):
        given = version.get("deprecationWarning")
        warning = f"{group}/{version['name']} {kind} is deprecated" if given is None else given
    return Version(
        name=version["name"],
        served=bool(version.get("served")),
        storage=bool(version.get("storage")),
        warning=warning,
        columns=tuple(version.get("additionalPrinterColumns") or ()),
        status=subresources.get("status") is not None,
        scale=subresources.get("scale"),
        selectable=tuple(f["jsonPath"] for f in version.get("selectableFields") or ()),
    )


def schema_of(crd: Object, version: str) -> Mapping[str, Any] | None:
    """The schema of a version; None where it has none, or keeps every field by an old setting."""
    for found in crd["spec"]["versions"]:
        if found["name"] == version:
            schema: Mapping[str, Any] | None = (found.get("schema") or {}).get("openAPIV3Schema")
            return schema
    return None
