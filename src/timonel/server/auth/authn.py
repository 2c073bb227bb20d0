"""From credentials to a user: the front proxy's headers first, then a client certificate, then a bearer token.

Who shows nothing is anonymous, if that is allowed where the request goes. Upstream:
apiserver/pkg/authentication/request/{headerrequest,x509,bearertoken,websocket,anonymous,union}, group/.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Generator, Sequence

from timonel.machinery import errors
from timonel.records import dataclass
from timonel.server.auth.certificates import ClientCertificates
from timonel.server.auth.frontproxy import FrontProxy
from timonel.server.auth.verified import TokenAuthenticator, TokenError, Verified
from timonel.server.request import Credentials, User

AUTHENTICATED, UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"

_REMEMBERED = 1000


def unauthorized() -> errors.Unauthorized:
    return errors.Unauthorized("Unauthorized")


def with_authenticated_group(user: User) -> User:
    if AUTHENTICATED in user.groups or UNAUTHENTICATED in user.groups:
        return user
    return User(user.name, (*user.groups, AUTHENTICATED), user.uid, user.extra)


class _Elsewhere:
    """Awaited before what has to wait: who may not wait (`chain.authentication.user_now`) stops here, harmlessly."""

    def __await__(self) -> Generator[None, None, None]:
        yield


@dataclass(frozen=True, slots=True)
class Anonymous:
    """Upstream: AnonymousAuthConfig of AuthenticationConfiguration."""

    enabled: bool = True
    paths: frozenset[str] = frozenset()  # empty: everywhere

    def admits(self, path: str) -> bool:
        return self.enabled and (not self.paths or path in self.paths)


class TokenUnion:
    """The first authenticator that knows a token decides; if none does, all that they said is told."""

    def __init__(self, authenticators: Sequence[TokenAuthenticator]) -> None:
        self._authenticators = tuple(authenticators)

    def replace(self, authenticators: Sequence[TokenAuthenticator]) -> None:
        self._authenticators = tuple(authenticators)

    async def authenticate(self, token: str, audiences: Sequence[str] = ()) -> Verified:
        """Raises TokenError."""
        problems: list[str] = []
        for authenticator in self._authenticators:
            try:
                found = authenticator.verified_now(token, audiences)
                if found is None and authenticator.waits:
                    await _Elsewhere()
                    found = await authenticator.verified(token, audiences)
            except TokenError as e:
                problems += [e.detail] if e.detail else []
                continue
            if found is not None:
                return found
        raise TokenError(", ".join(dict.fromkeys(problems)))


class RequestAuthenticator:
    """The authenticator of a whole server. Remembers what it found out, so that a usual request costs microseconds."""

    def __init__(
        self,
        *,
        tokens: TokenUnion,
        certificates: ClientCertificates,
        front_proxy: FrontProxy | None = None,
        anonymous: Callable[[], Anonymous] = Anonymous,
        still: Callable[[str], Callable[[], Verified | None] | None] = lambda token: None,
    ) -> None:
        """`still`: how to ask again about a token of ours that was verified (`Tokens.still`)."""
        self._tokens = tokens
        self._still = still
        self._certificates = certificates
        self._front_proxy = front_proxy
        self._anonymous = anonymous
        self._completed: dict[int, tuple[User, User]] = {}

    async def authenticate(self, credentials: Credentials) -> User | None:
        failed = False
        der = credentials.certificate
        if der is not None:
            if self._front_proxy is not None and self._front_proxy.speaks(credentials.headers):
                try:
                    user = self._front_proxy.user(der, credentials.headers)
                except ValueError:
                    failed = True
                else:
                    if user is not None:
                        return with_authenticated_group(user)
            try:
                user = self._certificates.user(der)
            except ValueError:
                failed = True
            else:
                if user is not None:
                    return self._complete(user)
        token = bearer_token(credentials)
        if token:
            try:
                return self._complete((await self._tokens.authenticate(token)).user)
            except TokenError as e:
                raise unauthorized() from e
        if failed:
            raise unauthorized()
        await self._check_nobody(credentials.path)
        return None

    def settled(self, credentials: Credentials) -> Callable[[], User | None] | None:
        if credentials.certificate is not None:
            return None
        token = bearer_token(credentials)
        again = self._still(token) if token else None
        if again is None or (found := again()) is None:
            return None
        user, ask = self._complete(found.user), again
        return lambda: user if ask() is not None else None

    async def _check_nobody(self, path: str) -> None:
        anonymous = self._anonymous()
        if anonymous.paths and not path:  # only a request that may wait says where it goes
            await _Elsewhere()
        if not anonymous.admits(path):
            raise unauthorized()

    def _complete(self, user: User) -> User:
        known = self._completed.get(id(user))
        if known is None or known[0] is not user:
            if len(self._completed) >= _REMEMBERED:
                self._completed.clear()
            known = self._completed[id(user)] = (user, with_authenticated_group(user))
        return known[1]


def bearer_token(credentials: Credentials) -> str:
    """The token of an Authorization header or of a WebSocket subprotocol; empty when there is none."""
    parts = credentials.authorization.strip().split(" ")
    if len(parts) > 1 and parts[0].lower() == "bearer":
        return parts[1]
    encoded = credentials.websocket_token
    if encoded:
        try:
            return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
        except (binascii.Error, ValueError) as e:
            raise unauthorized() from e
    return ""
