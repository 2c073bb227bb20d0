"""Rules for probes and lifecycle hooks.

Upstream: pkg/apis/core/validation/validation.go validateProbe, validateHandler.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis import checks
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

_SCHEMES = ("HTTP", "HTTPS")
_PROBE_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_HOOK_HANDLERS = ("exec", "httpGet", "tcpSocket", "sleep")


def validate_probes(path: str, container: Object, grace: int | None) -> Iterator[Cause]:
    for key in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(key)
        if probe is None:
            continue
        where = f"{path}.{key}"
        yield from _validate_probe(where, probe, grace)
        if key == "readinessProbe":
            own_grace = probe.get("terminationGracePeriodSeconds")
            if own_grace is not None:
                message = "must not be set for readinessProbes"
                yield field.invalid(f"{where}.terminationGracePeriodSeconds", own_grace, message)
        elif probe.get("successThreshold", 0) != 1:
            yield field.invalid(f"{where}.successThreshold", probe.get("successThreshold", 0), "must be 1")


def _validate_probe(path: str, probe: Object, grace: int | None) -> Iterator[Cause]:
    yield from _validate_handler(path, probe, _PROBE_HANDLERS, grace)
    for key in (
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ):
        yield from checks.not_negative(f"{path}.{key}", probe.get(key))
    own_grace = probe.get("terminationGracePeriodSeconds")
    if own_grace is not None and own_grace <= 0:
        yield field.invalid(f"{path}.terminationGracePeriodSeconds", own_grace, "must be greater than 0")


def validate_lifecycle(path: str, lifecycle: Object, grace: int | None) -> Iterator[Cause]:
    for key in ("postStart", "preStop"):
        if lifecycle.get(key) is not None:
            yield from _validate_handler(f"{path}.{key}", lifecycle[key], _HOOK_HANDLERS, grace)


def _validate_handler(
    path: str, handler: Object, kinds: tuple[str, ...], grace: int | None
) -> Iterator[Cause]:
    found = False
    for kind in kinds:
        action = handler.get(kind)
        if action is None:
            continue
        if found:
            yield field.forbidden(f"{path}.{kind}", "may not specify more than 1 handler type")
            continue
        found = True
        where = f"{path}.{kind}"
        if kind == "exec":
            if not action.get("command"):
                yield field.required(f"{where}.command")
        elif kind == "httpGet":
            yield from _validate_http(where, action)
        elif kind == "sleep":
            yield from _validate_sleep(where, action.get("seconds", 0), grace)
        elif kind == "tcpSocket":
            yield from checks.port_or_name(f"{where}.port", action.get("port"))
        else:
            yield from checks.port_number(f"{where}.port", action.get("port", 0))
    if not found:
        yield field.required(path, "must specify a handler type")


def _validate_http(path: str, action: Object) -> Iterator[Cause]:
    if not action.get("path"):
        yield field.required(f"{path}.path")
    yield from checks.port_or_name(f"{path}.port", action.get("port"))
    yield from checks.one_of(f"{path}.scheme", action.get("scheme", ""), _SCHEMES)
    for header in action.get("httpHeaders") or ():
        name = header.get("name", "")
        yield from checks.told(f"{path}.httpHeaders", name, names.http_header_name(name))


def _validate_sleep(path: str, seconds: int, grace: int | None) -> Iterator[Cause]:
    if grace is not None and not 0 <= seconds <= grace:
        message = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
        yield field.invalid(path, seconds, message)
