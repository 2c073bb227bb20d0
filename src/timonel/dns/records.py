"""What a name below the cluster domain means: Services, EndpointSlices and Pods as an answer. Pure.

    SERVICE.NAMESPACE.svc.DOMAIN                      A: the cluster IP, or every ready endpoint of a headless Service
    HOSTNAME.SERVICE.NAMESPACE.svc.DOMAIN             A: the endpoint with that hostname (or 10-0-0-1 for 10.0.0.1)
    _PORT._PROTOCOL.SERVICE.NAMESPACE.svc.DOMAIN      SRV
    10-0-0-1.NAMESPACE.pod.DOMAIN                     A: the address that it spells, if the namespace exists
    1.0.0.10.in-addr.arpa                             PTR: of cluster IPs and of endpoints with a hostname
    dns-version.DOMAIN                                TXT: 1.1.0

Upstream: the DNS specification (github.com/kubernetes/dns docs/specification.md); CoreDNS plugin/kubernetes for what
it leaves open (no such name against no such record).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from timonel.objects.meta import Key, Object

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
SPECIFICATION_VERSION = "1.1.0"


@dataclass(frozen=True, slots=True)
class Rdata:
    """One record without its TTL. `value` is the address, the target name, or the text."""

    type: str  # A, AAAA, CNAME, SRV, PTR, TXT
    value: str
    port: int = 0  # SRV only
    priority: int = 0
    weight: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """`exists` is False for NXDOMAIN; a name that exists without records of the asked type has an empty answer.

    `extra` holds addresses of SRV targets, as (name, record).
    """

    exists: bool
    records: tuple[Rdata, ...] = ()
    extra: tuple[tuple[str, Rdata], ...] = ()


NO_SUCH_NAME = Answer(exists=False)


@dataclass(frozen=True, slots=True)
class _Endpoint:
    ip: str
    hostname: str  # as in the name: the endpoint's own, or its address with dashes
    ports: tuple[tuple[str, str, int], ...]  # (name, protocol, number)


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one Service."""

    key: Key
    cluster_ips: tuple[str, ...]
    ports: tuple[tuple[str, str, int], ...]
    external_name: str = ""
    endpoints: tuple[_Endpoint, ...] = ()

    @property
    def headless(self) -> bool:
        return not self.cluster_ips and not self.external_name


@dataclass(frozen=True, slots=True)
class Zone:
    """Everything that the cluster domain knows, ready to be asked."""

    domain: str
    services: Mapping[Key, Entry] = field(default_factory=dict)
    namespaces: Collection[str] = frozenset()
    reverse: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # address -> names


def build(
    domain: str, services: Iterable[Object], slices: Iterable[Object], namespaces: Iterable[Object]
) -> Zone:
    by_service: dict[Key, list[Object]] = {}
    for slice_ in slices:
        owner = (slice_["metadata"].get("labels") or {}).get(SERVICE_NAME_LABEL)
        if owner:
            by_service.setdefault(Key(slice_["metadata"]["namespace"], owner), []).append(slice_)
    known: dict[Key, Entry] = {}
    for service in services:
        entry = entry_of(service, by_service.get(Key(*_names(service)), []))
        known[entry.key] = entry
    return Zone(
        domain=domain,
        services=known,
        namespaces=frozenset(n["metadata"]["name"] for n in namespaces),
        reverse=_reverse(domain, known.values()),
    )


def _names(obj: Object) -> tuple[str, str]:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def entry_of(service: Object, slices: list[Object]) -> Entry:
    spec = service["spec"]
    ips = tuple(
        ip for ip in spec.get("clusterIPs") or [spec.get("clusterIP") or ""] if ip not in ("", "None")
    )
    external = spec.get("externalName", "") if spec.get("type") == "ExternalName" else ""
    unready = bool(spec.get("publishNotReadyAddresses"))
    return Entry(
        key=Key(*_names(service)),
        cluster_ips=() if external else ips,
        ports=tuple(
            (p.get("name", ""), p.get("protocol", "TCP").lower(), p["port"]) for p in spec.get("ports", [])
        ),
        external_name=external,
        endpoints=() if ips or external else tuple(_endpoints(slices, unready=unready)),
    )


def _endpoints(slices: list[Object], *, unready: bool) -> Iterable[_Endpoint]:
    seen: set[tuple[str, str]] = set()
    for slice_ in slices:
        ports = tuple(
            (p.get("name", ""), p.get("protocol", "TCP").lower(), p["port"])
            for p in slice_.get("ports") or []
            if p.get("port")
        )
        for endpoint in slice_.get("endpoints") or []:
            if not unready and not (endpoint.get("conditions") or {}).get("ready", True):
                continue
            for address in endpoint["addresses"]:
                hostname = endpoint.get("hostname") or address.replace(".", "-").replace(":", "-")
                if (address, hostname) not in seen:
                    seen.add((address, hostname))
                    yield _Endpoint(address, hostname, ports)


