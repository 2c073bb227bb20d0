"""kube-apiserver's flags about authentication and authorization, by their names, as `settings.AuthSettings`.

Files are read here, and read again by `Files` when one of them has changed. Values of repeated flags are joined with
commas. Upstream: pkg/kubeapiserver/options/{authentication,authorization}.go.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from timonel.client import kubeconfig
from timonel.client.https import Endpoint
from timonel.server.auth import durations, jwtclaims, webhook_authorizer, webhook_tokens
from timonel.server.auth.authn import Anonymous
from timonel.server.auth.frontproxy import HeaderNames
from timonel.server.auth.settings import Authorizer, AuthSettings, ConfigError
from timonel.server.request import User

FILES = (
    "authentication-config", "authentication-token-webhook-config-file", "authorization-config",
    "authorization-webhook-config-file", "client-ca-file", "oidc-ca-file", "requestheader-client-ca-file",
    "token-auth-file",
)  # fmt: skip
KNOWN = frozenset(
    (
        *FILES,
        "anonymous-auth",
        "authentication-token-webhook-cache-ttl",
        "authentication-token-webhook-version",
        "authorization-mode",
        "authorization-webhook-cache-authorized-ttl",
        "authorization-webhook-cache-unauthorized-ttl",
        "authorization-webhook-version",
        "enable-bootstrap-token-auth",
        "oidc-client-id",
        "oidc-groups-claim",
        "oidc-groups-prefix",
        "oidc-issuer-url",
        "oidc-required-claim",
        "oidc-signing-algs",
        "oidc-username-claim",
        "oidc-username-prefix",
        "requestheader-allowed-names",
        "requestheader-extra-headers-prefix",
        "requestheader-group-headers",
        "requestheader-uid-headers",
        "requestheader-username-headers",
    )
)
MODES = ("AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook")

Flags = Mapping[str, str]


def read(flags: Flags, base: AuthSettings) -> AuthSettings:
    """`base` with what the flags say. Raises ConfigError."""
    settings = base
    if "client-ca-file" in flags:
        settings = replace(settings, client_ca=_joined(base.client_ca, _file(flags["client-ca-file"])))
    if "requestheader-client-ca-file" in flags:
        settings = replace(
            settings,
            front_proxy_ca=_joined(base.front_proxy_ca, _file(flags["requestheader-client-ca-file"])),
            header_names=_header_names(flags, base),
        )
    if "token-auth-file" in flags:
        tokens = static_tokens(_file(flags["token-auth-file"]))
        settings = replace(settings, static_tokens={**settings.static_tokens, **tokens})
    settings = replace(
        settings,
        anonymous=Anonymous(enabled=_switch(flags, "anonymous-auth", True)),
        bootstrap_tokens=_switch(flags, "enable-bootstrap-token-auth", settings.bootstrap_tokens),
        token_webhook=_token_webhook(flags) or settings.token_webhook,
    )
    return _authorization(flags, _authentication(flags, settings))


def _authentication(flags: Flags, settings: AuthSettings) -> AuthSettings:
    found = _with_issuers(flags, settings)
    if found.jwt and find_spec("joserfc") is None:
        raise ConfigError("ID tokens need the package joserfc: pip install 'timonel[oidc]'")
    return found


def _with_issuers(flags: Flags, settings: AuthSettings) -> AuthSettings:
    uses_oidc = any(name.startswith("oidc-") for name in flags)
    if "authentication-config" not in flags:
        return replace(settings, jwt=(oidc(flags),)) if uses_oidc else settings
    if uses_oidc:
        text = "authentication-config file and oidc-* flags are mutually exclusive"
        raise ConfigError(text)
    from timonel.server.auth import structured

    document = document_of(flags["authentication-config"])
    found, anonymous = structured.authentication(document)
    if anonymous is not None and "anonymous-auth" in flags:
        raise ConfigError(
            "--anonymous-auth flag cannot be set when anonymous field is configured in authentication"
            " configuration file"
        )
    return replace(settings, jwt=found, anonymous=anonymous or settings.anonymous)


def _authorization(flags: Flags, settings: AuthSettings) -> AuthSettings:
    if "authorization-config" in flags:
        clashing = [
            name for name in flags if name.startswith("authorization-") and name != "authorization-config"
        ]
        if clashing:
            raise ConfigError(
                f"--authorization-config can not be specified when --{clashing[0]} is specified"
            )
        from timonel.server.auth import structured

        return replace(
            settings,
            authorizers=structured.authorization(document_of(flags["authorization-config"]), endpoint_of),
        )
    if "authorization-mode" not in flags and "authorization-webhook-config-file" not in flags:
        return settings
    modes = _list(flags.get("authorization-mode", "Node,RBAC"))
    for mode in modes:
        if mode not in MODES:
            raise ConfigError(f"authorization-mode: {mode!r} is not a valid mode")
        if modes.count(mode) > 1:
            raise ConfigError(f"authorization-mode {modes} has mode specified more than once")
    has_file = "authorization-webhook-config-file" in flags
    if "Webhook" in modes and not has_file:
        raise ConfigError("authorization-mode Webhook's authorization config file not passed")
    if has_file and "Webhook" not in modes:
        raise ConfigError("cannot specify --authorization-webhook-config-file without mode Webhook")
    return replace(settings, authorizers=tuple(_authorizer(mode, flags) for mode in modes))


def _authorizer(mode: str, flags: Flags) -> Authorizer:
    if mode != "Webhook":
        return Authorizer(mode)
    webhook = webhook_authorizer.Settings(
        endpoint=endpoint_of(flags["authorization-webhook-config-file"]),
        name="default",
        version=flags.get("authorization-webhook-version", "v1beta1"),
        authorized_ttl=_seconds(
            flags, "authorization-webhook-cache-authorized-ttl", webhook_authorizer.AUTHORIZED_TTL
        ),
        unauthorized_ttl=_seconds(
            flags, "authorization-webhook-cache-unauthorized-ttl", webhook_authorizer.UNAUTHORIZED_TTL
        ),
    )
    return Authorizer(mode, webhook)


def _token_webhook(flags: Flags) -> webhook_tokens.Settings | None:
    if "authentication-token-webhook-config-file" not in flags:
        return None
    return webhook_tokens.Settings(
        endpoint=endpoint_of(flags["authentication-token-webhook-config-file"]),
        version=flags.get("authentication-token-webhook-version", "v1beta1"),
        ttl=_seconds(flags, "authentication-token-webhook-cache-ttl", webhook_tokens.CACHE_TTL),
    )


def _joined(*pems: str) -> str:
    """The cluster's own authority stays: its admin, its nodes and its proxy have certificates of it."""
    return "\n".join(pem.strip() for pem in pems if pem) + "\n"


