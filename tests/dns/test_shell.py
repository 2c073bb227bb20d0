from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.dns.test_records import endpoint, service, slice_of
from timonel.dns.records import build, look_up
from timonel.dns.shell import LiveZone
from timonel.objects.meta import Key, Object, key_of


class FakeInformers:
    """Informers that say what a test puts in."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[Key, Object]] = {}
        self.handlers: dict[str, list[Any]] = {}

    def get(self, resource: str) -> Any:
        self.objects.setdefault(resource, {})
        return FakeInformer(self, resource)

    def put(self, resource: str, key: Key, new: Object | None) -> None:
        old = self.objects[resource].pop(key, None)
        if new is not None:
            self.objects[resource][key] = new
        if old is not None or new is not None:
            for handler in self.handlers[resource]:
                handler(old, new)


class FakeInformer:
    def __init__(self, owner: FakeInformers, resource: str) -> None:
        self._owner, self._resource = owner, resource

    def get(self, key: Key) -> Object | None:
        return self._owner.objects[self._resource].get(key)

    def add_handler(self, handler: Any) -> None:
        self._owner.handlers.setdefault(self._resource, []).append(handler)


SLICES = "endpointslices.discovery.k8s.io"
names = st.sampled_from(["web", "db", "api"])
ips = st.lists(st.sampled_from(["10.244.0.2", "10.244.0.3", "10.244.0.4"]), unique=True)
steps = st.lists(st.tuples(st.sampled_from(["headless", "plain", "slice", "gone", "slice gone"]), names, ips))


@given(steps)
def test_small_changes_lead_to_the_same_zone_as_building_it_anew(
    found: list[tuple[str, str, list[str]]],
) -> None:
    informers = FakeInformers()
    live = LiveZone(informers, "cluster.local")  # type: ignore[arg-type]
    for what, name, addresses in found:
        key = Key("shop", name)
        slice_ = slice_of(name, *(endpoint(ip, hostname=f"h{ip[-1]}") for ip in addresses))
        match what:
            case "headless":
                informers.put("services", key, service(name, clusterIPs=["None"]))
            case "plain":
                informers.put("services", key, service(name))
            case "gone":
                informers.put("services", key, None)
            case "slice":
                informers.put(SLICES, key_of(slice_), slice_)
            case _:
                informers.put(SLICES, key_of(slice_), None)
        zone = live()
        fresh = build(
            "cluster.local", informers.objects["services"].values(), informers.objects[SLICES].values(), []
        )
        assert zone.services == fresh.services
        assert {ip: set(n) for ip, n in zone.reverse.items()} == {
            ip: set(n) for ip, n in fresh.reverse.items()
        }


def test_an_unchanged_cluster_has_one_zone_and_a_change_makes_another() -> None:
    informers = FakeInformers()
    live = LiveZone(informers, "cluster.local")  # type: ignore[arg-type]
    before = live()
    assert live() is before
    informers.put("namespaces", Key("", "shop"), {"metadata": {"name": "shop"}})

    answer = look_up(live(), "shop.svc.cluster.local", "A")
    assert answer is not None
    assert answer.exists
