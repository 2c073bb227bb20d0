"""Another server is asked about bearer tokens: it gets a TokenReview and fills in its status.

Answers are kept for a while. An answer that does not come, or that is none, is asked for again a few times; then the
token counts as wrong. Upstream: apiserver/plugin/pkg/authenticator/token/webhook/webhook.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from timonel.aio.clock import Clock
from timonel.client.https import Endpoint
from timonel.machinery.field import quote
from timonel.records import dataclass
from timonel.server.auth import retrying
from timonel.server.auth.memory import TokenMemory, key_of
from timonel.server.auth.verified import TokenError, Verified
from timonel.server.outbound import CallFailed, Outbound
from timonel.server.request import User

CACHE_TTL = 120.0  # seconds; --authentication-token-webhook-cache-ttl


@dataclass(frozen=True, slots=True)
class Settings:
    endpoint: Endpoint
    version: str = "v1"
    ttl: float = CACHE_TTL


class WebhookTokens:
    """`audiences` are those of the API server: a webhook that knows of none speaks for them."""

    waits = True

    def __init__(
        self, settings: Settings, audiences: Sequence[str], outbound: Outbound, clock: Clock
    ) -> None:
        self._settings = settings
        self._audiences = tuple(audiences)
        self._outbound = outbound
        self._clock = clock
        self._memory = TokenMemory(clock, settings.ttl, failures=True)

    def verified_now(self, token: str, audiences: Sequence[str]) -> Verified | None:
        key = key_of(token, audiences)
        return self._memory.answer(key) if self._memory.knows(key) else None

    async def verified(self, token: str, audiences: Sequence[str]) -> Verified | None:
        key = key_of(token, audiences)
        if self._memory.knows(key):
            return self._memory.answer(key)
        wanted = tuple(audiences) or self._audiences
        try:
            status = await self._ask(token, wanted)
        except CallFailed as e:
            raise TokenError(str(e)) from e
        answer: Verified | TokenError | None
        try:
            answer = understood(status, wanted, self._audiences)
        except TokenError as e:
            answer = e
        self._memory.keep(key, answer)
        if isinstance(answer, TokenError):
            raise answer
        return answer

    async def _ask(self, token: str, audiences: Sequence[str]) -> Any:
        version = f"authentication.k8s.io/{self._settings.version}"
        spec: dict[str, Any] = {"token": token}
        if audiences:
            spec["audiences"] = list(audiences)
        review = {
            "kind": "TokenReview",
            "apiVersion": version,
            "metadata": {"creationTimestamp": None},
            "spec": spec,
            "status": {"user": {}},
        }
        answer = await retrying.post(
            self._outbound, self._settings.endpoint, orjson.dumps(review), self._clock
        )
        if not isinstance(answer, dict) or answer.get("kind", "TokenReview") != "TokenReview":
            raise CallFailed("the webhook answered something else than a TokenReview")
        return answer.get("status")


def understood(status: Any, wanted: Sequence[str], implicit: Sequence[str]) -> Verified | None:
    """What a status says. None: not a token that the webhook knows. Raises TokenError."""
    if not isinstance(status, dict):
        return None
    if status.get("authenticated") is not True:
        if status.get("error"):
            raise TokenError(str(status["error"]))
        return None
    named = status.get("audiences")
    own = [str(a) for a in named] if isinstance(named, list) and named else implicit
    shared = tuple(a for a in wanted if a in own)
    if wanted and not shared:
        return None
    return Verified(user_of(status.get("user")), shared, float("inf"))


def user_of(info: Any) -> User:
    """Raises TokenError for a UserInfo of another form."""
    if not isinstance(info, dict):
        raise TokenError("the webhook named no user")
    groups, extra = info.get("groups") or [], info.get("extra") or {}
    is_sound = (
        isinstance(info.get("username", ""), str)
        and isinstance(info.get("uid", ""), str)
        and isinstance(groups, list)
        and all(isinstance(g, str) for g in groups)
        and isinstance(extra, dict)
        and all(isinstance(v, list) and all(isinstance(t, str) for t in v) for v in extra.values())
    )
    if not is_sound:
        raise TokenError(f"the webhook named a user of an unknown form: {quote(str(info))}")
    return User(
        info.get("username", ""),
        tuple(groups),
        info.get("uid", ""),
        {key: tuple(values) for key, values in extra.items()},
    )
