"""What becomes of requests for certificates."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.controllers.world import START, World
from timonel.controllers.certificates import CERTIFICATES, RESOURCE
from timonel.objects.meta import Object, format_time

KEY = ec.generate_private_key(ec.SECP256R1())
NODE = ("system:node:n1", ("system:nodes",))
CLIENT, NODE_CLIENT, SERVING = "kube-apiserver-client", "kube-apiserver-client-kubelet", "kubelet-serving"


def pem(name: str, groups: tuple[str, ...] = (), names: tuple[x509.GeneralName, ...] = ()) -> str:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, g) for g in groups]
    subject = x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    made = builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return base64.b64encode(made).decode()


def request(text: str, signer: str, *usages: str, user: str = "jane", **status: Any) -> Object:
    full = signer if "/" in signer else f"kubernetes.io/{signer}"
    return {
        "metadata": {"name": "r", "uid": "uid-r", "creationTimestamp": format_time(START)},
        "spec": {"request": text, "signerName": full, "usages": list(usages), "username": user},
        "status": status,
    }


def condition(kind: str, **more: Any) -> Object:
    return {"type": kind, "status": "True", "lastUpdateTime": format_time(START), **more}


def settled(obj: Object, *, age: float = 0.0) -> Object | None:
    world = World((RESOURCE, obj))
    world.time = START + age
    world.settle(*CERTIFICATES)
    found = world.list(RESOURCE)
    return found[0] if found else None


def kinds(obj: Object | None) -> list[str]:
    assert obj is not None
    return [c["type"] for c in obj["status"].get("conditions") or ()]


CLIENT_USAGES = ("client auth", "digital signature")


@pytest.mark.parametrize(
    ("text", "signer", "usages", "user", "message"),
    [
        (pem(*NODE), NODE_CLIENT, CLIENT_USAGES, NODE[0], "Auto approving self kubelet"),
        (pem(*NODE), NODE_CLIENT, CLIENT_USAGES, "system:bootstrap:x", "Auto approving kubelet"),
        (pem(*NODE), NODE_CLIENT, ("client auth", "any"), NODE[0], ""),
        (pem(*NODE, (x509.DNSName("a"),)), NODE_CLIENT, CLIENT_USAGES, NODE[0], ""),
        (pem("system:node:n1", ("devs",)), NODE_CLIENT, CLIENT_USAGES, NODE[0], ""),
        (pem(*NODE), CLIENT, CLIENT_USAGES, NODE[0], ""),
        ("bm9uZQ==", NODE_CLIENT, CLIENT_USAGES, NODE[0], ""),
    ],
)
def test_requests_of_nodes_are_approved(
    text: str, signer: str, usages: tuple[str, ...], user: str, message: str
) -> None:
    found = settled(request(text, signer, *usages, user=user))

    assert found is not None
    conditions = found["status"].get("conditions") or []
    assert bool(conditions) == bool(message)
    if message:
        assert conditions[0]["message"].startswith(message)
        assert found["status"]["certificate"] == "signed"


@pytest.mark.parametrize(
    ("text", "signer", "usages", "problem"),
    [
        (pem("jane", ("devs",)), CLIENT, ("client auth",), ""),
        (
            pem("jane"),
            CLIENT,
            ("server auth", "client auth"),
            "invalid usage for client certificate: server auth",
        ),
        (
            pem("jane"),
            CLIENT,
            ("digital signature",),
            "missing required usage for client certificate: client auth",
        ),
        (pem("jane"), NODE_CLIENT, CLIENT_USAGES, "subject organization is not system:nodes"),
        (
            pem("n1", NODE[1]),
            NODE_CLIENT,
            CLIENT_USAGES,
            "subject common name does not begin with system:node:",
        ),
        (
            pem(*NODE, (x509.DNSName("n1"),)),
            SERVING,
            ("client auth",),
            "usages did not match [digital signature key encipherment server auth]",
        ),
        (pem(*NODE), SERVING, ("server auth", "digital signature"), "DNS or IP subjectAltName is required"),
        (pem(*NODE, (x509.DNSName("n1"),)), SERVING, ("server auth", "digital signature"), ""),
        (
            pem(*NODE, (x509.DNSName("n1"), x509.RFC822Name("a@b.c"))),
            SERVING,
            (),
            "Email subjectAltNames are not allowed",
        ),
        (pem("who"), "legacy-unknown", ("any",), ""),
        (pem("who"), "example.com/mine", ("any",), None),
    ],
)
def test_signers_sign_or_say_why_not(
    text: str, signer: str, usages: tuple[str, ...], problem: str | None
) -> None:
    found = settled(request(text, signer, *usages, conditions=[condition("Approved")]))

    assert found is not None
    assert ("certificate" in found["status"]) == (problem == "")
    assert kinds(found) == (["Approved", "Failed"] if problem else ["Approved"])
    if problem:
        failed = found["status"]["conditions"][1]
        assert (failed["reason"], failed["message"]) == ("SignerValidationFailure", problem)


@pytest.mark.parametrize("decided", [(), ("Denied",), ("Approved", "Failed")])
def test_what_is_not_approved_is_not_signed(decided: tuple[str, ...]) -> None:
    found = settled(request(pem("jane"), CLIENT, "client auth", conditions=[condition(d) for d in decided]))

    assert found is not None
    assert "certificate" not in found["status"]


@pytest.mark.parametrize(
    ("conditions", "certificate", "age", "kept"),
    [
        ((), "", 23 * 3600, True),
        ((), "", 24 * 3600, False),
        (("Denied",), "", 3599, True),
        (("Denied",), "", 3600, False),
        (("Approved", "Failed"), "", 3600, False),
        (("Approved",), "signed", 3600, False),
    ],
)
def test_requests_go_when_nobody_needs_them(
    conditions: tuple[str, ...], certificate: str, age: float, kept: bool
) -> None:
    status: dict[str, Any] = {"conditions": [condition(c) for c in conditions]}
    if certificate:
        status["certificate"] = certificate

    assert (settled(request(pem("jane"), CLIENT, "client auth", **status), age=age) is not None) == kept


@pytest.mark.parametrize(("age", "kept"), [(3599, True), (3600, False)])
def test_who_decides_by_another_clock_takes_no_time_from_it(age: float, kept: bool) -> None:
    """`kubectl certificate deny` where the cluster's time is ahead of the machine's."""
    earlier = condition("Denied") | {"lastUpdateTime": format_time(START - 10 * 365 * 86_400)}

    assert (settled(request(pem("jane"), CLIENT, conditions=[earlier]), age=age) is not None) == kept
