"""apiextensions.k8s.io: CustomResourceDefinition, the kind that adds kinds.

`definition` declares it, `hub` shows a definition as upstream's rules see it, `validation` checks names, versions and
conversion, `openapi`, `structurality`, `defaults` and `expressions` check the schemas, `gotext` prints what upstream's
messages print of Go's structs.

Upstream: apiextensions-apiserver/pkg/apis/apiextensions, pkg/registry/customresourcedefinition.
"""

from __future__ import annotations

from timonel.apis.apiextensions.definition import CUSTOM_RESOURCE_DEFINITION

RESOURCES = (CUSTOM_RESOURCE_DEFINITION,)
