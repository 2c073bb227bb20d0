"""The `timonel` command: which commands there are and where each one lies."""

from __future__ import annotations

import click

from timonel.cli.main import LazyGroup, run
from timonel.distro import collector

COMMANDS = {
    "up": "timonel.distro.commands.up:up",
    "down": "timonel.distro.commands.down:down",
    "status": "timonel.distro.commands.status:status",
    "kubeconfig": "timonel.distro.commands.kubeconfig:kubeconfig",
    "node": "timonel.distro.commands.node:node",
    "clock": "timonel.distro.commands.clock:clock",
    "image": "timonel.distro.commands.image:image",
    "secrets": "timonel.distro.commands.secrets:secrets",
    "backup": "timonel.distro.commands.backup:backup",
    "restore": "timonel.distro.commands.restore:restore",
    "doctor": "timonel.distro.commands.doctor:doctor",
    "server": "timonel.distro.commands.server:server",
    "agent": "timonel.distro.commands.agent:agent",
    "completion": "timonel.distro.commands.completion:completion",
    "version": "timonel.distro.commands.version:version",
}


@click.group(
    cls=LazyGroup,
    commands_at=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Start with: timonel up",
)
def timonel() -> None:
    """Kubernetes in Python: a cluster on this machine, in about a second."""


def main() -> None:
    collector.hold()
    run(timonel)
