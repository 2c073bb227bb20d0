"""Image references: their full names, and which credentials belong to which registry. Pure.

Upstream: github.com/distribution/reference, pkg/credentialprovider (keyring, dockerconfigjson).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from timonel.node.cri.runtime import Auth
from timonel.objects.meta import Object

_PART = r"[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_REFERENCE = re.compile(
    rf"^(?P<name>(?:{_DOMAIN}/)?{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?$"
)


def is_valid(image: str) -> bool:
    return _REFERENCE.match(image) is not None


def with_default_tag(image: str) -> str:
    """`image`, with :latest if it has neither tag nor digest; short names stay short."""
    match = _REFERENCE.match(image)
    if match is None or match["tag"] or match["digest"]:
        return image
    return f"{image}:latest"


def split_registry(image: str) -> tuple[str, str]:
    """Registry host and the rest: busybox is docker.io's library/busybox."""
    first, slash, rest = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return ("docker.io", rest) if first == "index.docker.io" else (first, rest)
    return "docker.io", image if slash else f"library/{image}"


def normalized(image: str) -> str:
    """The full name: docker.io/library/busybox:latest. What is no reference (an image id) stays as it is."""
    if not is_valid(image):
        return image
    host, rest = split_registry(with_default_tag(image))
    return f"{host}/{rest}"


def credentials(image: str, secrets: Iterable[Object]) -> list[Auth]:
    """Those of the pull secrets that fit the image's registry, the most specific path first."""
    return fitting(image, _entries(secrets))


def fitting(image: str, entries: Iterable[tuple[str, Auth]]) -> list[Auth]:
    """Those whose pattern (registry.example/path) fits the image, the most specific path first."""
    found = [(len(_server(server)[1]), auth) for server, auth in entries if is_below(image, server)]
    return [auth for _, auth in sorted(found, key=lambda entry: -entry[0])]


def is_below(image: str, server: str) -> bool:
    """The image is in that registry, below its path if it has one. A * stands for one label of the host's name."""
    host, rest = split_registry(image)
    wanted, path = _server(server)
    rest = repository(rest)
    return _host_matches(wanted, host) and f"{rest}/".startswith(f"{path}/" if path else "")


def repository(image: str) -> str:
    """Without tag and digest."""
    match = _REFERENCE.match(image)
    return image if match is None else match["name"]


def registry(image: str) -> str:
    return image.partition("/")[0]


def _entries(secrets: Iterable[Object]) -> Iterator[tuple[str, Auth]]:
    for secret in secrets:
        data = secret.get("data") or {}
        for key in (".dockerconfigjson", ".dockercfg"):
            if key not in data:
                continue
            try:
                config = json.loads(base64.b64decode(data[key]))
            except (binascii.Error, ValueError):
                continue  # As kubelet: an unreadable pull secret is passed over
            entries = config.get("auths") or {} if key == ".dockerconfigjson" else config
            for server, entry in entries.items():
                yield server, _auth(entry)


def _auth(entry: Mapping[str, Any]) -> Auth:
    """Without the registry's name: as kubelet, which has chosen by it already, and the runtime reads it as a URL."""
    username, password = entry.get("username", ""), entry.get("password", "")
    if not username and entry.get("auth"):
        try:
            username, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
        except (binascii.Error, ValueError):
            username = password = ""
    return Auth(
        username=username,
        password=password,
        identity_token=entry.get("identitytoken", ""),
        registry_token=entry.get("registrytoken", ""),
    )


def _server(server: str) -> tuple[str, str]:
    bare = re.sub(r"^https?://", "", server)
    host, _, path = bare.partition("/")
    host = "docker.io" if host in ("index.docker.io", "registry-1.docker.io") else host
    return host, re.sub(r"^v[12]/?", "", path).rstrip("/")


def _host_matches(pattern: str, host: str) -> bool:
    """A * stands for one label, or a part of one."""
    if "*" not in pattern:
        return pattern == host
    return re.fullmatch(re.escape(pattern).replace(r"\*", r"[^.]*"), host) is not None
