"""What a cluster is, on disk: a folder with its settings, keys, database, logs and nodes.

DATA-DIR/NAME/
  cluster.json     the settings, as given to the first `timonel up` (0600)
  pki/             certificates and keys (0600)
  state.db         the store
  server.log, server.pid
  up.lock          held by `timonel up` while it starts the cluster
  server.lock      held by the server for as long as it lives
  admin.kubeconfig
  nodes/NODE/      a node's own folder: containerd, volumes, logs, credentials
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, field, fields, replace
from pathlib import Path
from typing import Any

from timonel.records import dataclass

COMPONENTS = ("api", "controllers", "scheduler", "node")
RUNTIMES = ("auto", "containerd", "simulated")
STORES = ("sqlite", "memory", "etcd")
CLOCKS = ("system", "virtual")
DEFAULT_PORT = 6443
NAME_LENGTH = 50
LABEL = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"
NAME = re.compile(rf"(?=.{{1,{NAME_LENGTH}}}\Z){LABEL}(\.{LABEL})*")
KUBERNETES_VERSION = "v1.36.2"


class ConfigError(Exception):
    """Settings that cannot be used; the message says which, `hint` what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def default_data_dir() -> Path:
    if configured := os.environ.get("TIMONEL_DATA_DIR"):
        return Path(configured)
    if os.geteuid() == 0:
        return Path("/var/lib/timonel")
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "timonel"


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The machine's side of a cluster with boxed nodes: a bridge of its own, on a subnet that no other cluster has."""

    bridge: str = ""
    subnet: str = ""  # such as 172.30.7.0/24; .1 is the machine
    gateway: str = ""


@dataclass(frozen=True, slots=True)
class EtcdConfig:
    """Where etcd is and who we are there, for clusters whose store it is. Files are absolute paths."""

    servers: str = ""  # separated by commas
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    username: str = ""
    password_file: str = ""
    prefix: str = "/registry"


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    name: str
    runtime: str = "simulated"  # containerd or simulated: auto is resolved before
    components: tuple[str, ...] = COMPONENTS
    nodes: int = 1
    address: str = "127.0.0.1"
    port: int = 0
    cluster_domain: str = "cluster.local"
    cluster_cidr: str = "10.244.0.0/16"
    service_cidr: str = "10.96.0.0/16"
    dns_address: str = "10.96.0.10"
    legacy_apis: bool = True
    store: str = "sqlite"  # or memory: nothing survives; or etcd
    etcd: EtcdConfig = field(default_factory=EtcdConfig)
    token: str = ""  # an additional bearer token of the admin
    container_runtime_endpoint: str = (
        ""  # a CRI socket that is given; empty: each node has a containerd of its own
    )
    mirrors: dict[str, str] = field(default_factory=dict)  # registry -> the URL that stands in for it
    network: NetworkConfig = field(default_factory=NetworkConfig)
    apiserver_args: dict[str, str] = field(default_factory=dict)  # kube-apiserver's flags; see apiserverargs
    kubelet_args: dict[str, str] = field(default_factory=dict)  # the kubelet's; see kubeletargs
    scheduler_config: str = ""  # a file with a KubeSchedulerConfiguration
    stages: str = ""  # a file of kwok's Stages, by which simulated nodes and pods live
    clock: str = "system"  # or virtual: it stands still until it is advanced

    @property
    def service_address(self) -> str:
        """The cluster IP of the `kubernetes` Service: the first of the range."""
        import ipaddress

        return str(next(ipaddress.ip_network(self.service_cidr).hosts()))


@dataclass(frozen=True, slots=True)
class Paths:
    """Where things lie below a cluster's folder."""

    root: Path

    @property
    def settings(self) -> Path:
        return self.root / "cluster.json"

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def database(self) -> Path:
        return self.root / "state.db"

    @property
    def clock(self) -> Path:
        """The time of a virtual clock."""
        return self.root / "clock"

    @property
    def log(self) -> Path:
        return self.root / "server.log"

    @property
    def pid(self) -> Path:
        return self.root / "server.pid"

    @property
    def up_lock(self) -> Path:
        return self.root / "up.lock"

    @property
    def server_lock(self) -> Path:
        return self.root / "server.lock"

    @property
    def kubeconfig(self) -> Path:
        return self.root / "admin.kubeconfig"

    def node(self, name: str) -> Path:
        return self.root / "nodes" / name

    def off(self, name: str) -> Path:
        """The file that is there while a node shall not run."""
        return self.node(name) / "off"

    @property
    def nodes(self) -> list[str]:
        folder = self.root / "nodes"
        return sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []


