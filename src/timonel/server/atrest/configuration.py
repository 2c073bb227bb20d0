"""Which resources are encrypted, with which keys: upstream's EncryptionConfiguration, as a value.

    apiVersion: apiserver.config.k8s.io/v1
    kind: EncryptionConfiguration
    resources:
      - resources: [secrets, configmaps, widgets.example.com, "*.apps"]
        providers:                       # the first key of the first writes, all read
          - aesgcm: {keys: [{name: key2, secret: BASE64}, {name: key1, secret: BASE64}]}
          - identity: {}

The first entry that names a resource counts. Providers: see `ciphers`; kms is not known.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

from timonel.records import dataclass
from timonel.server.atrest.ciphers import Aead, AesCbc, Cipher, Identity, SecretBox

API_VERSIONS = ("apiserver.config.k8s.io/v1", "v1")
KIND = "EncryptionConfiguration"
SIZES = {
    "aesgcm": (16, 24, 32),
    "aescbc": (16, 24, 32),
    "secretbox": (32,),
    "chacha20poly1305": (32,),
}
DEFAULT_KEY = "key1"


class Misconfigured(Exception):
    """A configuration that cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Key:
    """As it stands in the configuration; `kind` is the provider's."""

    kind: str
    name: str
    secret: bytes


@dataclass(frozen=True, slots=True)
class Rule:
    resources: tuple[str, ...]
    keys: tuple[Key, ...]  # the first writes; identity has no name

    def names(self, plural: str, group: str) -> bool:
        qualified = f"{plural}.{group}" if group else plural
        return any(each in (qualified, f"*.{group}", "*.*") for each in self.resources)


@dataclass(frozen=True, slots=True)
class Configuration:
    rules: tuple[Rule, ...]

    def rule_of(self, plural: str, group: str) -> Rule | None:
        return next((rule for rule in self.rules if rule.names(plural, group)), None)

    def to_tree(self) -> dict[str, Any]:
        entries = [
            {"resources": list(r.resources), "providers": list(_providers(r.keys))} for r in self.rules
        ]
        return {"apiVersion": API_VERSIONS[0], "kind": KIND, "resources": entries}


def default(secret: bytes) -> Configuration:
    """Secrets under one AES-GCM key; what was stored before there was one is read."""
    keys = (Key("aesgcm", DEFAULT_KEY, secret), Key("identity", "", b""))
    return Configuration((Rule(("secrets",), keys),))


def _providers(keys: tuple[Key, ...]) -> Iterator[dict[str, Any]]:
    """Neighbours of one kind share a provider."""
    group: list[dict[str, str]] = []
    for index, key in enumerate(keys):
        if key.kind == "identity":
            yield {"identity": {}}
            continue
        group.append({"name": key.name, "secret": base64.b64encode(key.secret).decode()})
        if index + 1 == len(keys) or keys[index + 1].kind != key.kind:
            yield {key.kind: {"keys": group}}
            group = []


def parse(tree: Any) -> Configuration:
    """Raises Misconfigured."""
    if (
        not isinstance(tree, Mapping)
        or tree.get("kind") != KIND
        or tree.get("apiVersion") not in API_VERSIONS
    ):
        raise Misconfigured(f"it is no {KIND} of {API_VERSIONS[0]}")
    entries = tree.get("resources")
    if not isinstance(entries, list) or not entries:
        raise Misconfigured("resources: Required value: it must name at least one resource")
    return Configuration(tuple(_rule(f"resources[{n}]", entry) for n, entry in enumerate(entries)))


def _rule(path: str, entry: Any) -> Rule:
    entry = entry if isinstance(entry, Mapping) else {}
    names, providers = entry.get("resources"), entry.get("providers")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) and n for n in names):
        raise Misconfigured(f"{path}.resources: Required value: it must name at least one resource")
    if not isinstance(providers, list) or not providers:
        raise Misconfigured(f"{path}.providers: Required value: at least one is needed")
    keys: list[Key] = []
    for n, provider in enumerate(providers):
        keys += _keys(f"{path}.providers[{n}]", provider)
    seen = [(key.kind, key.name) for key in keys]
    if len(set(seen)) < len(seen):
        raise Misconfigured(f"{path}.providers: Invalid value: two keys have one name")
    return Rule(tuple(names), tuple(keys))


def _keys(path: str, provider: Any) -> Iterator[Key]:
    if not isinstance(provider, Mapping) or len(provider) != 1:
        raise Misconfigured(f"{path}: Invalid value: it must name one provider")
    ((kind, settings),) = provider.items()
    if kind == "identity":
        yield Key("identity", "", b"")
        return
    if kind not in SIZES:
        raise Misconfigured(f"{path}.{kind}: Unsupported value: there are {', '.join([*SIZES, 'identity'])}")
    found = settings.get("keys") if isinstance(settings, Mapping) else None
    if not isinstance(found, list) or not found:
        raise Misconfigured(f"{path}.{kind}.keys: Required value: at least one is needed")
    for n, each in enumerate(found):
        where = f"{path}.{kind}.keys[{n}]"
        if not isinstance(each, Mapping) or not isinstance(name := each.get("name"), str) or not name:
            raise Misconfigured(f"{where}.name: Required value: a key must have a name")
        if ":" in name:
            raise Misconfigured(f"{where}.name: Invalid value: it must not contain ':'")
        yield Key(kind, name, _secret(where, kind, each.get("secret")))


def _secret(where: str, kind: str, text: Any) -> bytes:
    try:
        secret = base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise Misconfigured(f"{where}.secret: Invalid value: it must be base64") from error
    if len(secret) not in SIZES[kind]:
        sizes = ", ".join(map(str, SIZES[kind]))
        raise Misconfigured(f"{where}.secret: Invalid value: it must have {sizes} bytes, not {len(secret)}")
    return secret


def cipher_of(key: Key) -> Cipher:
    if key.kind == "identity":
        return Identity()
    if key.kind == "aescbc":
        return AesCbc(key.name, key.secret)
    if key.kind == "secretbox":
        return SecretBox(key.name, key.secret)
    return Aead(key.kind, key.name, key.secret)
