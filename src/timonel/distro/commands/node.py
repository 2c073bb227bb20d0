"""`timonel node`: simulated nodes of a running cluster, of any kind, beside real ones; faults of the latter."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from timonel.aio.clock import SystemClock
from timonel.cli.main import Failure
from timonel.cli.output import output_option, render
from timonel.client.rest import Client
from timonel.distro import processes
from timonel.distro.commands import nodefaults, options
from timonel.machinery.errors import AlreadyExists
from timonel.machinery.quantity import Quantity
from timonel.node.simulation import machines
from timonel.objects.meta import Key, Object, annotations_of

AT_ONCE = 16  # requests under way
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
COLUMNS = (
    ("NAME", "name"),
    ("STATE", "state"),
    ("KIND", "kind"),
    ("CPU", "cpu"),
    ("MEMORY", "memory"),
    ("PODS", "pods"),
)


@click.group(
    epilog="""Examples:

  timonel node add --simulated 100 --cpu 32 --memory 256Gi --label a=b

  timonel node list

  timonel node rm --simulated --label pool=large

  timonel node partition timonel-2"""
)
def node() -> None:
    """Add, list and remove simulated nodes; switch off and cut off real ones."""


for command in (nodefaults.stop, nodefaults.start, nodefaults.partition, nodefaults.heal):
    node.add_command(command)


class Amount(click.ParamType):  # type: ignore[type-arg]  # no argument before click 8.4
    name = "quantity"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            is_fine = Quantity.parse(str(value)).nanos >= 0
        except ValueError:
            is_fine = False
        if not is_fine:
            self.fail(f"{value!r} is no quantity, such as 32, 500m or 256Gi", param, ctx)
        return str(value)


@node.command()
@click.option("--simulated", "count", type=click.IntRange(1, 100_000), required=True, help="How many.")
@click.option("--cpu", type=Amount(), default=machines.DEFAULT_CPU, show_default=True)
@click.option("--memory", type=Amount(), default=machines.DEFAULT_MEMORY, show_default=True)
@click.option("--pods", type=click.IntRange(0), default=int(machines.DEFAULT_PODS), show_default=True)
@click.option(
    "--resource", "extended", multiple=True, metavar="NAME=AMOUNT", help="Such as nvidia.com/gpu=8."
)
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Repeat it for more.")
@click.option("--taint", "taints", multiple=True, metavar="KEY=VALUE:EFFECT", help="Repeat it for more.")
@click.option("--prefix", default="sim", show_default=True, help="They are named PREFIX-1, PREFIX-2, …")
@options.cluster_options
def add(
    count: int,
    cpu: str,
    memory: str,
    pods: int,
    extended: tuple[str, ...],
    labels: tuple[str, ...],
    taints: tuple[str, ...],
    prefix: str,
    name: str,
    data_dir: Path | None,
) -> None:
    """Add so many simulated nodes. They heartbeat, and what is scheduled to them lives."""
    amounts = {
        _resource(k): Amount().convert(v, None, None) for k, v in _pairs(extended, "--resource").items()
    }
    size = machines.Size(cpu, memory, str(pods), amounts)
    marked, tainted = _pairs(labels, "--label"), [_taint(text) for text in taints]

    async def work(client: Client) -> int:
        known = frozenset(n["metadata"]["name"] for n in (await client.list("nodes")).items)

        async def create(wanted: str) -> None:
            try:
                await client.create("nodes", machines.new_node(wanted, size, marked, tainted))
            except AlreadyExists as exc:
                raise Failure(f"somebody else made node {wanted} just now", "Try again") from exc

        return await _each(machines.names(prefix, count, known), create)

    made = _with_client(data_dir, name, work)
    click.echo(f"Added {made} simulated node{'s' if made != 1 else ''}.", err=True)


@node.command("list")
@options.cluster_options
@output_option
def list_(name: str, data_dir: Path | None, output: str) -> None:
    """Show the nodes, simulated and other ones."""

    async def work(client: Client) -> Sequence[Object]:
        return (await client.list("nodes")).items

    click.echo(render([_row(n) for n in _with_client(data_dir, name, work)], output, columns=COLUMNS))


@node.command()
@click.argument("names", nargs=-1)
@click.option("--simulated", is_flag=True, help="All simulated ones.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Only those with this label.")
@options.cluster_options
def rm(
    names: tuple[str, ...], simulated: bool, labels: tuple[str, ...], name: str, data_dir: Path | None
) -> None:
    """Remove simulated nodes: those that are named, or all with --simulated. Their pods go with them."""
    if bool(names) == simulated:
        raise click.UsageError("Say which: NAMES, or --simulated for all of them.")
    marked = _pairs(labels, "--label")

    async def work(client: Client) -> int:
        found = {n["metadata"]["name"]: n for n in (await client.list("nodes")).items}
        for each in names:
            if each not in found:
                here = options.again(data_dir, name)
                raise Failure(f"there is no node {each!r}", f"See: timonel node list{here}")
            if not machines.is_simulated(found[each]):
                raise Failure(f"node {each} is not simulated by `timonel node add`: it would come back")
        chosen = [n for n in (names or found) if machines.is_simulated(found[n])]
        chosen = [n for n in chosen if marked.items() <= (found[n]["metadata"].get("labels") or {}).items()]

        async def delete(each: str) -> None:
            await client.delete("nodes", Key("", each))

        return await _each(chosen, delete)

    gone = _with_client(data_dir, name, work)
    click.echo(f"Removed {gone} simulated node{'s' if gone != 1 else ''}.", err=True)


def _row(node_: Object) -> dict[str, Any]:
    sizes = (node_.get("status") or {}).get("allocatable") or {}
    kind = "simulated" if machines.is_simulated(node_) else "agent"
    state = "Ready" if machines.is_ready(node_) else "NotReady"
    if annotations_of(node_).get(machines.ANNOTATION) == machines.STOPPED:
        state = "Stopped"
    return {
        "name": node_["metadata"]["name"],
        "state": state,
        "kind": kind,
        "cpu": sizes.get("cpu", ""),
        "memory": sizes.get("memory", ""),
        "pods": sizes.get("pods", ""),
    }


def _pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise click.UsageError(f"{option} takes KEY=VALUE, not {text!r}.")
        found[key] = value
    return found


def _resource(name: str) -> str:
    """What pods can ask for."""
    if "/" not in name and not name.startswith("hugepages-") and name != "ephemeral-storage":
        raise click.UsageError(
            f"--resource takes names such as nvidia.com/gpu, hugepages-2Mi and ephemeral-storage, not {name!r}."
        )
    return name


def _taint(text: str) -> dict[str, str]:
    head, _, effect = text.rpartition(":")
    key, _, value = head.partition("=")
    if not key or effect not in EFFECTS:
        raise click.UsageError(
            f"--taint takes KEY=VALUE:EFFECT with one of {', '.join(EFFECTS)}, not {text!r}."
        )
    return {"key": key, "effect": effect, **({"value": value} if value else {})}


async def _each(items: Iterable[str], work: Callable[[str], Awaitable[None]]) -> int:
    """A few at a time; how many there were."""
    waiting, done = iter(items), 0

    async def one_after_the_other() -> None:
        nonlocal done
        for item in waiting:
            await work(item)
            done += 1

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(one_after_the_other())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed
    return done


def _with_client(data_dir: Path | None, name: str, work: Callable[[Client], Awaitable[Any]]) -> Any:
    where, _ = options.existing(data_dir, name)
    if processes.find(where.pid) is None:
        raise Failure(f"cluster {name} does not run", f"Start it: timonel up{options.again(data_dir, name)}")
    return asyncio.run(_asked(str(where.kubeconfig), work))


async def _asked(file: str, work: Callable[[Client], Awaitable[Any]]) -> Any:
    from timonel.client import kubeconfig
    from timonel.client.discovery import builtin
    from timonel.client.https import HttpsTransport

    transport = HttpsTransport(kubeconfig.load(file).endpoint(), SystemClock())
    try:
        return await work(Client(transport, builtin()))
    finally:
        await transport.close()
