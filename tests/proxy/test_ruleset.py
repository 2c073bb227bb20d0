from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from timonel.proxy.model import Routing, ServicePort, Target
from timonel.proxy.ruleset import Network, base, chain_name, update

NETWORK = Network("timonel", "10.244.0.0/16")
NONE = Routing({})


def port(*ips: str, **kwargs: object) -> ServicePort:
    fields: dict[str, object] = {
        "namespace": "shop", "name": "web", "port_name": "http", "protocol": "tcp", "port": 80,
        "cluster_ips": ("10.96.0.7",), "node_port": 30080,
        "targets": tuple(Target(ip, 8080) for ip in ips),
        "external_targets": tuple(Target(ip, 8080) for ip in ips),
    }  # fmt: skip
    return ServicePort(**{**fields, **kwargs})  # type: ignore[arg-type]


def routing(*ports: ServicePort) -> Routing:
    return Routing({p.id: p for p in ports})


def test_nothing_changed_is_no_transaction() -> None:
    assert update(NETWORK, routing(port("10.0.0.1")), routing(port("10.0.0.1"))) == ""


def test_several_targets_are_picked_at_random() -> None:
    text = update(NETWORK, NONE, routing(port("10.0.0.1", "10.0.0.2")))

    assert "dnat ip to numgen random mod 2 map { 0 : 10.0.0.1 . 8080, 1 : 10.0.0.2 . 8080 }" in text
    assert (
        f"add element ip timonel service-ips {{ 10.96.0.7 . tcp . 80 : goto {chain_name('svc', port())} }}"
        in text
    )


def test_a_service_without_endpoints_is_refused() -> None:
    text = update(NETWORK, NONE, routing(port()))

    assert "no-endpoint-services { 10.96.0.7 . tcp . 80 : goto reject-chain }" in text
    assert "no-endpoint-nodeports { tcp . 30080 : goto reject-chain }" in text


def test_an_unchanged_service_is_not_touched() -> None:
    other = port("10.0.0.9", name="db", cluster_ips=("10.96.0.8",), node_port=0)
    text = update(NETWORK, routing(port("10.0.0.1"), other), routing(port("10.0.0.2"), other))

    assert "10.96.0.8" not in text
    assert chain_name("svc", other) not in text


def test_the_base_table_replaces_an_older_one() -> None:
    assert base(NETWORK).startswith("table ip timonel {}\ndelete table ip timonel\n")


ips = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3"])
ports = st.builds(
    lambda name, targets, affinity: port(
        *targets,
        name=name,
        cluster_ips=(f"10.96.0.{ord(name)}",),
        node_port=30000 + ord(name),
        affinity_seconds=affinity,
    ),
    st.sampled_from("abc"),
    st.lists(ips, unique=True),
    st.sampled_from([0, 60]),
)
routings = st.lists(ports, unique_by=lambda p: p.id).map(lambda found: routing(*found))


@given(st.lists(routings, max_size=6))
def test_what_is_deleted_was_there_and_what_is_named_exists(steps: list[Routing]) -> None:
    """Plays the transactions against a model of nftables' containers."""
    chains: set[str] = set()
    sets: set[str] = set()
    elements: set[tuple[str, str]] = set()
    for old, new in itertools.pairwise([NONE, *steps]):
        for line in update(NETWORK, old, new).splitlines():
            verb, what, _, _, name, *rest = line.split(" ", 5)
            if what == "element":
                key = (name, rest[0].strip("{} ").split(" : ")[0])
                if verb == "add":
                    assert key not in elements
                    elements.add(key)
                else:
                    elements.remove(key)
            elif what == "set":
                (sets.add if verb == "add" else sets.remove)(name)
            elif what == "chain" and verb != "flush":
                (chains.add if verb == "add" else chains.remove)(name)
            else:
                assert name in chains
    last = steps[-1] if steps else NONE
    assert len([e for e in elements if e[0] != "hairpin"]) == 2 * len(last.ports)
    assert bool(chains) == any(p.targets for p in last.ports.values())
