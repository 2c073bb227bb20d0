"""Image names, logs, probes' tallies, admission, the node's conditions, image archives, settings of containerd."""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.node.builders import container, pod
from timonel.node import cgroups, containerd, imagegc, loglinks, logrotation, oci
from timonel.node.admission import admit, requested
from timonel.node.cri.runtime import Condition, ContainerConfig, Image
from timonel.node.imagenames import credentials, is_valid, normalized
from timonel.node.imagesettings import ImageSettings
from timonel.node.logs import Formatter, Query, parse, select, tail_offset
from timonel.node.nodestatus import Machine, Observed, conditions
from timonel.node.probes import Tally
from timonel.node.volumes import atomic_writer
from timonel.node.volumes.source import File


@pytest.mark.parametrize(
    ("image", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("prom/node-exporter:v1", "docker.io/prom/node-exporter:v1"),
        ("localhost:5000/a", "localhost:5000/a:latest"),
        ("reg.example/a/b@sha256:" + "0" * 64, "reg.example/a/b@sha256:" + "0" * 64),
        ("index.docker.io/a/b:1", "docker.io/a/b:1"),
    ],
)
def test_full_image_names(image: str, full: str) -> None:
    assert normalized(image) == full


@pytest.mark.parametrize("image", ["Upper", "a b", "", "-x", "a:b:c:d"])
def test_what_is_no_image_name(image: str) -> None:
    assert not is_valid(image)


def test_credentials_fit_the_registry_and_the_longest_path_wins() -> None:
    auths = {
        "https://index.docker.io/v1/": {"auth": base64.b64encode(b"hub:x").decode()},
        "reg.example": {"username": "all", "password": "p"},
        "reg.example/team": {"username": "team", "password": "p"},
        "*.other.example": {"username": "star", "password": "p"},
    }
    data = base64.b64encode(json.dumps({"auths": auths}).encode()).decode()
    secrets = [{"data": {".dockerconfigjson": data}}, {"data": {".dockerconfigjson": "!"}}]

    def names(image: str) -> list[str]:
        return [auth.username for auth in credentials(image, secrets)]

    assert names("busybox") == ["hub"]
    assert names("reg.example/team/app:1") == ["team", "all"]
    assert names("reg.example/teams/app:1") == ["all"]
    assert names("eu.other.example/a") == ["star"]
    assert names("unknown.example/a") == []


LOG = (
    b"2026-01-01T00:00:01.5Z stdout F one\n"
    b"2026-01-01T00:00:02Z stderr P tw\n"
    b"2026-01-01T00:00:02.1Z stderr F o\n"
    b"2026-01-01T00:00:03Z stdout F three\n"
)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query(), b"one\ntwo\nthree\n"),
        (
            Query(timestamps=True),
            b"2026-01-01T00:00:01.5Z one\n2026-01-01T00:00:02Z two\n2026-01-01T00:00:03Z three\n",
        ),
        (Query(stream="Stdout"), b"one\nthree\n"),
        (Query(limit_bytes=5), b"one\nt"),
        (Query(since=1767225602.5), b"three\n"),
        (Query(tail=1), b"three\n"),
    ],
)
def test_what_a_log_query_gives(query: Query, expected: bytes) -> None:
    assert select(LOG, query) == expected


@pytest.mark.parametrize(
    ("lines", "rest"), [(0, b""), (1, b"three\n"), (2, b"two\nthree\n"), (9, b"one\ntwo\nthree\n")]
)
def test_the_tail_counts_whole_lines(tmp_path: Path, lines: int, rest: bytes) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(LOG)
    formatter = Formatter(Query())
    tail = LOG[tail_offset(path, lines) :]

    assert b"".join(formatter.feed(raw) for raw in tail.splitlines(keepends=True)) == rest


def test_a_half_written_line_is_no_line() -> None:
    assert parse(b"2026-01-01T00:00") is None


