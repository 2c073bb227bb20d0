"""apiextensions.k8s.io/v1: CustomResourceDefinition, for reading only: custom resources are not served yet.

Clients look here when a kind is unknown to them, and say what is wrong only if they get an answer: there are none.

Upstream: apiextensions-apiserver/pkg/registry/customresourcedefinition/strategy.go.
"""

from __future__ import annotations

from timonel.apis.printing import CREATED_AT
from timonel.apis.resource import ResourceType

CUSTOM_RESOURCE_DEFINITION = ResourceType(
    group="apiextensions.k8s.io",
    version="v1",
    kind="CustomResourceDefinition",
    plural="customresourcedefinitions",
    namespaced=False,
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    verbs=("get", "list", "watch"),
    columns=(CREATED_AT,),
)

RESOURCES = (CUSTOM_RESOURCE_DEFINITION,)
