from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.apis.examples import BODIES
from timonel.apis.resource import ResourceType
from timonel.apis.scheme import Scheme
from timonel.objects.meta import Object
from timonel.schema import retired as types

SCHEME = Scheme()
RETIRED = [t for t in SCHEME.resources if t.retired is not None]
SERVICE: Object = {"kind": "Service", "name": "a", "apiVersion": "v1"}
TARGET: Object = {"kind": "Deployment", "name": "a", "apiVersion": "apps/v1"}
EMPTY = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match"
POD: Object = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "a", "image": "a"}]}}


def kind(api_version: str, name: str) -> ResourceType:
    return next(t for t in RETIRED if (t.api_version, t.kind) == (api_version, name))


def current_of(rtype: ResourceType) -> ResourceType:
    assert rtype.retired is not None
    group = rtype.group if rtype.retired.stored_group is None else rtype.retired.stored_group
    found = SCHEME.resource(group, rtype.retired.stored_version, rtype.plural)
    assert found is not None
    return found


def served(rtype: ResourceType, **body: Any) -> Object:
    """What a client sends, decoded and defaulted in the old version."""
    obj = {
        "apiVersion": rtype.api_version,
        "kind": rtype.kind,
        "metadata": {"name": "a"},
        **copy.deepcopy(body),
    }
    obj, problems = SCHEME.codec(rtype).normalize(obj)
    assert problems == []
    rtype.default(obj)
    return obj


def stored(rtype: ResourceType, **body: Any) -> Object:
    assert rtype.retired is not None
    obj = served(rtype, **body)
    rtype.retired.to_stored(obj)
    obj, problems = SCHEME.codec(current_of(rtype)).normalize(obj)
    assert problems == []
    return obj


def back(rtype: ResourceType, obj: Object) -> Object:
    assert rtype.retired is not None
    obj = copy.deepcopy(obj)
    rtype.retired.from_stored(obj)
    return obj


def test_every_type_of_a_retired_version_is_served() -> None:
    assert {f"{t.api_version}/{t.kind}" for t in RETIRED} == types.KINDS.keys()


@pytest.mark.parametrize("rtype", RETIRED, ids=lambda t: f"{t.api_version}/{t.kind}")
def test_a_retired_version_keeps_what_the_current_one_holds(rtype: ResourceType) -> None:
    assert rtype.retired is not None
    current = current_of(rtype)
    example = BODIES.get(f"{current.api_version}/{current.kind}")
    obj: Object = {"metadata": {"name": "a"}} if example is None else copy.deepcopy(example)
    obj |= {"apiVersion": current.api_version, "kind": current.kind}
    obj, _ = SCHEME.codec(current).normalize(obj)
    current.default(obj)
    before = copy.deepcopy(obj)
    rtype.retired.from_stored(obj)
    assert obj["apiVersion"] == rtype.api_version
    rtype.retired.to_stored(obj)
    assert SCHEME.codec(current).normalize(obj)[0] == SCHEME.codec(current).normalize(before)[0]


