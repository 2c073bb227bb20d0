"""`timonel version`."""

from __future__ import annotations

import platform
from importlib import metadata

import click

from timonel.cli.output import output_option, render
from timonel.distro.config import KUBERNETES_VERSION


@click.command()
@output_option
def version(output: str) -> None:
    """Print the versions of Timonel, of the Kubernetes API it serves, and of Python."""
    found = {
        "timonel": metadata.version("timonel"),
        "kubernetes": KUBERNETES_VERSION,
        "python": platform.python_version(),
    }
    columns = (("TIMONEL", "timonel"), ("KUBERNETES", "kubernetes"), ("PYTHON", "python"))
    click.echo(render(found, output, columns=columns))
