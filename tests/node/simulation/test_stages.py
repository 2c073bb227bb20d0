from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from timonel.node.simulation.stagefunctions import functions
from timonel.node.simulation.stages import Stages, WrongStage, chosen, duration, read
from timonel.node.simulation.template import Function
from timonel.objects.meta import Object

NOW = 1_700_000_000.0


def stage(name: str = "s", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {"resourceRef": {"apiGroup": "v1", "kind": "Pod"}, "selector": {}, **spec},
    }


def stages(*found: dict[str, Any]) -> Stages:
    return read(yaml.safe_dump_all(found))


def pod(**status: Any) -> Object:
    meta = {
        "name": "web",
        "namespace": "shop",
        "uid": "u",
        "labels": {"a": "b"},
        "annotations": {"wait": "90s"},
    }
    return {"metadata": meta, "spec": {"nodeName": "n"}, "status": status}


def functions_of(obj: Object) -> Mapping[str, Function]:
    addresses = map("10.1.0.{}".format, itertools.count(5))
    chance = random.Random(1)
    return functions(
        obj, node="n", node_ip="10.0.0.1", address=lambda: next(addresses), now=NOW, chance=chance
    )


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ({}, True),
        ({"matchLabels": {"a": "b"}}, True),
        ({"matchLabels": {"a": "c"}}, False),
        ({"matchAnnotations": {"wait": "90s"}}, True),
        ({"matchExpressions": [{"key": ".status.phase", "operator": "In", "values": ["Running"]}]}, True),
        ({"matchExpressions": [{"key": ".status.phase", "operator": "NotIn", "values": ["Running"]}]}, False),
        ({"matchExpressions": [{"key": ".status.none", "operator": "NotIn", "values": ["Running"]}]}, True),
        ({"matchExpressions": [{"key": ".status.none", "operator": "In", "values": ["Running"]}]}, False),
        ({"matchExpressions": [{"key": ".status.none", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": ".status.n", "operator": "In", "values": ["1"]}]}, True),
        ({"matchExpressions": [{"jq": {"key": ".status.phase", "operator": "Exists"}}]}, True),
        ({"matchExpressions": [{"cel": {"expression": "self.status.phase == 'Running'"}}]}, True),
        ({"matchExpressions": [{"cel": {"expression": "self.status.n > 1"}}]}, False),
        ({"matchExpressions": [{"cel": {"expression": "self.status.none == 'x'"}}]}, False),
        ({"matchExpressions": [{"cel": {"expression": "has(self.metadata.labels.a)"}}]}, True),
        (None, False),
    ],
)
def test_selectors_pick_objects(selector: dict[str, Any], matches: bool) -> None:
    found = stages(stage(selector=selector)).matching("Pod", pod(phase="Running", n=1))

    assert bool(found) == matches


@pytest.mark.parametrize(
    ("delay", "least", "most"),
    [
        ({}, 0, 0),
        ({"durationMilliseconds": 1500}, 1.5, 1.5),
        ({"durationMilliseconds": 1000, "jitterDurationMilliseconds": 5000}, 1, 5),
        ({"durationMilliseconds": 1000, "jitterDurationMilliseconds": 500}, 0.5, 0.5),
        (
            {"durationFrom": {"expressionFrom": '.metadata.annotations["wait"]'}, "durationMilliseconds": 1},
            90,
            90,
        ),
        ({"durationFrom": {"jq": {"expression": ".status.until"}}, "durationMilliseconds": 1}, 60, 60),
        ({"durationFrom": {"expressionFrom": ".status.none"}, "durationMilliseconds": 2000}, 2, 2),
        ({"durationFrom": {"cel": {"expression": "self.metadata.annotations.wait"}}}, 90, 90),
        ({"durationFrom": {"cel": {"expression": "self.status.none"}}, "durationMilliseconds": 2000}, 2, 2),
    ],
)
def test_delays_are_fixed_or_found_in_the_object(delay: dict[str, Any], least: float, most: float) -> None:
    (found,) = stages(stage(delay=delay)).matching("Pod", pod(until="2023-11-14T22:14:20Z"))

    for seed in range(20):
        assert least <= found.delay(pod(until="2023-11-14T22:14:20Z"), NOW, random.Random(seed)) <= most


def test_weights_decide_among_those_that_match() -> None:
    by_key = {"weightFrom": {"expressionFrom": ".status.weight"}}
    found = stages(stage("a", weight=9), stage("b", weight=1), stage("c"), stage("d", **by_key))

    def names(obj: Object) -> set[str]:
        picks = (chosen(found.matching("Pod", obj), obj, random.Random(seed)) for seed in range(100))
        return {pick.name for pick in picks if pick is not None}

    assert names(pod()) == {"a", "b"}
    assert names(pod(weight=1_000_000)) == {"d"}


def test_a_status_is_rendered_with_the_functions_of_stages() -> None:
    template = """
    {{ $now := Now }}
    phase: Running
    startTime: {{ $now | Quote }}
    hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
    podIP: {{ PodIPWith .spec.nodeName false "" "" "" | Quote }}
    when: 2023-11-14T22:13:20Z
    """
    (found,) = stages(stage(next={"statusTemplate": template})).matching("Pod", pod())
    patch = found.deeds[0].patch
    assert patch is not None

    body = patch.rendered(pod(), functions_of(pod()))

    assert body == {
        "status": {
            "phase": "Running",
            "startTime": "2023-11-14T22:13:20.000000Z",
            "hostIP": "10.0.0.1",
            "podIP": "10.1.0.5",
            "when": "2023-11-14T22:13:20Z",
        }
    }


def test_steps_come_in_their_order() -> None:
    steps = [
        {"event": {"reason": "Killing", "message": "{{ .metadata.name }}"}},
        {"patch": {"root": "metadata", "template": "labels: {}", "type": "merge"}},
        {"finalizers": {"remove": [{"value": "x"}], "add": [{"value": "y"}]}},
        {"delete": True},
    ]
    (found,) = stages(stage(steps=steps)).matching("Pod", pod())

    event, patch, finalizers, delete = found.deeds
    assert event.event is not None
    assert event.event.message.render(pod(), {}) == "web"
    assert patch.patch is not None
    assert (patch.patch.root, patch.patch.subresource) == ("metadata", "")
    assert finalizers.finalizers is not None
    assert finalizers.finalizers.applied(["x", "z"]) == ["z", "y"]
    assert delete.delete


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9" * 400 + "h", 1e10),
        ("1.5s", 1.5),
        ("1h2m", 3720),
        ("2023-11-14T22:13:30Z", 10),
        ("soon", None),
        ("", None),
        ("5", None),
    ],
)
def test_durations_are_gos_or_moments(text: str, expected: float | None) -> None:
    assert duration(text, NOW) == expected


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ({**stage(), "apiVersion": "v1"}, "apiVersion"),
        (stage(resourceRef={"kind": "Deployment"}), "must be one of Node, Pod"),
        (stage(selector={"matchExpressions": [{"key": ".a", "operator": "Is"}]}), "operator must be one of"),
        (stage(selector={"matchExpressions": [{"key": "a b", "operator": "In"}]}), "cannot read"),
        (stage(selector={"matchExpressions": [{"operator": "In"}]}), "not as a Stage must be"),
        (stage(selector={"matchExpressions": [{"key": ".a", "operator": "In"}]}), "In takes values"),
        (
            stage(selector={"matchExpressions": [{"key": ".a", "operator": "Exists", "values": ["b"]}]}),
            "Exists takes no values",
        ),
        (stage(selector={"matchExpressions": [{"cel": {"expression": "1 +"}}]}), "stage 's'"),
        (stage(selector={"matchExpressions": [{"cel": {"expression": "1 + 1"}}]}), "stage 's'"),
        (stage(next={"statusTemplate": "{{ if }}"}), "stage 's'"),
        (stage(delay={"durationMilliseconds": "long"}), "not as a Stage must be"),
        (stage(steps=[{"patch": {"template": "a", "type": "apply"}}]), "type of a patch"),
        (stage(selector=[]) | {"spec": []}, "resourceRef"),
        (stage(next={"statusTemplate": "{{ NoSuch .x }}"}), "stage 's': function 'NoSuch' not defined"),
        (stage(next={"statusTemplate": "{{ if .a }}{{ .b | NoSuch }}{{ end }}"}), "'NoSuch' not defined"),
        (stage(next={"statusTemplate": "{{ (NoSuch).a }}"}), "'NoSuch' not defined"),
        (stage(next={"statusTemplate": '{{ define "a" }}{{ NoSuch }}{{ end }}'}), "'NoSuch' not defined"),
        (stage(next={"event": {"message": "{{ NoSuch }}"}}), "'NoSuch' not defined"),
        (stage(steps=[{"patch": {"template": "{{ NoSuch }}"}}]), "'NoSuch' not defined"),
        (stage(next={"patches": [{"template": "{{ NoSuch }}"}]}), "'NoSuch' not defined"),
        (stage(next={"statusTemplate": "{{ Quote 1 2 3 }}"}), "wrong number of arguments for Quote: 3"),
        (stage(next={"statusTemplate": "{{ NodeName 1 }}"}), "wrong number of arguments for NodeName: 1"),
        (stage(next={"statusTemplate": "{{ $x }}"}), r"undefined variable '\$x'"),
        (stage(next={"statusTemplate": "{{ if true }}{{ $x := 1 }}{{ end }}{{ $x }}"}), "undefined variable"),
        (stage(next={"statusTemplate": "{{ $x = 1 }}"}), "undefined variable"),
        (stage(next={"statusTemplate": '{{ template "none" }}'}), "template 'none' is not defined"),
        (
            stage(next={"statusTemplate": "{{ if .a }}{{ else banana }}{{ end }}"}),
            "unexpected {{ else banana }}",
        ),
        (stage(next={"statusTemplate": "{{ " + "(" * 5000 + " }}"}), "stage 's'"),
        (stage(weightFrom={"cel": {"expression": "nosuch(self)"}}), "stage 's'"),
        (stage(delay={"durationFrom": {"cel": {"expression": "self."}}}), "stage 's'"),
        (stage(selector={"matchExpressions": [{"cel": {"expression": "self.a == other"}}]}), "stage 's'"),
        (stage(selector={"matchExpressions": [{"cel": {"expression": "(" * 5000}}]}), "stage 's'"),
        (stage(weightFrom={"jq": {"expression": ".a | nosuch"}}), "stage 's': cannot read"),
        (stage(delay={"jitterDurationFrom": {"expressionFrom": ".a["}}), "stage 's': cannot read"),
        (stage(selector={"matchExpressions": [{"key": "(" * 5000, "operator": "Exists"}]}), "stage 's'"),
        (
            stage(selector={"matchExpressions": [{"key": ".a", "operator": "In", "values": "abc"}]}),
            "values must",
        ),
        (stage(weight=float("nan")), "weight must be finite"),
        (stage(delay={"durationMilliseconds": float("inf")}), "must be finite"),
        (stage(selector={"matchLabels": ["a"]}), "matchLabels must"),
        (stage(selector={"matchAnnotations": {"a": 1}}), "matchAnnotations must"),
    ],
)
def test_what_is_no_stage_is_said(raw: dict[str, Any], why: str) -> None:
    with pytest.raises(WrongStage, match=why):
        stages(raw)


