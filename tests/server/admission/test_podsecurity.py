"""Pod security: each check refuses in upstream's words, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.fakes import FakeReader, admitted, creating, pod, updating
from timonel.apis.resource import ResourceType
from timonel.machinery import errors
from timonel.objects.meta import Object
from timonel.server.admission.podsecurity import checks, policy
from timonel.server.admission.podsecurity.plugin import PodSecurity
from timonel.server.admission.podsecurity.policy import LATEST, Level

PREFIX = "pod-security.kubernetes.io/"
NAMESPACES = ResourceType(group="", version="v1", kind="Namespace", plural="namespaces", namespaced=False)
SAFE: dict[str, Any] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
FINE = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def container(name: str = "c", **context: Any) -> Object:
    return {"name": name, "image": "i", **({"securityContext": context} if context else {})}


def refusals(level: str, spec: Object, minor: int = LATEST) -> list[str]:
    full = {"containers": [container()], **spec}
    return [str(r) for r in checks.evaluate(Level(level, minor), {}, full)]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"hostNetwork": True, "hostPID": True}, "host namespaces (hostNetwork=true, hostPID=true)"),
        ({"volumes": [{"name": "h", "hostPath": {"path": "/"}}]}, 'hostPath volumes (volume "h")'),
        (
            {"containers": [{**container(), "ports": [{"containerPort": 80, "hostPort": 80}]}]},
            'hostPort (container "c" uses hostPort 80)',
        ),
        (
            {"containers": [container(privileged=True)]},
            'privileged (container "c" must not set securityContext.privileged=true)',
        ),
        (
            {"containers": [container(capabilities={"add": ["SYS_ADMIN"]})]},
            'non-default capabilities (container "c" must not include "SYS_ADMIN" in'
            " securityContext.capabilities.add)",
        ),
        ({"securityContext": {"sysctls": [{"name": "a.b", "value": "1"}]}}, "forbidden sysctls (a.b)"),
        (
            {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
            'seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")',
        ),
    ],
)
def test_what_baseline_refuses(spec: Object, expected: str) -> None:
    assert refusals("baseline", spec) == [expected]


def test_restricted_names_all_containers_of_one_fault() -> None:
    spec = {"containers": [container("c"), container("d", runAsUser=0)]}

    assert refusals("restricted", spec) == [
        'allowPrivilegeEscalation != false (containers "c", "d" must set'
        " securityContext.allowPrivilegeEscalation=false)",
        'unrestricted capabilities (containers "c", "d" must set securityContext.capabilities.drop=["ALL"])',
        'runAsNonRoot != true (pod or containers "c", "d" must set securityContext.runAsNonRoot=true)',
        'runAsUser=0 (container "d" must not set runAsUser=0)',
        'seccompProfile (pod or containers "c", "d" must set securityContext.seccompProfile.type to'
        ' "RuntimeDefault" or "Localhost")',
    ]


def test_an_older_version_has_fewer_checks() -> None:
    found = refusals("restricted", {}, minor=20)

    assert not any("capabilities" in text for text in found)


def test_a_safe_pod_passes_everywhere() -> None:
    assert refusals("restricted", {"securityContext": FINE, "containers": [container(**SAFE)]}) == []
    assert refusals("privileged", {"hostPID": True}) == []


@pytest.mark.parametrize(
    ("labels", "enforce", "warn"),
    [
        ({}, "privileged:latest", "privileged:latest"),
        ({"enforce": "restricted"}, "restricted:latest", "restricted:latest"),
        ({"enforce": "baseline", "warn": "restricted"}, "baseline:latest", "restricted:latest"),
        ({"enforce": "baseline", "enforce-version": "v1.20"}, "baseline:v1.20", "baseline:v1.20"),
    ],
)
def test_labels_make_a_policy(labels: dict[str, str], enforce: str, warn: str) -> None:
    found, causes = policy.parse({PREFIX + key: value for key, value in labels.items()})

    assert (str(found.enforce), str(found.warn), causes) == (enforce, warn, [])


def test_wrong_labels_are_told() -> None:
    _, causes = policy.parse({f"{PREFIX}enforce": "strict", f"{PREFIX}enforce-version": "v9"})

    assert [c.message for c in causes] == [
        'Invalid value: "strict": must be one of privileged, baseline, restricted',
        'Invalid value: "v9": must be "latest" or "v1.x"',
    ]


def namespace(**labels: str) -> Object:
    return {"metadata": {"name": "shop", "labels": {PREFIX + k: v for k, v in labels.items()}}}


async def test_the_enforced_level_refuses_and_the_warned_one_warns() -> None:
    reader = FakeReader()
    plugin = PodSecurity(reader)
    reader.put("namespaces", namespace(enforce="baseline", warn="restricted"))

    call = await admitted(plugin, creating(pod()))
    with pytest.raises(
        errors.Forbidden, match='pods "p" is forbidden: violates PodSecurity "baseline:latest": host'
    ):
        await admitted(plugin, creating(pod(hostNetwork=True)))

    assert call.warnings[0].startswith(
        'would violate PodSecurity "restricted:latest": allowPrivilegeEscalation'
    )


async def test_a_stricter_namespace_tells_of_the_pods_it_has() -> None:
    reader = FakeReader()
    plugin = PodSecurity(reader)
    for name in ("w", "b"):
        reader.put("pods", pod(name))

    call = await admitted(plugin, updating(namespace(enforce="restricted"), namespace(), NAMESPACES))

    assert call.warnings == [
        'existing pods in namespace "shop" violate the new PodSecurity enforce level "restricted:latest"',
        "b (and 1 other pod): allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true,"
        " seccompProfile",
    ]


async def test_an_update_of_labels_alone_is_let_through() -> None:
    reader = FakeReader()
    plugin = PodSecurity(reader)
    reader.put("namespaces", namespace(enforce="restricted"))
    old, new = pod(), pod()
    new["metadata"]["labels"] = {"x": "y"}

    call = await admitted(plugin, updating(new, old))

    assert call.warnings == []
