"""API errors: one exception class per Status reason, each knowing its HTTP code.

Raise these anywhere above the store. Exactly one place turns them into a `Status` body
(`timonel.server.responses`), and exactly one place turns a `Status` body back into them
(`timonel.client.transport`). The sentences are wire format: clients and people match on them.

Upstream: apimachinery/pkg/api/errors/errors.go, apis/meta/v1/types.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from timonel.records import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason a field was refused; `type` is a CauseType such as FieldValueInvalid.

    `message` is the text without the field, as in `details.causes[].message`
    (`Invalid value: -1: must be greater than or equal to 0`). Make them with `machinery.field`.
    """

    type: str
    message: str
    field: str = ""

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class StatusError(Exception):
    """An error that has a Kubernetes `Status` representation."""

    reason: ClassVar[str] = ""
    code: ClassVar[int] = 500

    def __init__(
        self,
        message: str,
        *,
        name: str = "",
        group: str = "",
        kind: str = "",
        uid: str = "",
        causes: Iterable[Cause] = (),
        retry_after: int = 0,
        code: int | None = None,
        details: bool | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """`details=True` writes an empty `details: {}` too, as upstream does for some reasons."""
        super().__init__(message)
        self.message = message
        self.causes = tuple(causes)
        self.retry_after = retry_after
        self.status_code = self.code if code is None else code
        self.details: dict[str, Any] = {
            key: value
            for key, value in (("name", name), ("group", group), ("kind", kind), ("uid", uid))
            if value
        }
        if self.causes:
            self.details["causes"] = [cause_to_wire(c) for c in self.causes]
        if retry_after:
            self.details["retryAfterSeconds"] = retry_after
        self.has_details = bool(self.details) if details is None else details
        self.metadata = dict(metadata or {})

    def to_status(self) -> dict[str, Any]:
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.has_details:
            status["details"] = self.details
        status["code"] = self.status_code
        return status


def cause_to_wire(cause: Cause) -> dict[str, str]:
    wire = {"reason": cause.type, "message": cause.message, "field": cause.field}
    return {k: v for k, v in wire.items() if v}


class BadRequest(StatusError):
    reason, code = "BadRequest", 400


class Unauthorized(StatusError):
    reason, code = "Unauthorized", 401


class Forbidden(StatusError):
    reason, code = "Forbidden", 403


class NotFound(StatusError):
    reason, code = "NotFound", 404


class MethodNotAllowed(StatusError):
    reason, code = "MethodNotAllowed", 405


class NotAcceptable(StatusError):
    reason, code = "NotAcceptable", 406


class AlreadyExists(StatusError):
    reason, code = "AlreadyExists", 409


class Conflict(StatusError):
    reason, code = "Conflict", 409


class Gone(StatusError):
    reason, code = "Gone", 410


class Expired(StatusError):
    reason, code = "Expired", 410


class RequestEntityTooLarge(StatusError):
    reason, code = "RequestEntityTooLarge", 413


class UnsupportedMediaType(StatusError):
    reason, code = "UnsupportedMediaType", 415


class Invalid(StatusError):
    reason, code = "Invalid", 422


class TooManyRequests(StatusError):
    reason, code = "TooManyRequests", 429


class InternalError(StatusError):
    reason, code = "InternalError", 500


class ServerTimeout(StatusError):
    reason, code = "ServerTimeout", 500


class ServiceUnavailable(StatusError):
    reason, code = "ServiceUnavailable", 503


class Timeout(StatusError):
    reason, code = "Timeout", 504


BY_REASON: dict[str, type[StatusError]] = {
    cls.reason: cls
    for cls in (
        BadRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed, NotAcceptable, AlreadyExists,
        Conflict, Gone, Expired, RequestEntityTooLarge, UnsupportedMediaType, Invalid, TooManyRequests,
        InternalError, ServerTimeout, ServiceUnavailable, Timeout,
    )
}  # fmt: skip


def qualified(resource: str, group: str) -> str:
    return f"{resource}.{group}" if group else resource


def not_found(resource: str, name: str, group: str = "") -> NotFound:
    return NotFound(f'{qualified(resource, group)} "{name}" not found', name=name, group=group, kind=resource)


def already_exists(resource: str, name: str, group: str = "") -> AlreadyExists:
    message = f'{qualified(resource, group)} "{name}" already exists'
    return AlreadyExists(message, name=name, group=group, kind=resource)


def conflict(resource: str, name: str, why: str, group: str = "") -> Conflict:
    message = f'Operation cannot be fulfilled on {qualified(resource, group)} "{name}": {why}'
    return Conflict(message, name=name, group=group, kind=resource)


def forbidden(resource: str, name: str, why: str, group: str = "") -> Forbidden:
    if not resource:
        return Forbidden(f"forbidden: {why}", details=True)
    if not name:
        return Forbidden(f"{qualified(resource, group)} is forbidden: {why}", group=group, kind=resource)
    message = f'{qualified(resource, group)} "{name}" is forbidden: {why}'
    return Forbidden(message, name=name, group=group, kind=resource)


def invalid(kind: str, name: str, causes: Iterable[Cause], group: str = "") -> Invalid:
    """`kind` is the CamelCase kind here, as upstream's NewInvalid takes it."""
    found = tuple(causes)
    texts = list(dict.fromkeys(map(str, found)))  # utilerrors.Aggregate drops repeated messages
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    message = f'{qualified(kind, group)} "{name}" is invalid' + (f": {text}" if found else "")
    return Invalid(message, name=name, group=group, kind=kind, causes=found)


def is_namespace_terminating(error: BaseException) -> bool:
    """Whether something new was refused because its namespace is going away: no news for those who write there."""
    return isinstance(error, StatusError) and any(c.type == "NamespaceTerminating" for c in error.causes)
