"""`timonel image`: bring images onto a cluster's nodes, and say which registry stands in for which."""

from __future__ import annotations

import asyncio
import re
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from timonel.cli.main import Failure
from timonel.cli.output import output_option, render
from timonel.distro import config as settings
from timonel.distro import processes
from timonel.distro.commands import options
from timonel.distro.config import ClusterConfig, Paths
from timonel.node.cri.runtime import Image, Runtime

T = TypeVar("T")
Report = Callable[[str], None]

REGISTRY = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]{1,5})?")
URL = re.compile(r"""https?://[^\s"'\\/?#]+(/[^\s"'\\?#]*)?""")
PATIENCE = 3.0  # seconds that a mirror gets to show itself


@click.group()
def image() -> None:
    """Images of a cluster's nodes."""


@image.command("import", epilog="Example: timonel image import app.tar")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@options.cluster_options
def import_(files: tuple[Path, ...], name: str, data_dir: Path | None) -> None:
    """Import OCI or Docker archives (as `docker save` writes) into every node. Each may be used at once."""
    from timonel.node.containerd import RuntimeMissing, import_archive
    from timonel.node.cri.errors import RuntimeFailure

    where, config = options.existing(data_dir, name)
    nodes = _running_nodes(where, config)
    work = [(node, file) for file in files for node in nodes]
    with click.progressbar(work, label="Importing", item_show_func=_describe) as bar:
        for node, file in bar:
            socket = where.node(node) / "containerd" / "c.sock"
            try:
                asyncio.run(import_archive(socket, file.read_bytes()))
            except RuntimeMissing as exc:
                raise Failure(str(exc)) from exc
            except RuntimeFailure as exc:
                raise Failure(
                    f"{file} on node {node}: {exc.message}", "Is it an OCI or Docker archive?"
                ) from exc
    click.echo(f"Imported {len(files)} archive{'s' if len(files) != 1 else ''} into {', '.join(nodes)}.")


@image.command("ls", epilog="Example: timonel image ls")
@options.cluster_options
@output_option
def ls(name: str, data_dir: Path | None, output: str) -> None:
    """List the images on every running node."""

    async def work(runtime: Runtime, node: str, report: Report) -> list[dict[str, Any]]:
        return [row for found in await runtime.list_images() for row in _rows(node, found)]

    rows = [row for found in _on_all_nodes(data_dir, name, work) for row in found]
    rows.sort(key=lambda row: (row["image"], row["node"]))
    columns = (("NODE", "node"), ("IMAGE", "image"), ("ID", "id"), ("SIZE", "size"))
    click.echo(render(rows, output, columns=columns))


def _rows(node: str, found: Image) -> Iterator[dict[str, Any]]:
    identity = found.id.removeprefix("sha256:")[:12]
    for reference in found.tags or found.digests or ("<none>",):
        yield {"node": node, "image": reference, "id": identity, "size": f"{found.size / 1e6:.1f} MB"}


@image.command("pull", epilog="Example: timonel image pull nginx:1.27 redis")
@click.argument("images", nargs=-1, required=True)
@options.cluster_options
def pull(images: tuple[str, ...], name: str, data_dir: Path | None) -> None:
    """Pull images onto every running node, so that pods begin at once. Without credentials: pods have their own."""
    wanted = [_known(image) for image in images]

    async def work(runtime: Runtime, node: str, report: Report) -> None:
        for reference in wanted:
            report(f"{reference} → {node}")
            await runtime.pull_image(reference)

    nodes = _on_all_nodes(data_dir, name, work, label="Pulling", steps=len(wanted))
    click.echo(f"Pulled {_counted(len(wanted), 'image')} onto {_counted(len(nodes), 'node')}.")


@image.command("rm", epilog="Example: timonel image rm nginx:1.27")
@click.argument("images", nargs=-1, required=True)
@options.cluster_options
def rm(images: tuple[str, ...], name: str, data_dir: Path | None) -> None:
    """Remove images from every running node. One that a container uses stays until that is gone."""
    wanted = [_known(image) for image in images]

    async def work(runtime: Runtime, node: str, report: Report) -> int:
        removed = 0
        for reference in wanted:
            if (found := await runtime.image_status(reference)) is None:
                continue
            used = [c for c in await runtime.list_containers() if c.image_ref in (found.id, *found.digests)]
            if used:
                raise Failure(f"{reference} is used on node {node}", f"By container {used[0].name}, for one")
            await runtime.remove_image(reference)
            removed += 1
        return removed

    removed = sum(_on_all_nodes(data_dir, name, work))
    if not removed:
        raise Failure(f"no node has {' or '.join(images)}", "See what there is: timonel image ls")
    click.echo(f"Removed {_counted(removed, 'image')}.")


def _known(image: str) -> str:
    """The full name of an image, or what may be the beginning of an id. Raises Failure."""
    from timonel.node import imagenames

    if not imagenames.is_valid(image):
        raise Failure(f"{image!r} is no reference of an image", "Name it as pods do, such as nginx:1.27")
    return imagenames.normalized(image)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


