"""certificates.k8s.io/v1: CertificateSigningRequest.

Who asked (`spec.username` and the rest) is filled in by the server, from the request.

Upstream: pkg/apis/certificates/{v1/defaults.go,validation/validation.go},
pkg/registry/certificates/certificates/strategy.go, pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from timonel.apis import checks
from timonel.apis.printing import AGE, human_duration
from timonel.apis.resource import Column, ResourceType
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment",
    "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel",
    "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime",
    "server auth", "signing", "timestamping",
)  # fmt: skip
LEGACY_SIGNER = "kubernetes.io/legacy-unknown"
SHORTEST = 600
_BLOCK = re.compile(rb"-----BEGIN ([^\n-]*)-----\s([\s\S]*?)-----END \1-----")


def prepare_create(obj: Object) -> None:
    obj["status"] = {}


def prepare_update(new: Object, old: Object) -> None:
    new["spec"], new["status"] = old.get("spec", {}), old.get("status", {})


def validate(obj: Object) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    request, usages = spec.get("request") or None, spec.get("usages") or []
    if not _is_request(request):
        yield field.invalid("spec.request", request, "PEM block type must be CERTIFICATE REQUEST")
    if not usages:
        yield field.required("spec.usages")
    for index, usage in enumerate(usages):
        yield from checks.one_of(f"spec.usages[{index}]", usage, USAGES)
        if usage in usages[:index]:
            yield field.duplicate(f"spec.usages[{index}]", usage)
    signer = spec.get("signerName", "")
    if not signer:
        yield field.required("spec.signerName")
    elif signer == LEGACY_SIGNER:
        yield field.invalid(
            "spec.signerName", signer, "the legacy signerName is not allowed via this API version"
        )
    else:
        yield from _validate_signer("spec.signerName", signer)
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < SHORTEST:
        message = f"may not specify a duration less than {SHORTEST} seconds (10 minutes)"
        yield field.invalid("spec.expirationSeconds", seconds, message)


def _is_request(encoded: str | None) -> bool:
    try:
        raw = base64.b64decode(encoded or "")
    except (binascii.Error, ValueError):
        return False
    return _first_block(raw) in ("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")


def _first_block(raw: bytes) -> str:
    """The type of the first sound PEM block, empty where there is none."""
    for kind, body in _BLOCK.findall(raw):
        try:
            base64.b64decode(b"".join(body.split()), validate=True)
        except binascii.Error:
            continue
        return str(kind.decode(errors="replace"))
    return ""


def _validate_signer(path: str, signer: str) -> Iterator[Cause]:
    domain, slash, name = signer.partition("/")
    if not slash or "/" in name:
        message = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        yield field.invalid(path, signer, message)
        return
    for message in names.dns1123_subdomain(domain):
        yield field.invalid(path, signer, f"validating label {domain!r}: {message}".replace("'", '"', 2))
    if "." not in domain:
        yield field.invalid(path, domain, "should be a domain with at least two segments separated by dots")
    for message in names.dns1123_subdomain(name):
        yield field.invalid(path, signer, f"validating label {name!r}: {message}".replace("'", '"', 2))
    if len(signer) > 571:
        yield field.too_long(path, 571)


def validate_status(new: Object, old: Object) -> Iterator[Cause]:
    """/status may set the certificate and other conditions; a decision is the business of /approval."""
    yield from _validate_certificate((new.get("status") or {}).get("certificate"))
    for kind in ("Approved", "Denied"):
        had, has = (_conditions(obj, kind) for obj in (old, new))
        if had != has:
            deed = "add" if len(has) > len(had) else "remove" if len(has) < len(had) else "modify"
            yield field.forbidden("status.conditions", f'updates may not {deed} a condition of type "{kind}"')
    yield from validate_approval(new, old)


def _conditions(obj: Object, kind: str) -> list[Object]:
    return [c for c in (obj.get("status") or {}).get("conditions") or () if c.get("type") == kind]


def _validate_certificate(encoded: str | None) -> Iterator[Cause]:
    if not encoded:
        return
    try:
        raw = base64.b64decode(encoded)
    except (binascii.Error, ValueError):
        raw = b""
    if _first_block(raw) != "CERTIFICATE":
        message = "must contain at least one CERTIFICATE PEM block"
        yield field.invalid("status.certificate", "<certificate data>", message)


def validate_approval(new: Object, old: Object) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, condition in enumerate((new.get("status") or {}).get("conditions") or ()):
        path, kind, status = (
            f"status.conditions[{index}]",
            condition.get("type", ""),
            condition.get("status", ""),
        )
        if not kind:
            yield field.required(f"{path}.type")
        if not status:
            yield field.required(f"{path}.status")
        elif kind in ("Approved", "Denied", "Failed"):
            yield from checks.one_of(f"{path}.status", status, ("True",))
        else:
            yield from checks.one_of(f"{path}.status", status, ("False", "True", "Unknown"))
        if kind in seen:
            yield field.duplicate(f"{path}.type", kind)
        seen.add(kind)
    if {"Approved", "Denied"} <= seen:
        message = "Approved and Denied conditions are mutually exclusive"
        yield field.invalid("status.conditions", "Approved,Denied", message)


# of the column, as the version of old described the field
_SIGNER = """Requested signer for the request. It is a qualified name in the form: `scope-hostname.io/name`. If empty, it will be defaulted:
 1. If it's a kubelet client certificate, it is assigned
    "kubernetes.io/kube-apiserver-client-kubelet".
 2. If it's a kubelet serving certificate, it is assigned
    "kubernetes.io/kubelet-serving".
 3. Otherwise, it is assigned "kubernetes.io/legacy-unknown".
Distribution of trust for signers happens out of band. You can select on this field using `spec.signerName`."""  # noqa: E501


def _condition(obj: Object, now: float) -> str:
    status = obj.get("status") or {}
    kinds = [c.get("type", "") for c in status.get("conditions") or ()]
    words = [word for word in ("Denied", "Approved") if word in kinds][:1] or ["Pending"]
    if "Failed" in kinds:
        words.append("Failed")
    if status.get("certificate"):
        words.append("Issued")
    return ",".join(words)


def _duration(obj: Object, now: float) -> str:
    seconds = obj["spec"].get("expirationSeconds")
    return "<none>" if seconds is None else human_duration(seconds)


CERTIFICATE_SIGNING_REQUEST = ResourceType(
    group="certificates.k8s.io",
    version="v1",
    kind="CertificateSigningRequest",
    plural="certificatesigningrequests",
    namespaced=False,
    short_names=("csr",),
    status=True,
    subresources=("approval",),
    selectable={"spec.signerName": lambda o: (o.get("spec") or {}).get("signerName", "")},
    validate_name=names.path_segment_name,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate,
    validate_status_update=validate_status,
    columns=(
        AGE,
        Column("SignerName", lambda o, now: o["spec"].get("signerName") or "<none>", description=_SIGNER),
        Column(
            "Requestor",
            lambda o, now: o["spec"].get("username", ""),
            description="Base64-encoded PKCS#10 CSR data",
        ),
        Column("RequestedDuration", _duration, doc="spec.expirationSeconds"),
        Column(
            "Condition",
            _condition,
            description="Conditions applied to the request, such as approval or denial.",
        ),
    ),
)

RESOURCES = (CERTIFICATE_SIGNING_REQUEST,)
