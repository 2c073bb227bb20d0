"""kube-apiserver's flags about fairness, time, audit and logs: what they set, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest

from timonel.server.app import Config
from timonel.server.flags import KNOWN, Logging, read


def test_without_flags_everything_is_as_it_was() -> None:
    served = read({}, Config())

    assert served.config == Config()
    assert served.audit.policy_file == ""
    assert served.logging == Logging()


@pytest.mark.parametrize(
    ("flags", "path", "value"),
    [
        ({"max-requests-inflight": "10"}, "config.flow.max_inflight", 10),
        ({"max-requests-inflight": "10"}, "config.flow.seats", 210),
        ({"enable-priority-and-fairness": "false"}, "config.flow.enabled", False),
        ({"request-timeout": "1m30s"}, "config.request_timeout", 90.0),
        ({"min-request-timeout": "5"}, "config.shortest_watch", 5.0),
        ({"event-ttl": "30m"}, "config.event_ttl", 1800.0),
        ({"shutdown-delay-duration": "3s"}, "config.shutdown_delay", 3.0),
        ({"audit-log-maxsize": "5"}, "audit.rotation.max_size", 5),
        ({"audit-log-compress": "true"}, "audit.rotation.compress", True),
        ({"audit-log-mode": "batch"}, "audit.log_mode", "batch"),
        ({"audit-webhook-batch-max-size": "7"}, "audit.webhook_batching.max_size", 7),
        ({"audit-webhook-batch-max-wait": "1s"}, "audit.webhook_batching.max_wait", 1.0),
        ({"audit-webhook-initial-backoff": "2s"}, "audit.webhook_batching.initial_backoff", 2.0),
        ({"v": "4", "logging-format": "json"}, "logging", Logging("json", 4)),
    ],
)
def test_a_flag_sets(flags: dict[str, str], path: str, value: Any) -> None:
    assert flags.keys() <= KNOWN
    found: Any = read(flags, Config())
    for name in path.split("."):
        found = getattr(found, name)

    assert found == value


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"max-requests-inflight": "-1"}, "--max-requests-inflight can not be negative"),
        ({"max-requests-inflight": "x"}, "--max-requests-inflight: 'x' is no number"),
        ({"max-requests-inflight": "0", "max-mutating-requests-inflight": "0"}, "can not both be 0"),
        ({"enable-priority-and-fairness": "maybe"}, "is neither true nor false"),
        ({"request-timeout": "0s"}, "--request-timeout must be greater than 0"),
        ({"request-timeout": "5"}, 'time: missing unit in duration "5"'),
        ({"event-ttl": "-1s"}, "--event-ttl can not be negative"),
        ({"audit-log-format": "legacy"}, "invalid audit log format"),
        (
            {"audit-log-mode": "fast"},
            "invalid audit log mode fast, allowed modes are batch,blocking,blocking-strict",
        ),
        ({"audit-webhook-batch-max-size": "0"}, "must be a positive number"),
        ({"audit-webhook-batch-buffer-size": "10"}, "exceeds that of the buffer"),
        ({"audit-webhook-batch-throttle-qps": "0"}, "must be positive numbers"),
        ({"logging-format": "xml"}, '--logging-format: Unsupported value: "xml"'),
    ],
)
def test_a_flag_that_cannot_be_used_is_refused(flags: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(flags, Config())
