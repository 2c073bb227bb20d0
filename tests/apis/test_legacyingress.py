from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.apis.examples import served, stored
from tests.recorded import beside, needs
from timonel.apis import legacyingress
from timonel.apis.networking import INGRESS
from timonel.objects.meta import Object

DECK = beside("deck/08-ingress-landing.yaml")


def old_ingress(backend: Object, **path: Any) -> Object:
    rules = [{"host": "a.b", "http": {"paths": [{"backend": backend, **path}]}}]
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {}, "spec": {"rules": rules}}


def first_path(obj: Object) -> Object:
    found: Object = obj["spec"]["rules"][0]["http"]["paths"][0]
    return found


@pytest.mark.parametrize(
    ("port", "converted"), [("http", {"name": "http"}), (80, {"number": 80})], ids=["named", "numbered"]
)
def test_an_old_backend_in_a_new_ingress(port: Any, converted: Object) -> None:
    obj = old_ingress({"serviceName": "web", "servicePort": port})
    warnings = legacyingress.rewrite_old_backends(obj)
    assert [w.split(":")[0] for w in warnings] == ["spec.rules[0].http.paths[0].backend"]
    assert first_path(obj) == {
        "backend": {"service": {"name": "web", "port": converted}},
        "pathType": "ImplementationSpecific",
    }
    assert list(INGRESS.validate(stored(INGRESS, served(INGRESS, obj)))) == []


def test_a_new_backend_stays_and_must_have_a_path_type() -> None:
    obj = old_ingress({"service": {"name": "web", "port": {"number": 80}}})
    assert legacyingress.rewrite_old_backends(obj) == []
    assert "pathType" not in first_path(obj)


@pytest.mark.parametrize(
    "spec", [None, [], "x", {"rules": "x"}, {"rules": [{"http": [1]}]}, {"rules": [None]}]
)
def test_what_is_no_ingress_is_left_to_the_codec(spec: Any) -> None:
    obj = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": spec}
    assert legacyingress.rewrite_old_backends(obj) == []
    legacyingress.to_v1(obj)
    assert obj["spec"] == spec


def test_v1beta1_there_and_back() -> None:
    sent = old_ingress({"serviceName": "web", "servicePort": 80}, path="/", pathType="Prefix")
    sent["apiVersion"] = "networking.k8s.io/v1beta1"
    sent["spec"]["backend"] = {"serviceName": "all", "servicePort": "http"}
    obj = yaml.safe_load(yaml.safe_dump(sent))
    legacyingress.to_v1(obj)
    assert obj["spec"]["defaultBackend"] == {"service": {"name": "all", "port": {"name": "http"}}}
    legacyingress.to_v1beta1(obj)
    assert obj == sent


@needs(DECK)
def test_the_ingress_of_the_course() -> None:
    obj = yaml.safe_load(DECK.read_text())
    assert len(legacyingress.rewrite_old_backends(obj)) == 1
    assert list(INGRESS.validate(stored(INGRESS, obj))) == []