def paths_of(data_dir: Path, name: str) -> Paths:
    if not name or "/" in name or name.startswith("."):
        hint = "A name holds no slash and does not begin with a dot, such as: --name two"
        raise ConfigError(f"{name!r} cannot be the name of a cluster", hint)
    return Paths((data_dir / name).resolve())


def check_new_name(paths: Paths, name: str) -> None:
    """Raises ConfigError for a new cluster whose nodes could not be named after it; those that exist stay usable."""
    if os.path.exists(paths.settings) or NAME.fullmatch(name):
        return
    hint = f"Nodes are named after it: at most {NAME_LENGTH} lower-case letters, digits and dashes, such as: --name two"
    raise ConfigError(f"{name!r} cannot be the name of a cluster", hint)


def load(paths: Paths) -> ClusterConfig | None:
    """The settings of an existing cluster; None if there is none."""
    try:
        raw = json.loads(paths.settings.read_text())
    except FileNotFoundError:
        return None
    except ValueError as exc:
        raise _damaged(paths, str(exc)) from exc
    problem = next(problems(raw), None)
    if problem is not None:
        raise _damaged(paths, problem)
    return from_wire(raw)


def _damaged(paths: Paths, why: str) -> ConfigError:
    remove = f"timonel down --name {paths.root.name} --data-dir {paths.root.parent} --delete"
    return ConfigError(f"{paths.settings} is damaged: {why}", f"Restore it, or remove the cluster: {remove}")


def problems(raw: Any) -> Iterator[str]:
    """What keeps a tree from being the settings of a cluster."""
    if not isinstance(raw, dict):
        yield "it does not hold an object"
        return
    if not raw.get("name"):
        yield "name is missing"
    sample = asdict(ClusterConfig(name="sample"))
    for key, value in raw.items():
        wanted = sample.get(key)
        if key == "components":
            if not isinstance(value, list) or not set(value) <= set(COMPONENTS):
                yield f"components must be a list of {', '.join(COMPONENTS)}"
        elif key in sample and type(value) is not type(wanted):
            yield f"{key} must be of type {type(wanted).__name__}, not {type(value).__name__}"
        elif isinstance(wanted, dict) and not all(isinstance(text, str) for text in value.values()):
            yield f"{key} must hold texts"
    if raw.get("store", "sqlite") not in STORES:
        yield f"store must be one of {', '.join(STORES)}"
    if raw.get("clock", "system") not in CLOCKS:
        yield f"clock must be one of {', '.join(CLOCKS)}"
    if raw.get("runtime", "auto") not in RUNTIMES:
        yield f"runtime must be one of {', '.join(RUNTIMES)}"


def from_wire(raw: dict[str, Any]) -> ClusterConfig:
    """From a tree that has no `problems`; what this version does not know is left out."""
    known = {f.name for f in fields(ClusterConfig)}
    values = {key: value for key, value in raw.items() if key in known}
    values["components"] = tuple(values.get("components", COMPONENTS))
    parts: tuple[tuple[str, Any], ...] = (("network", NetworkConfig), ("etcd", EtcdConfig))
    for name, part in parts:
        of_part = {f.name for f in fields(part)}
        given = values.get(name, {})
        values[name] = part(**{key: value for key, value in given.items() if key in of_part})
    return ClusterConfig(**values)


def save(paths: Paths, config: ClusterConfig) -> None:
    paths.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(paths.settings, json.dumps(asdict(config), indent=1).encode())


def write_private(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file at once; nobody else can read it, not even for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def parse_components(text: str) -> tuple[str, ...]:
    """`api,controllers` or `everything`."""
    if text in ("everything", "all", ""):
        return COMPONENTS
    chosen = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [part for part in chosen if part not in COMPONENTS]
    if unknown:
        raise ConfigError(f"unknown component {unknown[0]!r}; there are: {', '.join(COMPONENTS)}")
    if "api" not in chosen:
        raise ConfigError("the API server (component `api`) is needed by all the others")
    return tuple(c for c in COMPONENTS if c in chosen)


def with_changes(config: ClusterConfig, **changes: Any) -> ClusterConfig:
    """The settings with those changes that are not None."""
    return replace(config, **{key: value for key, value in changes.items() if value is not None})
