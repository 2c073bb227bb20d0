"""An authenticating proxy in front of the server says in headers who asks; its client certificate says that it may.

Upstream: apiserver/pkg/authentication/request/headerrequest/requestheader.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple
from urllib.parse import unquote

from cryptography.x509.oid import NameOID

from timonel.aio.clock import Clock
from timonel.records import dataclass
from timonel.server.auth.certificates import Bundle, load
from timonel.server.request import User

Header = tuple[bytes, bytes]
_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class HeaderNames:
    """The --requestheader-* flags; kubeadm's values are the defaults."""

    users: tuple[str, ...] = ("X-Remote-User",)
    uids: tuple[str, ...] = ("X-Remote-Uid",)
    groups: tuple[str, ...] = ("X-Remote-Group",)
    extra_prefixes: tuple[str, ...] = ("X-Remote-Extra-",)
    allowed: tuple[str, ...] = ()  # common names; empty: all that the authority signs


class _Known(NamedTuple):
    """What was found out about a certificate: until when it is a proxy's, or why it is none."""

    until: float = 0.0
    problem: str = ""


class FrontProxy:
    """Nobody is a proxy while `authorities` is empty."""

    def __init__(self, clock: Clock, authorities: Bundle, names: HeaderNames | None = None) -> None:
        self._clock = clock
        self._authorities = authorities
        self._known: dict[bytes, _Known] = {}  # certificates
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
        self._known.clear()

    def user(self, der: bytes, headers: Sequence[Header]) -> User | None:
        """None where the headers name nobody. Raises ValueError for a certificate that is no proxy's."""
        known = self._known.get(der)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[der] = self._look_at(der)
        if known.problem:
            raise ValueError(known.problem)
        if self._clock.now() >= known.until:
            raise ValueError("the proxy's certificate has expired")
        name = next((v for v in _values(headers, self._names.users) if v), "")
        if not name:
            return None
        uid = next((v for v in _values(headers, self._names.uids) if v), "")
        return User(name, tuple(_values(headers, self._names.groups)), uid, self._extra(headers))

    def _look_at(self, der: bytes) -> _Known:
        try:
            found = load(der)
        except ValueError as e:
            return _Known(problem=str(e))
        if not self._authorities.issued(found, der):
            return _Known(problem="the certificate is signed by an unknown authority")
        names = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        name = str(names[-1].value) if names else ""
        if self._names.allowed and name not in self._names.allowed:
            return _Known(problem=f"x509: subject with cn={name} is not in the allowed list")
        return _Known(until=found.not_valid_after_utc.timestamp())

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
