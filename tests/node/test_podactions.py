from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.node.builders import CREATED, EXITED, RUNNING, container, pod, ran, runtime, sandbox
from timonel.node.backoff import Backoff
from timonel.node.cri.runtime import SandboxState
from timonel.node.podactions import (
    SANDBOX,
    Discard,
    Kill,
    PodActions,
    Start,
    View,
    compute,
    has_failed_init,
    old_lives,
)
from timonel.node.podruntime import HASH, PodRuntime, spec_hash

NOW = View(now=200.0)
DEAD = sandbox("s0", state=SandboxState.NOT_READY)


def sidecar(name: str = "side") -> dict[str, Any]:
    return container(name, restartPolicy="Always")


def test_a_new_pod_gets_a_sandbox_first() -> None:
    assert compute(pod(), PodRuntime(), NOW) == PodActions(new_sandbox=0)


def test_nothing_is_decided_while_the_sandbox_is_being_made() -> None:
    assert compute(pod(), PodRuntime(), View(200.0, busy={SANDBOX})) == PodActions()


def test_all_containers_start_together() -> None:
    actions = compute(pod(container("a"), container("b")), runtime(), NOW)

    assert actions.start == (Start("a", 0), Start("b", 0))


def test_the_next_container_waits_for_a_post_start_hook() -> None:
    hooked = container("a", lifecycle={"postStart": {"exec": {"command": ["true"]}}})
    busy = compute(pod(hooked, container("b")), runtime(), View(200.0, busy={"a"}))
    done = compute(pod(hooked, container("b")), runtime(ran("a")), NOW)

    assert busy.start == ()
    assert done.start == (Start("b", 0),)


def test_a_running_container_is_left_alone() -> None:
    assert compute(pod(), runtime(ran()), NOW) == PodActions()


@pytest.mark.parametrize(
    ("policy", "code", "restarts"),
    [
        ("Always", 0, True),
        ("Always", 1, True),
        ("OnFailure", 0, False),
        ("OnFailure", 1, True),
        ("Never", 0, False),
        ("Never", 1, False),
    ],
)
def test_restart_policies(policy: str, code: int, restarts: bool) -> None:
    actions = compute(pod(restartPolicy=policy), runtime(ran(state=EXITED, code=code)), NOW)

    assert actions.start == ((Start("main", 1),) if restarts else ())


def test_a_container_may_have_rules_of_its_own() -> None:
    rules = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]
    fussy = container(restartPolicy="Never", restartPolicyRules=rules)
    starts = [
        compute(pod(fussy, restartPolicy="Never"), runtime(ran(state=EXITED, code=code)), NOW).start
        for code in (42, 1)
    ]

    assert starts == [(Start("main", 1),), ()]


def test_back_off_holds_a_container_until_it_is_over() -> None:
    ended = runtime(ran(state=EXITED, code=1, finished=195.0))
    backoffs = {"main": Backoff(10.0, 194.0)}
    waiting = compute(pod(), ended, View(200.0, backoffs=backoffs))
    over = compute(pod(), ended, View(205.0, backoffs=backoffs))

    assert waiting == PodActions(waits={"main": 10.0}, wake_at=205.0)
    assert over.start == (Start("main", 1),)


def test_init_containers_run_one_after_another() -> None:
    p = pod(initContainers=[container("i1"), container("i2")])
    first = compute(p, runtime(), NOW)
    during = compute(p, runtime(ran("i1")), NOW)
    second = compute(p, runtime(ran("i1", EXITED)), NOW)
    app = compute(p, runtime(ran("i1", EXITED), ran("i2", EXITED)), NOW)

    assert [a.start for a in (first, during, second, app)] == [
        (Start("i1", 0),),
        (),
        (Start("i2", 0),),
        (Start("main", 0),),
    ]


def test_init_containers_do_not_run_again_once_the_pod_runs() -> None:
    p = pod(initContainers=[container("i1")])

    assert compute(p, runtime(ran("i1", EXITED, code=1), ran()), NOW).start == ()


