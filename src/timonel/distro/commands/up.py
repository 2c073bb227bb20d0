"""`timonel up`: start a cluster, wait until it can be used, say how to go on."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import click

from timonel.aio.clock import WallClock
from timonel.cli.main import Failure
from timonel.cli.progress import Steps
from timonel.distro import config as settings
from timonel.distro import launch, processes
from timonel.distro.box import BoxError
from timonel.distro.commands import options
from timonel.distro.commands.etcdoptions import changed, store_options
from timonel.distro.config import ClusterConfig, ConfigError, EtcdConfig, Paths
from timonel.distro.differences import differences
from timonel.distro.flagwords import beginning


@click.command(
    epilog="""Examples:

  timonel up                              real containers, if they can run

  timonel up --name two --runtime simulated    a second cluster

  timonel up --runtime simulated --nodes 1000    a large one

  timonel up --components api             the API server alone

  timonel up --store etcd://10.0.0.1:2379     state in etcd, not a file"""
)
@options.cluster_options
@click.option("--runtime", type=click.Choice(settings.RUNTIMES), help="What runs pods. [default: auto]")
@click.option("--nodes", type=click.IntRange(1, 100_000), help="How many nodes. [default: 1]")
@click.option(
    "--stages",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, resolve_path=True),
    help="A file of kwok's Stages, by which simulated nodes and pods live.",
)
@click.option(
    "--scheduler-config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, resolve_path=True),
    help="A file with a KubeSchedulerConfiguration: profiles, plugins, extenders.",
)
@click.option(
    "--clock", type=click.Choice(settings.CLOCKS), help="Real time, or time that stands still until advanced."
)
@click.option("--components", help="Start less than everything: a list of api, controllers, scheduler, node.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="The API server's port; 0 takes a free one. [default: 6443]"
)
@click.option(
    "--legacy-apis", type=click.BOOL, help="Serve API versions that upstream retired. [default: true]"
)
@click.option("--token", help="A bearer token that also authenticates the admin.")
@click.option(
    "--container-runtime-endpoint", help="Use the CRI runtime at this socket instead of an own containerd."
)
@click.option(
    "--apiserver-arg",
    "apiserver_args",
    multiple=True,
    metavar="NAME=VALUE",
    shell_complete=lambda context, parameter, begun: _flags(begun),
    help="One of kube-apiserver's flags, such as oidc-issuer-url=https://id.example.com; repeat it for more.",
)
@click.option(
    "--kubelet-arg",
    "kubelet_args",
    multiple=True,
    metavar="NAME=VALUE",
    shell_complete=lambda context, parameter, begun: _kubelet_flags(begun),
    help="One of the kubelet's flags, such as eviction-hard=memory.available<500Mi; repeat it for more.",
)
@store_options
@click.option("--foreground", is_flag=True, help="Stay in the foreground until interrupted.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def up(
    name: str,
    data_dir: Path | None,
    runtime: str | None,
    nodes: int | None,
    stages: Path | None,
    scheduler_config: Path | None,
    clock: str | None,
    components: str | None,
    port: int | None,
    legacy_apis: bool | None,
    token: str | None,
    container_runtime_endpoint: str | None,
    apiserver_args: tuple[str, ...],
    kubelet_args: tuple[str, ...],
    store: str | None,
    etcd: dict[str, str],
    foreground: bool,
    quiet: bool,
) -> None:
    """Start a cluster and wait until it is ready; start what is missing of one that exists."""
    where = options.paths(data_dir, name)
    try:
        wishes = launch.Wishes(
            runtime=runtime,
            components=settings.parse_components(components) if components is not None else None,
            port=port,
            legacy_apis=legacy_apis,
            token=token,
            container_runtime_endpoint=container_runtime_endpoint,
            store=store,
            apiserver_args=_checked(apiserver_args),
            kubelet_args=_checked_kubelet(kubelet_args),
            etcd=changed(_known_etcd(where), etcd) if etcd else None,
            nodes=nodes,
            stages=_checked_stages(stages),
            scheduler_config=_checked_scheduler(scheduler_config),
            clock=clock,
        )
        settings.check_new_name(where, name)
        with launch.alone(where):
            if processes.find(where.pid) is not None:
                _greet(where, wishes, quiet=quiet)
                return
            any_port = not port and not where.settings.exists()  # nobody has been told of one yet
            config = launch.prepare(where, name, wishes)
            if not foreground:
                _start(where, config, quiet=quiet, any_port=any_port)
                return
    except (ConfigError, launch.LaunchError, BoxError) as exc:
        raise Failure(str(exc), getattr(exc, "hint", "")) from exc
    except OSError as exc:
        raise Failure(
            f"{exc.filename or where.root} cannot be used: {exc.strerror or exc}",
            f"{'Free some space there, or choose' if exc.errno == errno.ENOSPC else 'Choose'} "
            "another place: --data-dir DIR",
        ) from exc
    from timonel.distro.commands.server import serve

    serve(where, config)


