"""kube-apiserver's flags about what it bears, records and takes its time for, by their names.

Those about who is let in are in `auth.flags`. Upstream: apiserver/pkg/server/options/{server_run_options,audit}.go,
component-base/logs/api/v1/options.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

from timonel.machinery import durations
from timonel.records import dataclass
from timonel.server.app import Config
from timonel.server.audit.batches import Batching
from timonel.server.audit.logfile import Rotation
from timonel.server.audit.settings import LOG_BATCHING
from timonel.server.audit.settings import Settings as AuditSettings
from timonel.server.audit.trail import BATCH, BLOCKING, MODES
from timonel.server.flowcontrol import Settings as FlowSettings

Flags = Mapping[str, str]

_BATCHING = (
    "batch-buffer-size", "batch-max-size", "batch-max-wait", "batch-throttle-enable", "batch-throttle-qps",
    "batch-throttle-burst",
)  # fmt: skip
LOG_PATH = "audit-log-path"
KNOWN = frozenset(
    (
        "audit-log-compress",
        "audit-log-format",
        "audit-log-maxage",
        "audit-log-maxbackup",
        "audit-log-maxsize",
        "audit-log-mode",
        LOG_PATH,
        "audit-policy-file",
        "audit-webhook-config-file",
        "audit-webhook-initial-backoff",
        "audit-webhook-mode",
        "enable-priority-and-fairness",
        "event-ttl",
        "logging-format",
        "max-mutating-requests-inflight",
        "max-requests-inflight",
        "min-request-timeout",
        "request-timeout",
        "shutdown-delay-duration",
        "v",
        *(f"audit-{backend}-{name}" for backend in ("log", "webhook") for name in _BATCHING),
    )
)


@dataclass(frozen=True, slots=True)
class Logging:
    format: str = "text"
    verbosity: int = 0


@dataclass(frozen=True, slots=True)
class Served:
    config: Config
    audit: AuditSettings
    logging: Logging = field(default_factory=Logging)


def read(flags: Flags, config: Config) -> Served:
    """`config` with what the flags change. Raises ValueError."""
    flow, changes = config.flow, dict[str, Any]()
    flow = FlowSettings(
        enabled=_flag(flags, "enable-priority-and-fairness", default=flow.enabled),
        max_inflight=_whole(flags, "max-requests-inflight", flow.max_inflight),
        max_mutating=_whole(flags, "max-mutating-requests-inflight", flow.max_mutating),
    )
    if flow.enabled and not flow.seats:
        raise ValueError("--max-requests-inflight and --max-mutating-requests-inflight can not both be 0")
    changes["request_timeout"] = _time(flags, "request-timeout", config.request_timeout)
    if changes["request_timeout"] <= 0:
        raise ValueError("--request-timeout must be greater than 0")
    changes["shortest_watch"] = float(_whole(flags, "min-request-timeout", int(config.shortest_watch)))
    changes["event_ttl"] = _time(flags, "event-ttl", config.event_ttl)
    changes["shutdown_delay"] = _time(flags, "shutdown-delay-duration", config.shutdown_delay)
    return Served(replace(config, flow=flow, **changes), _audit(flags), _logging(flags))


def _logging(flags: Flags) -> Logging:
    chosen = flags.get("logging-format", "text")
    if chosen not in ("text", "json"):
        raise ValueError(f'--logging-format: Unsupported value: "{chosen}": supported values: "json", "text"')
    return Logging(chosen, _whole(flags, "v", 0))


def _audit(flags: Flags) -> AuditSettings:
    if flags.get("audit-log-format", "json") != "json":
        raise ValueError('invalid audit log format, allowed format is "json"')
    return AuditSettings(
        policy_file=flags.get("audit-policy-file", ""),
        log_path=flags.get(LOG_PATH, ""),
        log_mode=_mode(flags, "log", BLOCKING),
        rotation=Rotation(
            max_age=_whole(flags, "audit-log-maxage", 0),
            max_backups=_whole(flags, "audit-log-maxbackup", 0),
            max_size=_whole(flags, "audit-log-maxsize", 0),
            compress=_flag(flags, "audit-log-compress", default=False),
        ),
        log_batching=_batching(flags, "log", LOG_BATCHING),
        webhook_file=flags.get("audit-webhook-config-file", ""),
        webhook_mode=_mode(flags, "webhook", BATCH),
        webhook_batching=replace(
            _batching(flags, "webhook", Batching()),
            initial_backoff=_time(flags, "audit-webhook-initial-backoff", 10.0),
        ),
    )


def _batching(flags: Flags, backend: str, default: Batching) -> Batching:
    buffer, most, wait, throttle, rate, burst = (f"audit-{backend}-{name}" for name in _BATCHING)
    found = Batching(
        buffer_size=_whole(flags, buffer, default.buffer_size),
        max_size=_whole(flags, most, default.max_size),
        max_wait=_time(flags, wait, default.max_wait),
        throttle=_flag(flags, throttle, default=default.throttle),
        per_second=_number(flags, rate, default.per_second),
        burst=_whole(flags, burst, default.burst),
    )
    for name, value in ((buffer, found.buffer_size), (most, found.max_size)):
        if value <= 0:
            raise ValueError(f"--{name}: invalid value {value}, must be a positive number")
    if found.max_size > found.buffer_size:
        raise ValueError(f"--{most}: the size of a batch exceeds that of the buffer, {found.buffer_size}")
    if found.throttle and (found.per_second <= 0 or found.burst <= 0):
        raise ValueError(f"--{rate} and --{burst} must be positive numbers")
    return found


def _mode(flags: Flags, backend: str, default: str) -> str:
    mode = flags.get(f"audit-{backend}-mode", default)
    if mode not in MODES:
        raise ValueError(f"invalid audit {backend} mode {mode}, allowed modes are {','.join(MODES)}")
    return mode


def _flag(flags: Flags, name: str, *, default: bool) -> bool:
    text = flags.get(name)
    if text is None:
        return default
    if text.lower() not in ("true", "false", "1", "0", "t", "f"):
        raise ValueError(f"--{name}: {text!r} is neither true nor false")
    return text.lower() in ("true", "1", "t")


def _whole(flags: Flags, name: str, default: int) -> int:
    found = _number(flags, name, default)
    if found < 0 or found != int(found):
        raise ValueError(f"--{name} can not be negative, nor have a fraction")
    return int(found)


def _number(flags: Flags, name: str, default: float) -> float:
    text = flags.get(name)
    if text is None:
        return default
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"--{name}: {text!r} is no number") from error


def _time(flags: Flags, name: str, default: float) -> float:
    text = flags.get(name)
    if text is None:
        return default
    try:
        found = durations.parse(text)
    except ValueError as error:
        raise ValueError(f"--{name}: {error}") from error
    if found < 0:
        raise ValueError(f"--{name} can not be negative")
    return found