def _reverse(domain: str, services: Iterable[Entry]) -> dict[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {}
    for service in services:
        for ip, name in reversed_names(domain, service):
            names[ip] = (*names.get(ip, ()), name)
    return names


def reversed_names(domain: str, service: Entry) -> Iterable[tuple[str, str]]:
    """Address and name of what PTR queries find through this Service."""
    base = f"{service.key.name}.{service.key.namespace}.svc.{domain}"
    for ip in service.cluster_ips:
        yield ip, base
    for endpoint in service.endpoints:
        yield endpoint.ip, f"{endpoint.hostname}.{base}"


def is_ours(zone: Zone, name: str) -> bool:
    """Whether this server alone decides about `name` (lower case, without the final dot)."""
    return name == zone.domain or name.endswith(f".{zone.domain}")


def look_up(zone: Zone, name: str, type_: str) -> Answer | None:
    """The answer for `name` (lower case, no final dot); None: not ours, to be forwarded."""
    if name.endswith((".in-addr.arpa", ".ip6.arpa")):
        return _look_up_reverse(zone, name, type_)
    if not is_ours(zone, name):
        return None
    labels = name[: -len(zone.domain)].rstrip(".").split(".") if name != zone.domain else []
    match labels:
        case []:
            return _of_type((Rdata("SOA", zone.domain), Rdata("NS", f"ns.dns.{zone.domain}")), type_)
        case ["svc"] | ["pod"] | ["dns"]:
            return Answer(exists=True)
        case ["ns", "dns"]:
            ips = _server_addresses(zone)
            return _of_type(tuple(map(_address, ips)), type_)
        case ["dns-version"]:
            return _of_type((Rdata("TXT", SPECIFICATION_VERSION),), type_)
        case [namespace, "svc" | "pod"]:
            return Answer(exists=namespace in zone.namespaces)
        case [address, namespace, "pod"]:
            return _pod(zone, address, namespace, type_)
        case [*rest, service, namespace, "svc"] if len(rest) <= 2:
            found = zone.services.get(Key(namespace, service))
            return NO_SUCH_NAME if found is None else _of_service(zone, found, rest, type_)
        case _:
            return NO_SUCH_NAME


def _server_addresses(zone: Zone) -> tuple[str, ...]:
    own = zone.services.get(Key("kube-system", "kube-dns"))
    return own.cluster_ips if own is not None else ()


def _of_service(zone: Zone, service: Entry, rest: list[str], type_: str) -> Answer:
    if service.external_name:
        return NO_SUCH_NAME if rest else Answer(True, (Rdata("CNAME", service.external_name.rstrip(".")),))
    if not rest:
        if type_ == "SRV":
            return _srv(zone, service, None, None)
        if service.headless and not service.endpoints:
            return NO_SUCH_NAME  # as CoreDNS: a headless Service without endpoints does not exist
        ips = [e.ip for e in service.endpoints] if service.headless else service.cluster_ips
        return _of_type(tuple(map(_address, dict.fromkeys(ips))), type_)
    if len(rest) == 2 and rest[0].startswith("_") and rest[1].startswith("_"):
        answer = _srv(zone, service, rest[0][1:], rest[1][1:])
        return answer if type_ == "SRV" or not answer.exists else Answer(exists=True)
    if len(rest) == 1 and service.headless:
        found = [e for e in service.endpoints if e.hostname.lower() == rest[0]]
        if found:
            return _of_type(tuple(_address(e.ip) for e in found), type_)
    return NO_SUCH_NAME


def _srv(zone: Zone, service: Entry, port: str | None, protocol: str | None) -> Answer:
    base = f"{service.key.name}.{service.key.namespace}.svc.{zone.domain}"
    records: list[Rdata] = []
    extra: list[tuple[str, Rdata]] = []

    def add(target: str, ip: str, ports: Iterable[tuple[str, str, int]]) -> None:
        for name, proto, number in ports:
            if (port is None or name.lower() == port) and (protocol is None or proto == protocol):
                records.append(Rdata("SRV", target, port=number, weight=100))
                extra.append((target, _address(ip)))

    if service.headless:
        for endpoint in service.endpoints:
            add(f"{endpoint.hostname}.{base}", endpoint.ip, endpoint.ports)
    else:
        for ip in service.cluster_ips:
            add(base, ip, service.ports)
    if not records:
        return NO_SUCH_NAME if port is not None or service.headless else Answer(exists=True)
    share = max(1, 100 // len(records))
    weighted = tuple(Rdata("SRV", r.value, port=r.port, weight=share) for r in records)
    return Answer(True, weighted, tuple(dict.fromkeys(extra)))


def _pod(zone: Zone, address: str, namespace: str, type_: str) -> Answer:
    if namespace not in zone.namespaces:
        return NO_SUCH_NAME
    for separator in (".", ":"):
        try:
            ip = ipaddress.ip_address(address.replace("-", separator))
        except ValueError:
            continue
        return _of_type((_address(str(ip)),), type_)
    return NO_SUCH_NAME


def _look_up_reverse(zone: Zone, name: str, type_: str) -> Answer | None:
    address = _reversed_address(name)
    names = zone.reverse.get(address) if address else None
    if names is None:
        return None  # other people's address: forwarded
    return _of_type(tuple(Rdata("PTR", n) for n in names), type_)


def _reversed_address(name: str) -> str | None:
    labels = name.split(".")
    try:
        if name.endswith(".in-addr.arpa"):
            return str(ipaddress.IPv4Address(".".join(reversed(labels[:-2]))))
        digits = "".join(reversed(labels[:-2]))
        return str(ipaddress.IPv6Address(":".join(digits[i : i + 4] for i in range(0, 32, 4))))
    except ValueError:
        return None


def _address(ip: str) -> Rdata:
    return Rdata("AAAA" if ":" in ip else "A", ip)


def _of_type(records: tuple[Rdata, ...], type_: str) -> Answer:
    return Answer(True, tuple(r for r in records if r.type == type_ or type_ == "ANY"))
