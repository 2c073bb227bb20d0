"""What a cache is asked by stays true through every change."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.aio.clock import SystemClock
from timonel.client.fake import MemoryTransport
from timonel.client.informer import MOST_INDEXES, Informer
from timonel.client.transport import Resource
from timonel.machinery import selectors
from timonel.objects import services
from timonel.objects.indexing import BySelector, by_node, wanted_by
from timonel.objects.meta import Key, Object

PODS = Resource("", "v1", "pods", True)
BY_SELECTOR = BySelector(services.pod_selector)
LABELS = st.dictionaries(st.sampled_from("xyz"), st.sampled_from("12"), max_size=3)


def pod(name: str, labels: Mapping[str, str], node: str = "") -> Object:
    meta = {"name": name, "namespace": "shop", "labels": dict(labels), "resourceVersion": "1"}
    return {"metadata": meta, "spec": {"nodeName": node} if node else {}}


def names(found: list[Object]) -> list[str]:
    return sorted(obj["metadata"]["name"] for obj in found)


def informer() -> Informer:
    return Informer(MemoryTransport(SystemClock()), PODS, SystemClock())


@given(
    changes=st.lists(
        st.tuples(st.sampled_from("abcd"), LABELS, st.sampled_from(("", "n1", "n2")), st.booleans())
    ),
    asked=LABELS,
    early=st.booleans(),
)
def test_what_is_found_by_an_index_is_what_is_found_by_looking(
    changes: list[tuple[str, dict[str, str], str, bool]], asked: dict[str, str], early: bool
) -> None:
    async def run() -> None:
        seen = informer()
        if early:
            seen.having("shop", asked), seen.by(by_node, "n1")
        for name, labels, node, gone in changes:
            seen._put(Key("shop", name), None if gone else pod(name, labels, node))
        everyone = seen.list("shop")
        wanted = [p for p in everyone if asked.items() <= p["metadata"]["labels"].items()]
        found = [p for p in seen.having("shop", asked) if asked.items() <= p["metadata"]["labels"].items()]

        assert names(found) == names(wanted)
        assert names(list(seen.by(by_node, "n1"))) == names(
            [p for p in everyone if p["spec"].get("nodeName") == "n1"]
        )
        assert not seen.having("elsewhere", {"x": "1"})

    asyncio.run(run())


async def test_labels_beyond_the_last_index_are_looked_for() -> None:
    seen = informer()
    for number in range(MOST_INDEXES + 3):
        seen._put(Key("shop", f"p{number}"), pod(f"p{number}", {f"k{number}": "v"}))

    for number in range(MOST_INDEXES):
        assert names(list(seen.having("shop", {f"k{number}": "v"}))) == [f"p{number}"]
    assert len(seen.having("shop", {f"k{MOST_INDEXES}": "v"})) == MOST_INDEXES + 3


@given(chosen=st.lists(LABELS, max_size=6), labels=LABELS)
def test_every_service_that_selects_a_pod_is_among_those_that_are_asked(
    chosen: list[dict[str, str]], labels: dict[str, str]
) -> None:
    filed: dict[object, list[int]] = {}
    for number, selector in enumerate(chosen):
        service = {"metadata": {"name": f"s{number}", "namespace": "shop"}, "spec": {"selector": selector}}
        for entry in BY_SELECTOR(service):
            filed.setdefault(entry, []).append(number)
    asked = [number for entry in wanted_by("shop", labels) for number in filed.get(entry, ())]

    selecting = [n for n, s in enumerate(chosen) if s and s.items() <= labels.items()]
    assert set(selecting) <= set(asked)
    assert len(asked) == len(set(asked))


def test_a_selector_of_sets_alone_is_filed_under_no_label() -> None:
    by = BySelector(lambda obj: selectors.from_label_selector(obj["spec"]["selector"]))
    expression = {"key": "app", "operator": "Exists"}
    budget = {"metadata": {"namespace": "shop"}, "spec": {"selector": {"matchExpressions": [expression]}}}

    (entry,) = by(budget)
    assert entry in list(wanted_by("shop", {"app": "web"}))


async def test_an_odd_object_is_found_by_nothing_and_hides_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def by_size(obj: Object) -> list[int]:
        return [obj["spec"]["size"]]

    seen = informer()
    assert not seen.by(by_size, 1)
    for name, spec in (("odd", {}), ("small", {"size": 1}), ("odder", {})):
        seen._put(Key("shop", name), {**pod(name, {}), "spec": spec})
    seen._put(Key("shop", "odd"), None)

    assert names(list(seen.by(by_size, 1))) == ["small"]
    assert names(list(seen.list("shop"))) == ["odder", "small"]
    assert "Could not index shop/odd" in caplog.text


def test_a_selector_that_cannot_be_read_selects_nothing() -> None:
    by = BySelector(lambda obj: selectors.from_label_selector(obj["spec"]["selector"]))
    wrong = {"matchExpressions": [{"key": "app", "operator": "Like", "values": ["web"]}]}

    assert by({"metadata": {"namespace": "shop"}, "spec": {"selector": wrong}}) == ()
