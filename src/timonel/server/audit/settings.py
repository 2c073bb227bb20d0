"""How the audit log is set up, and the log made from that.

Upstream: apiserver/pkg/server/options/audit.go.
"""

from __future__ import annotations

from dataclasses import field
from pathlib import Path

from timonel.aio.clock import Clock
from timonel.client.https import Endpoint
from timonel.records import dataclass
from timonel.server.audit import policy
from timonel.server.audit.batches import Batching, SendFailed
from timonel.server.audit.logfile import LogFile, Rotation
from timonel.server.audit.trail import BATCH, BLOCKING, Backend, FileBackend, Trail, WebhookBackend
from timonel.server.outbound import CallFailed, Outbound

WEBHOOK_TIMEOUT = 30.0
LOG_BATCHING = Batching(max_size=1, max_wait=0.0, throttle=False)


class ConfigError(ValueError):
    """Settings that cannot be used; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`policy_file` empty: nothing is recorded."""

    policy_file: str = ""
    log_path: str = ""
    log_mode: str = BLOCKING
    rotation: Rotation = field(default_factory=Rotation)
    log_batching: Batching = LOG_BATCHING
    webhook_file: str = ""
    webhook_mode: str = BATCH
    webhook_batching: Batching = field(default_factory=Batching)


def trail(settings: Settings, clock: Clock, outbound: Outbound) -> Trail | None:
    """None where nothing is to be recorded. Raises ConfigError."""
    if not settings.policy_file:
        if settings.log_path or settings.webhook_file:
            raise ConfigError("an audit backend without an audit policy file: --audit-policy-file")
        return None
    rules = load(settings.policy_file)
    backends: list[Backend] = []
    if settings.log_path:
        file = LogFile(settings.log_path, settings.rotation, clock.now)
        backends.append(FileBackend(file, settings.log_mode, settings.log_batching, clock))
    if settings.webhook_file:
        post = _poster(settings.webhook_file, outbound)
        backends.append(WebhookBackend(post, settings.webhook_mode, settings.webhook_batching, clock))
    return Trail(rules, backends, clock) if backends else None


def load(path: str) -> policy.Policy:
    """Raises ConfigError."""
    import yaml  # here: most servers have no policy, and it is slow to import

    try:
        tree = yaml.safe_load(Path(path).read_text())
        return policy.read(tree)
    except OSError as error:
        raise ConfigError(f"failed to read file path {path!r}: {error.strerror or error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"failed decoding: from file {path!r}: {error}") from error
    except policy.PolicyError as error:
        raise ConfigError(f"{error}: from file {path!r}") from error


class _Post:
    def __init__(self, outbound: Outbound, endpoint: Endpoint) -> None:
        self._outbound = outbound
        self._target = outbound.target_of(endpoint)

    async def __call__(self, body: bytes) -> None:
        headers = {"Content-Type": "application/json"}
        try:
            reply = await self._outbound.send(
                self._target, "POST", body, timeout=WEBHOOK_TIMEOUT, headers=headers
            )
        except (CallFailed, OSError, ValueError) as error:
            raise SendFailed(str(error)) from error
        if not 200 <= reply.status < 300:
            raise SendFailed(f"the server answered {reply.status}")


def _poster(path: str, outbound: Outbound) -> _Post:
    from timonel.client import kubeconfig

    try:
        loaded = kubeconfig.load(path)
        return _Post(outbound, loaded.endpoint())
    except (kubeconfig.ConfigError, OSError) as error:
        raise ConfigError(f"initializing audit webhook: {error}") from error