def _flags(begun: str) -> list[str]:
    from timonel.distro import apiserverargs

    return beginning(begun, apiserverargs.known_flags())


def _kubelet_flags(begun: str) -> list[str]:
    from timonel.node import flags

    return beginning(begun, flags.KNOWN)


def _checked(args: tuple[str, ...]) -> dict[str, str] | None:
    if not args:
        return None
    from timonel.distro import apiserverargs  # it knows the server's parts

    found = apiserverargs.parse(args)
    apiserverargs.check(found)
    return found


def _checked_kubelet(args: tuple[str, ...]) -> dict[str, str] | None:
    if not args:
        return None
    from timonel.distro import kubeletargs  # it knows the nodes' parts

    return kubeletargs.parse(args)


def _checked_stages(file: Path | None) -> str | None:
    if file is None:
        return None
    from timonel.distro import simulated  # it knows the nodes' parts

    simulated.load_stages(ClusterConfig(name="", stages=str(file)))
    return str(file)


def _checked_scheduler(file: Path | None) -> str | None:
    if file is None:
        return None
    from timonel.scheduler.configuration import ConfigurationError, load

    try:
        load(file)
    except ConfigurationError as exc:
        raise ConfigError(f"{file} cannot be used as the scheduler's configuration: {exc}") from exc
    return str(file)


def _known_etcd(where: Paths) -> EtcdConfig:
    config = settings.load(where)
    return config.etcd if config is not None else EtcdConfig()


def _greet(where: Paths, wishes: launch.Wishes, *, quiet: bool) -> None:
    """Where it runs already; raises Failure when it would have to run otherwise."""
    config = settings.load(where)
    if config is None:
        return
    if missed := list(differences(wishes, config)):
        told = "".join(f"\n  {difference}" for difference in missed)
        down = f"timonel down --name {config.name} --data-dir {where.root.parent}"
        raise Failure(
            f"cluster {config.name} is running already, with other settings:{told}",
            f"Nothing was changed. To apply yours: {down}, then this command again",
        )
    if not quiet:
        click.echo(f"Cluster {config.name} is running already.", err=True)
        _say_how_to_go_on(where, config)


def _start(where: Paths, config: ClusterConfig, *, quiet: bool, any_port: bool) -> None:
    with Steps(WallClock(), quiet=quiet) as steps:
        steps.begin(f"Starting cluster {config.name}")
        warned: list[str] = []

        def report(event: dict[str, Any]) -> None:
            if event["event"] == "done":
                steps.done(event["text"])
                steps.begin(event.get("next", "Waiting for the rest"))
            elif event["event"] == "warning":
                warned.append(event["text"])
                steps.failed(event["text"])
                if event.get("hint"):
                    steps.note(event["hint"])
                steps.begin("Waiting for the rest")
            elif event["event"] == "note":
                steps.note(event["text"])

        try:
            config = launch.start(where, config, report, any_port=any_port)
        except launch.LaunchError as exc:
            steps.failed()
            raise Failure(str(exc), exc.hint) from exc
        if warned:
            steps.failed("The cluster runs, but not all of it is ready")
        else:
            steps.done("Ready")
    if not quiet:
        _say_how_to_go_on(where, config)


def _say_how_to_go_on(where: Paths, config: ClusterConfig) -> None:
    click.echo(
        f"\nCluster {config.name} is at https://{config.address}:{config.port}, runtime {config.runtime}."
    )
    click.echo(f"  export KUBECONFIG={where.kubeconfig}")
    click.echo("  kubectl get nodes")
    if "node" in config.components and config.runtime == "simulated":
        click.echo("Its nodes are simulated: pods start and end, but nothing in them runs.")
