"""The kubelet's flags and its configuration file, as `timonel up --kubelet-arg` takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from timonel.distro import kubeletargs
from timonel.distro.config import ConfigError
from timonel.node import flags
from timonel.node.kubeletconfig import FIELDS

HEAD = {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration"}


def written(folder: Path, **fields: Any) -> str:
    file = folder / "kubelet.yaml"
    file.write_text(yaml.safe_dump({**HEAD, **fields}))
    return f"config={file}"


def test_a_repeated_flag_is_one_list() -> None:
    assert kubeletargs.parse(["node-labels=a=b", "--node-labels=c=d", "serialize-image-pulls"]) == {
        "node-labels": "a=b,c=d",
        "serialize-image-pulls": "true",
    }


def test_a_configuration_is_read_as_flags_and_flags_beside_it_win(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        evictionHard={"memory.available": "500Mi", "nodefs.available": "5%"},
        kubeReserved={"cpu": "200m"},
        maxPods=50,
        registerWithTaints=[{"key": "a", "value": "b", "effect": "NoSchedule"}],
        serializeImagePulls=False,
        shutdownGracePeriodByPodPriority=[{"priority": 0, "shutdownGracePeriodSeconds": 20}],
        allowedUnsafeSysctls=["net.core.*", "kernel.msg*"],
        staticPodPath=None,
    )

    assert kubeletargs.parse([file, "max-pods=60"]) == {
        "eviction-hard": "memory.available<500Mi,nodefs.available<5%",
        "kube-reserved": "cpu=200m",
        "max-pods": "60",
        "register-with-taints": "a=b:NoSchedule",
        "serialize-image-pulls": "false",
        "shutdown-grace-period-by-pod-priority": "0=20",
        "allowed-unsafe-sysctls": "net.core.*,kernel.msg*",
    }


def test_all_fields_are_flags_that_are_known() -> None:
    assert {flag for flag, _ in FIELDS.values()} <= flags.KNOWN


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"kind": "Other"}, "it is no KubeletConfiguration"),
        ({"maxPodz": 3, "cgroupDriver": "systemd"}, "cgroupDriver, maxPodz: not taken over here"),
        ({"evictionHard": "memory"}, "evictionHard: cannot be 'memory'"),
        ({"registerWithTaints": [{"key": "a"}]}, "registerWithTaints: cannot be"),
        ({"maxPods": [1]}, "maxPods: cannot be"),
        ({"maxPods": "many"}, "the kubelet's flags cannot be used"),
        ({"allowedUnsafeSysctls": "one"}, "allowedUnsafeSysctls: cannot be"),
    ],
)
def test_configurations_that_cannot_be_used(tmp_path: Path, fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        kubeletargs.parse([written(tmp_path, **fields)])


@pytest.mark.parametrize("text", ["a: [", "- a", ""])
def test_files_that_are_no_configuration(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match="cannot be used"):
        kubeletargs.parse([f"config={tmp_path}/bad.yaml"])
    with pytest.raises(ConfigError, match="cannot be used"):
        kubeletargs.parse([f"config={tmp_path}/missing.yaml"])


def test_a_configuration_of_credential_providers_is_looked_at_before_nodes_start(tmp_path: Path) -> None:
    pairs = [
        f"image-credential-provider-config={tmp_path}/missing.yaml",
        f"image-credential-provider-bin-dir={tmp_path}",
    ]
    with pytest.raises(
        ConfigError, match=r"the configuration of credential providers .*missing\.yaml cannot be used"
    ):
        kubeletargs.parse(pairs)
