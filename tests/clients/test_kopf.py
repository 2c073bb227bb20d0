"""kopf: an operator in a process of its own, with finalizers, patches, timers and events, over built-in kinds."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from tests.clients.manifests import config_map, pod

OPERATOR = Path(__file__).with_name("operator_example.py")


@pytest.fixture(scope="module")
def core(kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The API, while the operator runs."""
    log = tmp_path_factory.mktemp("kopf") / "log"
    command = [sys.executable, "-m", "kopf", "run", "--standalone", "--namespace", "default", str(OPERATOR)]
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out) as operator:
        try:
            config.load_kube_config(str(kubeconfig))
            yield client.CoreV1Api()
        finally:
            operator.terminate()
            operator.wait(10)
            print(log.read_text())


def until(claim: Callable[[], bool], timeout: float = 15) -> bool:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if claim():
            return True
        time.sleep(0.05)
    return False


def test_an_object_is_seen_changed_and_let_go(core: Any) -> None:
    def data() -> dict[str, str]:
        found: dict[str, str] = core.read_namespaced_config_map("settings", "default").data
        return found

    def names() -> set[str]:
        return {found.metadata.name for found in core.list_namespaced_config_map("default").items}

    def reasons() -> set[str]:
        events = core.list_namespaced_event("default", field_selector="involvedObject.name=settings")
        return {event.reason for event in events.items}

    settings = config_map(colour="red")
    settings["metadata"]["labels"] = {"operated": "yes"}
    core.create_namespaced_config_map("default", settings)

    assert until(lambda: data().get("made") == "yes")
    core.patch_namespaced_config_map("settings", "default", {"data": {"colour": "blue"}})
    assert until(lambda: data().get("seen") == "blue")
    core.delete_namespaced_config_map("settings", "default")
    assert until(lambda: "settings" not in names())
    assert until(lambda: {"Noted", "Gone"} <= reasons())


def test_a_timer_touches_a_pod(core: Any) -> None:
    one = pod("one")
    one["metadata"]["labels"] = {"operated": "yes"}
    core.create_namespaced_pod("default", one)

    def annotations() -> dict[str, str]:
        return core.read_namespaced_pod("one", "default").metadata.annotations or {}

    assert until(lambda: annotations().get("ticked") == "yes")