@pytest.mark.parametrize(
    ("api_version", "name", "where", "value"),
    [
        (
            "extensions/v1beta1",
            "Deployment",
            "strategy",
            {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}},
        ),
        ("extensions/v1beta1", "Deployment", "progressDeadlineSeconds", 2147483647),
        ("extensions/v1beta1", "Deployment", "revisionHistoryLimit", 2147483647),
        ("apps/v1beta1", "Deployment", "revisionHistoryLimit", 2),
        (
            "apps/v1beta1",
            "Deployment",
            "strategy",
            {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
        ),
        ("apps/v1beta2", "Deployment", "revisionHistoryLimit", 10),
        ("apps/v1beta1", "StatefulSet", "updateStrategy", {"type": "OnDelete"}),
        (
            "apps/v1beta2",
            "StatefulSet",
            "updateStrategy",
            {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        ),
        ("extensions/v1beta1", "DaemonSet", "updateStrategy", {"type": "OnDelete"}),
        (
            "apps/v1beta2",
            "DaemonSet",
            "updateStrategy",
            {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
        ),
    ],
)
def test_defaults_are_those_of_the_version(api_version: str, name: str, where: str, value: Any) -> None:
    assert stored(kind(api_version, name), spec={"template": POD})["spec"][where] == value


@pytest.mark.parametrize(
    ("api_version", "name"),
    [
        ("extensions/v1beta1", "Deployment"),
        ("apps/v1beta1", "Deployment"),
        ("extensions/v1beta1", "ReplicaSet"),
        ("extensions/v1beta1", "DaemonSet"),
        ("apps/v1beta1", "StatefulSet"),
    ],
)
def test_the_oldest_versions_select_by_the_labels_of_the_template(api_version: str, name: str) -> None:
    obj = stored(kind(api_version, name), spec={"template": POD})
    assert obj["spec"]["selector"] == {"matchLabels": {"app": "a"}}
    assert obj["metadata"]["labels"] == {"app": "a"}


def test_apps_v1beta2_wants_a_selector() -> None:
    rtype = kind("apps/v1beta2", "Deployment")
    causes = current_of(rtype).validate(stored(rtype, spec={"template": POD}))
    assert "spec.selector" in [cause.field for cause in causes]


def test_a_rollback_and_a_generation_of_the_template_travel_as_annotations() -> None:
    deployment = kind("extensions/v1beta1", "Deployment")
    obj = stored(deployment, spec={"template": POD, "rollbackTo": {"revision": 3}})
    assert obj["metadata"]["annotations"] == {"deprecated.deployment.rollback.revisionTo": "3"}
    assert back(deployment, obj)["spec"]["rollbackTo"] == {"revision": 3}
    daemonset = kind("extensions/v1beta1", "DaemonSet")
    obj = stored(daemonset, spec={"template": POD, "templateGeneration": 4})
    assert obj["metadata"]["annotations"] == {"deprecated.daemonset.template.generation": "4"}
    assert back(daemonset, obj)["spec"]["templateGeneration"] == 4


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {"matchExpressions": [{"key": EMPTY, "operator": "Exists"}]}),
        ({"matchLabels": {"a": "b"}}, {"matchLabels": {"a": "b"}}),
        ({"matchExpressions": [{"key": EMPTY, "operator": "DoesNotExist"}]}, {}),
    ],
    ids=["nothing", "some", "everything"],
)
def test_an_empty_selector_of_an_old_budget_selects_nothing(old: Object, new: Object) -> None:
    rtype = kind("policy/v1beta1", "PodDisruptionBudget")
    obj = stored(rtype, spec={"minAvailable": 1, "selector": old})
    assert obj["spec"]["selector"] == new
    assert back(rtype, obj)["spec"]["selector"] == old


METRICS = [
    (
        {"type": "Resource", "resource": {"name": "cpu", "targetAverageUtilization": 50}},
        {
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
        },
    ),
    (
        {"type": "Pods", "pods": {"metricName": "hits", "targetAverageValue": "1k"}},
        {
            "type": "Pods",
            "pods": {"metric": {"name": "hits"}, "target": {"type": "AverageValue", "averageValue": "1k"}},
        },
    ),
    (
        {"type": "Object", "object": {"metricName": "hits", "targetValue": "5", "target": SERVICE}},
        {
            "type": "Object",
            "object": {
                "metric": {"name": "hits"},
                "target": {"type": "Value", "value": "5"},
                "describedObject": SERVICE,
            },
        },
    ),
    (
        {
            "type": "External",
            "external": {
                "metricName": "q",
                "metricSelector": {"matchLabels": {"a": "b"}},
                "targetValue": "5",
            },
        },
        {
            "type": "External",
            "external": {
                "metric": {"name": "q", "selector": {"matchLabels": {"a": "b"}}},
                "target": {"type": "Value", "value": "5"},
            },
        },
    ),
    (
        {
            "type": "ContainerResource",
            "containerResource": {"name": "cpu", "container": "c", "targetAverageValue": "1"},
        },
        {
            "type": "ContainerResource",
            "containerResource": {
                "name": "cpu",
                "container": "c",
                "target": {"type": "AverageValue", "averageValue": "1"},
            },
        },
    ),
]


@pytest.mark.parametrize(("old", "new"), METRICS)
def test_metrics_of_v2beta1(old: Object, new: Object) -> None:
    rtype = kind("autoscaling/v2beta1", "HorizontalPodAutoscaler")
    obj = stored(rtype, spec={"maxReplicas": 3, "scaleTargetRef": TARGET, "metrics": [old]})
    assert obj["spec"]["metrics"] == [new]
    assert list(current_of(rtype).validate(obj)) == []
    assert back(rtype, obj)["spec"]["metrics"] == [old]


def test_scaling_behaviour_passes_through_v2beta1_as_an_annotation() -> None:
    rtype = kind("autoscaling/v2beta1", "HorizontalPodAutoscaler")
    obj = stored(rtype, spec={"maxReplicas": 3, "scaleTargetRef": TARGET})
    obj["spec"]["behavior"] = {"scaleDown": {"stabilizationWindowSeconds": 5}}
    shown = back(rtype, obj)
    assert "behavior" not in shown["spec"]
    assert rtype.retired is not None
    rtype.retired.to_stored(shown)
    assert shown["spec"]["behavior"] == obj["spec"]["behavior"]
    assert "annotations" not in shown["metadata"]


def test_only_the_current_kind_has_the_short_name_and_the_category() -> None:
    assert kind("extensions/v1beta1", "Deployment").short_names == ()
    assert kind("extensions/v1beta1", "Deployment").categories == ()
