"""Rules for the spec of pods and of pod templates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from timonel.machinery import field
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object


def validate_pod(obj: Object) -> Iterator[Cause]:
    yield from validate_pod_spec("spec", obj.get("spec") or {})


def validate_pod_spec(path: str, spec: Object) -> Iterator[Cause]:
    if not spec.get("containers"):
        yield field.required(f"{path}.containers")


def validate_pod_template(template: Object, path: str, claims: Sequence[Object] = ()) -> Iterator[Cause]:
    yield from validate_pod_spec(f"{path}.spec", template.get("spec") or {})


def validate_template_object(obj: Object) -> Iterator[Cause]:
    yield from validate_pod_template(obj.get("template") or {}, "template")
