from __future__ import annotations

import pytest

from tests.node.contract import RuntimeContract
from timonel.aio.clock import SystemClock, VirtualClock
from timonel.node.cri.errors import NotSupported
from timonel.node.cri.runtime import ContainerConfig, ContainerState, SandboxConfig, Streams
from timonel.node.cri.simulated import SimulatedRuntime


class TestSimulatedRuntime(RuntimeContract):
    @pytest.fixture
    async def runtime(self) -> SimulatedRuntime:
        runtime = SimulatedRuntime(SystemClock())
        await runtime.pull_image(self.image)
        return runtime


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


async def test_a_stopped_sandbox_is_listed_without_a_copy_and_a_ready_one_without_its_addresses() -> None:
    runtime = SimulatedRuntime(VirtualClock())
    ready = await runtime.run_sandbox(SandboxConfig("p", "u", "default", 0, "p", "/logs"))
    stopped = await runtime.run_sandbox(SandboxConfig("q", "v", "default", 0, "q", "/logs"))
    await runtime.stop_sandbox(stopped)

    listed = {sandbox.id: sandbox for sandbox in await runtime.list_sandboxes()}

    assert listed[stopped] is await runtime.sandbox_status(stopped)
    assert listed[ready].ips == ()
    assert (await runtime.sandbox_status(ready)).ips
