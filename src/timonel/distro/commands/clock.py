"""`timonel clock`: the time of a cluster, and how it goes on where it is virtual."""

from __future__ import annotations

import asyncio
import datetime
import re
from pathlib import Path
from typing import Any

import click

from timonel.aio.clock import SystemClock, WallClock
from timonel.cli.main import Failure
from timonel.cli.output import output_option, render
from timonel.cli.progress import Steps
from timonel.distro import processes
from timonel.distro.commands import options

COLUMNS = (("CLOCK", "kind"), ("TIME", "now"))
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}
PIECE = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdwy])")


@click.group(
    epilog="""Examples:

  timonel clock show

  timonel clock advance 30d            all that is due happens, in order

  timonel clock set 2030-01-01T00:00:00Z"""
)
def clock() -> None:
    """Show the time of a cluster; turn it where it is virtual (timonel up --clock virtual)."""


class Duration(click.ParamType):  # type: ignore[type-arg]  # no argument before click 8.4
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        pieces = PIECE.findall(str(value))
        if not pieces or "".join(n + u for n, u in pieces) != value:
            self.fail(f"{value!r} is no duration, such as 90s, 1h30m, 30d or 1y", param, ctx)
        return sum(float(n) * (0.001 if u == "ms" else UNITS[u]) for n, u in pieces)


class Moment(click.ParamType):  # type: ignore[type-arg]
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            found = datetime.datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time, such as 2030-01-01T00:00:00Z", param, ctx)
        if found.tzinfo is None:
            found = found.replace(tzinfo=datetime.UTC)
        return found.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@clock.command()
@options.cluster_options
@output_option
def show(name: str, data_dir: Path | None, output: str) -> None:
    """Which time it is there."""
    click.echo(render(_ask(data_dir, name, "GET", "now"), output, columns=COLUMNS))


@clock.command()
@click.argument("duration", type=Duration())
@options.cluster_options
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def advance(duration: float, name: str, data_dir: Path | None, quiet: bool) -> None:
    """Let time go on by DURATION (90s, 1h30m, 30d, 1y)."""
    _turn(data_dir, name, "advance", {"seconds": repr(duration)}, quiet=quiet)


@clock.command("set")
@click.argument("time", type=Moment())
@options.cluster_options
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def set_(time: str, name: str, data_dir: Path | None, quiet: bool) -> None:
    """Let time go on to TIME (RFC 3339; UTC where no zone is said). It does not go back."""
    _turn(data_dir, name, "set", {"time": time}, quiet=quiet)


def _turn(data_dir: Path | None, name: str, what: str, query: dict[str, str], *, quiet: bool) -> None:
    with Steps(WallClock(), quiet=quiet) as steps:
        steps.begin("Time goes on")
        try:
            found = _ask(data_dir, name, "POST", what, query)
            while found["moving"]:
                steps.begin(f"It is {_short(found['now'])}")
                found = _ask(data_dir, name, "GET", "settled")
        except BaseException:
            steps.failed()
            raise
        steps.done(f"It is {_short(found['now'])}")


def _short(text: str) -> str:
    return f"{text.partition('.')[0]}Z"


def _ask(
    data_dir: Path | None, name: str, method: str, what: str, query: dict[str, str] | None = None
) -> dict[str, Any]:
    where, _ = options.existing(data_dir, name)
    if processes.find(where.pid) is None:
        raise Failure(f"cluster {name} does not run", f"Start it: timonel up --name {name}")
    return asyncio.run(_asked(str(where.kubeconfig), method, what, query))


async def _asked(file: str, method: str, what: str, query: dict[str, str] | None) -> dict[str, Any]:
    from timonel.client import kubeconfig
    from timonel.client.https import HttpsTransport

    transport = HttpsTransport(kubeconfig.load(file).endpoint(), SystemClock())
    try:
        found: dict[str, Any] = await transport.raw(method, f"/timonel/clock/{what}", query=query)
    finally:
        await transport.close()
    return found
