from __future__ import annotations

import struct

from timonel.netfilter.elements import packed
from timonel.netfilter.messages import NESTED, attribute
from timonel.proxy.conntrack import Flow, attributes, parse, stale, wanted
from timonel.proxy.model import ServicePort, Target


def tuple_of(source: str, destination: str, ports: tuple[int, int], protocol: int = 17) -> bytes:
    ip = attribute(1, packed(source)) + attribute(2, packed(destination))
    numbers = [attribute(n, struct.pack(">H", port)) for n, port in zip((2, 3), ports, strict=True)]
    rest = attribute(1, bytes([protocol])) + b"".join(numbers)
    return attribute(1 | NESTED, ip) + attribute(2 | NESTED, rest)


def entry(served: str, port: int = 5353, asked: str = "10.96.0.7", asked_port: int = 53) -> Flow:
    original = tuple_of("10.244.0.9", asked, (4444, asked_port))
    reply = tuple_of(served, "10.244.0.9", (port, 4444))
    found = parse(attribute(1 | NESTED, original) + attribute(2 | NESTED, reply), 4)
    assert found is not None
    return found


def leads() -> object:
    port = ServicePort(
        "shop", "dns", "dns", "udp", 53, cluster_ips=("10.96.0.7",), node_port=30053,
        targets=(Target("10.244.0.2", 5353),),
    )  # fmt: skip
    return wanted([port])


def test_an_entry_is_read_and_named_as_the_kernel_does() -> None:
    flow = entry("10.244.0.2")

    assert (flow.asked, flow.served) == ((packed("10.96.0.7"), 53), (packed("10.244.0.2"), 5353))
    assert set(attributes(flow.original)) == {1, 2}


def test_only_flows_to_other_places_than_the_service_leads_to_are_stale() -> None:
    good, gone = entry("10.244.0.2"), entry("10.244.0.3")
    never_translated = entry("10.96.0.7", 53)
    other_service = entry("10.244.0.3", asked="10.96.0.8")
    node_port = entry("10.244.0.3", asked="172.30.0.2", asked_port=30053)

    found = stale([good, gone, never_translated, other_service, node_port], leads())  # type: ignore[arg-type]

    assert list(found) == [gone, never_translated, node_port]


def test_a_broken_entry_is_passed_over() -> None:
    assert parse(b"\x01\x02", 4) is None
