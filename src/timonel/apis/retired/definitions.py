"""apiextensions.k8s.io/v1beta1 CustomResourceDefinition: what all versions share may stand at the top, schemas are
optional and need not be structural, and unknown fields are kept unless the definition says otherwise.

v1 accepts structural schemas only. So that old definitions go on working, a missing schema becomes one that keeps
everything, types that follow from what stands beside them are filled in, and where unknown fields are kept every object
in the schema says so. What is still not structural then is refused, with upstream's words for v1.

Upstream: apiextensions-apiserver/pkg/apis/apiextensions/v1beta1/{conversion,defaults}.go.
"""

from __future__ import annotations

from typing import Any

from timonel.apis.apiextensions.definition import CUSTOM_RESOURCE_DEFINITION, default_definition
from timonel.apis.apiextensions.hub import SHARED, hub_of
from timonel.apis.retired.version import retired
from timonel.objects.meta import Object

KEEPS_UNKNOWN = "x-kubernetes-preserve-unknown-fields"
_TOP = {"schema": "validation"}  # other names are the same at the top


def default_v1beta1(crd: Object) -> None:
    spec = crd.setdefault("spec", {})
    if not spec.get("scope"):
        spec["scope"] = "Namespaced"
    if not spec.get("versions") and spec.get("version"):
        spec["versions"] = [{"name": spec["version"], "served": True, "storage": True}]
    elif spec.get("versions") and not spec.get("version"):
        spec["version"] = spec["versions"][0].get("name", "")
    if spec.get("preserveUnknownFields") is None:
        spec["preserveUnknownFields"] = True
    conversion = spec.get("conversion")
    if conversion is None:
        spec["conversion"] = {"strategy": "None"}
    elif conversion.get("strategy") == "Webhook" and not conversion.get("conversionReviewVersions"):
        conversion["conversionReviewVersions"] = ["v1beta1"]


def to_v1(crd: Object) -> None:
    spec = crd.setdefault("spec", {})
    spec.pop("version", None)
    keeps_unknown = spec.pop("preserveUnknownFields", True)
    for key in SHARED:
        found = spec.pop(_TOP.get(key, key), None)
        for version in spec.get("versions") or () if found is not None else ():
            version.setdefault(key, found)
    for version in spec.get("versions") or ():
        for column in version.get("additionalPrinterColumns") or ():
            if "JSONPath" in column:
                column["jsonPath"] = column.pop("JSONPath")
        _to_structural(version, keeps_unknown=keeps_unknown is not False)
    conversion = spec.get("conversion") or {}
    config, reviews = (
        conversion.pop("webhookClientConfig", None),
        conversion.pop("conversionReviewVersions", None),
    )
    if config is not None or reviews:
        webhook = {"clientConfig": config, "conversionReviewVersions": reviews}
        conversion["webhook"] = {k: v for k, v in webhook.items() if v is not None}
    default_definition(crd)


def _to_structural(version: Object, *, keeps_unknown: bool) -> None:
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if schema is None:
        if keeps_unknown:
            version["schema"] = {"openAPIV3Schema": {"type": "object", KEEPS_UNKNOWN: True}}
        return
    metadata = (schema.get("properties") or {}).get("metadata")
    schema = _structural(schema, keeps_unknown=keeps_unknown)
    version["schema"] = {"openAPIV3Schema": schema}
    if metadata is not None:
        schema["properties"]["metadata"] = metadata  # may not say more than its type, and the name's
    schema.setdefault("type", "object")
    if keeps_unknown and schema["type"] == "object":
        schema[KEEPS_UNKNOWN] = True


def _structural(schema: Any, *, keeps_unknown: bool) -> Any:
    """A copy with the types that follow from the other words. Versions may share a schema."""
    if not isinstance(schema, dict):
        return schema
    found = dict(schema)
    if not any(found.get(key) for key in ("type", "x-kubernetes-int-or-string", KEEPS_UNKNOWN)):
        if found.get("properties") or isinstance(found.get("additionalProperties"), dict):
            found["type"] = "object"
        elif found.get("items"):
            found["type"] = "array"
        elif keeps_unknown:
            found[KEEPS_UNKNOWN] = True  # of any type
    if keeps_unknown and found.get("type") == "object" and found.get("additionalProperties") is None:
        found[KEEPS_UNKNOWN] = True
    for key in ("items", "additionalProperties"):
        if key in found:
            found[key] = _structural(found[key], keeps_unknown=keeps_unknown)
    if found.get("properties"):
        members = found["properties"].items()
        found["properties"] = {key: _structural(below, keeps_unknown=keeps_unknown) for key, below in members}
    return found


def to_v1beta1(crd: Object) -> None:
    spec, shared = crd.setdefault("spec", {}), hub_of(crd).shared
    versions = spec.get("versions") or []
    for version in versions:
        for column in version.get("additionalPrinterColumns") or ():
            if "jsonPath" in column:
                column["JSONPath"] = column.pop("jsonPath")
    for key in SHARED:
        if key in shared:
            spec[_TOP.get(key, key)] = versions[0][key]
            for version in versions:
                version.pop(key, None)
    if versions:
        spec["version"] = versions[0].get("name", "")
    spec["preserveUnknownFields"] = bool(spec.get("preserveUnknownFields"))
    conversion = spec.get("conversion") or {}
    webhook = conversion.pop("webhook", None) or {}
    if webhook.get("clientConfig") is not None:
        conversion["webhookClientConfig"] = webhook["clientConfig"]
    if webhook.get("conversionReviewVersions"):
        conversion["conversionReviewVersions"] = webhook["conversionReviewVersions"]


RESOURCES = (
    retired(
        CUSTOM_RESOURCE_DEFINITION,
        "apiextensions.k8s.io/v1beta1",
        "1.16",
        "1.22",
        default=default_v1beta1,
        to_stored=to_v1,
        from_stored=to_v1beta1,
    ),
)
