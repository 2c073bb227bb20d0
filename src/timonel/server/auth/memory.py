"""Answers about tokens that are kept for a while. Upstream: apiserver/pkg/authentication/token/cache."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from timonel.aio.clock import Clock
from timonel.server.auth.verified import TokenError, Verified

_MOST = 10_000

Key = tuple[bytes, tuple[str, ...]]


def key_of(token: str, audiences: Sequence[str]) -> Key:
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest(), tuple(audiences)


class TokenMemory:
    """`failures` says whether refusals are kept, too. Tokens themselves are not, only their hashes."""

    def __init__(self, clock: Clock, ttl: float, *, failures: bool = False) -> None:
        self._clock, self._ttl, self._failures = clock, ttl, failures
        self._answers: dict[Key, tuple[float, Verified | TokenError | None]] = {}

    def knows(self, key: Key) -> bool:
        known = self._answers.get(key)
        return known is not None and self._clock.now() < known[0]

    def answer(self, key: Key) -> Verified | None:
        """Of a key that it knows. Raises TokenError."""
        found = self._answers[key][1]
        if isinstance(found, TokenError):
            raise TokenError(found.detail)
        return found

    def keep(self, key: Key, answer: Verified | TokenError | None) -> None:
        now = self._clock.now()
        until = now + self._ttl
        if isinstance(answer, Verified):
            until = min(until, answer.expires)
        elif not self._failures:
            return
        if len(self._answers) >= _MOST:
            self._answers = {k: v for k, v in self._answers.items() if now < v[0]}
            if len(self._answers) >= _MOST:
                self._answers.clear()
        self._answers[key] = (until, answer)

    def forget(self) -> None:
        self._answers.clear()
