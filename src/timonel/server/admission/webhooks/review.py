"""AdmissionReview: what a webhook is asked, and what its answer means. Pure.

Upstream: apiserver/pkg/admission/plugin/webhook/{request/admissionreview.go,errors/statuserror.go}.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

import orjson

from timonel.machinery import errors
from timonel.machinery.errors import StatusError
from timonel.machinery.field import quote
from timonel.objects.meta import Object
from timonel.records import dataclass

GROUP, KIND = "admission.k8s.io", "AdmissionReview"
VERSIONS = ("v1", "v1beta1")


class InvalidAnswer(ValueError):
    """The answer is none to what was asked; the text says why."""


@dataclass(frozen=True, slots=True)
class Verdict:
    allowed: bool
    status: Object | None = None  # why not
    patch: bytes = b""
    patch_type: str = ""
    warnings: Sequence[str] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)


def version_of(supported: Sequence[str]) -> str:
    """The first version that both sides know. Raises InvalidAnswer."""
    for version in supported:
        if version in VERSIONS:
            return version
    raise InvalidAnswer("webhook does not accept known AdmissionReview versions (v1, v1beta1)")


def review(version: str, request: Object) -> bytes:
    """The body of a call; `request` with its uid and objects."""
    return orjson.dumps({"kind": KIND, "apiVersion": f"{GROUP}/{version}", "request": request})


def new_uid() -> str:
    return str(uuid.uuid4())


def verdict(answer: Any, *, version: str, uid: str, mutates: bool) -> Verdict:
    """Raises InvalidAnswer."""
    tree = answer if isinstance(answer, dict) else {}
    response = tree.get("response")
    if not isinstance(response, dict):
        raise InvalidAnswer("webhook response was absent")
    _check_types(response)
    if version == "v1":
        _check_v1(tree, response, uid, mutates)
    patch = _patch(response) if mutates else b""
    kind = response.get("patchType") or ("JSONPatch" if version == "v1beta1" and patch else "")
    status = response.get("status")
    return Verdict(
        response.get("allowed") is True,
        status if isinstance(status, dict) else None,
        patch,
        str(kind),
        [w for w in response.get("warnings") or () if isinstance(w, str)],
        {str(k): v for k, v in (response.get("auditAnnotations") or {}).items() if isinstance(v, str)},
    )


_TYPES: dict[str, type] = {
    "allowed": bool,
    "status": dict,
    "patch": str,
    "patchType": str,
    "warnings": list,
    "auditAnnotations": dict,
}


def _check_types(response: Object) -> None:
    for name, kind in _TYPES.items():
        value = response.get(name)
        if value is not None and not isinstance(value, kind):
            raise InvalidAnswer(
                f"json: cannot unmarshal into Go struct field AdmissionResponse.response.{name}"
            )


def _check_v1(tree: Object, response: Object, uid: str, mutates: bool) -> None:
    if response.get("uid") != uid:
        raise InvalidAnswer(
            f"expected response.uid={quote(uid)}, got {quote(str(response.get('uid') or ''))}"
        )
    if tree.get("apiVersion") != f"{GROUP}/v1" or tree.get("kind") != KIND:
        given = f"{tree.get('apiVersion') or '/'}, Kind={tree.get('kind') or ''}"
        raise InvalidAnswer(f"expected webhook response of {GROUP}/v1, Kind={KIND}, got {given}")
    patch, kind = response.get("patch"), response.get("patchType")
    if not mutates:
        if patch:
            raise InvalidAnswer("validating webhook may not return response.patch")
        if kind is not None:
            raise InvalidAnswer("validating webhook may not return response.patchType")
        return
    if patch and kind is None:
        raise InvalidAnswer("webhook returned response.patch but not response.patchType")
    if not patch and kind is not None:
        raise InvalidAnswer("webhook returned response.patchType but not response.patch")
    if kind is not None and kind != "JSONPatch":
        raise InvalidAnswer(f"webhook returned invalid response.patchType of {quote(str(kind))}")


def _patch(response: Object) -> bytes:
    patch = response.get("patch")
    if not patch:
        return b""
    try:
        return base64.b64decode(patch, validate=True)
    except (binascii.Error, TypeError, ValueError) as exc:
        raise InvalidAnswer("illegal base64 data in response.patch") from exc


def refusal(hook: str, status: Object | None) -> StatusError:
    """What the client is told when a webhook says no."""
    given = status or {}
    code = given.get("code")
    code = code if isinstance(code, int) and 400 <= code < 600 else 400
    reason, message = str(given.get("reason") or ""), str(given.get("message") or "")
    text = f"admission webhook {quote(hook)} denied the request"
    text += f": {message or reason}" if message or reason else " without explanation"
    details = given.get("details")
    return Refused(text, reason, code, details if isinstance(details, dict) else None)


class Refused(StatusError):
    """With the reason, code and details that the webhook chose."""

    def __init__(self, text: str, reason: str, code: int, details: Object | None) -> None:
        super().__init__(text, code=code, details=details is not None)
        self.details = details or {}
        self._reason = reason

    def to_status(self) -> dict[str, Any]:
        status = super().to_status()
        if not self._reason:
            return status
        code = status.pop("code")
        return {**status, "reason": self._reason, "code": code}


def dry_run_unsupported(hook: str) -> errors.BadRequest:
    return errors.BadRequest(f"admission webhook {quote(hook)} does not support dry run")
