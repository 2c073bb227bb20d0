from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.node.builders import container, pod
from timonel.node.environment import ConfigError, Sources, build, expand, field_value

CM = {"metadata": {"name": "cm"}, "data": {"b": "2", "a": "1"}}
SECRET = {"metadata": {"name": "s"}, "data": {"pw": base64.b64encode(b"geheim").decode()}}
SERVICES = (
    {
        "metadata": {"name": "my-db", "namespace": "default"},
        "spec": {
            "clusterIP": "10.96.0.7",
            "ports": [{"name": "sql", "port": 3306}, {"port": 53, "protocol": "UDP"}],
        },
    },
    {
        "metadata": {"name": "headless", "namespace": "default"},
        "spec": {"clusterIP": "None", "ports": [{"port": 1}]},
    },
    {
        "metadata": {"name": "far", "namespace": "other"},
        "spec": {"clusterIP": "10.96.0.8", "ports": [{"port": 1}]},
    },
)
SOURCES = Sources(
    config_maps={"cm": CM, "none": None},
    secrets={"s": SECRET, "none": None},
    services=SERVICES,
    host_ip="172.30.0.1",
    pod_ips=("10.244.1.2",),
    allocatable={"memory": "2Gi", "cpu": "2"},
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(A)", "x1y1"),
        ("$$(A)", "$(A)"),
        ("$(NONE)", "$(NONE)"),
        ("$A $", "$A $"),
        ("$(A", "$(A"),
    ],
)
def test_expansion(text: str, expected: str) -> None:
    assert expand(text, {"A": "1"}) == expected


def env(**fields: Any) -> dict[str, str]:
    spec = container(**fields)
    return build(pod(spec, enableServiceLinks=False), spec, SOURCES)


def test_variables_see_those_before_them() -> None:
    found = env(
        env=[{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)$(C)"}, {"name": "C", "value": "3"}]
    )

    assert found == {"A": "1", "B": "1$(C)", "C": "3"}


def test_whole_config_maps_and_secrets() -> None:
    found = env(
        envFrom=[{"configMapRef": {"name": "cm"}, "prefix": "P_"}, {"secretRef": {"name": "s"}}],
        env=[{"name": "P_a", "value": "mine"}],
    )

    assert found == {"P_a": "mine", "P_b": "2", "pw": "geheim"}


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        ({"configMapKeyRef": {"name": "none", "key": "a"}}, 'configmap "none" not found'),
        ({"configMapKeyRef": {"name": "cm", "key": "z"}}, "couldn't find key z in ConfigMap default/cm"),
        ({"secretKeyRef": {"name": "none", "key": "a"}}, 'secret "none" not found'),
        ({"secretKeyRef": {"name": "s", "key": "z"}}, "couldn't find key z in Secret default/s"),
    ],
)
def test_what_is_missing_is_said_unless_it_is_optional(origin: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        env(env=[{"name": "A", "valueFrom": origin}])
    optional = {kind: {**ref, "optional": True} for kind, ref in origin.items()}

    assert env(env=[{"name": "A", "valueFrom": optional}]) == {}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("metadata.name", "web"),
        ("metadata.labels['app']", "x"),
        ("metadata.labels", 'app="x"\nz="1"'),
        ("status.podIP", "10.244.1.2"),
        ("status.hostIP", "172.30.0.1"),
        ("spec.nodeName", "n1"),
    ],
)
def test_fields(path: str, expected: str) -> None:
    p = pod()
    p["metadata"]["labels"] = {"z": "1", "app": "x"}

    assert field_value(p, path, SOURCES) == expected


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ({"resource": "limits.memory", "divisor": "1Mi"}, "64"),
        ({"resource": "limits.cpu", "divisor": "1m"}, "2000"),  # not set: what the node can allocate
        ({"resource": "requests.cpu"}, "1"),  # rounded up
        ({"resource": "requests.memory"}, "0"),
    ],
)
def test_resources(ref: dict[str, Any], expected: str) -> None:
    found = env(
        resources={"limits": {"memory": "64Mi"}, "requests": {"cpu": "250m"}},
        env=[{"name": "A", "valueFrom": {"resourceFieldRef": ref}}],
    )

    assert found["A"] == expected


def test_services_of_the_namespace_are_linked() -> None:
    found = build(pod(), container(), SOURCES)

    assert found == {
        "MY_DB_SERVICE_HOST": "10.96.0.7",
        "MY_DB_SERVICE_PORT": "3306",
        "MY_DB_SERVICE_PORT_SQL": "3306",
        "MY_DB_PORT": "tcp://10.96.0.7:3306",
        "MY_DB_PORT_3306_TCP": "tcp://10.96.0.7:3306",
        "MY_DB_PORT_3306_TCP_PROTO": "tcp",
        "MY_DB_PORT_3306_TCP_PORT": "3306",
        "MY_DB_PORT_3306_TCP_ADDR": "10.96.0.7",
        "MY_DB_PORT_53_UDP": "udp://10.96.0.7:53",
        "MY_DB_PORT_53_UDP_PROTO": "udp",
        "MY_DB_PORT_53_UDP_PORT": "53",
        "MY_DB_PORT_53_UDP_ADDR": "10.96.0.7",
    }
