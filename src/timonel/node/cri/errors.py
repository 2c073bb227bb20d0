"""What a runtime can answer instead of doing it, and the one translation from gRPC's status codes."""

from __future__ import annotations


class RuntimeFailure(Exception):
    """The runtime refused or failed. `message` is its own text, as users see it in events."""

    code = "Unknown"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    @property
    def text(self) -> str:
        """As Go prints a gRPC error: upstream's events carry it."""
        return f"rpc error: code = {self.code} desc = {self.message}"


class Missing(RuntimeFailure):
    """There is no such container, sandbox or image."""

    code = "NotFound"


class DeadlineExceeded(RuntimeFailure):
    code = "DeadlineExceeded"


class RuntimeGone(RuntimeFailure):
    """The runtime does not answer: it is being started again, or it is not there."""

    code = "Unavailable"


class NotSupported(RuntimeFailure):
    code = "Unimplemented"


class InvalidArgument(RuntimeFailure):
    code = "InvalidArgument"


_BY_CODE: dict[str, type[RuntimeFailure]] = {
    "NOT_FOUND": Missing,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "UNAVAILABLE": RuntimeGone,
    "UNIMPLEMENTED": NotSupported,
    "INVALID_ARGUMENT": InvalidArgument,
}


def from_status(code: str, message: str) -> RuntimeFailure:
    """`code` is the name of a grpc.StatusCode."""
    return _BY_CODE.get(code, RuntimeFailure)(message)
