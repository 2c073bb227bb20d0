"""apiextensions.k8s.io/v1: CustomResourceDefinition.

Its conditions, accepted names and finalizer are the server's business (`timonel.server.custom`). The rules are imported
when the first definition is written: a cluster without custom resources never needs them.

Upstream: apiextensions-apiserver/pkg/apis/apiextensions/v1/defaults.go,
pkg/registry/customresourcedefinition/strategy.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis.apiextensions.hub import hub_of
from timonel.apis.printing import CREATED_AT
from timonel.apis.resource import ResourceType
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

GROUP = "apiextensions.k8s.io"


def default_definition(crd: Object) -> None:
    spec = crd.setdefault("spec", {})
    names = spec.setdefault("names", {})
    kind = names.get("kind", "")
    if kind and not names.get("singular"):
        names["singular"] = kind.lower()
    if kind and not names.get("listKind"):
        names["listKind"] = f"{kind}List"
    if spec.get("conversion") is None:
        spec["conversion"] = {"strategy": "None"}
    webhook = spec["conversion"].get("webhook") or {}
    service = (webhook.get("clientConfig") or {}).get("service")
    if service is not None and service.get("port") is None:
        service["port"] = 443


def prepare_create(crd: Object) -> None:
    crd["status"] = {"conditions": None, "acceptedNames": {"plural": "", "kind": ""}}
    _note_stored_version(crd)


def prepare_update(new: Object, old: Object) -> None:
    """What was ever stored stays noted, until somebody has rewritten it and takes it away."""
    new["status"] = dict(old.get("status") or {})
    _note_stored_version(new)


def _note_stored_version(crd: Object) -> None:
    status = crd["status"]
    stored = list(status.get("storedVersions") or ())
    for version in crd["spec"].get("versions") or ():
        if version.get("storage"):
            if version.get("name", "") not in stored:
                stored.append(version.get("name", ""))
            break
    if stored:
        status["storedVersions"] = stored


def validate(crd: Object) -> Iterator[Cause]:
    from timonel.apis.apiextensions.validation import validate_definition

    return validate_definition(crd)


def validate_update(new: Object, old: Object) -> Iterator[Cause]:
    from timonel.apis.apiextensions.validation import validate_definition_update

    return validate_definition_update(new, old)


def validate_status_update(new: Object, old: Object) -> Iterator[Cause]:
    from timonel.apis.apiextensions.validation import validate_definition_status

    return validate_definition_status(new, old)


def warnings(crd: Object) -> Iterator[str]:
    from timonel.apis.apiextensions import formats

    yield from formats.warnings(hub_of(crd))


def warnings_update(new: Object, old: Object) -> Iterator[str]:
    from timonel.apis.apiextensions import formats

    known = set(formats.warnings(hub_of(old)))
    yield from (warning for warning in formats.warnings(hub_of(new)) if warning not in known)


CUSTOM_RESOURCE_DEFINITION = ResourceType(
    group=GROUP,
    version="v1",
    kind="CustomResourceDefinition",
    plural="customresourcedefinitions",
    frugal=True,
    namespaced=False,
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    status=True,
    generation=True,
    unconditional_update=False,
    columns=(CREATED_AT,),
    default=default_definition,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    warnings=warnings,
    warnings_update=warnings_update,
)
