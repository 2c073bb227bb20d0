from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.node.builders import EXITED, RUNNING, UID, container, pod, ran, runtime
from timonel.node.podruntime import PodRuntime
from timonel.node.podstatus import Facts, build, changes, qos_class

READY = frozenset({"main-0", "a-0", "b-0", "side-0"})


def facts(**fields: Any) -> Facts:
    given = {
        "now": 1000.0,
        "host_ip": "172.30.0.1",
        "start_time": "2026-01-01T00:00:00Z",
        "ready": READY,
        "started": READY,
    }
    return Facts(**{**given, **fields})


def conditions(status: dict[str, Any]) -> dict[str, tuple[str, str | None, str | None]]:
    return {c["type"]: (c["status"], c.get("reason"), c.get("message")) for c in status["conditions"]}


def test_a_pod_that_was_just_taken_up() -> None:
    status = build(pod(), PodRuntime(), facts())

    assert status["phase"] == "Pending"
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert "podIP" not in status
    assert conditions(status) == {
        "PodReadyToStartContainers": ("False", None, None),
        "Initialized": ("True", None, None),
        "Ready": ("False", "ContainersNotReady", "containers with unready status: [main]"),
        "ContainersReady": ("False", "ContainersNotReady", "containers with unready status: [main]"),
        "PodScheduled": ("True", None, None),
    }


def test_a_running_pod() -> None:
    status = build(pod(), runtime(ran(image_ref="sha256:1")), facts())

    assert status["phase"] == "Running"
    assert status["podIP"] == "10.244.1.2"
    assert status["podIPs"] == [{"ip": "10.244.1.2"}]
    assert status["containerStatuses"] == [
        {
            "name": "main",
            "state": {"running": {"startedAt": "1970-01-01T00:02:00Z"}},
            "lastState": {},
            "ready": True,
            "restartCount": 0,
            "image": "docker.io/library/busybox:latest",
            "imageID": "sha256:1",
            "started": True,
            "containerID": "containerd://main-0",
        }
    ]
    assert {c["status"] for c in status["conditions"]} == {"True"}


@pytest.mark.parametrize(
    ("policy", "codes", "phase"),
    [
        ("Never", (0, 0), "Succeeded"),
        ("Never", (0, 1), "Failed"),
        ("OnFailure", (0, 0), "Succeeded"),
        ("OnFailure", (0, 1), "Running"),
        ("Always", (0, 0), "Running"),
    ],
)
def test_phases_of_ended_containers(policy: str, codes: tuple[int, int], phase: str) -> None:
    ended = runtime(ran("a", EXITED, code=codes[0]), ran("b", EXITED, code=codes[1]))
    status = build(pod(container("a"), container("b"), restartPolicy=policy), ended, facts())

    assert status["phase"] == phase


def test_a_finished_pod_says_completed() -> None:
    status = build(pod(restartPolicy="Never"), runtime(ran(state=EXITED)), facts(is_stopped=True))

    assert conditions(status)["Ready"] == ("False", "PodCompleted", None)
    assert conditions(status)["Initialized"] == ("True", "PodCompleted", None)
    assert status["containerStatuses"][0]["state"]["terminated"]["reason"] == "Completed"


def test_a_crash_loop_shows_the_last_end() -> None:
    waiting = {"main": ("CrashLoopBackOff", "back-off 10s restarting failed container=main")}
    crashed = runtime(ran(state=EXITED, code=1, attempt=1), ran(state=EXITED, code=2))
    status = build(pod(), crashed, facts(waiting=waiting))["containerStatuses"][0]

    assert status["state"] == {
        "waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container=main"}
    }
    assert status["lastState"]["terminated"]["exitCode"] == 1
    assert status["restartCount"] == 1


def test_a_restarted_container_shows_the_end_before() -> None:
    again = runtime(ran(attempt=1), ran(state=EXITED, code=2, reason="OOMKilled"))
    status = build(pod(), again, facts())["containerStatuses"][0]

    assert status["lastState"]["terminated"]["reason"] == "OOMKilled"
    assert status["restartCount"] == 1


def test_init_containers_come_first() -> None:
    p = pod(initContainers=[container("i1"), container("i2")])
    status = build(p, runtime(ran("i1")), facts())

    assert status["phase"] == "Pending"
    assert conditions(status)["Initialized"] == (
        "False",
        "ContainersNotInitialized",
        "containers with incomplete status: [i1 i2]",
    )
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}


def test_a_failed_init_container_fails_a_pod_that_never_restarts() -> None:
    p = pod(initContainers=[container("i1")], restartPolicy="Never")

    assert build(p, runtime(ran("i1", EXITED, code=1)), facts())["phase"] == "Failed"


def test_a_container_that_never_had_its_turn_is_not_said_to_have_ended() -> None:
    spec = pod(initContainers=[container("a")], restartPolicy="Never")

    status = build(spec, runtime(ran("a", EXITED, code=1)), facts(ready=frozenset(), is_stopped=True))

    assert status["phase"] == "Failed"
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert conditions(status)["Initialized"][1] == "ContainersNotInitialized"


def test_an_unready_sidecar_makes_the_pod_unready() -> None:
    p = pod(initContainers=[container("side", restartPolicy="Always")])
    status = build(p, runtime(ran("side"), ran()), facts(ready={"main-0"}))

    assert conditions(status)["Ready"][2] == "containers with unready status: [side]"


