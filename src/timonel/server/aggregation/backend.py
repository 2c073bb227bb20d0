"""The way to the server of an APIService: its address, TLS with our certificate as the front proxy, who asks.

Upstream: kube-aggregator/pkg/apiserver/handler_proxy.go, client-go transport/round_trippers.go (SetAuthProxyHeaders).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple
from urllib.parse import quote

from timonel.aio.clock import Clock, Timer
from timonel.objects.meta import Object
from timonel.server.aggregation.availability import service_of
from timonel.server.outbound import Outbound, certificate_problem
from timonel.server.request import Reader, User
from timonel.server.subresources.nodes import Backend, Dial, Unreachable

DIAL_TIMEOUT = 30.0
MOST_HEAD = 1 << 16
MOST_CONTEXTS = 256
MOST_IDLE = 25  # connections to one server that are kept for the next requests
IDLE_TIMEOUT = 60.0  # seconds; upstream's servers close theirs later
TOKEN = "!#$&'*+^`|~"  # what names of headers may hold beside letters, digits and -._

INSECURE = "!"  # in the place of a bundle, and never in base64

Identify = Callable[[ssl.SSLContext], object]  # gives a context our client certificate


class Address(NamedTuple):
    host: str
    port: int
    server_name: str  # that its certificate must be for

    @property
    def shown(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class _Way(NamedTuple):
    """To a server that has shown who it is: a kept connection is good for the same way alone."""

    address: Address
    trust: str  # the CA bundle, or INSECURE


class Backends:
    """Opens connections, and keeps those that are free. `identify` is None where there is no certificate to show.

    `nearby`: servers in this process, by the name of their APIService, until a Service of theirs says otherwise.
    """

    def __init__(
        self,
        outbound: Outbound,
        identify: Identify | None,
        clock: Clock,
        reader: Reader,
        nearby: Mapping[str, Dial],
    ) -> None:
        self._reader, self._nearby = reader, nearby
        self._outbound = outbound
        self._identify = identify
        self._clock = clock
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._idle: dict[_Way, list[tuple[Backend, Timer]]] = {}

    def address(self, api_service: Object) -> Address:
        """Of one ready endpoint. Raises outbound.Unresolved."""
        named = service_of(api_service)
        assert named is not None
        namespace, name, port = named
        if self.nearby(api_service) is not None:
            return Address(f"{name}.{namespace}.svc", port, f"{name}.{namespace}.svc")
        host, number = self._outbound.resolve(namespace, name, port)
        return Address(host, number, f"{name}.{namespace}.svc")

    def nearby(self, api_service: Object) -> Dial | None:
        """Of a server in this process: without a port, and without TLS."""
        dial = self._nearby.get(api_service["metadata"]["name"])
        named = service_of(api_service)
        if dial is None or named is None or self._reader.get("services", *named[:2]) is not None:
            return None
        return dial

    def kept(self, api_service: Object, address: Address) -> Backend | None:
        """A connection of an earlier request that nobody uses."""
        idle = self._idle.get(_Way(address, _trust(api_service)), [])
        while idle:
            backend, timer = idle.pop()
            timer.cancel()
            if backend.is_open:
                return backend
            backend.close()
        return None

    async def open(self, api_service: Object, address: Address) -> Backend:
        """One that is kept when it is free again. Raises as `connect`."""
        way = _Way(address, _trust(api_service))
        backend = await self.connect(api_service, address)
        backend.keep = lambda backend: self._keep(way, backend)
        return backend

    def _keep(self, way: _Way, backend: Backend) -> None:
        idle = self._idle.setdefault(way, [])
        if len(idle) >= MOST_IDLE or not backend.is_open:
            backend.close()
            return
        idle.append((backend, self._clock.call_later(IDLE_TIMEOUT, lambda: self._drop(way, backend))))

    def _drop(self, way: _Way, backend: Backend) -> None:
        left = [(other, timer) for other, timer in self._idle.get(way, ()) if other is not backend]
        if left:
            self._idle[way] = left
        else:
            self._idle.pop(way, None)
        backend.close()

    async def run(self) -> None:
        """Until the server stops; then nothing is kept any longer."""
        try:
            await asyncio.Event().wait()
        finally:
            for backend, timer in (each for idle in self._idle.values() for each in idle):
                timer.cancel()
                backend.close()
            self._idle.clear()

    async def connect(self, api_service: Object, address: Address, *, verify: bool = True) -> Backend:
        """Raises Unreachable; ValueError for a caBundle that holds no certificates."""
        if (dial := self.nearby(api_service)) is not None:
            try:
                return Backend(*await dial())
            except OSError as e:
                raise Unreachable(f"dial tcp {address.shown}: connect: connection refused") from e
        context = self._context(_trust(api_service) if verify else INSECURE)
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
            host, port, name = address
            problem = await certificate_problem(e, host, port, name, self._clock.now())
            raise Unreachable(f"tls: failed to verify certificate: x509: {problem}") from e
        except ValueError as e:  # a name that cannot be one of a host
            raise Unreachable(f"dial tcp {address.shown}: {e}") from e
        except ssl.SSLError as e:
            raise Unreachable(f"tls: {e.reason or e}") from e
        except OSError as e:
            reason = "connection refused" if isinstance(e, ConnectionRefusedError) else (e.strerror or str(e))
            raise Unreachable(f"dial tcp {address.shown}: connect: {reason}") from e
        return Backend(*streams)

    def _context(self, trust: str) -> ssl.SSLContext:
        found = self._contexts.get(trust)
        if found is None:
            found = _made(trust, insecure=trust == INSECURE)
            if self._identify is not None:
                try:
                    self._identify(found)
                except OSError as e:
                    raise ValueError(f"our certificate for other servers cannot be read: {e}") from e
            if len(self._contexts) >= MOST_CONTEXTS:
                self._contexts.clear()
            self._contexts[trust] = found
        return found


def _trust(api_service: Object) -> str:
    spec = api_service["spec"]
    bundle: str = spec.get("caBundle") or ""
    return INSECURE if spec.get("insecureSkipTLSVerify") else bundle


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
