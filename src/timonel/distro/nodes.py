"""Keeps this machine's nodes running: their boxes, and the agent in each.

Lives in the server's process. A box or an agent that runs already is taken over as it is (the server may have been
killed and started again); one that ends is started again, with a growing pause when it ends soon. Cancelling leaves
them running: `timonel down` ends them. A box that cannot be made is tried again likewise: the rest of the cluster does
without.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

from timonel.aio.clock import Clock
from timonel.aio.threads import Threads
from timonel.distro import box, processes
from timonel.distro.agentconfig import AgentConfig
from timonel.distro.config import ClusterConfig, Paths, write_private
from timonel.distro.pki import Authority

logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
OFF_INTERVAL = 0.5  # seconds between looks whether a node that is off may run again
WORRYING = 2  # starts in a row that went wrong before others should hear of it
ERROR = "error: "  # how the last line of a command that failed begins
STEADY = 60.0  # an agent that ran this long ended for a reason of its own, not for how it is started


def node_name(config: ClusterConfig, number: int) -> str:
    return f"{config.name}-{number}"


class BoxedNode:
    """One node of this machine as a lifecycle Service; ready when its agent has been started (not when it is Ready).

    `failing` is set while it does not stay up, and `problem` then says why.
    """

    def __init__(
        self, *, config: ClusterConfig, paths: Paths, number: int, authority: Authority, clock: Clock
    ) -> None:
        self.node = node_name(config, number)
        self.name = f"node {self.node}"
        self._config, self._paths, self._authority, self._clock = config, paths, authority, clock
        self._box = box.plan(config, self.node, number)
        if config.container_runtime_endpoint:  # on the machine itself, at its end of the bridge
            self._box = replace(self._box, address=config.network.gateway)
        self.failing = asyncio.Event()
        self.problem = ""
        self.found_running = False  # the agent is one that an earlier server has started

    async def run(self, ready: asyncio.Event) -> None:
        failures, pause = 0, FIRST_PAUSE
        threads = Threads(f"box-{self.node}")
        try:
            while True:
                while self._paths.off(self.node).exists():
                    ready.set()
                    failures, pause = 0, FIRST_PAUSE
                    await self._clock.sleep(OFF_INTERVAL)
                since = self._clock.monotonic()
                self.problem = await self._live(threads, ready)
                ready.set()
                if self._paths.off(self.node).exists():
                    continue
                if self._clock.monotonic() - since > STEADY:
                    failures, pause = 0, FIRST_PAUSE
                    self.failing.clear()
                failures += 1
                if failures >= WORRYING:
                    self.failing.set()
                logger.warning("Node %s: %s; starting it again in %.1f s", self.node, self.problem, pause)
                await self._clock.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
        finally:
            threads.close()

    async def _live(self, threads: Threads, ready: asyncio.Event) -> str:
        """Box and agent for once; why it is over."""
        try:
            # A runtime that is given lives outside of any box; the agent must share its mounts and its network.
            given = bool(self._config.container_runtime_endpoint)
            first = None if given else await threads.run(box.ensure, self._config, self._paths, self._box)
            agent = await threads.run(self._agent, first.pid if first is not None else None)
        except (box.BoxError, OSError, IndexError) as exc:
            return str(exc)
        ready.set()
        await _ended(agent)
        last = processes.last_lines(self.log, 1)
        return last.removeprefix(ERROR) if last.startswith(ERROR) else "its agent ended"

    @property
    def log(self) -> Path:
        return self._paths.node(self.node) / "agent.log"

    def _agent(self, box_pid: int | None) -> processes.Process:
        folder = self._paths.node(self.node)
        running = processes.find(folder / "agent.pid")
        if running is not None:
            self.found_running = True
            return running
        self.found_running = False
        settings = folder / "agent.json"
        write_private(settings, json.dumps(asdict(self.agent_config()), default=str, indent=1).encode())
        command = [sys.executable, "-m", "timonel", "agent", "--config", str(settings)]
        pid = (
            processes.spawn(command, log=self.log).pid
            if box_pid is None
            else box.start_inside(box_pid, command, self.log)
        )
        return processes.record(folder / "agent.pid", pid)

    def agent_config(self) -> AgentConfig:
        """The agent's settings, with credentials of its own for each of its parts."""
        config, folder = self._config, self._paths.node(self.node)
        authority = self._authority.below(folder / "pki")
        node = authority.client("node", user=f"system:node:{self.node}", groups=["system:nodes"])
        proxy = authority.client("proxy", user="system:kube-proxy", groups=["system:node-proxier"])
        dns = authority.client(
            "dns", user="system:serviceaccount:kube-system:kube-dns", groups=SERVICE_ACCOUNTS
        )
        storage = authority.client(
            "storage",
            user="system:serviceaccount:kube-system:local-path-provisioner",
            groups=SERVICE_ACCOUNTS,
        )
        policy = authority.client(
            "policy", user="system:serviceaccount:kube-system:network-policy", groups=SERVICE_ACCOUNTS
        )
        serving = authority.server(
            "serving", user=f"system:node:{self.node}", hosts=[self.node, self._box.address]
        )
        return AgentConfig(
            node=self.node,
            address=self._box.address,
            pod_cidr=self._box.pod_cidr,
            directory=folder,
            server=f"https://{config.network.gateway}:{config.port}",
            ca=authority.certificate_file,
            credentials={
                "node": (node.certificate, node.key),
                "proxy": (proxy.certificate, proxy.key),
                "dns": (dns.certificate, dns.key),
                "storage": (storage.certificate, storage.key),
                "policy": (policy.certificate, policy.key),
                "serving": (serving.certificate, serving.key),
            },
            cluster_cidr=config.cluster_cidr,
            cluster_domain=config.cluster_domain,
            dns_address=config.dns_address,
            mirrors=config.mirrors,
            container_runtime_endpoint=config.container_runtime_endpoint,
            proxy_table=box.services_table(config),
            policy_table=box.policies_table(config),
            kubelet_args=config.kubelet_args,
        )


SERVICE_ACCOUNTS = ("system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated")


async def _ended(process: processes.Process) -> None:
    """Wait until a process is gone, child of ours or not, without looking at it again and again (pidfd)."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(handle, gone.set)
    try:
        if process.is_alive():
            await gone.wait()
        _reap(process.pid)
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def _reap(pid: int) -> None:
    """Take the exit status of a child, so that no zombie stays; another's child is none of ours."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