def _header_names(flags: Flags, base: AuthSettings) -> HeaderNames:
    allowed = _list(flags.get("requestheader-allowed-names", ""))
    return HeaderNames(
        users=_list(flags.get("requestheader-username-headers", "")),
        uids=_list(flags.get("requestheader-uid-headers", "")),
        groups=_list(flags.get("requestheader-group-headers", "")),
        extra_prefixes=_list(flags.get("requestheader-extra-headers-prefix", "")),
        allowed=(*allowed, *base.header_names.allowed) if allowed else (),
    )


def oidc(flags: Flags) -> jwtclaims.Authenticator:
    """One authenticator of the --oidc-* flags."""
    issuer, client = flags.get("oidc-issuer-url", ""), flags.get("oidc-client-id", "")
    if not issuer or not client:
        raise ConfigError(
            "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set"
        )
    if not issuer.startswith("https://"):
        raise ConfigError(f'oidc-issuer-url: Invalid value: "{issuer}": URL scheme must be https')
    claim = flags.get("oidc-username-claim", "sub")
    prefix = flags.get("oidc-username-prefix", "" if claim == "email" else f"{issuer}#")
    required = dict(pair.partition("=")[::2] for pair in _list(flags.get("oidc-required-claim", "")))
    algorithms = _list(flags.get("oidc-signing-algs", "RS256"))
    return jwtclaims.Authenticator(
        issuer=issuer,
        audiences=(client,),
        username=jwtclaims.Mapped(claim, "" if prefix == "-" else prefix),
        groups=jwtclaims.Mapped(flags.get("oidc-groups-claim", ""), flags.get("oidc-groups-prefix", "")),
        claim_rules=tuple(jwtclaims.Rule(key, value) for key, value in required.items()),
        certificate_authority=_file(flags["oidc-ca-file"]) if flags.get("oidc-ca-file") else "",
        algorithms=algorithms,
    )


def static_tokens(text: str) -> dict[str, User]:
    """A --token-auth-file: lines of token,user,uid and optionally "group1,group2"."""
    found: dict[str, User] = {}
    for number, row in enumerate(csv.reader(io.StringIO(text), skipinitialspace=True), start=1):
        if not row:
            continue
        if len(row) < 3:
            text = f"token file must have at least 3 columns (token, user name, user uid), found {len(row)}"
            raise ConfigError(f"line {number}: {text}")
        if not row[0]:
            continue
        groups = tuple(g.strip() for g in row[3].split(",") if g.strip()) if len(row) > 3 else ()
        found[row[0]] = User(row[1], groups, row[2])
    return found


def document_of(path: str) -> Any:
    import yaml  # here: most servers have no such file

    try:
        return yaml.safe_load(_file(path))
    except yaml.YAMLError as e:
        raise ConfigError(f"{path}: {e}") from e


def endpoint_of(path: str) -> Endpoint:
    try:
        return kubeconfig.load(path).endpoint(user_agent="kube-apiserver")
    except (kubeconfig.ConfigError, OSError, ValueError, KeyError, TypeError) as e:
        raise ConfigError(f"{path}: {e}") from e


class Files:
    """Says when the files that flags name have changed."""

    def __init__(self, flags: Flags) -> None:
        self._paths = [Path(p) for name in FILES for p in _list(flags.get(name, ""))]
        self._seen = self._state()

    @property
    def is_empty(self) -> bool:
        return not self._paths

    def changed(self) -> bool:
        """Since the last call, or since this was made."""
        state = self._state()
        if state == self._seen:
            return False
        self._seen = state
        return True

    def _state(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(path) for path in self._paths]


def rereader(flags: Flags, base: AuthSettings) -> Callable[[], AuthSettings | None] | None:
    """What gives new settings when a file has changed; None where there are no files."""
    files = Files(flags)
    if files.is_empty:
        return None
    return lambda: read(flags, base) if files.changed() else None


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _file(path: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: {e}") from e


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _switch(flags: Flags, name: str, default: bool) -> bool:
    text = flags.get(name)
    if text is None:
        return default
    if text.lower() not in ("true", "false", "1", "0", "t", "f"):
        raise ConfigError(f'invalid argument "{text}" for "--{name}" flag: it must be true or false')
    return text.lower() in ("true", "1", "t")


def _seconds(flags: Flags, name: str, default: float) -> float:
    text = flags.get(name)
    if text is None:
        return default
    try:
        return durations.parse(text)
    except ValueError as e:
        raise ConfigError(f'invalid argument "{text}" for "--{name}" flag: {e}') from e
