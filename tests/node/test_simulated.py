from __future__ import annotations

import pytest

from tests.node.contract import RuntimeContract
from timonel.aio.clock import SystemClock, VirtualClock
from timonel.node.cri.errors import InvalidArgument, NotSupported
from timonel.node.cri.runtime import ContainerConfig, ContainerState, SandboxConfig, Streams
from timonel.node.cri.simulated import Behaviour, SimulatedRuntime, behaviour_of, seconds


class TestSimulatedRuntime(RuntimeContract):
    @pytest.fixture
    async def runtime(self) -> SimulatedRuntime:
        runtime = SimulatedRuntime(SystemClock())
        await runtime.pull_image(self.image)
        return runtime


@pytest.mark.parametrize(
    ("text", "expected"), [("5s", 5), ("1m30s", 90), ("200ms", 0.2), (3, 3), ("2h", 7200)]
)
def test_durations_are_gos(text: str, expected: float) -> None:
    assert seconds(text) == expected


def test_a_wrong_duration_is_said() -> None:
    with pytest.raises(InvalidArgument, match="not a duration: soon"):
        seconds("soon")


@pytest.mark.parametrize(
    ("annotations", "runs_to_end", "expected"),
    [
        ({}, False, Behaviour()),
        ({}, True, Behaviour(run_for=1)),
        ({"timonel.dev/simulate": '{"runFor": "5s", "exitCode": 3}'}, False, Behaviour(5, 3)),
        ({"timonel.dev/simulate": '{"exitCode": 3}'}, False, Behaviour(1, 3)),
        (
            {"timonel.dev/simulate.web": '{"oom": true}', "timonel.dev/simulate": "{}"},
            False,
            Behaviour(1, 137, 0, True),
        ),
    ],
)
def test_annotations_say_how_a_container_behaves(
    annotations: dict[str, str], runs_to_end: bool, expected: Behaviour
) -> None:
    assert behaviour_of("web", annotations, runs_to_end=runs_to_end) == expected


async def test_a_container_ends_when_its_time_is_over() -> None:
    clock = VirtualClock()
    runtime = SimulatedRuntime(clock)
    config = SandboxConfig(
        "p", "u", "default", 0, "p", "/logs", annotations={"timonel.dev/simulate": '{"runFor": "9s"}'}
    )
    sandbox = await runtime.run_sandbox(config)
    container = await runtime.create_container(sandbox, ContainerConfig("c", 0, "image"), config)
    await runtime.start_container(container)
    await clock.advance(8.9)
    before = (await runtime.container_status(container)).state
    await clock.advance(0.2)
    after = await runtime.container_status(container)

    assert before is ContainerState.RUNNING
    assert (after.state, after.exit_code, after.reason) == (ContainerState.EXITED, 0, "Completed")


async def test_exec_says_that_there_is_nothing_to_run_it_in() -> None:
    with pytest.raises(NotSupported, match="simulates its containers"):
        await SimulatedRuntime(VirtualClock()).exec_url("c", ["sh"], Streams())
