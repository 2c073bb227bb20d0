"""An autoscaler in a world whose metrics are functions of its replicas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.controllers.world import START, World, pod, workload
from timonel.client.transport import Resource
from timonel.control.questions import Question, Read, ResourceOf, Scaled, ScaleOf
from timonel.controllers.horizontal_pod_autoscaler import HORIZONTAL_POD_AUTOSCALER, PERIOD, RESOURCE
from timonel.controllers.horizontal_pod_autoscaler.behavior import Bounds, Moment, limited, steadied
from timonel.controllers.horizontal_pod_autoscaler.metrics import Sample, _duration
from timonel.controllers.horizontal_pod_autoscaler.replicas import Groups, Tolerance, by_average, grouped
from timonel.machinery.errors import Conflict, NotFound, ServiceUnavailable
from timonel.objects.meta import Key, Object, format_time

DEPLOYMENTS = "deployments.apps"
CPU = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
}


def autoscaler(*metrics: Object, name: str = "web", **spec: Any) -> Object:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    return {
        "metadata": {"name": name, "namespace": "shop", "uid": f"uid-hpa-{name}"},
        "spec": {
            "minReplicas": 1,
            "maxReplicas": 10,
            "scaleTargetRef": target,
            "metrics": list(metrics),
            **spec,
        },
        "status": {"desiredReplicas": 0, "currentMetrics": None},
    }


class Shop(World):
    """A Deployment whose pods follow its size at once; `load` says what a question for metrics is answered."""

    def __init__(self, replicas: int, load: Callable[[Read, int], Any], *autoscalers: Object) -> None:
        super().__init__(
            (DEPLOYMENTS, workload("Deployment", replicas=replicas)), *((RESOURCE, a) for a in autoscalers)
        )
        self.load, self.answer = load, self.told
        self.follow()

    @property
    def size(self) -> int:
        found = self.get(DEPLOYMENTS, Key("shop", "web"))
        assert found is not None
        return int(found["spec"]["replicas"])

    def follow(self) -> None:
        for number in range(self.size, len(self.list("pods"))):
            self._objects.pop(("pods", Key("shop", f"web-{number}")))
        for number in range(len(self.list("pods")), self.size):
            made = pod(f"web-{number}")
            made["spec"]["containers"] = [{"name": "web", "resources": {"requests": {"cpu": "1"}}}]
            made["status"]["startTime"] = format_time(START - 3600)
            self.add("pods", made)

    def told(self, question: Question) -> Any:
        if isinstance(question, ScaleOf):
            if question.kind != "Deployment":
                return LookupError(f'no matches for kind "{question.kind}" in version "apps/v1"')
            meta = {"name": "web", "namespace": "shop", "resourceVersion": "1"}
            there = {"replicas": len(self.list("pods")), "selector": "app=web"}
            return Scaled(DEPLOYMENTS, {"metadata": meta, "spec": {"replicas": self.size}, "status": there})
        if isinstance(question, ResourceOf):
            return Resource("", "v1", "services", True)
        return self.load(question, self.size)

    def look(self) -> Object:
        """The next regular pass, and what the status then says."""
        self.sync(HORIZONTAL_POD_AUTOSCALER, Key("shop", "web"))
        self.follow()
        self.time += PERIOD
        found = self.get(RESOURCE, Key("shop", "web"))
        assert found is not None
        return dict(found["status"])

    def verdict(self, type_: str) -> tuple[str, str]:
        status = self.get(RESOURCE, Key("shop", "web"))
        assert status is not None
        found = next(c for c in status["status"]["conditions"] if c["type"] == type_)
        return found["status"], found["reason"]


def cpu(total_milli: int) -> Callable[[Read, int], Any]:
    """Usage that all pods share."""

    def load(question: Read, size: int) -> Any:
        assert question.path == "/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods"
        assert dict(question.query) == {"labelSelector": "app=web"}
        used = f"{total_milli // size}m"
        return {
            "items": [
                {
                    "metadata": {"name": f"web-{n}"},
                    "timestamp": format_time(START),
                    "window": "30s",
                    "containers": [{"name": "web", "usage": {"cpu": used}}],
                }
                for n in range(size)
            ]
        }

    return load


def number(value: str) -> Callable[[Read, int], Any]:
    return lambda question, size: {
        "items": [{"describedObject": {"name": f"web-{n}"}, "value": value} for n in range(size)]
    }


def test_it_grows_to_what_the_load_asks_for() -> None:
    shop = Shop(2, cpu(2000), autoscaler(CPU))
    status = shop.look()

    assert shop.size == 4
    assert (status["currentReplicas"], status["desiredReplicas"]) == (2, 4)
    assert status["currentMetrics"] == [
        {
            "type": "Resource",
            "resource": {"name": "cpu", "current": {"averageUtilization": 100, "averageValue": "1"}},
        }
    ]
    assert shop.events == [
        ("Normal", "SuccessfulRescale",
         "New size: 4; reason: cpu resource utilization (percentage of request) above target")
    ]  # fmt: skip
    assert shop.verdict("AbleToScale") == ("True", "SucceededRescale")
    assert shop.verdict("ScalingActive") == ("True", "ValidMetricFound")
    assert shop.verdict("ScalingLimited") == ("False", "DesiredWithinRange")
    shop.look()
    assert shop.verdict("AbleToScale") == ("True", "ReadyForNewScale")


def test_it_looks_no_sooner_than_every_15_seconds_unless_its_spec_changes() -> None:
    shop = Shop(2, cpu(2000), autoscaler(CPU))
    shop.look()
    shop.time -= PERIOD - 1
    shop.load = lambda question, size: pytest.fail("asked too early")
    assert not shop.sync(HORIZONTAL_POD_AUTOSCALER, Key("shop", "web"))

    shop.change(RESOURCE, "web", spec={"maxReplicas": 3})
    shop.sync(HORIZONTAL_POD_AUTOSCALER, Key("shop", "web"))
    assert shop.size == 3


def test_it_shrinks_only_when_the_last_five_minutes_allow() -> None:
    shop = Shop(8, cpu(4000), autoscaler(CPU))
    shop.look()
    shop.load = cpu(1000)
    sizes = []
    for _ in range(25):
        shop.look()
        sizes.append(shop.size)

    assert sizes[:19] == [8] * 19
    assert sizes[-1] == 2
    assert ("Normal", "SuccessfulRescale", "New size: 2; reason: All metrics below target") in shop.events


def test_the_policies_of_a_behavior_are_kept() -> None:
    slow = {
        "scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}], "selectPolicy": "Max"}
    }
    shop = Shop(1, cpu(5000), autoscaler(CPU, behavior=slow))
    sizes = []
    for _ in range(9):
        shop.look()
        sizes.append(shop.size)

    assert sizes == [2, 2, 2, 2, 3, 3, 3, 3, 4]
    assert shop.verdict("ScalingLimited") == ("True", "ScaleUpLimit")


@pytest.mark.parametrize(
    ("replicas", "spec", "size", "active"),
    [
        (0, {}, 0, ("False", "ScalingDisabled")),
        (12, {}, 10, None),
        (1, {"minReplicas": 3}, 3, None),
    ],
)
def test_bounds_come_before_metrics(
    replicas: int, spec: Object, size: int, active: tuple[str, str] | None
) -> None:
    shop = Shop(
        replicas, lambda question, size: pytest.fail("metrics do not matter"), autoscaler(CPU, **spec)
    )
    shop.look()

    assert shop.size == size
    if active is not None:
        assert shop.verdict("ScalingActive") == active


def test_metrics_that_nobody_serves_leave_all_as_it_is() -> None:
    gone = NotFound("the server could not find the requested resource (get pods.metrics.k8s.io)")
    shop = Shop(2, lambda question, size: gone, autoscaler(CPU))
    status = shop.look()

    text = (
        "failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from "
        f"resource metrics API: {gone}"
    )
    assert shop.size == 2
    assert shop.events == [
        ("Warning", "FailedGetResourceMetric", text),
        (
            "Warning",
            "FailedComputeMetricsReplicas",
            f"invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: {text}",
        ),
    ]
    assert shop.verdict("ScalingActive") == ("False", "FailedGetResourceMetric")
    assert status["currentReplicas"] == 2


SERVICE = {"apiVersion": "v1", "kind": "Service", "name": "web"}
AVERAGE, VALUE = {"type": "AverageValue", "averageValue": "5"}, {"type": "Value", "value": "10"}
HALF = {"type": "Utilization", "averageUtilization": 50}


@pytest.mark.parametrize(
    ("type_", "source", "what", "prefix", "text"),
    [
        ("Resource", {"name": "cpu", "target": HALF}, "pods.metrics.k8s.io",
         "failed to get cpu resource metric value: ",
         "failed to get cpu utilization: unable to get metrics for resource cpu: {resource}"),
        ("Resource", {"name": "cpu", "target": AVERAGE}, "pods.metrics.k8s.io",
         "failed to get cpu resource metric value: ",
         "failed to get cpu usage: unable to get metrics for resource cpu: {resource}"),
        ("ContainerResource", {"name": "cpu", "container": "c", "target": HALF}, "pods.metrics.k8s.io",
         "failed to get c container metric value: ",
         "failed to get cpu utilization: unable to get metrics for resource cpu: {resource}"),
        ("Pods", {"metric": {"name": "nope"}, "target": AVERAGE}, "pods.custom.metrics.k8s.io *",
         "failed to get pods metric value: ", "unable to get metric nope: {custom}"),
        ("Object", {"metric": {"name": "nope"}, "target": VALUE, "describedObject": SERVICE},
         "services.custom.metrics.k8s.io web",
         "failed to get object metric value: ", "unable to get metric nope: Service on shop web/{custom}"),
        ("Object", {"metric": {"name": "nope"}, "target": AVERAGE, "describedObject": SERVICE},
         "services.custom.metrics.k8s.io web",
         "failed to get object metric value: failed to get nope object metric: ",
         "unable to get metric nope: Service on shop web/{custom}"),
        ("External", {"metric": {"name": "nope"}, "target": VALUE}, "nope.external.metrics.k8s.io",
         "failed to get nope external metric value: failed to get external metric nope: ",
         "unable to get external metric shop/nope/nil: {external}"),
        ("External", {"metric": {"name": "nope"}, "target": AVERAGE}, "nope.external.metrics.k8s.io",
         "failed to get nope external metric value: failed to get nope external metric: ",
         "unable to get external metric shop/nope/nil: {external}"),
    ],
)  # fmt: skip
def test_a_metric_that_cannot_be_had_is_told_in_words_of_its_type(
    type_: str, source: Object, what: str, prefix: str, text: str
) -> None:
    def load(question: Read, size: int) -> Any:
        assert question.what == f"get {what}"
        return ServiceUnavailable(f"the server is currently unable to handle the request ({question.what})")

    shop = Shop(2, load, autoscaler({"type": type_, type_[0].lower() + type_[1:]: source}))
    shop.look()

    text = text.format(**{
        api: f"unable to fetch metrics from {api} metrics API: the server is currently unable to handle the request "
             f"(get {what})"
        for api in ("resource", "custom", "external")
    })  # fmt: skip
    summary = f"invalid metrics (1 invalid out of 1), first error is: {prefix}{text}"
    assert shop.events == [
        ("Warning", f"FailedGet{type_}Metric", text),
        ("Warning", "FailedComputeMetricsReplicas", summary),
    ]


def test_a_container_that_one_of_the_pods_has_not_is_told() -> None:
    def load(question: Read, size: int) -> Any:
        names = [("web-0", "web"), ("web-1", "other")]
        return {
            "items": [
                {"metadata": {"name": pod}, "containers": [{"name": name, "usage": {"cpu": "1"}}]}
                for pod, name in names
            ]
        }

    source = {"name": "cpu", "container": "web", "target": HALF}
    shop = Shop(2, load, autoscaler({"type": "ContainerResource", "containerResource": source}))
    shop.look()

    assert shop.events[0][2] == (
        "failed to get cpu utilization: unable to get metrics for resource cpu: failed to get container metrics: "
        "container web not present in metrics for pod shop/web-1"
    )


def test_of_several_metrics_the_highest_counts_and_a_missing_one_forbids_to_shrink() -> None:
    pods = {
        "type": "Pods",
        "pods": {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "10"}},
    }

    def load(question: Read, size: int) -> Any:
        if question.path.startswith("/apis/metrics"):
            return cpu(500)(question, size)
        if "v1beta2" in question.path:
            return NotFound("no such version")
        return number("15")(question, size)

    shop = Shop(4, load, autoscaler(CPU, pods))
    shop.look()
    assert shop.size == 6

    shop.load = lambda question, size: (
        NotFound("gone") if "custom" in question.path else cpu(500)(question, size)
    )
    for _ in range(30):
        shop.look()
    assert shop.size == 6
    assert shop.verdict("ScalingActive") == ("False", "FailedGetPodsMetric")


@pytest.mark.parametrize(
    ("metric", "value", "reason"),
    [
        ({"type": "External", "external": {"metric": {"name": "jobs"}, "target": {"type": "Value", "value": "10"}}},
         "30", "external metric jobs(nil) above target"),
        ({"type": "External", "external": {"metric": {"name": "jobs"},
                                           "target": {"type": "AverageValue", "averageValue": "5"}}},
         "30", "external metric jobs(nil) above target"),
        ({"type": "Object", "object": {"metric": {"name": "hits"}, "target": {"type": "Value", "value": "20"},
                                       "describedObject": {"apiVersion": "v1", "kind": "Service", "name": "web"}}},
         "60", "Service metric hits above target"),
    ],
)  # fmt: skip
def test_numbers_that_all_replicas_share(metric: Object, value: str, reason: str) -> None:
    shop = Shop(2, lambda question, size: {"items": [{"value": value}]}, autoscaler(metric))
    shop.look()

    assert shop.events == [("Normal", "SuccessfulRescale", f"New size: 4; reason: {reason}")]


def test_a_missing_target_is_reported() -> None:
    lost = autoscaler(CPU, scaleTargetRef={"apiVersion": "apps/v1", "kind": "Deploymint", "name": "web"})
    shop = Shop(2, cpu(1), lost)
    shop.look()

    assert shop.verdict("AbleToScale") == ("False", "FailedGetScale")
    assert shop.events == [
        ("Warning", "FailedGetScale", 'no matches for kind "Deploymint" in version "apps/v1"')
    ]


def test_two_autoscalers_of_one_target_are_refused_both() -> None:
    shop = Shop(2, cpu(2000), autoscaler(CPU), autoscaler(CPU, name="web2"))
    shop.look()

    assert shop.size == 2
    assert shop.verdict("ScalingActive") == ("False", "AmbiguousSelector")


def test_a_refused_write_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(2, cpu(2000), autoscaler(CPU))

    def refuse(owner: Object | None, action: Any) -> Any:
        raise Conflict("the object has been modified")

    monkeypatch.setattr(shop, "apply", refuse)
    shop.look()
    assert shop.verdict("AbleToScale") == ("False", "FailedUpdateScale")


@settings(max_examples=20, deadline=None)
@given(size=st.integers(1, 10), load=st.integers(1, 20_000), least=st.integers(1, 5), most=st.integers(5, 10))
def test_a_steady_load_comes_to_rest_within_the_bounds(size: int, load: int, least: int, most: int) -> None:
    shop = Shop(size, cpu(load), autoscaler(CPU, minReplicas=least, maxReplicas=most))
    for _ in range(60):
        shop.look()
    rest = shop.size
    for _ in range(30):
        shop.look()

    assert shop.size == rest
    assert least <= rest <= most
    usage = load // rest // 10
    assert usage <= 55 or rest == most
    assert rest == least or load / ((rest - 1) * 10) > 44


@pytest.mark.parametrize(
    ("behavior", "wanted", "recommended", "result"),
    [
        (None, 2, [Moment(START - 299, 7)], 7),
        (None, 2, [Moment(START - 301, 7)], 2),
        (None, 9, [Moment(START - 10, 3)], 9),
        ({"scaleUp": {"stabilizationWindowSeconds": 60}}, 9, [Moment(START - 10, 3)], 3),
        ({"scaleDown": {"stabilizationWindowSeconds": 0}}, 2, [Moment(START - 10, 7)], 2),
    ],
)
def test_recommendations_are_steadied(
    behavior: Object | None, wanted: int, recommended: list[Moment], result: int
) -> None:
    assert steadied(behavior, Bounds(5, 1, 10), wanted, recommended, START).replicas == result


@pytest.mark.parametrize(
    ("rules", "wanted", "changes", "result"),
    [
        (None, 50, [], (10, "ScaleUpLimit")),
        (None, 0, [], (1, "TooFewReplicas")),
        ({"scaleUp": {"selectPolicy": "Disabled"}}, 9, [], (5, "ScaleUpLimit")),
        ({"scaleUp": {"policies": [{"type": "Percent", "value": 10, "periodSeconds": 60}]}}, 9,
         [], (6, "ScaleUpLimit")),
        ({"scaleUp": {"policies": [{"type": "Pods", "value": 4, "periodSeconds": 60}]}}, 9,
         [Moment(START - 30, 3)], (6, "ScaleUpLimit")),
        ({"scaleDown": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60},
                                     {"type": "Percent", "value": 20, "periodSeconds": 60}],
                        "selectPolicy": "Min"}}, 1, [], (4, "ScaleDownLimit")),
    ],
)  # fmt: skip
def test_changes_are_limited(
    rules: Object | None, wanted: int, changes: list[Moment], result: tuple[int, str]
) -> None:
    found = limited(rules, Bounds(5, 1, 20), wanted, changes, START)
    assert (found.replicas, found.reason) == result


def test_pods_that_say_nothing_yet_are_counted_with_care() -> None:
    members = [pod("a"), pod("b"), pod("c", phase="Pending", is_ready=False), pod("d", phase="Failed")]
    samples: Mapping[str, Sample] = {"a": Sample(2000, START, 60)}
    groups = grouped(members, samples, is_cpu=False, now=START)
    assert groups == Groups(1, {"c"}, {"b"}, {"d"})

    # Twice the target on one of three: the other two count as idle, so there is no reason to grow.
    assert by_average(3, 1000, members, samples, groups, Tolerance()).replicas == 3
    # Little on one of two: the one without a sample counts as busy.
    calm = Groups(1, set(), {"b"}, set())
    assert by_average(2, 1000, members[:2], {"a": Sample(100, START, 60)}, calm, Tolerance()).replicas == 2


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30.0), ("1m30s", 90.0), ("1h0m0.5s", 3600.5), (None, 0.0)]
)
def test_windows_are_go_durations(text: str | None, seconds: float) -> None:
    assert _duration(text) == seconds
