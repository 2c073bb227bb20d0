"""`timonel kubeconfig`: print the admin's kubeconfig, or merge it into the one that kubectl uses."""

from __future__ import annotations

from pathlib import Path

import click

from timonel.cli.main import Failure
from timonel.distro import kubeconfigs
from timonel.distro.commands import options


@click.command(
    epilog="Examples:\n\n  export KUBECONFIG=$(timonel kubeconfig --path)\n\n  timonel kubeconfig --merge"
)
@options.cluster_options
@click.option("--path", "show_path", is_flag=True, help="Print where the file is instead of what is in it.")
@click.option(
    "--merge", is_flag=True, help="Put the cluster into ~/.kube/config (or $KUBECONFIG) and make it current."
)
def kubeconfig(name: str, data_dir: Path | None, show_path: bool, merge: bool) -> None:
    """Print how clients reach a cluster, as a kubeconfig."""
    where, _ = options.existing(data_dir, name)
    if not where.kubeconfig.exists():
        raise Failure(
            f"cluster {name!r} has no kubeconfig yet", f"Start it: timonel up{options.again(data_dir, name)}"
        )
    if show_path:
        click.echo(str(where.kubeconfig))
    elif merge:
        target = kubeconfigs.users_file()
        kubeconfigs.merge_into(target, where.kubeconfig)
        click.echo(f"Context {kubeconfigs.context_name(name)} is current in {target}.")
    else:
        click.echo(where.kubeconfig.read_text(), nl=False)
