"""What the file of --admission-control-config-file says, and what plugins make of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.server.fakes import FakeObjects, FakeReader, admitted, creating, pod
from timonel.machinery import errors
from timonel.server.admission.configuration import Configuration, Limited, PodSecuritySettings, load
from timonel.server.admission.podsecurity.plugin import PodSecurity
from timonel.server.admission.quota import ResourceQuota
from timonel.server.outbound import ClientAuth

Object = dict[str, Any]


def written(folder: Path, *plugins: Object) -> str:
    file = folder / "admission.yaml"
    tree = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AdmissionConfiguration",
        "plugins": list(plugins),
    }
    file.write_text(yaml.safe_dump(tree))
    return str(file)


def test_a_file_with_everything(tmp_path: Path) -> None:
    (tmp_path / "hooks.kubeconfig").write_text(
        yaml.safe_dump({"users": [{"name": "*.shop.svc", "user": {"token": "t"}}]})
    )
    (tmp_path / "quota.yaml").write_text(
        yaml.safe_dump({"limitedResources": [{"resource": "pods", "matchContains": ["cpu"]}]})
    )
    security = {
        "defaults": {"enforce": "baseline", "enforce-version": "v1.30"},
        "exemptions": {"usernames": ["admin"], "namespaces": ["kube-system"]},
    }
    file = written(
        tmp_path,
        {"name": "PodSecurity", "configuration": security},
        {"name": "ResourceQuota", "path": "quota.yaml"},
        {"name": "MutatingAdmissionWebhook", "configuration": {"kubeConfigFile": "hooks.kubeconfig"}},
    )

    found = load(file)

    assert str(found.pod_security.policy({}).enforce) == "baseline:v1.30"
    assert found.pod_security.users == {"admin"}
    assert found.limited == (Limited("pods", ("cpu",)),)
    assert found.credentials("hook.shop.svc:443") == ClientAuth(token="t", certificate="", key="")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "not a mapping"),
        ("kind: Other", "no AdmissionConfiguration"),
        (":", "unable to read admission control configuration"),
        (
            "{kind: AdmissionConfiguration, plugins: [{name: PodSecurity, configuration: {defaults: {warn: x}}}]}",
            "must be one of privileged, baseline, restricted",
        ),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text)

    with pytest.raises(ValueError, match=why):
        load(str(file))


@pytest.mark.parametrize(
    ("authority", "user"),
    [
        ("a.b.svc:8443", "exact"),
        ("a.b.svc:443", "host"),
        ("c.b.svc:443", "domain"),
        ("elsewhere:443", "any"),
    ],
)
def test_the_most_exact_entry_is_shown_to_a_webhook(authority: str, user: str) -> None:
    names = {"a.b.svc:8443": "exact", "a.b.svc": "host", "*.b.svc": "domain", "*": "any"}
    users = {name: ClientAuth(token=token) for name, token in names.items()}

    found = Configuration(webhook_users=users).credentials(authority)

    assert found is not None
    assert found.token == user


PRIVILEGED = [{"name": "c", "image": "i", "securityContext": {"privileged": True}}]


@pytest.mark.parametrize(
    ("exempt", "why"),
    [
        ({"users": frozenset(("alice",))}, "user"),
        ({"namespaces": frozenset(("shop",))}, "namespace"),
        ({"runtime_classes": frozenset(("kata",))}, "runtimeClass"),
    ],
)
async def test_who_is_exempt_from_pod_security(exempt: Any, why: str) -> None:
    defaults = {"pod-security.kubernetes.io/enforce": "baseline"}
    held = PodSecurity(FakeReader(), PodSecuritySettings(defaults))
    spared = PodSecurity(FakeReader(), PodSecuritySettings(defaults, **exempt))
    made = pod(containers=PRIVILEGED, runtimeClassName="kata")

    call = await admitted(spared, creating(made))

    assert call.annotations == {"pod-security.kubernetes.io/exempt": why}
    with pytest.raises(errors.Forbidden):
        await admitted(held, creating(made))


async def test_limited_resources_need_a_quota() -> None:
    reader = FakeReader()
    scope = {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}
    limits = [Limited("pods", scopes=(scope,)), Limited("pods", contains=("memory",))]
    plugin = ResourceQuota(reader, FakeObjects(reader), limits)
    asking = [{"name": "c", "image": "i", "resources": {"requests": {"memory": "1Gi"}}}]

    with pytest.raises(errors.Forbidden, match=r"match these scopes: \[\{PriorityClass In \[high\]\}\]"):
        await admitted(plugin, creating(pod(priorityClassName="high")))
    with pytest.raises(errors.Forbidden, match=r"insufficient quota to consume: memory,requests\.memory"):
        await admitted(plugin, creating(pod(containers=asking)))
    await admitted(plugin, creating(pod()))
