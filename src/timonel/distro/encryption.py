"""The keys of a cluster's secrets at rest, on disk.

    pki/encryption.key     32 bytes, made with the cluster: the key `key1`, as long as there is no file beside it
    pki/encryption.yaml    an EncryptionConfiguration, from the first change of keys on

or a file that the user keeps (`--apiserver-arg encryption-provider-config=FILE`). The keys must not be less durable
than what they encrypt, so folders are synced, too.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from timonel.distro import pki
from timonel.distro.config import ClusterConfig, ConfigError, Paths, write_private
from timonel.server.atrest import configuration as atrest
from timonel.server.atrest.configuration import Configuration, Key, Misconfigured, Rule

FLAG = "encryption-provider-config"
SECRET_LENGTH = 32


def own_file(paths: Paths) -> Path:
    return paths.pki / "encryption.yaml"


def load(config: ClusterConfig, paths: Paths) -> Configuration:
    """Makes the first key where there is none. Raises ConfigError for the user's file, pki.Damaged for ours."""
    given = config.apiserver_args.get(FLAG)
    if given is not None:
        try:
            return _read(Path(given))
        except (OSError, Misconfigured) as exc:
            raise ConfigError(
                f"{given} cannot be used: {exc}", "It must be an EncryptionConfiguration"
            ) from exc
    file = own_file(paths)
    if not file.exists():
        return atrest.default(pki.encryption_key(paths.pki))
    try:
        return _read(file)
    except Misconfigured as exc:
        raise pki.Damaged(f"the keys of secrets at rest {file} are damaged: {exc}") from exc


def reread(config: ClusterConfig, paths: Paths) -> Configuration:
    """As `load`, while the server runs. Raises Misconfigured, OSError."""
    try:
        return load(config, paths)
    except (ConfigError, pki.Damaged) as exc:
        raise Misconfigured(str(exc)) from exc


def _read(file: Path) -> Configuration:
    import yaml  # slow to import, and there is a file only where keys have been changed

    try:
        tree: Any = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise Misconfigured("it is no YAML") from exc
    return atrest.parse(tree)


def save(paths: Paths, configuration: Configuration) -> None:
    import yaml

    write_private(own_file(paths), yaml.safe_dump(configuration.to_tree(), sort_keys=False).encode())
    pki.sync(paths.pki)
    first = paths.pki / "encryption.key"
    secrets = {key.secret for rule in configuration.rules for key in rule.keys}
    if first.exists() and first.read_bytes() not in secrets:
        first.unlink()


def with_new_key(configuration: Configuration, kind: str) -> Configuration:
    """A new key of this kind that reads, in every rule, behind the one that writes."""
    numbers = [key.name.removeprefix("key") for rule in configuration.rules for key in rule.keys]
    newest = max((int(n) for n in numbers if n.isdecimal()), default=0)
    key = Key(kind, f"key{newest + 1}", os.urandom(SECRET_LENGTH))  # no name comes twice: see old backups
    rules = (replace(rule, keys=(rule.keys[0], key, *rule.keys[1:])) for rule in configuration.rules)
    return Configuration(tuple(rules))


def with_newest_first(configuration: Configuration) -> Configuration:
    """The key that was added last writes from now on."""
    return Configuration(tuple(replace(r, keys=_promoted(r.keys)) for r in configuration.rules))


def _promoted(keys: tuple[Key, ...]) -> tuple[Key, ...]:
    if len(keys) < 2 or keys[1].kind == "identity":
        return keys
    return (keys[1], keys[0], *keys[2:])


def with_first_only(configuration: Configuration) -> Configuration:
    """Nothing but what the first key sealed, and what is not encrypted, can be read from now on."""
    identity = Key("identity", "", b"")
    rules = (
        Rule(r.resources, (r.keys[0], *(() if r.keys[0] == identity else (identity,))))
        for r in configuration.rules
    )
    return Configuration(tuple(rules))


def with_resources(configuration: Configuration, resources: tuple[str, ...]) -> Configuration:
    """What the first rule is about; others stay."""
    first, *others = configuration.rules
    return Configuration((replace(first, resources=resources), *others))
