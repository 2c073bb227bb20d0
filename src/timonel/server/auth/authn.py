"""From credentials to a user: client certificate first, then bearer token, else anonymous.

Upstream: apiserver/pkg/authentication/request/{x509,bearertoken,websocket,anonymous}, group/.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from cryptography import x509
from cryptography.x509.oid import NameOID

from timonel.machinery import errors
from timonel.server.auth.tokens import CREDENTIAL_ID, TokenError, Tokens
from timonel.server.request import Credentials, User

AUTHENTICATED, UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"

_REMEMBERED = 1000


def unauthorized() -> errors.Unauthorized:
    return errors.Unauthorized("Unauthorized")


def with_authenticated_group(user: User) -> User:
    if AUTHENTICATED in user.groups or UNAUTHENTICATED in user.groups:
        return user
    return User(user.name, (*user.groups, AUTHENTICATED), user.uid, user.extra)


class RequestAuthenticator:
    """The authenticator of a whole server. Remembers what it found out, so that a usual request costs microseconds."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._certificates: dict[bytes, User | None] = {}
        self._completed: dict[int, tuple[User, User]] = {}

    async def authenticate(self, credentials: Credentials) -> User | None:
        if credentials.certificate is not None:
            user = self._certificate(credentials.certificate)
            if user is not None:
                return user
        token = bearer_token(credentials)
        if not token:
            return None
        try:
            return self._complete(self._tokens.verify(token).user)
        except TokenError as e:
            raise unauthorized() from e

    def _certificate(self, der: bytes) -> User | None:
        if der not in self._certificates:
            if len(self._certificates) >= _REMEMBERED:
                self._certificates.clear()
            self._certificates[der] = certificate_user(der)
        return self._certificates[der]

    def _complete(self, user: User) -> User:
        known = self._completed.get(id(user))
        if known is None or known[0] is not user:
            if len(self._completed) >= _REMEMBERED:
                self._completed.clear()
            known = self._completed[id(user)] = (user, with_authenticated_group(user))
        return known[1]


def certificate_user(der: bytes) -> User | None:
    """The common name is the user, the organizations are the groups; None where there is no common name."""
    subject = x509.load_der_x509_certificate(der).subject
    names = [_text(a.value) for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if not names or not names[-1]:
        return None
    groups = tuple(_text(a.value) for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
    extra = {CREDENTIAL_ID: (f"X509SHA256={hashlib.sha256(der).hexdigest()}",)}
    return with_authenticated_group(User(names[-1], groups, extra=extra))


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")


def bearer_token(credentials: Credentials) -> str:
    """The token of an Authorization header or of a WebSocket subprotocol; empty when there is none."""
    parts = credentials.authorization.strip().split(" ")
    if len(parts) > 1 and parts[0].lower() == "bearer":
        return parts[1]
    encoded = credentials.websocket_token
    if encoded:
        try:
            return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
        except (binascii.Error, UnicodeDecodeError) as e:
            raise unauthorized() from e
    return ""
