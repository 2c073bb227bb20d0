from __future__ import annotations

from typing import Any

import pytest

from tests.node.builders import container, pod
from timonel.node.cri.runtime import Dns, Image, NamespaceMode, Resources, Seccomp
from timonel.node.environment import ConfigError
from timonel.node.podspec import (
    ContainerParts,
    NodeFacts,
    container_config,
    dns_config,
    etc_hosts,
    hostname_of,
    oom_score_adj,
    parse_resolv_conf,
    resources_of,
    sandbox_config,
)

NODE = NodeFacts(
    name="n1",
    ip="172.30.0.1",
    cluster_domain="cluster.local",
    cluster_dns=("10.96.0.10",),
    host_dns=Dns(("8.8.8.8",), ("example.org",), ()),
    cgroup_root="/kubepods-n1",
    log_root="/logs",
    seccomp_root="/seccomp",
    memory_capacity=1 << 30,
)


def config(spec: dict[str, Any], image: Image | None = None, **pod_fields: Any) -> Any:
    return container_config(
        pod(spec, **pod_fields), spec, ContainerParts(0, "sha256:1", {"A": "1"}, (), (), image), NODE
    )


def test_a_plain_sandbox() -> None:
    found = sandbox_config(pod(), 2, NODE)

    assert found.hostname == "web"
    assert found.attempt == 2
    assert found.log_directory == "/logs/default_web_1111-2222"
    assert found.cgroup_parent == "/kubepods-n1/besteffort/pod1111-2222"
    assert found.seccomp == Seccomp("Unconfined")
    assert found.namespaces.pid is NamespaceMode.CONTAINER


def test_a_pod_on_the_nodes_network_has_no_hostname_and_no_host_ports() -> None:
    ports = [{"containerPort": 80, "hostPort": 80}]
    found = sandbox_config(pod(container(ports=ports), hostNetwork=True), 0, NODE)

    assert found.hostname == ""
    assert found.port_mappings == ()
    assert found.namespaces.network is NamespaceMode.NODE


def test_long_hostnames_lose_their_end() -> None:
    assert hostname_of(pod(name="a" * 62 + "-bcd")) == "a" * 62


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {},
            Dns(
                ("10.96.0.10",),
                ("default.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.org"),
                ("ndots:5",),
            ),
        ),
        ({"hostNetwork": True}, NODE.host_dns),
        ({"dnsPolicy": "Default"}, NODE.host_dns),
        ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"]}}, Dns(("1.1.1.1",))),
        (
            {
                "dnsPolicy": "Default",
                "dnsConfig": {"options": [{"name": "ndots", "value": "2"}, {"name": "rotate"}]},
            },
            Dns(("8.8.8.8",), ("example.org",), ("ndots:2", "rotate")),
        ),
    ],
)
def test_name_resolution(fields: dict[str, Any], expected: Dns) -> None:
    assert dns_config(pod(**fields), NODE) == expected


def test_resolv_conf() -> None:
    text = "# c\nnameserver 1.1.1.1\nsearch a.example. b.example\noptions ndots:2 rotate\n"

    assert parse_resolv_conf(text) == Dns(("1.1.1.1",), ("a.example", "b.example"), ("ndots:2", "rotate"))


def test_the_pods_hosts_file() -> None:
    aliases = [{"ip": "1.2.3.4", "hostnames": ["one", "two"]}]
    text = etc_hosts(pod(subdomain="db", hostAliases=aliases), ["10.244.1.2"], "cluster.local", "")

    assert "10.244.1.2\tweb.db.default.svc.cluster.local\tweb\n" in text
    assert text.endswith("\n# Entries added by HostAliases.\n1.2.3.4\tone\ttwo\n")


def test_command_and_arguments_are_expanded() -> None:
    found = config(container(command=["echo", "$(A)"], args=["$(B)"]))

    assert found.command == ("echo", "1")
    assert found.args == ("$(B)",)
    assert found.log_path == "main/0.log"


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, Resources(2, 100_000, 0, 0, 1000)),
        (
            {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"cpu": "500m", "memory": "1Gi"}},
            Resources(102, 100_000, 50_000, 1 << 30, 500),
        ),
        ({"limits": {"cpu": "5m", "memory": "64Mi"}}, Resources(5, 100_000, 1000, 64 << 20, -997)),
    ],
)
def test_resources(resources: dict[str, Any], expected: Resources) -> None:
    spec = container(resources=resources)
    p = pod(spec)
    del p["status"]["qosClass"]

    assert resources_of(p, spec, 1 << 30) == expected


