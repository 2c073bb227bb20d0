"""What an authenticator of tokens is, and what it finds out. Upstream: apiserver/pkg/authentication/authenticator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from timonel.server.request import User

Place = tuple[str, str, str]  # resource, namespace, name


class Verified(NamedTuple):
    user: User
    audiences: tuple[str, ...]  # that the token is for, of those asked for
    expires: float
    rests_on: tuple[Place, ...] = ()


class TokenError(Exception):
    """The token is not good; `detail` is empty where it is of no kind that is known here."""

    def __init__(self, detail: str = "") -> None:
        base = "invalid bearer token"
        super().__init__(f"[{base}, {detail}]" if detail else base)
        self.detail = detail


class TokenAuthenticator(Protocol):
    """One kind of tokens. Empty `audiences` mean those of the API server."""

    @property
    def waits(self) -> bool:
        """Whether `verified` may find what `verified_now` did not."""

    def verified_now(self, token: str, audiences: Sequence[str]) -> Verified | None:
        """From memory. None: no token of this kind, or not known without waiting. Raises TokenError."""

    async def verified(self, token: str, audiences: Sequence[str]) -> Verified | None:
        """As above, but may ask others."""