def test_a_failed_init_container_ends_a_pod_that_never_restarts() -> None:
    p = pod(initContainers=[container("i1")], restartPolicy="Never")
    failed = runtime(ran("i1", EXITED, code=1))

    assert compute(p, failed, NOW) == PodActions()
    assert has_failed_init(p, failed)


def test_a_sidecar_lets_the_next_one_start_once_it_has_started() -> None:
    p = pod(initContainers=[sidecar()])
    early = compute(p, runtime(ran("side")), NOW)
    late = compute(p, runtime(ran("side")), View(200.0, started={"side-0"}))

    assert early.start == ()
    assert late.start == (Start("main", 0),)


def test_a_sidecar_is_restarted_beside_the_containers() -> None:
    p = pod(initContainers=[sidecar()], restartPolicy="Never")

    assert compute(p, runtime(ran("side", EXITED), ran()), NOW).start == (Start("side", 1),)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("Always", "Container main failed liveness probe, will be restarted"),
        ("Never", "Container main failed liveness probe"),
    ],
)
def test_a_container_whose_probe_gave_up_is_killed(policy: str, message: str) -> None:
    actions = compute(pod(restartPolicy=policy), runtime(ran()), View(200.0, failed={"main-0": "liveness"}))

    assert actions.kill == (Kill("main-0", "main", message, "liveness"),)


def test_a_container_whose_image_changed_is_killed() -> None:
    old = ran(annotations={HASH: spec_hash(container(image="busybox:1"))})
    actions = compute(pod(container(image="busybox:2")), runtime(old), NOW)

    assert actions.kill == (Kill("main-0", "main", "Container main definition changed, will be restarted"),)


def test_a_dead_sandbox_is_replaced_and_everything_runs_anew_in_it() -> None:
    p = pod(initContainers=[container("i1")])
    lost = (ran("i1", EXITED, sandbox_id="s0"), ran(state=EXITED, code=137, sandbox_id="s0"))
    fresh = sandbox("s1", attempt=1)

    assert compute(p, runtime(*lost, sandboxes=(DEAD,)), NOW) == PodActions(new_sandbox=1)
    assert compute(p, runtime(*lost, sandboxes=(fresh, DEAD)), NOW).start == (Start("i1", 1),)


@pytest.mark.parametrize("policy", ["Never", "OnFailure"])
def test_a_finished_pod_needs_no_new_sandbox(policy: str) -> None:
    done = runtime(ran(state=EXITED, sandbox_id="s0"), sandboxes=(DEAD,))

    assert compute(pod(restartPolicy=policy), done, NOW) == PodActions()


def test_a_container_that_was_made_but_never_started_is_removed_and_made_again() -> None:
    left = ran(state=CREATED)
    first = compute(pod(), runtime(left), NOW)
    then = compute(pod(), runtime(), NOW)

    assert (first.discard, first.start) == ((Discard(left.id, "main"),), ())
    assert (then.discard, then.start) == ((), (Start("main", 0),))


def test_an_interrupted_creation_keeps_no_pod_from_a_new_sandbox() -> None:
    gone = runtime(ran(state=CREATED), sandboxes=(sandbox(state=SandboxState.NOT_READY),))

    assert compute(pod(restartPolicy="Never"), gone, NOW).new_sandbox == 1


def test_attempts_go_on_from_the_highest_known_one() -> None:
    view = View(now=NOW.now, attempts={"main": 3})

    assert compute(pod(), runtime(), view).start == (Start("main", 3),)
    assert compute(pod(), runtime(ran(state=EXITED, code=1, attempt=4)), view).start == (Start("main", 5),)


