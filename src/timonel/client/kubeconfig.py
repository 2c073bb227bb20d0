"""Finds the cluster and the user to talk as, by kubectl's rules.

An explicit path; else the files of $KUBECONFIG, merged (the first to say something wins; what is missing is skipped);
else ~/.kube/config; and inside a pod its service account.

Upstream: client-go tools/clientcmd/{loader,client_config}.go.
"""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

import yaml

from timonel.client.https import Endpoint, tls_context
from timonel.records import dataclass

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ConfigError(Exception):
    """The configuration cannot be used; the message says why and where."""


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """A merged configuration. Paths in it are absolute."""

    clusters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    users: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    contexts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    current_context: str = ""

    def namespace(self, context: str = "") -> str:
        found: str = self.contexts.get(context or self.current_context, {}).get("namespace") or "default"
        return found

    def endpoint(self, context: str = "", *, user_agent: str = "timonel") -> Endpoint:
        """Raises ConfigError where the context, its cluster or its user is missing or cannot be used."""
        name = context or self.current_context
        if not name:
            raise ConfigError("no context is chosen: current-context is not set")
        if name not in self.contexts:
            raise ConfigError(f'context "{name}" does not exist')
        chosen = self.contexts[name]
        cluster = self._named(self.clusters, "cluster", chosen.get("cluster", ""), name)
        user = self._named(self.users, "user", chosen["user"], name) if chosen.get("user") else {}
        if not cluster.get("server"):
            raise ConfigError(f'cluster "{chosen.get("cluster")}" has no server')
        for unusable in ("exec", "auth-provider"):
            if unusable in user:
                raise ConfigError(
                    f'user "{chosen["user"]}" gets its credentials by {unusable}, which is not supported; '
                    "use a token or a client certificate"
                )
        return Endpoint(
            cluster["server"],
            _context(cluster, user) if cluster["server"].startswith("https:") else None,
            token=user.get("token", ""),
            token_file="" if user.get("token") else user.get("tokenFile", ""),
            server_name=cluster.get("tls-server-name", ""),
            user_agent=user_agent,
        )

    @staticmethod
    def _named(
        entries: Mapping[str, Mapping[str, Any]], what: str, name: str, context: str
    ) -> Mapping[str, Any]:
        if name not in entries:
            raise ConfigError(f'{what} "{name}" of context "{context}" does not exist')
        return entries[name]


def load(path: str = "", environment: Mapping[str, str] | None = None) -> Kubeconfig:
    """An explicit path must exist; files named by the environment need not."""
    env = os.environ if environment is None else environment
    if path:
        if not Path(path).exists():
            raise ConfigError(f"stat {path}: no such file or directory")
        files = [Path(path)]
    elif env.get("KUBECONFIG"):
        files = [Path(p) for p in dict.fromkeys(env["KUBECONFIG"].split(os.pathsep)) if p]
    else:
        files = [Path(env.get("HOME", "~")).expanduser() / ".kube" / "config"]
    return merge([_read(file) for file in files if file.exists()])


def merge(parts: list[Kubeconfig]) -> Kubeconfig:
    """The first to name a thing wins."""
    clusters: dict[str, Any] = {}
    users: dict[str, Any] = {}
    contexts: dict[str, Any] = {}
    for part in reversed(parts):
        clusters |= part.clusters
        users |= part.users
        contexts |= part.contexts
    current = next((part.current_context for part in parts if part.current_context), "")
    return Kubeconfig(clusters, users, contexts, current)


_FILES = ("certificate-authority", "client-certificate", "client-key", "tokenFile")


def _read(file: Path) -> Kubeconfig:
    try:
        document = yaml.safe_load(file.read_text()) or {}
    except (OSError, yaml.YAMLError) as exc:
        raise ConfigError(f"error loading config file {str(file)!r}: {exc}") from exc
    if not isinstance(document, dict):
        raise ConfigError(f"error loading config file {str(file)!r}: not a mapping")

    def entries(plural: str, singular: str) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for entry in document.get(plural) or ():
            value = dict(entry.get(singular) or {})
            for name in _FILES:
                if value.get(name):
                    value[name] = str(file.parent / value[name])
            found.setdefault(entry["name"], value)
        return found

    return Kubeconfig(
        entries("clusters", "cluster"),
        entries("users", "user"),
        entries("contexts", "context"),
        document.get("current-context") or "",
    )


def _context(cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
    ca_data = cluster.get("certificate-authority-data")
    with tempfile.TemporaryDirectory() as directory:  # OpenSSL reads a client's certificate from files only
        return tls_context(
            ca_file="" if ca_data else cluster.get("certificate-authority", ""),
            ca_data=base64.b64decode(ca_data).decode() if ca_data else "",
            certificate=_file(user, "client-certificate", Path(directory)),
            key=_file(user, "client-key", Path(directory)),
            insecure=bool(cluster.get("insecure-skip-tls-verify")),
        )


def _file(user: Mapping[str, Any], name: str, directory: Path) -> str:
    data = user.get(f"{name}-data")
    if not data:
        return str(user.get(name, ""))
    path = directory / name
    path.touch(mode=0o600)
    path.write_bytes(base64.b64decode(data))
    return str(path)


def in_cluster(
    environment: Mapping[str, str] | None = None,
    directory: Path = SERVICE_ACCOUNT,
    *,
    user_agent: str = "timonel",
) -> Endpoint:
    """As the service account of the pod this runs in."""
    env = os.environ if environment is None else environment
    host, port = env.get("KUBERNETES_SERVICE_HOST"), env.get("KUBERNETES_SERVICE_PORT")
    if not host or not port or not (directory / "token").exists():
        raise ConfigError("not running inside a cluster: no service account is mounted")
    shown = f"[{host}]" if ":" in host else host
    return Endpoint(
        f"https://{shown}:{port}",
        tls_context(ca_file=str(directory / "ca.crt")),
        token_file=str(directory / "token"),
        user_agent=user_agent,
    )
