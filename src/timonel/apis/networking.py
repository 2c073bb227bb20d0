"""networking.k8s.io/v1: Ingress and IngressClass, the retired v1beta1 Ingress, and the list of the group's kinds.

Upstream: pkg/apis/networking/{v1/defaults.go,validation/validation.go}, pkg/registry/networking/*/strategy.go,
pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis import checks, legacyingress
from timonel.apis.networkpolicies import NETWORK_POLICY
from timonel.apis.printing import AGE, join_some
from timonel.apis.resource import Column, ResourceType, Retired
from timonel.apis.serviceranges import IP_ADDRESS, SERVICE_CIDR
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object, annotations_of

GROUP = "networking.k8s.io"
CLASS_ANNOTATION = "kubernetes.io/ingress.class"
LONGEST_CONTROLLER = 250
_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_BAD_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
_BAD_ENDINGS = ("/..", "/.")

# ---------------------------------------------------------------- Ingress


def prepare_ingress(obj: Object) -> None:
    obj["status"] = {"loadBalancer": {}}


def prepare_ingress_update(new: Object, old: Object) -> None:
    new["status"] = old.get("status", {})


def validate_ingress(obj: Object) -> Iterator[Cause]:
    yield from _validate_ingress_spec(obj)
    wanted, spec = annotations_of(obj).get(CLASS_ANNOTATION), obj.get("spec") or {}
    if wanted is not None and spec.get("ingressClassName") not in (None, wanted):
        message = "must match `ingressClassName` when both are specified"
        yield field.invalid(f"annotations.{CLASS_ANNOTATION}", wanted, message)


def validate_ingress_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from _validate_ingress_spec(new)


def _validate_ingress_spec(obj: Object) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    rules, default = spec.get("rules") or [], spec.get("defaultBackend")
    if not rules and default is None:
        yield field.invalid("spec", spec.get("rules"), "either `defaultBackend` or `rules` must be specified")
    if default is not None:
        yield from _validate_backend("spec.defaultBackend", default)
    yield from checks.each("spec.rules", rules, _validate_rule)
    yield from checks.each("spec.tls", spec.get("tls"), _validate_tls)
    if spec.get("ingressClassName") is not None:
        yield from checks.subdomain("spec.ingressClassName", spec["ingressClassName"])


def _validate_tls(path: str, tls: Object) -> Iterator[Cause]:
    for index, host in enumerate(tls.get("hosts") or ()):
        rule = names.wildcard_dns1123_subdomain if "*" in host else names.dns1123_subdomain
        yield from checks.told(f"{path}.hosts[{index}]", host, rule(host))
    if tls.get("secretName"):
        yield from checks.subdomain(f"{path}.secretName", tls["secretName"])


def _validate_rule(path: str, rule: Object) -> Iterator[Cause]:
    host = rule.get("host", "")
    if host:
        if checks.parsed_ip(host) is not None:
            yield field.invalid(f"{path}.host", host, "must be a DNS name, not an IP address")
        dns = names.wildcard_dns1123_subdomain if "*" in host else names.dns1123_subdomain
        yield from checks.told(f"{path}.host", host, dns(host))
    http = rule.get("http")
    if http is None:
        return
    if not http.get("paths"):
        yield field.required(f"{path}.http.paths")
    yield from checks.each(f"{path}.http.paths", http.get("paths"), _validate_path)


def _validate_path(path: str, item: Object) -> Iterator[Cause]:
    kind, text = item.get("pathType"), item.get("path", "")
    if kind is None:
        yield field.required(f"{path}.pathType", "pathType must be specified")
        return
    if kind in ("Exact", "Prefix"):
        if not text.startswith("/"):
            yield field.invalid(f"{path}.path", text, "must be an absolute path")
        for part in _BAD_SEQUENCES:
            if part in text:
                yield field.invalid(f"{path}.path", text, f"must not contain '{part}'")
        for end in _BAD_ENDINGS:
            if text.endswith(end):
                yield field.invalid(f"{path}.path", text, f"cannot end with '{end}'")
    elif kind == "ImplementationSpecific":
        if text and not text.startswith("/"):
            yield field.invalid(f"{path}.path", text, "must be an absolute path")
    else:
        yield field.not_supported(f"{path}.pathType", kind, _PATH_TYPES)
    yield from _validate_backend(f"{path}.backend", item.get("backend") or {})


def _validate_backend(path: str, backend: Object) -> Iterator[Cause]:
    resource, service = backend.get("resource"), backend.get("service")
    if resource is not None and service is not None:
        yield field.invalid(path, "", "cannot set both resource and service backends")
    elif resource is not None:
        yield from _validate_reference(f"{path}.resource", resource)
    elif service is not None:
        yield from _validate_service_backend(path, service)
    else:
        yield field.invalid(path, "", "resource or service backend is required")


def _validate_service_backend(path: str, service: Object) -> Iterator[Cause]:
    if not service.get("name"):
        yield field.required(f"{path}.service.name")
    else:
        yield from checks.label(f"{path}.service.name", service["name"])
    port = service.get("port") or {}
    name, number = port.get("name", ""), port.get("number", 0)
    if name and number:
        yield field.invalid(path, "", "cannot set both port name & port number")
    elif name:
        yield from checks.told(f"{path}.service.port.name", name, names.port_name(name))
    elif number:
        yield from checks.port_number(f"{path}.service.port.number", number)
    else:
        yield field.required(path, "port name or number is required")


def _validate_reference(path: str, ref: Object) -> Iterator[Cause]:
    """A TypedLocalObjectReference."""
    if ref.get("apiGroup") is not None:
        yield from checks.subdomain(f"{path}.apiGroup", ref["apiGroup"])
    for key in ("kind", "name"):
        if not ref.get(key):
            yield field.required(f"{path}.{key}")
        else:
            yield from checks.told(f"{path}.{key}", ref[key], names.path_segment_name(ref[key]))


def ingress_warnings(obj: Object) -> Iterator[str]:
    if CLASS_ANNOTATION in annotations_of(obj):
        yield f"annotation \"{CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead"


def ingress_warnings_update(new: Object, old: Object) -> Iterator[str]:
    return iter(())


def _hosts(obj: Object, now: float) -> str:
    rules = (obj.get("spec") or {}).get("rules") or []
    named = [index for index, rule in enumerate(rules) if rule.get("host")][:3]
    shown = [rules[index]["host"] for index in named]
    cut = len(named) == 3 and named[-1] + 1 < len(rules)
    return join_some(shown, 3, len(rules) if cut else len(shown)) or "*"


def _addresses(obj: Object, now: float) -> str:
    balancer = (obj.get("status") or {}).get("loadBalancer") or {}
    found = {i.get("ip") or i.get("hostname") or "" for i in balancer.get("ingress") or ()} - {""}
    return ",".join(sorted(found))


INGRESS = ResourceType(
    group=GROUP,
    version="v1",
    kind="Ingress",
    plural="ingresses",
    short_names=("ing",),
    status=True,
    generation=True,
    legacy_shape=legacyingress.rewrite_old_backends,
    prepare_create=prepare_ingress,
    prepare_update=prepare_ingress_update,
    validate=validate_ingress,
    validate_update=validate_ingress_update,
    warnings=ingress_warnings,
    warnings_update=ingress_warnings_update,
    columns=(
        Column(
            "Class",
            lambda o, now: (o.get("spec") or {}).get("ingressClassName") or "<none>",
            description="The name of the IngressClass resource that should be used for additional configuration",
        ),
        Column(
            "Hosts",
            _hosts,
            description="Hosts that incoming requests are matched against before the ingress rule",
        ),
        Column(
            "Address",
            _addresses,
            description="Address is a list containing ingress points for the load-balancer",
        ),
        Column(
            "Ports",
            lambda o, now: "80, 443" if (o.get("spec") or {}).get("tls") else "80",
            description="Ports of TLS configurations that open",
        ),
        AGE,
    ),
)

INGRESS_V1BETA1 = ResourceType(
    group=GROUP,
    version="v1beta1",
    kind="Ingress",
    plural="ingresses",
    short_names=("ing",),
    status=True,
    generation=True,
    retired=Retired("v1", legacyingress.to_v1, legacyingress.to_v1beta1, legacyingress.WARNING),
)

# ---------------------------------------------------------------- IngressClass


def default_ingress_class(obj: Object) -> None:
    parameters = (obj.get("spec") or {}).get("parameters")
    if parameters is not None and parameters.get("scope") is None:
        parameters["scope"] = "Cluster"


def validate_ingress_class(obj: Object) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    controller, parameters = spec.get("controller", ""), spec.get("parameters")
    if not controller:
        yield field.required("spec.controller")
    else:
        if len(controller) > LONGEST_CONTROLLER:
            yield field.too_long("spec.controller", LONGEST_CONTROLLER)
        yield from checks.told("spec.controller", controller, names.domain_prefixed_path(controller))
    if parameters is not None:
        yield from _validate_reference("spec.parameters", parameters)
        yield from _validate_scope("spec.parameters", parameters)


def _validate_scope(path: str, parameters: Object) -> Iterator[Cause]:
    scope, namespace = parameters.get("scope"), parameters.get("namespace")
    if scope is None:
        yield field.required(f"{path}.scope")
        return
    yield from checks.one_of(f"{path}.scope", scope, ("Cluster", "Namespace"))
    if scope == "Namespace":
        if not namespace:
            yield field.required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'")
        else:
            yield from checks.label(f"{path}.namespace", namespace)
    elif scope == "Cluster" and namespace is not None:
        yield field.forbidden(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'")


def validate_ingress_class_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate_ingress_class(new)
    now, before = ((obj.get("spec") or {}).get("controller", "") for obj in (new, old))
    yield from checks.immutable("spec.controller", now, before)


def _parameters(obj: Object, now: float) -> str:
    ref = (obj.get("spec") or {}).get("parameters")
    if ref is None:
        return "<none>"
    group = f".{ref['apiGroup']}" if ref.get("apiGroup") else ""
    return f"{ref.get('kind', '')}{group}/{ref.get('name', '')}"


INGRESS_CLASS = ResourceType(
    group=GROUP,
    version="v1",
    kind="IngressClass",
    plural="ingressclasses",
    namespaced=False,
    generation=True,
    default=default_ingress_class,
    validate=validate_ingress_class,
    validate_update=validate_ingress_class_update,
    columns=(
        Column(
            "Controller",
            lambda o, now: (o.get("spec") or {}).get("controller", ""),
            description="Controller that is responsible for handling this class",
        ),
        Column("Parameters", _parameters, description="A reference to a resource with additional parameters"),
        AGE,
    ),
)

RESOURCES = (INGRESS, INGRESS_V1BETA1, INGRESS_CLASS, NETWORK_POLICY, IP_ADDRESS, SERVICE_CIDR)
