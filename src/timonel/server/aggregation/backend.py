"""The way to the server of an APIService: its address, TLS with our certificate as the front proxy, who asks.

Upstream: kube-aggregator/pkg/apiserver/handler_proxy.go, client-go transport/round_trippers.go (SetAuthProxyHeaders).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ssl
from collections.abc import Callable, Iterable
from typing import NamedTuple
from urllib.parse import quote

from timonel.objects.meta import Object
from timonel.server.aggregation.availability import service_of
from timonel.server.outbound import Outbound
from timonel.server.request import User
from timonel.server.subresources.nodes import Backend, Unreachable

DIAL_TIMEOUT = 30.0
MOST_HEAD = 1 << 16
MOST_CONTEXTS = 256
TOKEN = "!#$&'*+^`|~"  # what names of headers may hold beside letters, digits and -._

Identify = Callable[[ssl.SSLContext], object]  # gives a context our client certificate


class Address(NamedTuple):
    host: str
    port: int
    server_name: str  # that its certificate must be for

    @property
    def shown(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Backends:
    """Opens connections. `identify` is None where there is no certificate to show."""

    def __init__(self, outbound: Outbound, identify: Identify | None) -> None:
        self._outbound = outbound
        self._identify = identify
        self._contexts: dict[str, ssl.SSLContext] = {}

    def address(self, api_service: Object) -> Address:
        """Of one ready endpoint. Raises outbound.Unresolved."""
        named = service_of(api_service)
        assert named is not None
        namespace, name, port = named
        host, number = self._outbound.resolve(namespace, name, port)
        return Address(host, number, f"{name}.{namespace}.svc")

    async def connect(self, api_service: Object, address: Address, *, verify: bool = True) -> Backend:
        """Raises Unreachable; ValueError for a caBundle that holds no certificates."""
        spec = api_service["spec"]
        insecure = not verify or bool(spec.get("insecureSkipTLSVerify"))
        context = self._context("" if insecure else spec.get("caBundle") or "", insecure=insecure)
        try:
            async with asyncio.timeout(DIAL_TIMEOUT):
                streams = await asyncio.open_connection(
                    address.host,
                    address.port,
                    ssl=context,
                    server_hostname=address.server_name,
                    limit=MOST_HEAD,
                )
        except TimeoutError as e:
            raise Unreachable(f"dial tcp {address.shown}: i/o timeout") from e
        except ssl.SSLCertVerificationError as e:
            raise Unreachable(f"tls: failed to verify certificate: x509: {e.verify_message}") from e
        except ValueError as e:  # a name that cannot be one of a host
            raise Unreachable(f"dial tcp {address.shown}: {e}") from e
        except ssl.SSLError as e:
            raise Unreachable(f"tls: {e.reason or e}") from e
        except OSError as e:
            reason = "connection refused" if isinstance(e, ConnectionRefusedError) else (e.strerror or str(e))
            raise Unreachable(f"dial tcp {address.shown}: connect: {reason}") from e
        return Backend(*streams)

    def _context(self, bundle: str, *, insecure: bool) -> ssl.SSLContext:
        key = "insecure" if insecure else bundle
        found = self._contexts.get(key)
        if found is None:
            found = _made(bundle, insecure=insecure)
            if self._identify is not None:
                try:
                    self._identify(found)
                except OSError as e:
                    raise ValueError(f"our certificate for other servers cannot be read: {e}") from e
            if len(self._contexts) >= MOST_CONTEXTS:
                self._contexts.clear()
            self._contexts[key] = found
        return found


def _made(bundle: str, *, insecure: bool) -> ssl.SSLContext:
    if insecure:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if not bundle:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cadata=base64.b64decode(bundle).decode("ascii"))
    except (binascii.Error, UnicodeDecodeError, ssl.SSLError) as e:
        raise ValueError("unable to load root certificates: unable to parse bytes as PEM block") from e


def identity(user: User) -> list[tuple[str, str]]:
    """The headers that say who asks."""
    found = [("X-Remote-User", _safe(user.name))]
    if user.uid:
        found.append(("X-Remote-Uid", _safe(user.uid)))
    found += [("X-Remote-Group", _safe(group)) for group in user.groups]
    for key, values in sorted(user.extra.items()):
        name = "X-Remote-Extra-" + quote(key, safe=TOKEN)
        found += [(name, _safe(value)) for value in values]
    return found


def _safe(text: str) -> str:
    """Nothing that would end a header, and what HTTP can carry: UTF-8 as it is on the wire."""
    return text.replace("\r", " ").replace("\n", " ").encode().decode("latin-1")


def without_identity(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """What a client says itself of who it is does not go on."""
    return [(name, value) for name, value in headers if not name.lower().startswith("x-remote-")]
