"""kr8s: waiting, labels, logs, scaling, access reviews."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import kr8s
import pytest
from kr8s import objects

from tests.clients.manifests import deployment, pod

pytestmark = pytest.mark.filterwarnings(
    "ignore:Kubernetes version:UserWarning",  # it knows upstream's versions only up to the one before ours
    "ignore::DeprecationWarning",
)


@pytest.fixture(scope="module")
def api(kubeconfig: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kr8s.api()


def test_a_pod_from_birth_to_death(api: Any) -> None:
    one = objects.Pod(pod("one"), api=api)
    one.create()
    one.wait("condition=Ready", timeout=20)
    one.label(colour="blue")
    log = "\n".join(one.logs())
    labels = dict(one.labels)
    one.delete()
    one.wait("delete", timeout=20)

    assert labels == {"colour": "blue"}
    assert "nothing runs here" in log
    assert not one.exists()


def test_a_deployment_is_scaled(api: Any) -> None:
    web = objects.Deployment(deployment(replicas=1), api=api)
    web.create()
    web.scale(2)
    web.wait("condition=Available", timeout=20)

    assert len(web.pods()) == 2


def test_who_we_are(api: Any) -> None:
    assert api.whoami() == "admin"
    assert "pods" in {found["name"] for found in api.api_resources()}