@pytest.mark.parametrize(
    ("results", "state"),
    [
        ([False, False], None),
        ([False, False, False], False),
        ([True], True),
        ([True, False, False, True], True),
        ([False, False, False, True], False),  # two successes are needed to come back
        ([False, False, False, True, True], True),
    ],
)
def test_probes_count_against_thresholds(results: list[bool], state: bool | None) -> None:
    needed = 2 if len(results) > 3 and not results[0] else 1
    tally = Tally()
    for ok in results:
        tally = tally.after(ok, {"successThreshold": needed, "failureThreshold": 3})

    assert tally.state is state


def asks(cpu: str, **spec: Any) -> Any:
    return pod(container(resources={"requests": {"cpu": cpu}}), **spec)


def test_the_largest_init_container_counts() -> None:
    inits = [
        container("i", resources={"requests": {"cpu": "2"}}),
        container("s", restartPolicy="Always", resources={"requests": {"cpu": "100m"}}),
    ]

    assert requested(asks("500m"), "cpu") == 500
    assert requested(asks("500m", initContainers=inits), "cpu") == 2000
    assert requested(asks("3", initContainers=inits), "cpu") == 3100


def test_a_node_refuses_what_does_not_fit() -> None:
    allocatable = {"cpu": "2", "memory": "1Gi", "pods": "2"}
    refusal = admit(asks("1500m"), [asks("1")], allocatable)
    full = admit(asks("0"), [asks("0"), asks("0")], allocatable)

    assert admit(asks("1"), [asks("1")], allocatable) is None
    assert refusal is not None
    assert refusal.reason == "OutOfcpu"
    assert refusal.message == (
        "Pod was rejected: Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000"
    )
    assert full is not None
    assert full.reason == "OutOfpods"


MACHINE = Machine(
    2, 8 << 30, 4 << 30, 100 << 30, 50 << 30, 32768, 200, "m", "s", "b", "6.1", "Debian", "amd64"
)


def test_a_node_without_its_runtime_is_not_ready() -> None:
    fine = [Condition("RuntimeReady", True), Condition("NetworkReady", True)]
    broken = [Condition("NetworkReady", False, "NetworkPluginNotReady", "cni plugin not initialized")]
    seen = Observed(1000.0, MACHINE, "containerd://1.6", fine)
    found = {
        "fine": conditions(seen, ())[-1],
        "gone": conditions(replace(seen, runtime_conditions=None), ())[-1],
        "network": conditions(replace(seen, runtime_conditions=broken), ())[-1],
    }

    assert (found["fine"]["status"], found["fine"]["reason"]) == ("True", "KubeletReady")
    assert found["gone"]["message"] == "container runtime is down"
    assert found["network"]["message"] == (
        "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
        "message:cni plugin not initialized"
    )


def test_pressure_is_told() -> None:
    pressures = frozenset({"MemoryPressure", "DiskPressure"})
    found = {c["type"]: c for c in conditions(Observed(1000.0, MACHINE, "x", [], (), pressures), ())}

    assert {t: c["status"] for t, c in found.items() if t.endswith("Pressure")} == {
        "MemoryPressure": "True",
        "DiskPressure": "True",
        "PIDPressure": "False",
    }
    assert found["MemoryPressure"]["reason"] == "KubeletHasInsufficientMemory"
    assert found["DiskPressure"]["reason"] == "KubeletHasDiskPressure"


def test_pod_limits_count_only_if_all_containers_have_them() -> None:
    limited = container(resources={"limits": {"cpu": "100m", "memory": "64Mi"}, "requests": {"cpu": "100m"}})
    all_ = cgroups.settings(pod(limited, {**limited, "name": "b"}, status={"qosClass": "Burstable"}))
    some = cgroups.settings(pod(limited, container("b"), status={"qosClass": "Burstable"}))

    assert all_["cpu"]["cpu.cfs_quota_us"] == "20000"
    assert all_["memory"]["memory.limit_in_bytes"] == str(128 << 20)
    assert "memory" not in some
    assert some["cpu"] == {"cpu.shares": "102"}


def test_an_archive_is_an_oci_layout(tmp_path: Path) -> None:
    init = tmp_path / "init"
    init.write_bytes(b"#!")
    first, second = (oci.pause_image("registry.example/pause:1", init) for _ in range(2))
    with tarfile.open(fileobj=io.BytesIO(first)) as tar:
        names = tar.getnames()
        index = json.load(tar.extractfile("index.json"))  # type: ignore[arg-type]

    assert first == second
    assert "oci-layout" in names
    assert index["manifests"][0]["annotations"]["io.containerd.image.name"] == "registry.example/pause:1"


