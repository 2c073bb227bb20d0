"""An authenticating proxy in front of the server says in headers who asks; its client certificate says that it may.

Upstream: apiserver/pkg/authentication/request/headerrequest/requestheader.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from cryptography.x509.oid import NameOID

from timonel.aio.clock import Clock
from timonel.server.auth.certificates import Bundle, load
from timonel.server.request import User

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class HeaderNames:
    """The --requestheader-* flags; kubeadm's values are the defaults."""

    users: tuple[str, ...] = ("X-Remote-User",)
    uids: tuple[str, ...] = ("X-Remote-Uid",)
    groups: tuple[str, ...] = ("X-Remote-Group",)
    extra_prefixes: tuple[str, ...] = ("X-Remote-Extra-",)
    allowed: tuple[str, ...] = ()  # common names; empty: all that the authority signs


class FrontProxy:
    """Nobody is a proxy while `authorities` is empty."""

    def __init__(self, clock: Clock, authorities: Bundle, names: HeaderNames | None = None) -> None:
        self._clock = clock
        self._authorities = authorities
        self._trusted: dict[bytes, float] = {}  # certificates -> until when
        self.use(names or HeaderNames())

    def speaks(self, headers: Sequence[Header]) -> bool:
        """Whether a proxy, if it is one, says who asks."""
        if not self._authorities.authorities:
            return False
        names = self._user_headers
        return any(name in names for name, _ in headers)

    def use(self, names: HeaderNames) -> None:
        """From now on; certificates are looked at anew."""
        self._names = names
        self._user_headers = frozenset(name.lower().encode() for name in names.users)
        self._trusted = {}

    def user(self, der: bytes, headers: Sequence[Header]) -> User | None:
        """None where the headers name nobody. Raises ValueError for a certificate that is no proxy's."""
        until = self._trusted.get(der)
        if until is None:
            until = self._check(der)
            self._trusted = {der: until} if len(self._trusted) > 100 else {**self._trusted, der: until}
        if self._clock.now() >= until:
            raise ValueError("the proxy's certificate has expired")
        name = next((v for v in _values(headers, self._names.users) if v), "")
        if not name:
            return None
        uid = next((v for v in _values(headers, self._names.uids) if v), "")
        return User(name, tuple(_values(headers, self._names.groups)), uid, self._extra(headers))

    def _check(self, der: bytes) -> float:
        found = load(der)
        if not self._authorities.issued(found):
            raise ValueError("the certificate is signed by an unknown authority")
        names = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        name = str(names[-1].value) if names else ""
        if self._names.allowed and name not in self._names.allowed:
            raise ValueError(f"x509: subject with cn={name} is not in the allowed list")
        return found.not_valid_after_utc.timestamp()

    def _extra(self, headers: Sequence[Header]) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for prefix in self._names.extra_prefixes:
            start = prefix.lower().encode()
            for header, value in headers:
                if header.startswith(start):
                    key = unquote(header[len(start) :].decode("latin-1")).lower()
                    found[key] = (*found.get(key, ()), value.decode(errors="replace"))
        return found


def _values(headers: Iterable[Header], names: Iterable[str]) -> Iterator[str]:
    kept = list(headers)
    for name in names:
        wanted = name.lower().encode()
        yield from (value.decode(errors="replace") for header, value in kept if header == wanted)
