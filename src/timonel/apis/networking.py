"""networking.k8s.io/v1: Ingress, IngressClass, NetworkPolicy, IPAddress, ServiceCIDR; and the retired v1beta1 Ingress.

Upstream: pkg/apis/networking/{v1/defaults.go,validation/validation.go}, pkg/registry/networking/*/strategy.go,
pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis import checks, legacyingress
from timonel.apis.printing import AGE, join_some, selector_cell
from timonel.apis.resource import Column, ResourceType, Retired
from timonel.machinery import field, names, selectors
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
    shown = [rule["host"] for rule in rules[:3] if rule.get("host")]
    return join_some(shown, 3, len(rules) if len(rules) > 3 and shown else len(shown)) or "*"


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

# ---------------------------------------------------------------- NetworkPolicy


def default_network_policy(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    for direction in ("ingress", "egress"):
        for rule in spec.get(direction) or ():
            for port in rule.get("ports") or ():
                if port.get("protocol") is None:
                    port["protocol"] = "TCP"
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def validate_network_policy(obj: Object) -> Iterator[Cause]:
    spec = obj["spec"]
    yield from selectors.validate_label_selector(spec.get("podSelector") or {}, "spec.podSelector")
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(direction) or ()):
            path = f"spec.{direction}[{index}]"
            yield from checks.each(f"{path}.ports", rule.get("ports"), _validate_policy_port)
            yield from checks.each(f"{path}.{peers}", rule.get(peers), _validate_peer)
    types = spec.get("policyTypes") or []
    if len(types) > 2:
        yield field.invalid("spec.policyTypes", types, "may not specify more than two policyTypes")
        return
    for index, kind in enumerate(types):
        yield from checks.one_of(f"spec.policyTypes[{index}]", kind, ("Ingress", "Egress"))


def _validate_policy_port(path: str, port: Object) -> Iterator[Cause]:
    if port.get("protocol") is not None:
        yield from checks.one_of(f"{path}.protocol", port["protocol"], ("TCP", "UDP", "SCTP"))
    first, last = port.get("port"), port.get("endPort")
    if isinstance(first, int):
        yield from checks.port_number(f"{path}.port", first)
        if last is not None:
            if last < first:
                # upstream prints the port here
                yield field.invalid(f"{path}.endPort", first, "must be greater than or equal to `port`")
            yield from checks.port_number(f"{path}.endPort", last)
        return
    if last is not None:
        why = "not specified" if first is None else "non-numeric"
        yield field.invalid(f"{path}.endPort", last, f"may not be specified when `port` is {why}")
    if first is not None:
        yield from checks.told(f"{path}.port", first, names.port_name(first))


def _validate_peer(path: str, peer: Object) -> Iterator[Cause]:
    for key in ("podSelector", "namespaceSelector"):
        if peer.get(key) is not None:
            yield from selectors.validate_label_selector(peer[key], f"{path}.{key}")
    block = peer.get("ipBlock")
    if block is not None:
        yield from _validate_block(f"{path}.ipBlock", block)
    chosen = [key for key in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(key) is not None]
    if not chosen:
        yield field.required(path, "must specify a peer")
    elif len(chosen) > 1 and block is not None:
        yield field.forbidden(path, "may not specify both ipBlock and another peer")


def _validate_block(path: str, block: Object) -> Iterator[Cause]:
    text = block.get("cidr", "")
    if not text:
        yield field.required(f"{path}.cidr")
        return
    yield from checks.cidr(f"{path}.cidr", text)
    whole = checks.parsed_cidr(text)
    if whole is None:
        return
    for index, part in enumerate(block.get("except") or ()):
        yield from checks.cidr(f"{path}.except[{index}]", part)
        found = checks.parsed_cidr(part)
        if found is None:
            continue
        inside = found.version == whole.version and found.network_address in whole
        if not inside or whole.prefixlen >= found.prefixlen:
            yield field.invalid(f"{path}.except[{index}]", part, "must be a strict subset of `cidr`")


def validate_network_policy_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate_network_policy(new)


NETWORK_POLICY = ResourceType(
    group=GROUP,
    version="v1",
    kind="NetworkPolicy",
    plural="networkpolicies",
    short_names=("netpol",),
    generation=True,
    default=default_network_policy,
    validate=validate_network_policy,
    validate_update=validate_network_policy_update,
    columns=(
        Column(
            "Pod-Selector", lambda o, now: selector_cell(o["spec"].get("podSelector")), doc="spec.podSelector"
        ),
        AGE,
    ),
)

# ---------------------------------------------------------------- IPAddress, ServiceCIDR


def name_is_ip(name: str, prefix: bool) -> list[str]:
    """The name of an IPAddress is the address, in canonical form."""
    found = checks.parsed_ip(name)
    if found is None:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    return [] if str(found) == name else [f'must be in canonical form ("{found}")']


def validate_ip_address(obj: Object) -> Iterator[Cause]:
    ref = (obj.get("spec") or {}).get("parentRef")
    if ref is None:
        yield field.required("spec.parentRef")
        return
    path = "spec.parentRef"
    if ref.get("group"):
        yield from checks.subdomain(f"{path}.group", ref["group"])
    for key in ("resource", "name"):
        yield from checks.required(f"{path}.{key}", ref.get(key))
    for key in ("resource", "name", "namespace"):
        if ref.get(key):
            yield from checks.told(f"{path}.{key}", ref[key], names.path_segment_name(ref[key]))


def validate_ip_address_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate_ip_address(new)
    now, before = ((obj.get("spec") or {}).get("parentRef") for obj in (new, old))
    yield from checks.immutable("spec.parentRef", now, before)


def _parent(obj: Object, now: float) -> str:
    ref = (obj.get("spec") or {}).get("parentRef") or {}
    group = f".{ref['group']}" if ref.get("group") else ""
    return f"{ref.get('resource', '')}{group}/{ref.get('namespace', '')}/{ref.get('name', '')}"


IP_ADDRESS = ResourceType(
    group=GROUP,
    version="v1",
    kind="IPAddress",
    plural="ipaddresses",
    namespaced=False,
    short_names=("ip",),
    validate_name=name_is_ip,
    validate=validate_ip_address,
    validate_update=validate_ip_address_update,
    columns=(Column("ParentRef", _parent, doc="spec.parentRef"), AGE),
)


def prepare_service_cidr(obj: Object) -> None:
    obj["status"] = {}


def prepare_service_cidr_update(new: Object, old: Object) -> None:
    new["status"] = old.get("status", {})


def validate_service_cidr(obj: Object) -> Iterator[Cause]:
    ranges: list[str] = (obj.get("spec") or {}).get("cidrs") or []
    path = "spec.cidrs"
    if not ranges:
        yield field.required(path, "at least one CIDR required")
        return
    if len(ranges) > 2:
        yield field.invalid(path, {"CIDRs": ranges}, "may only hold up to 2 values")
        return
    parsed = [checks.parsed_cidr(text) for text in ranges]
    if len(ranges) == 2 and None not in parsed and len({p.version for p in parsed if p is not None}) != 2:
        message = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/96"
        yield field.invalid(path, {"CIDRs": ranges}, message)
    for index, (text, found) in enumerate(zip(ranges, parsed, strict=True)):
        yield from checks.cidr(f"{path}[{index}]", text)
        if found is not None and str(found) != text:
            yield field.invalid(f"{path}[{index}]", text, f'must be in canonical form ("{found}")')


def validate_service_cidr_update(new: Object, old: Object) -> Iterator[Cause]:
    now, before = ((obj.get("spec") or {}).get("cidrs") for obj in (new, old))
    yield from checks.immutable("spec.cidrs", now, before)
    yield from validate_service_cidr(new)


SERVICE_CIDR = ResourceType(
    group=GROUP,
    version="v1",
    kind="ServiceCIDR",
    plural="servicecidrs",
    namespaced=False,
    status=True,
    prepare_create=prepare_service_cidr,
    prepare_update=prepare_service_cidr_update,
    validate=validate_service_cidr,
    validate_update=validate_service_cidr_update,
    columns=(
        Column("CIDRs", lambda o, now: ",".join((o.get("spec") or {}).get("cidrs") or ()), doc="spec.cidrs"),
        AGE,
    ),
)

RESOURCES = (INGRESS, INGRESS_V1BETA1, INGRESS_CLASS, NETWORK_POLICY, IP_ADDRESS, SERVICE_CIDR)
