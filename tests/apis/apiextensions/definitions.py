"""Definitions for tests, as clients send them, and what the rules say of them."""

from __future__ import annotations

import copy
from typing import Any

from timonel.apis.apiextensions.definition import CUSTOM_RESOURCE_DEFINITION as DEFINITION
from timonel.objects.meta import Object

TEXT, COUNT = {"type": "string"}, {"type": "integer"}
AT = "spec.validation.openAPIV3Schema"


def version(name: str = "v1", schema: Any = None, **words: Any) -> Object:
    schema = {"type": "object"} if schema is None else schema
    return {
        "name": name,
        "served": True,
        "storage": name == "v1",
        "schema": {"openAPIV3Schema": schema},
        **words,
    }


def definition(*versions: Object, **spec: Any) -> Object:
    """Defaulted and prepared, as it is when it is validated."""
    crd = {
        "metadata": {"name": "things.a.io"},
        "spec": {
            "group": "a.io",
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": list(versions) or [version()],
            **spec,
        },
    }
    crd = copy.deepcopy(crd)
    DEFINITION.default(crd)
    DEFINITION.prepare_create(crd)
    return crd


def with_fields(**fields: Any) -> Object:
    return definition(version(schema={"type": "object", "properties": fields}))


def established(crd: Object) -> Object:
    found = copy.deepcopy(crd)
    found["status"]["conditions"] = [{"type": "Established", "status": "True"}]
    return found


def refused(crd: Object) -> list[str]:
    return [str(cause) for cause in DEFINITION.validate(crd)]


def refused_change(old: Object, new: Object) -> list[str]:
    new = copy.deepcopy(new)
    DEFINITION.prepare_update(new, old)
    return [str(cause) for cause in DEFINITION.validate_update(new, old)]
