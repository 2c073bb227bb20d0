"""Defaults, rules for updates, columns and warnings of pods and workloads, beyond what the recorded creates show."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from timonel.apis import jobrules
from timonel.apis.apps import DEPLOYMENT, STATEFULSET
from timonel.apis.apps import RESOURCES as APPS
from timonel.apis.batch import CRON_JOB, JOB
from timonel.apis.batch import RESOURCES as BATCH
from timonel.apis.core.pod import POD, POD_TEMPLATE
from timonel.apis.core.pod_amounts import aggregate, qos_class
from timonel.apis.core.pod_columns import summarize
from timonel.apis.core.pod_defaults import pull_policy_for
from timonel.apis.resource import ResourceType
from timonel.objects.meta import Object

NOW = 1_700_000_000.0


def pod(**spec: Any) -> Object:
    made: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "main", "image": "nginx:1"}], **spec},
    }
    POD.default(made)
    return made


def workload(rtype: ResourceType, **spec: Any) -> Object:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod()["spec"]}
    made: Object = {
        "apiVersion": rtype.api_version,
        "kind": rtype.kind,
        "metadata": {"name": "web", "namespace": "shop", "uid": "u-1"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template, **spec},
    }
    rtype.default(made)
    return made


def texts(causes: Any) -> list[str]:
    return [str(cause) for cause in causes]


@pytest.mark.parametrize("rtype", [POD, POD_TEMPLATE, *APPS, *BATCH], ids=lambda t: f"{t.version}-{t.kind}")
def test_defaulting_twice_is_defaulting_once(rtype: ResourceType) -> None:
    once = pod() if rtype is POD else workload(rtype)
    twice = copy.deepcopy(once)

    rtype.default(twice)

    assert twice == once


@pytest.mark.parametrize("rtype", [POD, *APPS, *BATCH], ids=lambda t: f"{t.version}-{t.kind}")
def test_validation_changes_nothing(rtype: ResourceType) -> None:
    obj = pod() if rtype is POD else workload(rtype)
    before = copy.deepcopy(obj)

    list(rtype.validate(obj))
    list(rtype.warnings(obj))

    assert obj == before


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1", "IfNotPresent"),
        ("localhost:5000/nginx", "Always"),
        ("registry.example.com/a/b@sha256:" + "a" * 64, "IfNotPresent"),
        ("Not_Valid!", "IfNotPresent"),
        ("", "IfNotPresent"),
    ],
)
def test_the_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    assert pull_policy_for(image) == policy


# ---- amounts


def asks(cpu: str, **more: Any) -> Object:
    return {"name": cpu, "resources": {"requests": {"cpu": cpu}}, **more}


def test_the_largest_init_container_counts_beside_the_sidecars_before_it() -> None:
    spec = {
        "containers": [asks("100m"), asks("200m")],
        "initContainers": [asks("50m", restartPolicy="Always"), asks("1")],
    }

    assert str(aggregate(spec, "requests")["cpu"]) == "1050m"


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        (
            {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1024Mi"}},
            "Guaranteed",
        ),
        (
            {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}},
            "Burstable",
        ),
    ],
)
def test_quality_of_service(resources: Object, expected: str) -> None:
    assert qos_class({"containers": [{"name": "main", "resources": resources}]}) == expected


# ---- pods: updates


def updated(**spec: Any) -> list[str]:
    old, new = pod(), pod()
    new["spec"].update(spec)
    return texts(POD.validate_update(new, old))


def test_the_image_of_a_pod_may_change() -> None:
    assert updated(containers=[{**pod()["spec"]["containers"][0], "image": "nginx:2"}]) == []


def test_another_field_of_a_pod_may_not_change_and_the_message_names_it() -> None:
    (text,) = updated(restartPolicy="Never")

    assert text.startswith(
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"
    )
    assert '\n- "RestartPolicy": "Always",\n+ "RestartPolicy": "Never",\n' in text


def test_containers_may_not_be_added() -> None:
    two = [*pod()["spec"]["containers"], {**pod()["spec"]["containers"][0], "name": "more"}]

    assert updated(containers=two) == [
        "spec.containers: Forbidden: pod updates may not add or remove containers"
    ]


def test_tolerations_may_be_added_but_not_taken_away() -> None:
    old = pod(tolerations=[{"key": "a", "operator": "Exists"}])
    more, none = copy.deepcopy(old), copy.deepcopy(old)
    more["spec"]["tolerations"].append({"key": "b", "operator": "Exists"})
    del none["spec"]["tolerations"]

    assert texts(POD.validate_update(more, old)) == []
    assert "existing toleration can not be modified" in texts(POD.validate_update(none, old))[0]


def test_a_deadline_may_only_shrink() -> None:
    old = pod(activeDeadlineSeconds=10)

    assert texts(POD.validate_update(pod(activeDeadlineSeconds=5), old)) == []
    assert texts(POD.validate_update(pod(activeDeadlineSeconds=20), old)) == [
        "spec.activeDeadlineSeconds: Invalid value: 20: must be less than or equal to previous value"
    ]


def test_a_gated_pod_may_be_narrowed() -> None:
    gates = [{"name": "example.com/wait"}]
    old = pod(schedulingGates=gates, nodeSelector={"a": "b"})

    assert (
        texts(POD.validate_update(pod(schedulingGates=gates, nodeSelector={"a": "b", "c": "d"}), old)) == []
    )
    assert texts(POD.validate_update(pod(schedulingGates=gates, nodeSelector={"a": "z"}), old)) != []
    assert texts(POD.validate_update(pod(schedulingGates=[{"name": "example.com/new"}]), pod())) != []


def test_a_container_that_ended_for_good_stays_ended() -> None:
    old, new = pod(restartPolicy="Never"), pod(restartPolicy="Never")
    old["status"] = {"containerStatuses": [{"name": "main", "state": {"terminated": {"exitCode": 0}}}]}
    new["status"] = {"containerStatuses": [{"name": "main", "state": {"running": {}}}]}

    assert texts(POD.validate_status_update(new, old)) == [
        "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"
    ]


@pytest.mark.parametrize(
    ("spec", "status", "asked", "expected"),
    [
        ({}, {}, None, 0),
        ({"nodeName": "n"}, {"phase": "Running"}, None, 30),
        ({"nodeName": "n"}, {"phase": "Running"}, 5, 5),
        ({"nodeName": "n"}, {"phase": "Succeeded"}, 5, 0),
        ({"nodeName": "n"}, {"phase": "Running"}, -1, 1),
    ],
)
def test_grace(spec: Object, status: Object, asked: int | None, expected: int) -> None:
    obj = {**pod(**spec), "status": status}
    assert POD.graceful is not None

    assert POD.graceful(obj, asked) == expected


# ---- pods: columns


def state(kind: str, **details: Any) -> Object:
    return {"name": "main", "state": {kind: details}, "ready": kind == "running"}


@pytest.mark.parametrize(
    ("container", "reason", "ready"),
    [
        (state("running"), "Running", 1),
        (state("waiting", reason="CrashLoopBackOff"), "CrashLoopBackOff", 0),
        (state("terminated", reason="Completed", exitCode=0), "Completed", 0),
        (state("terminated", exitCode=3), "ExitCode:3", 0),
        (state("terminated", signal=9), "Signal:9", 0),
    ],
)
def test_what_its_container_does_is_what_a_pod_does(container: Object, reason: str, ready: int) -> None:
    summary = summarize({**pod(), "status": {"phase": "Running", "containerStatuses": [container]}})

    assert (summary.reason, summary.ready, summary.total) == (reason, ready, 1)


@pytest.mark.parametrize(
    ("container", "reason"),
    [
        (state("running"), "Init:0/1"),
        (state("waiting", reason="PodInitializing"), "Init:0/1"),
        (state("waiting", reason="ErrImagePull"), "Init:ErrImagePull"),
        (state("terminated", exitCode=2), "Init:ExitCode:2"),
        (state("terminated", exitCode=2, reason="Error"), "Init:Error"),
    ],
)
def test_a_pod_that_starts_tells_of_its_init_containers(container: Object, reason: str) -> None:
    obj = pod(initContainers=[{"name": "main", "image": "i"}])

    assert summarize({**obj, "status": {"initContainerStatuses": [container]}}).reason == reason


GATED = [{"type": "PodScheduled", "reason": "SchedulingGated"}]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"phase": "Pending"}, "Pending"),
        ({"phase": "Failed", "reason": "Evicted"}, "Evicted"),
        ({"phase": "Pending", "conditions": GATED}, "SchedulingGated"),
    ],
)
def test_a_pod_in_one_word(status: Object, reason: str) -> None:
    assert summarize({**pod(), "status": status}).reason == reason


def test_a_pod_that_is_being_deleted_is_terminating() -> None:
    obj = {**pod(), "status": {"phase": "Running"}}
    obj["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"

    assert summarize(obj).reason == "Terminating"


def test_restarts_tell_how_long_ago() -> None:
    ended = {"terminated": {"finishedAt": "2023-11-14T22:08:20Z"}}
    status = {
        "containerStatuses": [
            {"name": "main", "restartCount": 3, "lastState": ended, "state": {"running": {}}}
        ]
    }
    column = next(c for c in POD.columns if c.name == "Restarts")

    assert column.value({**pod(), "status": status}, NOW) == "3 (5m ago)"


# ---- workloads


def test_the_selector_of_a_deployment_is_immutable() -> None:
    old, new = workload(DEPLOYMENT), workload(DEPLOYMENT)
    for part in (new["spec"]["selector"]["matchLabels"], new["spec"]["template"]["metadata"]["labels"]):
        part["more"] = "x"

    assert texts(DEPLOYMENT.validate_update(new, old)) == [
        'spec.selector: Invalid value: {"matchLabels":{"app":"web","more":"x"}}: field is immutable'
    ]


def test_a_stateful_set_may_be_scaled_but_not_renamed_to_another_service() -> None:
    old = workload(STATEFULSET, serviceName="a")

    assert texts(STATEFULSET.validate_update(workload(STATEFULSET, serviceName="a", replicas=5), old)) == []
    assert (
        "are forbidden" in texts(STATEFULSET.validate_update(workload(STATEFULSET, serviceName="b"), old))[0]
    )


def job(**spec: Any) -> Object:
    made = workload(JOB, **spec)
    made["spec"].pop("selector")
    made["spec"]["template"]["spec"]["restartPolicy"] = "Never"
    JOB.prepare_create(made)
    return made


def test_a_job_picks_out_its_pods_by_uid() -> None:
    made = job()

    assert texts(JOB.validate(made)) == []
    assert made["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u-1"}}
    assert made["spec"]["template"]["metadata"]["labels"]["job-name"] == "web"


@pytest.mark.parametrize(
    ("suspended", "status", "change", "allowed"),
    [
        (True, {}, {"nodeSelector": {"disk": "ssd"}}, True),
        (
            True,
            {},
            {"containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "2"}}}]},
            True,
        ),
        (True, {}, {"containers": [{"name": "c", "image": "other"}]}, False),
        (True, {"startTime": "2026-01-01T00:00:00Z"}, {"nodeSelector": {"disk": "ssd"}}, True),
        (True, {"startTime": "2026-01-01T00:00:00Z", "active": 1}, {"nodeSelector": {"disk": "ssd"}}, False),
        (False, {}, {"nodeSelector": {"disk": "ssd"}}, False),
    ],
)
def test_where_pods_go_and_what_they_ask_for_may_change_while_a_job_is_suspended(
    suspended: bool, status: Object, change: Object, allowed: bool
) -> None:
    old, new = job(suspend=suspended), job(suspend=True)
    containers = [{"name": "c", "image": "i"}]
    for one in (old, new):
        one["spec"]["template"]["spec"] = {**one["spec"]["template"]["spec"], "containers": containers}
    old["status"] = status
    new["spec"]["template"]["spec"].update(change)

    told = [text for text in texts(JOB.validate_update(new, old)) if text.startswith("spec.template: ")]
    assert (told == []) is allowed


@pytest.mark.parametrize(("text", "count"), [("", 0), ("3", 1), ("0,2-4", 4), ("1,3-5,7", 5)])
def test_indexes_are_counted(text: str, count: int) -> None:
    assert jobrules.count_indexes(text, 10) == count


@pytest.mark.parametrize("text", ["a", "1-2-3", "4-2", "2,1", "1,,2", "12"])
def test_wrong_indexes_are_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"index|order|fragment"):
        jobrules.count_indexes(text, 10)


def test_the_zone_of_a_cron_job_goes_into_its_own_field() -> None:
    obj: Object = {
        "metadata": {"name": "c"},
        "spec": {
            "schedule": "TZ=UTC * * * * *",
            "jobTemplate": {"spec": {"template": {"spec": {**pod()["spec"], "restartPolicy": "Never"}}}},
        },
    }
    CRON_JOB.default(obj)

    (text,) = texts(CRON_JOB.validate(obj))

    assert text.endswith("cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
    assert texts(CRON_JOB.validate_update(obj, obj)) == []


def test_a_template_that_earned_no_warning_is_still_asked_when_an_annotation_may_earn_one() -> None:
    rtype = DEPLOYMENT.with_memory()
    old = workload(DEPLOYMENT)
    old["metadata"]["generation"] = 1

    def warned(**annotations: str) -> list[str]:
        new = copy.deepcopy(old)
        new["metadata"]["generation"] = 2
        new["spec"]["template"].setdefault("metadata", {})["annotations"] = annotations
        return [*rtype.warnings_update(new, old)]

    assert warned(mark="1") == warned(mark="2") == []
    assert len(warned(**{"seccomp.security.alpha.kubernetes.io/pod": "unconfined"})) == 1
    assert warned(mark="3") == []
