from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from timonel.distro import config as settings
from timonel.distro import processes
from timonel.distro.commands.up import up
from timonel.distro.config import ClusterConfig, EtcdConfig, paths_of
from timonel.distro.differences import differences
from timonel.distro.launch import Wishes

RUNNING = ClusterConfig(
    name="u",
    port=7000,
    clock="virtual",
    token="s3cret",
    apiserver_args={"v": "2", "event-ttl": "1h"},
    store="etcd",
    etcd=EtcdConfig(servers="10.0.0.1:2379"),
)


@pytest.mark.parametrize(
    ("wishes", "told"),
    [
        (Wishes(), []),
        (Wishes(runtime="auto", port=0), []),
        (Wishes(runtime="simulated", port=7000, nodes=1, clock="virtual", token="s3cret"), []),
        (Wishes(components=settings.COMPONENTS, apiserver_args={"event-ttl": "1h", "v": "2"}), []),
        (Wishes(nodes=50), ["--nodes: it has 1, not 50"]),
        (Wishes(clock="system"), ["--clock: it has virtual, not system"]),
        (Wishes(stages="/x.yaml"), ["--stages: it has none, not /x.yaml"]),
        (Wishes(runtime="containerd"), ["--runtime: it has simulated, not containerd"]),
        (Wishes(port=7001), ["--port: it has 7000, not 7001"]),
        (Wishes(legacy_apis=False), ["--legacy-apis: it has true, not false"]),
        (Wishes(components=("api",)), ["--components: it has api,controllers,scheduler,node, not api"]),
        (Wishes(token="other"), ["--token: it has another one"]),
        (Wishes(kubelet_args={"max-pods": "5"}), ["--kubelet-arg max-pods: it has none, not 5"]),
        (
            Wishes(apiserver_args={"v": "3"}),
            ["--apiserver-arg event-ttl: it has 1h, not none", "--apiserver-arg v: it has 2, not 3"],
        ),
        (
            Wishes(store="sqlite", etcd=EtcdConfig(servers="10.0.0.1:2379", ca_file="/ca")),
            ["--store: it has etcd, not sqlite", "--etcd-cafile: it has none, not /ca"],
        ),
    ],
)  # fmt: skip
def test_what_a_running_cluster_does_not_have(wishes: Wishes, told: list[str]) -> None:
    assert list(differences(wishes, RUNNING)) == told


def test_up_refuses_what_a_running_cluster_would_have_to_be_started_anew_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = paths_of(tmp_path, "u")
    settings.save(where, RUNNING)
    before = where.settings.read_bytes()
    monkeypatch.setattr(processes, "find", lambda file: processes.Process(1, "0"))
    line = ["--name", "u", "--data-dir", str(tmp_path), "--clock", "system"]

    refused = CliRunner().invoke(up, [*line, "--nodes", "50", "--token", "other", "--quiet"])
    same = CliRunner().invoke(up, [*line[:-1], "virtual", "--nodes", "1"])

    assert refused.exit_code == 1
    for text in ("--nodes: it has 1, not 50", "--clock: it has virtual, not system", "timonel down --name u"):
        assert text in refused.output
    assert "s3cret" not in refused.output
    assert "other\n" not in refused.output
    assert same.exit_code == 0
    assert "running already" in same.output
    assert where.settings.read_bytes() == before
