"""kube-apiserver's flags that `timonel up --apiserver-arg NAME=VALUE` takes over, by the part of the server they set.

A repeated flag is given once, with its values joined by commas.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from timonel.distro.config import ConfigError
from timonel.distro.flagwords import hint
from timonel.server.auth.settings import AuthSettings
from timonel.server.security import Settings as SecuritySettings

ADMISSION = ("disable-admission-plugins", "enable-admission-plugins")
ADMISSION_FILE = "admission-control-config-file"
TOLERATED = ("default-not-ready-toleration-seconds", "default-unreachable-toleration-seconds")
SERVICE_ACCOUNTS = (
    "api-audiences",
    "service-account-extend-token-expiration",
    "service-account-issuer",
    "service-account-jwks-uri",
    "service-account-key-file",
    "service-account-max-token-expiration",
    "service-account-signing-key-file",
)


def known_flags() -> set[str]:
    from timonel.distro import encryption
    from timonel.server import flags as serving
    from timonel.server.auth import flags

    return {
        *ADMISSION,
        ADMISSION_FILE,
        *TOLERATED,
        *SERVICE_ACCOUNTS,
        *flags.KNOWN,
        *serving.KNOWN,
        encryption.FLAG,
    }


def parse(pairs: Iterable[str]) -> dict[str, str]:
    """Raises ConfigError for what is no flag that is known here."""
    from timonel.server import flags as serving

    known = known_flags()
    found: dict[str, str] = {}
    for pair in pairs:
        name, separator, value = pair.lstrip("-").partition("=")
        if name not in known:
            raise ConfigError(f"unknown flag --{name} of the API server", hint(name, known))
        value = value if separator else "true"
        is_file = name.endswith(("-file", "-config")) or (name == serving.LOG_PATH and value != "-")
        if is_file:  # the server runs in another folder
            value = ",".join(str(Path(part).absolute()) for part in value.split(",") if part)
        found[name] = value
    return found


def check(args: Mapping[str, str]) -> None:
    """Raises ConfigError where the server could not start with them."""
    from timonel.server import flags as serving
    from timonel.server.app import Config
    from timonel.server.audit.settings import load

    try:
        apply(SecuritySettings(keys=_any_key()), args)
        policy = serving.read(args, Config()).audit.policy_file
        if policy:
            load(policy)
    except ValueError as e:
        raise ConfigError(f"the API server's flags cannot be used: {e}") from e


def apply(settings: SecuritySettings, args: Mapping[str, str]) -> SecuritySettings:
    """Raises ValueError; `auth.settings.ConfigError` is one."""
    if not args:
        return settings
    from timonel.server.auth import flags

    auth = {name: value for name, value in args.items() if name in flags.KNOWN}
    if auth:
        base: AuthSettings = settings.auth
        settings = replace(settings, auth=flags.read(auth, base), reread=flags.rereader(auth, base))
    if not args.keys().isdisjoint(ADMISSION):
        from timonel.server.admission import switches

        disable, enable = (_list(args.get(name, "")) for name in ADMISSION)
        settings = replace(settings, admission=switches.parse(enable, disable))
    if ADMISSION_FILE in args:
        from timonel.server.admission import configuration

        settings = replace(settings, admission_configuration=configuration.load(args[ADMISSION_FILE]))
    if not args.keys().isdisjoint(TOLERATED):
        configured = settings.admission_configuration
        not_ready, unreachable = (
            _seconds(args, name, default)
            for name, default in zip(TOLERATED, configured.tolerated, strict=True)
        )
        configured = replace(configured, tolerated=(not_ready, unreachable))
        settings = replace(settings, admission_configuration=configured)
    return _service_accounts(settings, args)


def _service_accounts(settings: SecuritySettings, args: Mapping[str, str]) -> SecuritySettings:
    from timonel.server.auth import durations, jwt

    changes: dict[str, Any] = {}
    issuers = _list(args.get("service-account-issuer", ""))
    if issuers:
        changes |= {"issuer": issuers[0], "other_issuers": issuers[1:]}
    if "api-audiences" in args:
        changes["audiences"] = _list(args["api-audiences"])
    if "service-account-jwks-uri" in args:
        changes["jwks_uri"] = args["service-account-jwks-uri"]
    if "service-account-max-token-expiration" in args:
        longest = durations.parse(args["service-account-max-token-expiration"])
        if longest and not 3600 <= longest <= 1 << 32:
            text = "the service-account-max-token-expiration must be between 1 hour and 2^32 seconds"
            raise ValueError(text)
        changes["longest_token"] = int(longest)
    if "service-account-extend-token-expiration" in args:
        changes["extend_tokens"] = args["service-account-extend-token-expiration"] != "false"
    signing, others = (
        args.get("service-account-signing-key-file"),
        _list(args.get("service-account-key-file", "")),
    )
    if signing or others:
        public = [key for file in others for key in jwt.load_public_keys(_bytes(file))]
        private = jwt.load_private_key(_bytes(signing)) if signing else settings.keys.private
        changes["keys"] = jwt.Keys(private, public)
    return replace(settings, **changes)


def _seconds(args: Mapping[str, str], name: str, default: int) -> int:
    text = args.get(name, str(default))
    if not text.removeprefix("-").isdecimal():
        raise ValueError(f"invalid argument {text!r} for --{name}: it is no number")
    return int(text)


def _any_key() -> Any:
    from timonel.server.auth import jwt

    return jwt.Keys(jwt.new_key())


def _bytes(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as e:
        raise ValueError(f"{file}: {e.strerror or e}") from e


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
