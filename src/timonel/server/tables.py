"""Objects as rows: the Table and PartialObjectMetadata forms of an answer.

Upstream: apiserver/pkg/endpoints/handlers/response.go, kubernetes/pkg/printers/tableconvertor.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from timonel.apis.resource import ResourceType
from timonel.objects.meta import Object
from timonel.server.negotiate import Form

NAME_DESCRIPTION = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a "
    "client to request the generation of an appropriate name automatically. Name is primarily intended for creation "
    "idempotence and configuration definition. Cannot be updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)
AGE_DESCRIPTION = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed "
    "to be set in happens-before order across separate operations. Clients may not set this value. It is represented "
    "in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)
INCLUDE = ("None", "Metadata", "Object")


def definitions(rtype: ResourceType, describe: Callable[[str], str]) -> list[Object]:
    """`describe` knows the published description of a field."""
    name = {
        "name": "Name",
        "type": "string",
        "format": "name",
        "description": NAME_DESCRIPTION,
        "priority": 0,
    }
    if not rtype.columns:
        created = {
            "name": "Created At",
            "type": "date",
            "format": "",
            "description": AGE_DESCRIPTION,
            "priority": 0,
        }
        return [name, created]
    own = [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": column.description or (describe(column.doc) if column.doc else ""),
            "priority": column.priority,
        }
        for column in rtype.columns
    ]
    return own if _names_itself(rtype) else [name, *own]


def _names_itself(rtype: ResourceType) -> bool:
    """Events have their name last."""
    return any(column.name == "Name" for column in rtype.columns)


def cells(rtype: ResourceType, obj: Object, now: float) -> list[Any]:
    metadata = obj["metadata"]
    name = metadata.get("name", "")
    if not rtype.columns:
        return [name, metadata.get("creationTimestamp")]
    own = [column.value(obj, now) for column in rtype.columns]
    return own if _names_itself(rtype) else [name, *own]


def table(
    rtype: ResourceType,
    form: Form,
    rows: Iterable[tuple[Object, Object]],
    metadata: Object,
    *,
    describe: Callable[[str], str],
    now: float,
    include: str,
    headers: bool = True,
) -> Object:
    """`rows` are pairs: the object for the cells (in the working form) and the one to include (as served)."""
    tree: Object = {"kind": "Table", "apiVersion": form.api_version, "metadata": metadata}
    tree["columnDefinitions"] = definitions(rtype, describe) if headers else None
    tree["rows"] = [row(rtype, form, working, served, now=now, include=include) for working, served in rows]
    return tree


def row(
    rtype: ResourceType, form: Form, working: Object, served: Object, *, now: float, include: str
) -> Object:
    found: Object = {"cells": cells(rtype, working, now)}
    if include == "Object":
        found["object"] = served
    elif include == "None":
        found["object"] = None
    else:
        found["object"] = partial(working, form)
    return found


def partial(obj: Object, form: Form) -> Object:
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": form.api_version,
        "metadata": obj["metadata"],
    }
