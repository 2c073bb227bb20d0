"""Rules for what containers and pods request and are limited to.

Upstream: pkg/apis/core/validation/validation.go validateResourceRequirements, validatePodResources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from timonel.apis import checks, resources
from timonel.apis.core import pod_amounts
from timonel.machinery import field
from timonel.machinery.errors import Cause
from timonel.machinery.quantity import Quantity, QuantityError
from timonel.objects.meta import Object

_RESIZABLE = ("cpu", "memory")
_RESIZE_POLICIES = ("NotRequired", "RestartContainer")
NameRule = Callable[[str, str], Iterator[Cause]]


def validate_requirements(
    path: str,
    wanted: Object,
    claims: set[str] | None,
    name_rule: NameRule = resources.validate_container_name,
) -> Iterator[Cause]:
    limits, requests = wanted.get("limits") or {}, wanted.get("requests") or {}
    for name, text in sorted(limits.items()):
        where = f"{path}.limits[{name}]"
        yield from name_rule(where, name)
        yield from checks.resource_quantity(where, name, text)
        if name.startswith("hugepages-"):
            yield from _whole_pages(where, name, text)
    for name, text in sorted(requests.items()):
        where = f"{path}.requests[{name}]"
        yield from name_rule(where, name)
        yield from checks.resource_quantity(where, name, text)
        yield from _within_limit(path, name, text, limits.get(name))
    given = {*limits, *requests}
    if any(name.startswith("hugepages-") for name in given) and not given & {"cpu", "memory"}:
        yield field.forbidden(path, "HugePages require cpu or memory")
    if wanted.get("claims"):
        yield from _validate_claims(f"{path}.claims", wanted["claims"], claims or set())


def _within_limit(path: str, name: str, text: str, limit: str | None) -> Iterator[Cause]:
    overcommit = resources.allows_overcommit(name)
    if limit is None:
        if not overcommit:
            yield field.required(f"{path}.limits", "Limit must be set for non overcommitable resources")
        return
    amount, most = checks.quantity(text), checks.quantity(limit)
    if amount != most and not overcommit:
        yield field.invalid(f"{path}.requests", str(amount), f"must be equal to {name} limit of {most}")
    elif amount > most:
        message = f"must be less than or equal to {name} limit of {most}"
        yield field.invalid(f"{path}.requests", str(amount), message)


def _whole_pages(path: str, name: str, text: str) -> Iterator[Cause]:
    try:
        size = Quantity.parse(name.removeprefix("hugepages-"))
    except QuantityError:
        return
    amount = checks.quantity(text)
    if size.nanos <= 0 or amount.nanos % size.nanos:
        message = f"{amount} is not positive integer multiple of {name}"
        yield field.invalid(path, str(amount), message)


def _validate_claims(path: str, wanted: list[Object], known: set[str]) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, claim in enumerate(wanted):
        where = f"{path}[{index}]"
        name, request = claim.get("name", ""), claim.get("request", "")
        if not name:
            yield field.required(where)
            continue
        key = f"{name}/{request}" if request else name
        if request:
            yield from checks.label(f"{where}.request", request)
        if key in seen or name in seen:
            yield field.duplicate(where, key)
        seen.add(key)
        if name not in known:
            listed = f": {', '.join(sorted(known))}" if known else " which is empty"
            cause = field.not_found(where, name)
            detail = f"must be one of the names in pod.spec.resourceClaims{listed}"
            yield Cause(cause.type, f"{cause.message}: {detail}", where)


def validate_resize_policy(path: str, policies: list[Object], restart_policy: str) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, policy in enumerate(policies):
        name, restart = policy.get("resourceName", ""), policy.get("restartPolicy", "")
        if name in seen:
            yield field.duplicate(f"{path}[{index}]", name)
        seen.add(name)
        for value, valid in ((name, _RESIZABLE), (restart, _RESIZE_POLICIES)):
            if not value:
                yield field.required(path)
            else:
                yield from checks.one_of(path, value, valid)
        if restart_policy == "Never" and restart != "NotRequired":
            yield field.invalid(path, restart, "must be 'NotRequired' when `restartPolicy` is 'Never'")


# ---- the pod as a whole


def _pod_level_name(path: str, name: str) -> Iterator[Cause]:
    wrong = list(resources.validate_name(path, name))
    yield from wrong
    if not wrong and not pod_amounts.is_pod_level(name):
        yield field.not_supported(path, name, ("cpu", "hugepages-", "memory"))


def validate_pod_level(path: str, spec: Object, claims: set[str]) -> Iterator[Cause]:
    level = spec.get("resources")
    if not level:
        return
    if level.get("claims") is not None:
        yield field.forbidden(f"{path}.claims", "claims cannot be set for Resources at pod-level")
    yield from validate_requirements(path, level, claims, _pod_level_name)
    requests, limits = level.get("requests") or {}, level.get("limits") or {}
    for name, total in sorted(pod_amounts.aggregate(spec, "requests").items()):
        given = checks.quantity(requests.get(name, "0"))
        if total > given and pod_amounts.is_pod_level(name):
            message = f"must be greater than or equal to aggregate container requests of {total}"
            yield field.invalid(f"{path}.requests[{name}]", str(given), message)
    for index, container in enumerate(spec.get("containers") or ()):
        own = (container.get("resources") or {}).get("limits") or {}
        for name, text in sorted(own.items()):
            if name in limits and checks.quantity(text) > checks.quantity(limits[name]):
                where = f"{path}.containers[{index}][{name}].limits"
                message = f"must be less than or equal to pod limits of {checks.quantity(limits[name])}"
                yield field.invalid(where, str(checks.quantity(text)), message)