def test_every_life_of_a_job_ends() -> None:
    """Applying what is asked for, over and over, comes to rest with every container ended well."""
    p = pod(container("a"), container("b"), initContainers=[container("i")], restartPolicy="OnFailure")
    world, codes = runtime(), {"i": [1, 0], "a": [0], "b": [1, 1, 0]}
    passes = 0
    while (actions := compute(p, world, View(1000.0))) != PodActions():
        passes += 1
        for start in actions.start:
            ended = ran(start.name, EXITED, code=codes[start.name].pop(0), attempt=start.attempt)
            world = world.with_container(ended)

    assert passes == 5
    assert all(not left for left in codes.values())
    assert RUNNING not in {c.state for c in world.containers}


def test_only_the_last_dead_life_of_a_container_is_kept() -> None:
    lives = [ran(state=EXITED, attempt=n, sandbox_id="s0" if n < 2 else "s1") for n in range(3)]
    containers, sandboxes = old_lives(
        runtime(
            ran(attempt=3), *lives, ran("other", sandbox_id="s1"), sandboxes=(sandbox("s1", attempt=1), DEAD)
        )
    )

    assert [c.attempt for c in containers] == [1, 0]
    assert [s.id for s in sandboxes] == ["s0"]


INITS = [container("i"), sidecar("s"), container("j"), sidecar("t")]


def started(*ids: str, **fields: Any) -> View:
    return View(200.0, started=frozenset(ids), **fields)


@pytest.mark.parametrize(
    ("found", "view", "expected"),
    [
        ([], NOW, ["i"]),
        ([ran("i", EXITED)], NOW, ["s"]),
        ([ran("i", EXITED), ran("s")], NOW, []),
        ([ran("i", EXITED), ran("s")], started("s-0"), ["j"]),
        ([ran("s"), ran("j", EXITED)], started("s-0"), ["t"]),
        ([ran("s", EXITED), ran("j", EXITED)], NOW, ["s", "t"]),
        ([ran("j", EXITED)], NOW, ["s", "t"]),
        ([ran("s"), ran("j", EXITED, code=1)], started("s-0"), ["j"]),
        ([ran("s"), ran("j", EXITED), ran("t")], started("s-0", "t-0"), ["main"]),
        ([ran("s", EXITED), ran("j", EXITED), ran("t")], started("t-0"), ["s", "main"]),
        ([ran("t", EXITED), ran("main")], started("main-0"), ["s", "t"]),
        ([ran("s"), ran("t")], started("s-0", "t-0", busy={"main"}), []),
        ([ran("i", EXITED), ran("s")], started("s-0", busy={"s"}), []),
    ],
)
def test_init_containers_and_sidecars_follow_each_other(
    found: list[Any], view: View, expected: list[str]
) -> None:
    actions = compute(pod(initContainers=INITS), runtime(*found), view)

    assert [start.name for start in actions.start] == expected


def test_a_sidecar_starts_again_also_in_a_pod_that_never_restarts() -> None:
    never = pod(initContainers=[sidecar("s")], restartPolicy="Never")

    assert compute(never, runtime(ran("s", EXITED, code=1), ran("main")), NOW).start == (Start("s", 1),)


def test_an_ephemeral_container_runs_once_whatever_the_others_do() -> None:
    debugged = pod(initContainers=[container("i")], ephemeralContainers=[container("debug")])

    assert compute(debugged, runtime(ran("i")), NOW).start == (Start("debug", 0),)
    assert compute(debugged, runtime(ran("i"), ran("debug", EXITED)), NOW).start == ()
    assert compute(debugged, PodRuntime(), NOW) == PodActions(new_sandbox=0)


def test_a_container_with_another_image_does_not_wait_for_the_old_one_s_back_off() -> None:
    spec = container()
    ended = replace(ran(state=EXITED, code=1, finished=195.0), annotations={HASH: spec_hash(spec)})
    view = View(200.0, backoffs={"main": Backoff(300, 150.0)})
    changed = compute(pod(container(image="new")), runtime(ended), view)

    assert compute(pod(spec), runtime(ended), view).waits == {"main": 300}
    assert changed.start == (Start("main", 1),)