def test_a_readiness_gate_needs_its_condition() -> None:
    p = pod(readinessGates=[{"conditionType": "x/y"}])
    missing = build(p, runtime(ran()), facts())
    p["status"]["conditions"] = [{"type": "x/y", "status": "False", "lastTransitionTime": "t"}]
    closed = build(p, runtime(ran()), facts())

    assert conditions(missing)["Ready"] == (
        "False",
        "ReadinessGatesNotReady",
        'corresponding condition of pod readiness gate "x/y" does not exist.',
    )
    assert conditions(closed)["Ready"][2] == 'the status of pod readiness gate "x/y" is not "True", but False'
    assert conditions(closed)["x/y"][0] == "False"


def test_a_refused_pod_has_failed() -> None:
    status = build(pod(), PodRuntime(), facts(failure=("OutOfcpu", "no cpu"), is_stopped=True))

    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "OutOfcpu", "no cpu")
    assert "containerStatuses" not in status


def test_what_the_runtime_forgot_is_kept_from_the_api() -> None:
    kept = {"name": "main", "state": {"terminated": {"exitCode": 7}}, "ready": False, "restartCount": 3}
    p = pod(restartPolicy="Never", status={"phase": "Failed", "containerStatuses": [kept]})
    status = build(p, PodRuntime(), facts(is_stopped=True))

    assert status["phase"] == "Failed"
    assert status["containerStatuses"][0]["state"] == kept["state"]


def test_a_condition_keeps_its_time_while_it_stands() -> None:
    p = pod()
    p["status"] = build(p, runtime(ran()), facts(now=1000.0))
    later = build(p, runtime(ran()), facts(now=2000.0, ready=frozenset()))
    times = {c["type"]: c["lastTransitionTime"] for c in later["conditions"]}

    assert times["Initialized"] == "1970-01-01T00:16:40Z"
    assert times["Ready"] == "1970-01-01T00:33:20Z"


def test_only_what_changed_is_sent() -> None:
    p = pod()
    p["status"] = build(p, runtime(ran()), facts())
    same = changes(p["status"], build(p, runtime(ran()), facts(now=5000.0)))
    other = changes(p["status"], build(p, runtime(ran(state=EXITED)), facts()))

    assert same == {}
    assert set(other) == {"conditions", "containerStatuses"}


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
    ],
)
def test_quality_of_service(resources: dict[str, Any], expected: str) -> None:
    assert qos_class(pod(container(resources=resources))["spec"]) == expected


def test_nothing_runs_that_is_said_to_be_stopped() -> None:
    status = build(pod(), runtime(ran(state=RUNNING)), facts(is_stopped=True))

    assert status["containerStatuses"][0]["state"]["terminated"]["reason"] == "ContainerStatusUnknown"
    assert UID not in str(status)


def test_a_condition_that_has_no_reason_any_more_loses_it() -> None:
    p = pod()
    p["status"] = build(p, PodRuntime(), facts())
    patch = changes(p["status"], build(p, runtime(ran()), facts()))
    ready = next(c for c in patch["conditions"] if c["type"] == "Ready")

    assert ready["status"] == "True"
    assert ready["reason"] is None
    assert ready["message"] is None


def test_what_the_containers_said_at_their_end_fits_together() -> None:
    ended = [replace(ran(name, EXITED), message="x" * 9000) for name in ("a", "b", "c")]
    found = build(pod(*(container(c.name) for c in ended)), runtime(*ended), facts())

    messages = [s["state"]["terminated"]["message"] for s in found["containerStatuses"]]
    assert [len(m) for m in messages] == [4096, 4096, 4096]


def test_a_phase_is_final_only_once_nothing_runs() -> None:
    side = container("side", restartPolicy="Always")
    job = pod(restartPolicy="Never", initContainers=[side], status={"phase": "Running"})
    seen = runtime(ran(state=EXITED), ran("side"))
    ending = build(job, seen, facts(is_ending=True, failure=("DeadlineExceeded", "late")))
    ended = build(job, seen, facts(is_stopped=True, failure=("DeadlineExceeded", "late")))

    assert (ending["phase"], ending.get("reason")) == ("Running", None)
    assert (ended["phase"], ended["reason"], ended["message"]) == ("Failed", "DeadlineExceeded", "late")


def test_an_ephemeral_container_has_a_status_that_nothing_depends_on() -> None:
    debugged = pod(ephemeralContainers=[container("debug")])
    waiting = build(debugged, runtime(ran()), facts())
    ended = build(debugged, runtime(ran(), ran("debug", EXITED, code=1)), facts())

    assert (waiting["phase"], conditions(waiting)["Ready"][0]) == ("Running", "True")
    assert waiting["ephemeralContainerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert ended["ephemeralContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 1
    assert (ended["phase"], conditions(ended)["Ready"][0]) == ("Running", "True")


RULES = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]


@pytest.mark.parametrize(
    ("policy", "fields", "code", "phase"),
    [
        ("Never", {"restartPolicy": "Never", "restartPolicyRules": RULES}, 42, "Running"),
        ("Never", {"restartPolicy": "Never", "restartPolicyRules": RULES}, 1, "Failed"),
        ("Never", {"restartPolicy": "OnFailure"}, 1, "Running"),
        ("Never", {"restartPolicy": "OnFailure"}, 0, "Succeeded"),
        ("Always", {"restartPolicy": "Never"}, 0, "Succeeded"),
        ("Always", {"restartPolicy": "Never"}, 1, "Failed"),
    ],
)
def test_a_container_s_own_policy_decides_the_phase(
    policy: str, fields: dict[str, Any], code: int, phase: str
) -> None:
    found = build(
        pod(container(**fields), restartPolicy=policy), runtime(ran(state=EXITED, code=code)), facts()
    )

    assert found["phase"] == phase
