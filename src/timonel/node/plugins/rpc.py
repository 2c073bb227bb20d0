"""One plugin's socket: calls by the name of their method, failures in the words of the one who answered."""

from __future__ import annotations

from typing import Any

TIMEOUT = 120.0


class PluginFailed(Exception):
    """The plugin answered with an error, or not at all (`is_away`)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"rpc error: code = {code} desc = {message}")
        self.code = code

    @property
    def is_away(self) -> bool:
        return self.code in ("Unavailable", "DeadlineExceeded")


class Plugin:
    """`service` is the full name of its gRPC service. The one who made it calls `close`."""

    def __init__(self, socket: str, service: str) -> None:
        import grpc.aio

        self._service = service
        self._channel: Any = grpc.aio.insecure_channel(
            f"unix:{socket}", options=(("grpc.default_authority", "localhost"),)
        )

    async def close(self) -> None:
        await self._channel.close(None)

    async def call(self, method: str, request: Any, answer: Any, *, timeout: float = TIMEOUT) -> Any:
        """`answer` is the class of the message that comes back."""
        import grpc.aio

        ask = self._channel.unary_unary(
            f"/{self._service}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        try:
            return await ask(request, timeout=timeout)
        except grpc.aio.AioRpcError as e:
            raise PluginFailed(_spoken(e.code().name), e.details() or "") from e

    def stream(self, method: str, request: Any, answer: Any) -> Any:
        """An iterator over the messages of a call that goes on; raises grpc's own error where it ends."""
        return self._channel.unary_stream(
            f"/{self._service}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )(request)


def _spoken(code: str) -> str:
    """DEADLINE_EXCEEDED as Go prints it."""
    return "".join(word.capitalize() for word in code.split("_"))
