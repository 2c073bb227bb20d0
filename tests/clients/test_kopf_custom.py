"""kopf over a custom resource, whose definition comes and goes while the operator runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from tests.clients.custom_operator_example import GROUP, PLURAL, VERSION
from tests.clients.test_kopf import until

OPERATOR = Path(__file__).with_name("custom_operator_example.py")
SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {"type": "object", "properties": {"legs": {"type": "integer", "default": 4, "minimum": 1}}},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"{PLURAL}.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"plural": PLURAL, "kind": "Table"},
        "versions": [
            {
                "name": VERSION, "served": True, "storage": True, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": SCHEMA},
            }
        ],
    },
}  # fmt: skip


@pytest.fixture
def custom(kubeconfig: Path, tmp_path: Path) -> Iterator[Any]:
    """The API of custom objects, while the operator runs that waits for the definition."""
    log = tmp_path / "log"
    command = [sys.executable, "-m", "kopf", "run", "--standalone", "--namespace", "default", str(OPERATOR)]
    environment = {"KUBECONFIG": str(kubeconfig), "PATH": "/usr/bin:/bin"}
    with (
        log.open("w") as out,
        subprocess.Popen(command, stdout=out, stderr=out, env=environment) as operator,
    ):
        try:
            config.load_kube_config(str(kubeconfig))
            yield client.CustomObjectsApi()
        finally:
            operator.terminate()
            operator.wait(10)
            print(log.read_text())


def test_an_operator_serves_a_kind_that_comes_after_it(custom: Any) -> None:
    extensions, core = client.ApiextensionsV1Api(), client.CoreV1Api()
    where = (GROUP, VERSION, "default", PLURAL)

    def table() -> Any:
        return custom.get_namespaced_custom_object(*where, "oak")

    def reasons() -> set[str]:
        events = core.list_namespaced_event("default", field_selector="involvedObject.name=oak")
        return {event.reason for event in events.items}

    extensions.create_custom_resource_definition(DEFINITION)
    assert until(
        lambda: any(
            c.type == "Established" and c.status == "True"
            for c in extensions.read_custom_resource_definition(f"{PLURAL}.{GROUP}").status.conditions or ()
        )
    )
    body = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "Table", "metadata": {"name": "oak"}, "spec": {}}
    custom.create_namespaced_custom_object(*where, body)

    assert until(lambda: table().get("status", {}).get("created") == {"legs": 4})
    assert until(lambda: table()["status"].get("watched") is True)
    child = core.read_namespaced_config_map("oak-legs", "default")
    assert child.metadata.owner_references[0].kind == "Table"

    custom.patch_namespaced_custom_object(*where, "oak", {"spec": {"legs": 3}})
    assert until(lambda: table()["status"].get("sawn") == "4 to 3")

    custom.delete_namespaced_custom_object(*where, "oak")
    assert until(lambda: not custom.list_namespaced_custom_object(*where)["items"])
    assert until(lambda: "Burnt" in reasons())
    extensions.delete_custom_resource_definition(f"{PLURAL}.{GROUP}")

    def definitions() -> set[str]:
        return {d.metadata.name for d in extensions.list_custom_resource_definition().items}

    assert until(lambda: f"{PLURAL}.{GROUP}" not in definitions())
