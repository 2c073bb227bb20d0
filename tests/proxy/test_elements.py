from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from timonel.netfilter.elements import Changes, Spot, Value
from timonel.netfilter.messages import messages, transaction
from timonel.proxy.elements import Elements, elements, kinds
from timonel.proxy.model import ServicePort, Target
from timonel.proxy.ruleset import Network, base, chains

NETWORK = Network("timonel", "10.244.0.0/16,fd00::/64")


def port(*ips: str, **kwargs: object) -> ServicePort:
    fields: dict[str, object] = {
        "namespace": "shop", "name": "web", "port_name": "http", "protocol": "tcp", "port": 80,
        "cluster_ips": ("10.96.0.7",), "node_port": 30080,
        "targets": tuple(Target(ip, 8080) for ip in ips),
        "cluster_targets": tuple(Target(ip, 8080) for ip in ips),
    }  # fmt: skip
    return ServicePort(**{**fields, **kwargs})  # type: ignore[arg-type]


def take(it: Elements) -> Changes:
    return it.take()[0]


def bytes_of(spot: Spot) -> bytes:
    return spot[2] if isinstance(spot[2], bytes) else b"".join(spot[2])


def names(found: ServicePort) -> list[str]:
    return sorted(spot[1] for spot, _ in elements(found))


def verdicts(found: ServicePort) -> dict[str, Value]:
    return {spot[1]: value for spot, value in elements(found) if isinstance(value, str)}


def test_each_endpoint_has_an_element_and_the_service_one() -> None:
    assert names(port("10.0.0.1", "10.0.0.2", node_port=0)) == ["endpoints", "endpoints", "service-ips"]


def test_a_service_without_endpoints_is_refused() -> None:
    assert verdicts(port()) == {
        "no-endpoint-services": "goto reject-chain",
        "no-endpoint-nodeports": "goto reject-chain",
    }


def test_a_local_policy_without_local_endpoints_drops_what_comes_from_outside() -> None:
    found = verdicts(port("10.0.0.1", external_local=True))

    assert found["no-endpoint-nodeports"] == "goto drop-chain"
    assert found["service-nodeports"] == "goto local-node-1-0"


def test_every_verdict_leads_to_a_chain_that_is_made() -> None:
    it = port("10.0.0.1", external_ips=("1.1.1.1",), affinity_seconds=60)
    text = chains(NETWORK, kinds(it))

    for name, chain in verdicts(it).items():
        assert "add chain ip timonel " + str(chain).removeprefix("goto ") in text, name
    assert "timeout 60s" in text


def test_the_base_tables_replace_older_ones() -> None:
    text = base(NETWORK)

    for family in ("ip", "ip6"):
        assert f"table {family} timonel {{}}\ndelete table {family} timonel\n" in text


def test_one_endpoint_more_is_few_elements_however_many_there_are() -> None:
    many = [f"10.0.{n >> 8}.{n & 255}" for n in range(1000)]
    it = Elements()
    it.put(port(*many, node_port=0))
    take(it)
    it.put(port(*many, "10.9.9.9", node_port=0))

    changes = take(it)

    assert (len(changes.delete), len(changes.add)) == (1, 2)  # the service leads to another chain


def test_an_address_that_two_services_claim_belongs_to_the_first_until_it_goes() -> None:
    first = port("10.0.0.1", name="a", cluster_ips=("10.96.0.1",), external_ips=("1.1.1.1",), node_port=0)
    second = port("10.0.0.2", name="b", cluster_ips=("10.96.0.2",), external_ips=("1.1.1.1",), node_port=0)
    it = Elements()
    it.put(second)
    it.put(first)
    before = dict(take(it).add)
    shared = [spot for spot in before if bytes_of(spot).startswith(b"\1\1\1\1") and spot[1] == "endpoints"]

    it.drop(first.id)
    changes = take(it)

    assert before[shared[0]][:4] == bytes([10, 0, 0, 1])
    assert dict(changes.add)[shared[0]][:4] == bytes([10, 0, 0, 2])


def test_a_transaction_is_framed_as_a_batch_and_splits_what_is_too_long_for_a_message() -> None:
    it = Elements()
    it.put(port(*[f"10.0.{n >> 8}.{n & 255}" for n in range(2000)], node_port=0))

    kinds_ = [kind for kind, _ in messages(transaction("timonel", take(it)))]

    assert (kinds_[0], kinds_[-1]) == (0x10, 0x11)
    assert len(kinds_) > 4


ips = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3"])
ports = st.builds(
    lambda name, found, affinity, policy, shared: port(
        *found,
        name=name,
        cluster_ips=(f"10.96.0.{ord(name)}",),
        external_ips=("1.1.1.1",) if shared else (),
        node_port=30000 + ord(name),
        affinity_seconds=affinity,
        external_local=policy,
        local_targets=tuple(Target(ip, 8080) for ip in found[:1]) if policy else (),
    ),
    st.sampled_from("abc"),
    st.lists(ips, unique=True),
    st.sampled_from([0, 60]),
    st.booleans(),
    st.booleans(),
)
routings = st.lists(ports, unique_by=lambda p: p.id)


@given(st.lists(routings, max_size=6))
def test_changes_lead_from_any_state_to_any_other(steps: list[list[ServicePort]]) -> None:
    """Plays the changes against a model of the kernel, and compares with what a fresh start would give."""
    kernel: dict[Spot, Value] = {}
    made: set[str] = set()
    it = Elements()
    known: set[str] = set()
    for step in steps:
        for gone in known - {p.id for p in step}:
            it.drop(gone)
        for p in step:
            it.put(p)
        known = {p.id for p in step}
        changes, wanted = it.take()
        made |= {f"goto {kind.chain}" for kind in wanted}
        for spot in changes.delete:
            del kernel[spot]
        for spot, value in changes.add:
            assert spot not in kernel
            kernel[spot] = value
            assert not isinstance(value, str) or value in made | {"goto reject-chain", "goto drop-chain"}
        fresh = Elements()
        for p in step:
            fresh.put(p)
        assert kernel == dict(take(fresh).add)


def test_the_index_is_in_the_byte_order_of_the_machine() -> None:
    spots = [
        spot for spot, _ in elements(port("10.0.0.1", "10.0.0.2", node_port=0)) if spot[1] == "endpoints"
    ]

    assert [struct.unpack("=I", bytes_of(spot)[-4:])[0] for spot in spots] == [0, 1]
