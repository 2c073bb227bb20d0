"""Kubeconfig files: written for the admin and for components, and merged into the user's own."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import yaml

from timonel.distro.config import write_private
from timonel.distro.pki import Files


def context_name(cluster: str) -> str:
    return cluster if cluster.startswith("timonel") else f"timonel-{cluster}"


def render(
    *, cluster: str, server: str, ca_pem: str, user: str, files: Files | None = None, token: str = ""
) -> str:
    """A kubeconfig with everything inside it, so that the file alone is enough."""
    name = context_name(cluster)
    credentials: dict[str, str] = {}
    if files is not None:
        credentials["client-certificate-data"] = _base64(files.certificate.read_bytes())
        credentials["client-key-data"] = _base64(files.key.read_bytes())
    if token:
        credentials["token"] = token
    return str(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {
                        "name": name,
                        "cluster": {"server": server, "certificate-authority-data": _base64(ca_pem.encode())},
                    }
                ],
                "users": [{"name": f"{user}@{name}", "user": credentials}],
                "contexts": [{"name": name, "context": {"cluster": name, "user": f"{user}@{name}"}}],
                "current-context": name,
                "preferences": {},
            },
            sort_keys=False,
        )
    )


def users_file() -> Path:
    """The first file of $KUBECONFIG, else ~/.kube/config, as kubectl chooses the one to change."""
    listed = [p for p in os.environ.get("KUBECONFIG", "").split(os.pathsep) if p]
    return Path(listed[0]) if listed else Path.home() / ".kube" / "config"


def merge_into(target: Path, source: Path) -> None:
    """Put what is in `source` into `target`, replacing entries of the same name, and make it current."""
    ours = yaml.safe_load(source.read_text())
    theirs: dict[str, Any] = (yaml.safe_load(target.read_text()) if target.exists() else None) or {
        "apiVersion": "v1",
        "kind": "Config",
    }
    for section in ("clusters", "users", "contexts"):
        names = {entry["name"] for entry in ours[section]}
        kept = [entry for entry in theirs.get(section) or [] if entry["name"] not in names]
        theirs[section] = kept + ours[section]
    theirs["current-context"] = ours["current-context"]
    write_private(target, str(yaml.safe_dump(theirs, sort_keys=False)).encode())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
