"""Kubeconfig files: written for the admin and for components, and merged into the user's own."""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path
from typing import Any

from timonel.distro.config import write_private
from timonel.distro.pki import Files

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./@+=-]*(:[A-Za-z0-9_./@+=-]+)*").fullmatch
_WORDS = frozenset({"y", "yes", "n", "no", "on", "off", "true", "false", "null"})  # that are no texts in YAML


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
    told = "".join(f"    {key}: {_scalar(value)}\n" for key, value in credentials.items()) or "    {}\n"
    return f"""\
apiVersion: v1
kind: Config
clusters:
- name: {_scalar(name)}
  cluster:
    server: {_scalar(server)}
    certificate-authority-data: {_base64(ca_pem.encode())}
users:
- name: {_scalar(f"{user}@{name}")}
  user:
{told}contexts:
- name: {_scalar(name)}
  context:
    cluster: {_scalar(name)}
    user: {_scalar(f"{user}@{name}")}
current-context: {_scalar(name)}
preferences: {{}}
"""


def _scalar(text: str) -> str:
    """As YAML has it, quoted where it might be read as something else."""
    return text if _PLAIN(text) and text.lower() not in _WORDS else json.dumps(text)


def users_file() -> Path:
    """The first file of $KUBECONFIG, else ~/.kube/config, as kubectl chooses the one to change."""
    listed = [p for p in os.environ.get("KUBECONFIG", "").split(os.pathsep) if p]
    return Path(listed[0]) if listed else Path.home() / ".kube" / "config"


def merge_into(target: Path, source: Path) -> None:
    """Put what is in `source` into `target`, replacing entries of the same name, and make it current."""
    import yaml  # here: it is slow to import, and a server writes its kubeconfig without it

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