def test_containerd_is_given_places_of_its_own() -> None:
    layout = containerd.Layout(Path("/d"), "n1", "172.30.0.1", "10.244.1.0/24")
    text = containerd.render_config(layout)
    network = json.loads(containerd.render_network(layout))

    assert 'root = "/d/root"' in text
    assert 'stream_server_address = "172.30.0.1"' in text
    assert network["name"] == "pods-n1"
    assert [plugin["type"] for plugin in network["plugins"]] == ["ptp", "portmap"]


def test_a_mirror_is_a_hosts_file(tmp_path: Path) -> None:
    containerd.write_mirrors(tmp_path, {"docker.io": "http://172.30.0.254:5000"})

    assert (tmp_path / "certs.d/docker.io/hosts.toml").read_text() == (
        'server = "http://172.30.0.254:5000"\n[host."http://172.30.0.254:5000"]\n  capabilities = ["pull", "resolve"]\n'
    )


def test_a_socket_path_that_is_too_long_is_said(tmp_path: Path) -> None:
    layout = containerd.Layout(tmp_path / ("x" * 120), "n1", "172.30.0.1", "10.244.1.0/24")

    with pytest.raises(containerd.RuntimeMissing, match="shorter data directory"):
        containerd.write_files(layout)


def test_files_of_a_volume_change_all_at_once(tmp_path: Path) -> None:
    old = {"a": File(b"1", 0o644), "sub/b": File(b"2", 0o600)}
    atomic_writer.write(tmp_path, old)
    before = os.readlink(tmp_path / "..data")
    unchanged = atomic_writer.write(tmp_path, old)
    changed = atomic_writer.write(tmp_path, {"a": File(b"3", 0o644)})

    assert not unchanged
    assert changed
    assert (tmp_path / "a").read_text() == "3"
    assert not (tmp_path / "sub").is_symlink()
    assert not (tmp_path / before).exists()


def test_the_longest_unused_images_go_first() -> None:
    images = [Image(f"i{n}", (f"t{n}",), (), 100) for n in range(5)]
    used = {"i0": 900.0, "i1": 100.0, "i2": 200.0, "i3": 300.0, "i4": 50.0}
    found = imagegc.doomed(images, used, {"i1"}, {"t4"}, now=1000.0, wanted=150, age=120)

    assert [image.id for image in found] == ["i2", "i3"]


@pytest.mark.parametrize(("available", "expected"), [(500, 0), (151, 0), (150, 50), (0, 200)])
def test_images_go_only_when_the_disk_is_nearly_full(available: int, expected: int) -> None:
    assert imagegc.bytes_to_free(1000, available, ImageSettings()) == expected


def test_a_long_log_is_put_aside_and_the_oldest_ones_go(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    for day in range(1, 5):
        (tmp_path / f"0.log.2026010{day}-000000").touch()
    path.write_bytes(b"x")
    logrotation.put_aside(path, 1_767_225_600.0 + 86400 * 9)

    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "0.log.20260102-000000",
        "0.log.20260103-000000",
        "0.log.20260104-000000",
        "0.log.20260110-000000",
    ]


def test_logs_are_linked_by_the_names_that_collectors_know(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    file = logs / "default_web_1111-2222" / "main" / "0.log"
    file.parent.mkdir(parents=True)
    file.write_text("line\n")
    config = ContainerConfig("main", 0, "image", log_path="main/0.log")
    loglinks.add(str(logs), pod(), config, "abc")
    loglinks.add(str(logs), pod(), config, "abc")
    [link] = (tmp_path / "log-links").iterdir()
    read = link.read_text()
    loglinks.tidy(str(logs), pod())
    is_kept = link.is_symlink()
    file.unlink()
    loglinks.tidy(str(logs), pod())

    assert (link.name, read, is_kept) == ("web_default_main-abc.log", "line\n", True)
    assert not link.is_symlink()
