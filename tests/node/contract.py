"""What every runtime does. Subclass, with a `runtime` fixture and an `image` that exists and runs `command`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from timonel.node.cri.errors import Missing, RuntimeFailure
from timonel.node.cri.runtime import ContainerConfig, ContainerState, Runtime, SandboxConfig, SandboxState


class RuntimeContract:
    image = "docker.io/library/busybox:latest"
    command: tuple[str, ...] = ("sleep", "1000")

    def sandbox(self, uid: str, logs: Path, attempt: int = 0) -> SandboxConfig:
        (logs / uid / "main").mkdir(parents=True, exist_ok=True)
        return SandboxConfig(uid, uid, "default", attempt, uid, str(logs / uid), labels={"uid": uid})

    async def up(self, runtime: Runtime, config: SandboxConfig) -> tuple[str, str]:
        sandbox = await runtime.run_sandbox(config)
        container = await runtime.create_container(sandbox, self.container(config.uid), config)
        return sandbox, container

    def container(self, uid: str) -> ContainerConfig:
        return ContainerConfig(
            "main", 0, self.image, self.command, labels={"uid": uid}, log_path="main/0.log"
        )

    async def test_a_life(self, runtime: Runtime, tmp_path: Path) -> None:
        sandbox, container = await self.up(runtime, self.sandbox("life", tmp_path))
        created = await runtime.container_status(container)
        await runtime.start_container(container)
        running = await runtime.container_status(container)
        await runtime.stop_container(container, 0)
        ended = await runtime.container_status(container)
        await runtime.stop_sandbox(sandbox)
        stopped = await runtime.sandbox_status(sandbox)
        await runtime.remove_sandbox(sandbox)

        assert [created.state, running.state, ended.state] == [
            ContainerState.CREATED,
            ContainerState.RUNNING,
            ContainerState.EXITED,
        ]
        assert running.started_at >= created.created_at > 0
        assert ended.exit_code == 137
        assert ended.finished_at >= ended.started_at
        assert stopped.state is SandboxState.NOT_READY
        assert await runtime.list_sandboxes({"uid": "life"}) == []
        assert await runtime.list_containers({"uid": "life"}) == []

    async def test_a_name_is_taken_until_its_container_is_removed(
        self, runtime: Runtime, tmp_path: Path
    ) -> None:
        config = self.sandbox("taken", tmp_path)
        sandbox, first = await self.up(runtime, config)
        with pytest.raises(
            RuntimeFailure, match=f"failed to reserve container name .* is reserved for .{first}"
        ):
            await runtime.create_container(sandbox, self.container("taken"), config)
        await runtime.remove_container(first)
        second = await runtime.create_container(sandbox, self.container("taken"), config)
        await runtime.remove_sandbox(sandbox)

        assert second != first

    async def test_a_sandbox_has_an_address_until_it_is_stopped(
        self, runtime: Runtime, tmp_path: Path
    ) -> None:
        sandbox = await runtime.run_sandbox(self.sandbox("address", tmp_path))
        before = (await runtime.sandbox_status(sandbox)).ips
        await runtime.stop_sandbox(sandbox)
        after = (await runtime.sandbox_status(sandbox)).ips
        await runtime.remove_sandbox(sandbox)

        assert len(before) == 1
        assert after == ()

    async def test_containers_are_listed_with_their_sandbox(self, runtime: Runtime, tmp_path: Path) -> None:
        sandbox, container = await self.up(runtime, self.sandbox("listed", tmp_path))
        found = await runtime.list_containers({"uid": "listed"})
        await runtime.remove_sandbox(sandbox)

        assert [(c.id, c.sandbox_id, c.name) for c in found] == [(container, sandbox, "main")]

    async def test_the_end_of_a_container_is_an_event(self, runtime: Runtime, tmp_path: Path) -> None:
        sandbox, container = await self.up(runtime, self.sandbox("event", tmp_path))
        await runtime.start_container(container)
        events = runtime.events()
        first = await anext(events)

        async def its_end() -> str:
            return await anext(e.kind async for e in events if e.id == container)

        waiting = asyncio.ensure_future(its_end())
        await asyncio.sleep(0.2)
        await runtime.stop_container(container, 0)
        async with asyncio.timeout(10):
            kind = await waiting
        await runtime.remove_sandbox(sandbox)

        assert first.kind == "lost"
        assert kind == "exit"

    async def test_what_is_not_there_can_be_stopped_and_removed(self, runtime: Runtime) -> None:
        await runtime.stop_container("nothing", 0)
        await runtime.remove_container("nothing")
        await runtime.stop_sandbox("nothing")
        await runtime.remove_sandbox("nothing")
        with pytest.raises(Missing):
            await runtime.container_status("nothing")

    async def test_the_same_sandbox_cannot_be_made_twice(self, runtime: Runtime, tmp_path: Path) -> None:
        config = self.sandbox("twice", tmp_path)
        sandbox = await runtime.run_sandbox(config)
        with pytest.raises(RuntimeFailure, match="reserve"):
            await runtime.run_sandbox(config)
        await runtime.remove_sandbox(sandbox)

    async def test_an_image_that_is_there_has_an_id(self, runtime: Runtime) -> None:
        found = await runtime.image_status(self.image)

        assert found is not None
        assert found.id.startswith("sha256:")
        assert await runtime.image_status("docker.io/library/no-such-image:1") is None
