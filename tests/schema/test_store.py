from __future__ import annotations

import pytest

from timonel import schema as schemas
from timonel.schema import Schema

SCHEMA = schemas.load()


def test_types_are_found_by_name_and_by_kind() -> None:
    pod = SCHEMA.type_of("", "v1", "Pod")

    assert pod is SCHEMA.type("core.v1.Pod")
    assert pod is not None
    assert pod["gvk"] == [["", "v1", "Pod"]]
    assert SCHEMA.type_of("", "v9", "Pod") is None


def test_a_package_is_read_when_it_is_asked_for() -> None:
    schema = schemas.load()

    assert schema._packages == {}
    schema.type("apps.v1.Deployment")
    assert list(schema._packages) == ["apps.v1"]


def test_every_reference_leads_to_a_type() -> None:
    def references(field: dict[str, object]) -> list[str]:
        found = [str(field["ref"])] if "ref" in field else []
        inner = field.get("of")
        return found + (references(inner) if isinstance(inner, dict) else [])

    for package in SCHEMA.packages():
        for name, data in SCHEMA.types_in(package).items():
            for key, field in data["fields"].items():
                for reference in references(field):
                    assert SCHEMA.type(reference)["fields"] is not None, f"{name}.{key}"


def test_the_facts_of_go_types_name_fields_that_exist() -> None:
    from timonel.schema import go_types

    tables = (
        go_types.POINTERS,
        go_types.VALUES,
        go_types.EMITTED,
        go_types.REQUIRED_POINTERS,
        go_types.KEPT_EMPTY,
    )
    for table in tables:
        for name, fields in table.items():
            known = SCHEMA.type(name)["fields"]
            assert set(fields.split()) <= known.keys(), name


@pytest.mark.parametrize(
    ("kind", "plural", "namespaced", "subresources"),
    [
        ("Pod", "pods", True, {"binding", "ephemeralcontainers", "eviction", "log", "resize", "status"}),
        ("Node", "nodes", False, {"status"}),
        ("Deployment", "deployments", True, {"scale", "status"}),
    ],
)
def test_resources_know_their_plural_scope_and_subresources(
    kind: str, plural: str, namespaced: bool, subresources: set[str]
) -> None:
    (resource,) = [r for r in SCHEMA.resource_index if r["kind"] == kind and r["version"] == "v1"]

    assert resource["plural"] == plural
    assert resource["namespaced"] is namespaced
    assert subresources <= {s["name"] for s in resource["subresources"]}
    assert "create" in resource["verbs"]


def test_a_source_tree_that_was_not_built_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nowhere:
        def __truediv__(self, name: str) -> Nowhere:
            return self

        def read_bytes(self) -> bytes:
            raise FileNotFoundError

    monkeypatch.setattr("timonel.schema.store.resources.files", lambda package: Nowhere())

    with pytest.raises(schemas.TypesFileMissing, match="pip install -e"):
        schemas.load()


def test_retired_versions_have_types_of_their_own() -> None:
    ingress = SCHEMA.type_of("networking.k8s.io", "v1beta1", "Ingress")

    assert ingress is not None
    assert SCHEMA.type("networking.retired.IngressBackend")["fields"]["servicePort"]["t"] == "intstr"
    assert SCHEMA.name_of("batch", "v1beta1", "CronJob") == "batch.v1.CronJob"


def test_the_digest_belongs_to_the_content() -> None:
    again: Schema = schemas.load()

    assert again.digest == SCHEMA.digest
    assert len(again.digest) == 64