def _on_all_nodes(
    data_dir: Path | None,
    name: str,
    work: Callable[[Runtime, str, Report], Awaitable[T]],
    *,
    label: str = "",
    steps: int = 0,
) -> list[T]:
    """What `work` comes to on each running node, one after the other. With a `label` progress is shown: so many steps
    a node, each told by what is being done. Raises Failure."""
    where, config = options.existing(data_dir, name)
    nodes = _running_nodes(where, config)
    shown: str | None = None
    if not label:
        return asyncio.run(_each(where, config, nodes, work, lambda text: None))
    progress: Any = click.progressbar(length=len(nodes) * steps, label=label, item_show_func=lambda _: shown)
    with progress as bar:

        def report(text: str) -> None:
            nonlocal shown
            bar.update(0 if shown is None else 1)
            shown = text
            bar.render_progress()

        found = asyncio.run(_each(where, config, nodes, work, report))
        bar.update(1)
    return found


async def _each(
    where: Paths,
    config: ClusterConfig,
    nodes: Iterable[str],
    work: Callable[[Runtime, str, Report], Awaitable[T]],
    report: Report,
) -> list[T]:
    from timonel.aio.clock import SystemClock
    from timonel.node.cri.containerd import Containerd
    from timonel.node.cri.errors import RuntimeFailure

    found = []
    for node in nodes:
        given = config.container_runtime_endpoint.removeprefix("unix://")
        runtime = Containerd(given or str(where.node(node) / "containerd" / "c.sock"), SystemClock())
        try:
            found.append(await work(runtime, node, report))
        except RuntimeFailure as exc:
            raise Failure(f"node {node}: {exc.message}") from exc
        finally:
            await runtime.close()
    return found


def _describe(item: tuple[str, Path] | None) -> str | None:
    return None if item is None else f"{item[1].name} → {item[0]}"


def _running_nodes(where: Paths, config: ClusterConfig) -> list[str]:
    if config.runtime != "containerd":
        raise Failure(f"the nodes of cluster {config.name} are simulated: they need no images")
    found = [n for n in where.nodes if processes.find(where.node(n) / "agent.pid") is not None]
    if not found:
        raise Failure(
            f"no node of cluster {config.name} is running", f"Start it: timonel up --name {config.name}"
        )
    return found


@image.command(epilog="Example: timonel image mirror docker.io http://192.168.1.5:5000")
@click.argument("registry", required=False)
@click.argument("url", required=False)
@click.option("--remove", is_flag=True, help="Nothing stands in for REGISTRY any more.")
@options.cluster_options
@output_option
def mirror(
    registry: str | None, url: str | None, remove: bool, name: str, data_dir: Path | None, output: str
) -> None:
    """Let the registry at URL stand in for REGISTRY; without arguments, list what stands in for what.

    It takes effect at the next pull, without a restart.
    """
    from timonel.node.containerd import write_mirrors

    where, config = options.existing(data_dir, name)
    if registry is None:
        rows = [{"registry": r, "mirror": u} for r, u in sorted(config.mirrors.items())]
        click.echo(render(rows, output, columns=(("REGISTRY", "registry"), ("MIRROR", "mirror"))))
        return
    if remove:
        if registry not in config.mirrors:
            raise Failure(f"nothing stands in for {registry}")
        mirrors = {r: u for r, u in config.mirrors.items() if r != registry}
    else:
        if REGISTRY.fullmatch(registry) is None:
            raise Failure(f"{registry!r} is no registry", "Name it as images do, such as docker.io")
        if url is None or not _is_url(url):
            raise Failure("say where the mirror is, as http://HOST:PORT or https://HOST")
        _warn_if_silent(url)
        mirrors = {**config.mirrors, registry: url.rstrip("/")}
    settings.save(where, replace(config, mirrors=mirrors))
    for node in where.nodes:
        directory = where.node(node) / "containerd"
        if directory.is_dir():
            if remove:
                (directory / "certs.d" / registry / "hosts.toml").unlink(missing_ok=True)
            write_mirrors(directory, mirrors)
    click.echo(f"{registry} is {'itself again' if remove else f'served by {mirrors[registry]}'}.")


def _is_url(text: str) -> bool:
    try:
        return URL.fullmatch(text) is not None and urlsplit(text).port != 0
    except ValueError:  # a port that is none
        return False


def _warn_if_silent(url: str) -> None:
    """A mirror may be started later, or be out of reach from here alone; so this is no more than a word."""
    try:
        urllib.request.urlopen(f"{url.rstrip('/')}/v2/", timeout=PATIENCE).close()
    except urllib.error.HTTPError as exc:  # it is there, whatever it says
        exc.close()
    except OSError as exc:
        why = getattr(exc, "reason", exc)
        click.echo(f"warning: no answer from {url}: {why}", err=True)
        click.echo("  Until it answers, images of this registry cannot be pulled.", err=True)