@pytest.mark.parametrize("text", ["a: [", "5", "- 1\n- 2"])
def test_what_is_no_file_of_stages_is_said(text: str) -> None:
    with pytest.raises(WrongStage):
        read(text)


def test_other_kinds_and_lists_are_no_trouble() -> None:
    text = yaml.safe_dump_all([{"kind": "ConfigMap"}, {"kind": "List", "items": [stage()]}])

    found = read(text)

    assert found.lives("Pod")
    assert not found.lives("Node")


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e400", "1e308", "-5", "many", "", "9" * 400])
def test_no_object_can_spoil_the_choice_with_its_weight_or_delay(text: str) -> None:
    by_key = {
        "weightFrom": {"expressionFrom": ".status.weight"},
        "delay": {
            "durationFrom": {"expressionFrom": ".status.weight"},
            "jitterDurationFrom": {"jq": {"expression": ".status.n | length"}},
        },
    }
    obj = pod(weight=text, n=5)
    three = (stage("a", weight=1, **by_key), stage("b", weight=1, **by_key), stage("c", weight=1))
    found = stages(*three).matching("Pod", obj)

    pick = chosen(found, obj, random.Random(1))

    assert pick is not None
    assert 0 <= pick.delay(obj, NOW, random.Random(1)) < float("inf")
