"""Where names outside the cluster are asked for, as a ConfigMap says: kube-system/kube-dns. Pure.

    data:
      stubDomains: |          {"corp.example": ["10.0.0.53", "10.0.0.54:5353"]}
      upstreamNameservers: |  ["1.1.1.1"]

The keys are those of kube-dns (kubernetes.io, "Customizing DNS Service"). What cannot be read is left out and told.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping, Sequence
from typing import Any

from timonel.records import dataclass

STUBS, UPSTREAMS = "stubDomains", "upstreamNameservers"
MOST_UPSTREAMS = 3  # as upstream: more are not looked at


@dataclass(frozen=True, slots=True)
class Upstream:
    address: str
    port: int = 53


@dataclass(frozen=True, slots=True)
class Forwarding:
    """`stubs`: a domain and all below it -> its own servers; everything else goes to `upstreams`."""

    upstreams: tuple[Upstream, ...] = ()
    stubs: tuple[tuple[str, tuple[Upstream, ...]], ...] = ()

    def servers(self, name: str) -> tuple[Upstream, ...]:
        """Of the longest stub domain that holds `name` (lower case, no final dot)."""
        fitting = [s for s in self.stubs if name == s[0] or name.endswith(f".{s[0]}")]
        return max(fitting, key=lambda s: len(s[0]))[1] if fitting else self.upstreams


def forwarding(
    data: Mapping[str, str], default: Sequence[Upstream], own: Sequence[str] = ()
) -> tuple[Forwarding, list[str]]:
    """What the ConfigMap's data says, and what is wrong with it. `own` are our addresses: never asked, or it loops."""
    problems: list[str] = []
    upstreams = _servers(_json(data, UPSTREAMS, list, problems), UPSTREAMS, own, problems)[:MOST_UPSTREAMS]
    stubs = []
    for domain, servers in (_json(data, STUBS, dict, problems) or {}).items():
        found = _servers(servers, f"{STUBS}[{domain}]", own, problems)
        if found:
            stubs.append((domain.strip(".").lower(), found))
    return Forwarding(upstreams or tuple(default), tuple(stubs)), problems


def _json(data: Mapping[str, str], key: str, kind: type, problems: list[str]) -> Any:
    if not data.get(key, "").strip():
        return None
    try:
        found = json.loads(data[key])
    except ValueError as exc:
        problems.append(f"{key}: {exc}")
        return None
    if not isinstance(found, kind):
        problems.append(f"{key}: expected {'a list' if kind is list else 'an object'}")
        return None
    return found


def _servers(found: Any, where: str, own: Sequence[str], problems: list[str]) -> tuple[Upstream, ...]:
    if found is None:
        return ()
    if not isinstance(found, list):
        problems.append(f"{where}: expected a list")
        return ()
    servers = []
    for text in found:
        server = _server(text)
        if server is None:
            problems.append(f"{where}: {text!r} is not an address with or without a port")
        elif server.address in own:
            problems.append(f"{where}: {text} is this server itself")
        else:
            servers.append(server)
    return tuple(servers)


def _server(text: Any) -> Upstream | None:
    if not isinstance(text, str):
        return None
    for address, port in ((text, "53"), text.rpartition(":")[::2]):
        try:
            ip, number = ipaddress.ip_address(address.strip("[]")), int(port)
        except ValueError:
            continue
        if 0 < number < 65536:
            return Upstream(str(ip), number)
    return None
