"""`timonel clock`: the time of a cluster, and how it goes on where it is virtual."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click

from timonel.aio.clock import SystemClock, WallClock
from timonel.cli.main import Failure
from timonel.cli.output import FORMATS, output_option, render
from timonel.cli.progress import Steps
from timonel.client.clock import LONGEST, ClusterClock, Reading, Stopped, as_time, seconds_of
from timonel.distro import processes
from timonel.distro.commands import options
from timonel.objects.meta import format_micro_time

BACK = re.compile(r"-\d")
COLUMNS = (("CLOCK", "kind"), ("TIME", "now"))

Ask = Callable[[ClusterClock], Awaitable[Reading]]


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
        try:
            seconds = value if isinstance(value, float) else seconds_of(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if seconds > LONGEST:
            self.fail(f"{value!r} is too long: at once, time goes on by 100 years at the most", param, ctx)
        return seconds


class Moment(click.ParamType):  # type: ignore[type-arg]
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return as_time(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Forward(click.Command):
    """-1h is a duration that is wrong, and no option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if back := [arg for arg in args if BACK.match(arg)]:
            raise click.UsageError(f"time does not go back: {back[0]!r}", ctx)
        return super().parse_args(ctx, args)


def turning_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--quiet", is_flag=True, help="Print nothing but errors."),
        click.option("-o", "--output", type=click.Choice(FORMATS), help="Print which time it is then."),
        options.cluster_options,
    ):
        command = option(command)
    return command


@clock.command()
@options.cluster_options
@output_option
def show(name: str, data_dir: Path | None, output: str) -> None:
    """Which time it is there."""
    found = _asked(_kubeconfig(data_dir, name), lambda there: there.read())
    click.echo(render(_tree(found), output, columns=COLUMNS))


@clock.command(cls=Forward)
@click.argument("duration", type=Duration())
@turning_options
def advance(duration: float, name: str, data_dir: Path | None, quiet: bool, output: str | None) -> None:
    """Let time go on by DURATION (90s, 1h30m, 30d, 1y)."""
    way = _Way(quiet)
    way.go(_kubeconfig(data_dir, name), lambda there: there.advance(duration, way.told), output)


@clock.command("set")
@click.argument("time", type=Moment())
@turning_options
def set_(time: str, name: str, data_dir: Path | None, quiet: bool, output: str | None) -> None:
    """Let time go on to TIME (RFC 3339; UTC where no zone is said, midnight for a date). It does not go back."""
    way = _Way(quiet)
    way.go(_kubeconfig(data_dir, name), lambda there: there.set(time, way.told), output)


@clock.command()
@turning_options
def stop(name: str, data_dir: Path | None, quiet: bool, output: str | None) -> None:
    """Stop time where it is while another command turns it, as Ctrl-C does there."""
    _Way(quiet).go(_kubeconfig(data_dir, name), lambda there: there.stop(), output)


class _Way:
    """What is shown while time goes on. Ctrl-C stops it where it is."""

    def __init__(self, quiet: bool) -> None:
        self._steps = Steps(WallClock(), quiet=quiet)
        self._from: float | None = None

    def go(self, file: str, ask: Ask, output: str | None) -> None:
        with self._steps as steps:
            steps.begin("Time goes on")
            try:
                found = _asked(file, ask)
            except KeyboardInterrupt:
                found = _asked(file, lambda there: there.stop())
                steps.failed(f"Stopped: it is {_short(found.now)}")
                raise
            except Stopped as stopped:
                steps.failed(f"Stopped: it is {_short(stopped.reading.now)}")
                raise Failure(
                    "another command stopped the clock on its way", "Go on: timonel clock set TIME"
                ) from stopped
            except BaseException:
                steps.failed()
                raise
            steps.done(f"It is {_short(found.now)}")
        if output is not None:
            click.echo(render(_tree(found), output, columns=COLUMNS))

    def told(self, found: Reading) -> None:
        if self._from is None:
            self._from = found.now
        way = (found.target or found.now) - self._from
        part = (found.now - self._from) / way if way else 1.0
        self._steps.now(
            f"It is {_short(found.now)} on the way to {_short(found.target or found.now)}, {part:.0%}"
        )


def _tree(reading: Reading) -> dict[str, Any]:
    target = format_micro_time(reading.target) if reading.target is not None else None
    now = format_micro_time(reading.now)
    return {"kind": reading.kind, "now": now, "moving": reading.moving, "target": target}


def _short(seconds: float) -> str:
    return f"{format_micro_time(seconds).partition('.')[0]}Z"


def _kubeconfig(data_dir: Path | None, name: str) -> str:
    where, _ = options.existing(data_dir, name)
    if processes.find(where.pid) is None:
        raise Failure(f"cluster {name} does not run", f"Start it: timonel up{options.again(data_dir, name)}")
    return str(where.kubeconfig)


def _asked(file: str, ask: Ask) -> Reading:
    return asyncio.run(_answer(file, ask))


async def _answer(file: str, ask: Ask) -> Reading:
    from timonel.client import kubeconfig
    from timonel.client.https import HttpsTransport

    transport = HttpsTransport(kubeconfig.load(file).endpoint(), SystemClock())
    try:
        return await ask(ClusterClock(transport))
    finally:
        await transport.close()
