"""`timonel doctor`: what this machine lacks for real containers, each with its remedy."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from timonel.cli.output import output_option, render
from timonel.distro import host


@click.command()
@output_option
def doctor(output: str) -> None:
    """Check this machine for real containers. Exit code 1 if something that they need is missing."""
    found = host.findings()
    if output != "table":
        click.echo(render([asdict(f) for f in found], output))
    else:
        colour = sys.stdout.isatty()
        for finding in found:
            mark, tint = ("✓", "green") if finding.ok else ("✗", "red") if finding.needed else ("!", "yellow")
            click.echo(f"{click.style(mark, fg=tint) if colour else mark} {finding.check}: {finding.detail}")
            if not finding.ok:
                click.echo(f"    → {finding.remedy}")
        missing = [f for f in found if f.needed and not f.ok]
        click.echo(
            f"\n{len(missing)} of {len(found)} checks failed: nodes on this machine can only be simulated."
            if missing
            else "\nThis machine can run real containers."
        )
    sys.exit(1 if any(f.needed and not f.ok for f in found) else 0)
