from __future__ import annotations

import pytest

from timonel.dns.records import SERVICE_NAME_LABEL, Rdata, Zone, build, look_up
from timonel.objects.meta import Object


def service(name: str, **spec: object) -> Object:
    return {
        "metadata": {"namespace": "shop", "name": name},
        "spec": {
            "clusterIPs": ["10.96.0.7"],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
            **spec,
        },
    }


def slice_of(name: str, *endpoints: Object) -> Object:
    return {
        "metadata": {"namespace": "shop", "name": f"{name}-x", "labels": {SERVICE_NAME_LABEL: name}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": list(endpoints),
    }


def endpoint(ip: str, *, ready: bool = True, hostname: str = "") -> Object:
    return {"addresses": [ip], "conditions": {"ready": ready}, **({"hostname": hostname} if hostname else {})}


@pytest.fixture
def zone() -> Zone:
    return build(
        "cluster.local",
        [
            service("web"),
            service("db", clusterIPs=["None"]),
            service("empty", clusterIPs=["None"]),
            service("out", type="ExternalName", externalName="example.com", clusterIPs=[]),
        ],
        [slice_of("db", endpoint("10.244.0.2", hostname="db-0"), endpoint("10.244.0.3", ready=False))],
        [{"metadata": {"name": "shop"}}],
    )


A = "A"


@pytest.mark.parametrize(
    ("name", "type_", "records"),
    [
        ("web.shop.svc.cluster.local", A, (Rdata(A, "10.96.0.7"),)),
        ("web.shop.svc.cluster.local", "AAAA", ()),
        ("db.shop.svc.cluster.local", A, (Rdata(A, "10.244.0.2"),)),
        ("db-0.db.shop.svc.cluster.local", A, (Rdata(A, "10.244.0.2"),)),
        ("10-1-2-3.shop.pod.cluster.local", A, (Rdata(A, "10.1.2.3"),)),
        ("7.0.96.10.in-addr.arpa", "PTR", (Rdata("PTR", "web.shop.svc.cluster.local"),)),
        ("2.0.244.10.in-addr.arpa", "PTR", (Rdata("PTR", "db-0.db.shop.svc.cluster.local"),)),
        ("out.shop.svc.cluster.local", A, (Rdata("CNAME", "example.com"),)),
        ("dns-version.cluster.local", "TXT", (Rdata("TXT", "1.1.0"),)),
        ("shop.svc.cluster.local", A, ()),
    ],
)
def test_known_names(zone: Zone, name: str, type_: str, records: tuple[Rdata, ...]) -> None:
    answer = look_up(zone, name, type_)

    assert answer is not None
    assert answer.exists
    assert answer.records == records


@pytest.mark.parametrize(
    "name",
    [
        "nothing.shop.svc.cluster.local",
        "web.nowhere.svc.cluster.local",
        "empty.shop.svc.cluster.local",
        "x.web.shop.svc.cluster.local",
        "10-1-2-3.nowhere.pod.cluster.local",
        "_http._udp.web.shop.svc.cluster.local",
        "bogus.cluster.local",
    ],
)
def test_names_that_do_not_exist(zone: Zone, name: str) -> None:
    answer = look_up(zone, name, "A")

    assert answer is not None
    assert not answer.exists


def test_a_service_record_names_port_and_target(zone: Zone) -> None:
    answer = look_up(zone, "_http._tcp.db.shop.svc.cluster.local", "SRV")

    assert answer is not None
    assert answer.records == (Rdata("SRV", "db-0.db.shop.svc.cluster.local", port=8080, weight=100),)
    assert answer.extra == (("db-0.db.shop.svc.cluster.local", Rdata(A, "10.244.0.2")),)


@pytest.mark.parametrize("name", ["example.com", "cluster.local.example.com", "1.1.1.1.in-addr.arpa"])
def test_other_names_are_forwarded(zone: Zone, name: str) -> None:
    assert look_up(zone, name, "A") is None


def test_unready_endpoints_are_published_on_request() -> None:
    zone = build(
        "cluster.local",
        [service("db", clusterIPs=["None"], publishNotReadyAddresses=True)],
        [slice_of("db", endpoint("10.244.0.3", ready=False))],
        [],
    )

    answer = look_up(zone, "db.shop.svc.cluster.local", "A")

    assert answer is not None
    assert answer.records == (Rdata("A", "10.244.0.3"),)