def test_security_of_the_container_wins_over_the_pods() -> None:
    found = config(
        container(securityContext={"runAsUser": 5, "seccompProfile": {"type": "RuntimeDefault"}}),
        securityContext={"runAsUser": 7, "runAsGroup": 8, "fsGroup": 9, "supplementalGroups": [3]},
    )

    assert (found.run_as_user, found.run_as_group, found.supplemental_groups) == (5, 8, (3, 9))
    assert found.seccomp == Seccomp("RuntimeDefault")


def test_privileged_means_no_seccomp_and_nothing_masked() -> None:
    found = config(
        container(securityContext={"privileged": True, "seccompProfile": {"type": "RuntimeDefault"}})
    )

    assert found.privileged
    assert found.seccomp == Seccomp("Unconfined")
    assert found.masked_paths == ()


def test_the_images_user_counts_when_the_pod_names_none() -> None:
    assert config(container(), Image("i", uid=65534)).run_as_user == 65534
    assert config(container(), Image("i", username="nobody")).run_as_username == "nobody"


@pytest.mark.parametrize(
    ("security", "image", "message"),
    [
        ({"runAsUser": 0}, Image("i"), "container's runAsUser breaks non-root policy"),
        ({}, Image("i", uid=0), "container has runAsNonRoot and image will run as root"),
        ({}, Image("i", username="app"), "image has non-numeric user (app), cannot verify user is non-root"),
    ],
)
def test_non_root_is_verified(security: dict[str, Any], image: Image, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config(container(securityContext={"runAsNonRoot": True, **security}), image)

    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "kernel", "in_hosts"),
    [
        ({}, "web", "web"),
        ({"hostname": "h", "subdomain": "s"}, "h", "h.s.default.svc.cluster.local\th"),
        (
            {"subdomain": "s", "setHostnameAsFQDN": True},
            "web.s.default.svc.cluster.local",
            "web.s.default.svc.cluster.local\tweb",
        ),
        ({"setHostnameAsFQDN": True}, "web", "web"),
        ({"hostnameOverride": "x.example.org", "subdomain": "s"}, "x.example.org", "x.example.org"),
    ],
)
def test_names_of_a_pod(fields: dict[str, Any], kernel: str, in_hosts: str) -> None:
    wanted = pod(**fields)

    assert sandbox_config(wanted, 0, NODE).hostname == kernel
    assert f"10.0.0.9\t{in_hosts}\n" in etc_hosts(wanted, ["10.0.0.9"], "cluster.local", "")


def test_a_full_name_has_to_fit_into_the_kernel() -> None:
    with pytest.raises(ConfigError) as refused:
        sandbox_config(pod(subdomain="s" * 60, setHostnameAsFQDN=True), 0, NODE)

    assert str(refused.value).endswith("is too long (64 characters is the max, 90 characters requested)")


def test_a_sidecar_goes_no_sooner_than_those_it_serves() -> None:
    def sized(name: str, memory: str, **fields: Any) -> dict[str, Any]:
        return container(name, resources={"requests": {"memory": memory}}, **fields)

    side = sized("side", "1Mi", restartPolicy="Always")
    served = pod(sized("main", "512Mi"), initContainers=[side], status={"qosClass": "Burstable"})

    assert oom_score_adj(served, served["spec"]["containers"][0], 1 << 30) == 500
    assert oom_score_adj(served, side, 1 << 30) == 500


def test_the_pod_s_own_resources_bound_containers_that_have_no_bound() -> None:
    whole = {"requests": {"memory": "512Mi"}, "limits": {"cpu": "2", "memory": "512Mi"}}
    own = container("own", resources={"limits": {"cpu": "500m"}, "requests": {"memory": "256Mi"}})
    bounded = pod(container(), own, resources=whole, status={"qosClass": "Burstable"})
    first, second = (resources_of(bounded, c, 1 << 30) for c in bounded["spec"]["containers"])

    assert (first.cpu_quota, first.memory_limit, first.oom_score_adj) == (200_000, 512 << 20, 875)
    assert (second.cpu_quota, second.memory_limit, second.oom_score_adj) == (50_000, 512 << 20, 625)
