"""What claims, claim templates and device classes of resource.k8s.io ask for: requests, constraints, configuration.

What does not compile as CEL is refused (`deviceexpressions`).

Upstream: pkg/apis/resource/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis import checks, deviceexpressions
from timonel.apis.core.persistentsources import validate_driver_name
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

MODES = ("All", "ExactCount")
TOLERATED = ("NoExecute", "NoSchedule", "None")
MAX_ITEMS = 32
_NOT_A_REQUEST = (
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
)
_ONE_ATTRIBUTE = (
    'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
)

# ---------------------------------------------------------------- defaults


def default_claim_spec(spec: Object) -> None:
    for request in (spec.get("devices") or {}).get("requests") or ():
        for wanted in (request.get("exactly"), *(request.get("firstAvailable") or ())):
            if wanted is None:
                continue
            mode = wanted["allocationMode"] = wanted.get("allocationMode") or "ExactCount"
            if mode == "ExactCount":
                wanted["count"] = wanted.get("count") or 1
            for toleration in wanted.get("tolerations") or ():
                toleration["operator"] = toleration.get("operator") or "Equal"


# ---------------------------------------------------------------- claims


def validate_claim_spec(path: str, spec: Object) -> Iterator[Cause]:
    devices = spec.get("devices") or {}
    requests: list[Object] = devices.get("requests") or []
    at = f"{path}.devices"
    for index, request in enumerate(requests):
        if request.get("name", "") in [r.get("name", "") for r in requests[:index]]:
            yield field.duplicate(f"{at}.requests[{index}]", request.get("name", ""))
            continue
        yield from _validate_request(f"{at}.requests[{index}]", request)
    known = {r.get("name", ""): {s.get("name", "") for s in r.get("firstAvailable") or ()} for r in requests}
    for index, constraint in enumerate(devices.get("constraints") or ()):
        yield from _validate_constraint(f"{at}.constraints[{index}]", constraint, known)
    for index, config in enumerate(devices.get("config") or ()):
        yield from _validate_names(f"{at}.config[{index}].requests", config.get("requests") or [], known)
        yield from validate_opaque(f"{at}.config[{index}]", config)


def _validate_request(path: str, request: Object) -> Iterator[Cause]:
    yield from checks.label(f"{path}.name", request.get("name", ""))
    exactly, alternatives = request.get("exactly"), request.get("firstAvailable") or []
    if exactly is None and not alternatives:
        yield field.required(path, "exactly one of `exactly` or `firstAvailable` is required")
    elif exactly is not None and alternatives:
        yield field.invalid(
            path, "", "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"
        )
    for index, wanted in enumerate(alternatives):
        at = f"{path}.firstAvailable[{index}]"
        if wanted.get("name", "") in [w.get("name", "") for w in alternatives[:index]]:
            yield field.duplicate(at, wanted.get("name", ""))
            continue
        yield from checks.label(f"{at}.name", wanted.get("name", ""))
        yield from _validate_wanted(at, wanted)
    if exactly is not None:
        yield from _validate_wanted(f"{path}.exactly", exactly)


def _validate_wanted(path: str, wanted: Object) -> Iterator[Cause]:
    if not wanted.get("deviceClassName"):
        yield field.required(f"{path}.deviceClassName")
    else:
        yield from checks.subdomain(f"{path}.deviceClassName", wanted["deviceClassName"])
    yield from validate_selectors(f"{path}.selectors", wanted.get("selectors") or [])
    mode, count = wanted.get("allocationMode", ""), wanted.get("count", 0)
    if mode == "All" and count:
        message = "must not be specified when allocationMode is 'All'"
        yield field.invalid(f"{path}.count", count, message)
    elif mode == "ExactCount" and count <= 0:
        yield field.invalid(f"{path}.count", count, "must be greater than zero")
    elif mode not in MODES:
        yield field.not_supported(f"{path}.allocationMode", mode, MODES)
    yield from checks.each(f"{path}.tolerations", wanted.get("tolerations"), _validate_toleration)


def _validate_toleration(path: str, toleration: Object) -> Iterator[Cause]:
    key, operator, value = (toleration.get(name, "") for name in ("key", "operator", "value"))
    if key:
        yield from checks.qualified_name(f"{path}.key", key)
    elif operator != "Exists" and toleration.get("operator") is None:
        yield field.required(f"{path}.key", "must not be empty when operator is 'Equal'")
    if operator == "Exists" and value:
        yield field.invalid(f"{path}.value", value, "must be empty for operator `Exists`")
    elif operator == "Equal":
        yield from checks.told(f"{path}.value", value, names.label_value(value))
    elif operator != "Exists":
        yield field.not_supported(f"{path}.operator", operator, ("Equal", "Exists"))
    if toleration.get("effect"):
        yield from checks.one_of(f"{path}.effect", toleration["effect"], TOLERATED)


def validate_selectors(path: str, selectors: list[Object]) -> Iterator[Cause]:
    if len(selectors) > MAX_ITEMS:
        yield field.too_many(path, len(selectors), MAX_ITEMS)
    for index, selector in enumerate(selectors):
        if selector.get("cel") is None:
            yield field.required(f"{path}[{index}].cel")
        else:
            expression = selector["cel"].get("expression", "")
            yield from deviceexpressions.validate(f"{path}[{index}].cel.expression", expression)


def _validate_names(path: str, listed: list[str], known: dict[str, set[str]]) -> Iterator[Cause]:
    for index, name in enumerate(listed):
        at = f"{path}[{index}]"
        if name in listed[:index]:
            yield field.duplicate(at, name)
            continue
        for part in name.split("/"):
            yield from checks.told(at, part, names.dns1123_label(part))
        request, slash, alternative = name.partition("/")
        if request not in known or (slash and alternative not in known[request]):
            yield field.invalid(at, name, _NOT_A_REQUEST)


def _validate_constraint(path: str, constraint: Object, known: dict[str, set[str]]) -> Iterator[Cause]:
    yield from _validate_names(f"{path}.requests", constraint.get("requests") or [], known)
    given = [key for key in ("matchAttribute", "distinctAttribute") if constraint.get(key) is not None]
    if len(given) != 1:
        yield field.required(path, _ONE_ATTRIBUTE)
    for key in given:
        yield from validate_qualified(f"{path}.{key}", constraint[key], full=True)


def validate_qualified(path: str, name: str, full: bool) -> Iterator[Cause]:
    """`domain/identifier`; the domain may be left out unless it must be a full name."""
    domain, slash, identifier = name.rpartition("/")
    if slash:
        if not domain:
            yield field.required(path, "the domain must not be empty")
        else:
            yield from validate_driver_name(path, domain)
        if not identifier:
            yield field.required(path, "the name must not be empty")
            return
    if len(identifier) > 32:
        yield field.too_long(path, 32)
    yield from checks.told(path, identifier, names.c_identifier(identifier))
    if full and not slash:
        yield field.invalid(
            path, name, "a fully qualified name must be a domain and a name separated by a slash"
        )


def validate_opaque(path: str, config: Object) -> Iterator[Cause]:
    opaque = config.get("opaque")
    if opaque is None:
        yield field.required(f"{path}.opaque")
        return
    yield from validate_driver_name(f"{path}.opaque.driver", opaque.get("driver", ""))
    parameters = opaque.get("parameters")
    if parameters is None:
        yield field.required(f"{path}.opaque.parameters")
    elif not isinstance(parameters, dict):
        yield field.invalid(f"{path}.opaque.parameters", "<value omitted>", "must be a valid JSON object")
