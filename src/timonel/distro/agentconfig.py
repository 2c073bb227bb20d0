"""What a node agent is told: a file that the server writes and the agent's process reads.

Apart from `agent`, which imports all that a node is made of: the server, which only writes the file, starts without it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field, fields
from pathlib import Path
from typing import Any

from timonel.records import dataclass


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """`credentials`: part (node, proxy, policy, dns, storage, serving) -> files of certificate and key."""

    node: str
    address: str
    pod_cidr: str
    directory: Path
    server: str
    ca: Path
    credentials: Mapping[str, tuple[Path, Path]]
    cluster_cidr: str
    cluster_domain: str
    dns_address: str
    mirrors: Mapping[str, str] = field(default_factory=dict)
    container_runtime_endpoint: str = ""
    proxy_table: str = "timonel"
    policy_table: str = "timonel-policies"
    kubelet_args: Mapping[str, str] = field(default_factory=dict)


def load(file: Path) -> AgentConfig:
    """Raises ValueError, KeyError or TypeError for a file that is not one."""
    raw: dict[str, Any] = json.loads(file.read_text())
    known = {f.name for f in fields(AgentConfig)}
    values = {key: value for key, value in raw.items() if key in known}
    values["directory"], values["ca"] = Path(values["directory"]), Path(values["ca"])
    values["credentials"] = {part: (Path(c), Path(k)) for part, (c, k) in values["credentials"].items()}
    return AgentConfig(**values)
