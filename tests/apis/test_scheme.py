from __future__ import annotations

import copy

import pytest

from timonel.apis.scheme import Scheme
from timonel.machinery.errors import BadRequest, StatusError

SCHEME = Scheme()


def test_every_resource_has_a_type() -> None:
    for rtype in SCHEME.resources:
        assert SCHEME.codec(rtype).new()["metadata"] == {}, rtype.qualified


def test_no_two_resources_share_a_place() -> None:
    places = [(r.group, r.version, r.plural) for r in SCHEME.resources]

    assert len(places) == len(set(places))


def test_resources_are_found_by_place_and_by_kind() -> None:
    pods = SCHEME.resource("", "v1", "pods")

    assert pods is not None
    assert SCHEME.kind("", "v1", "Pod") is pods
    assert SCHEME.resource("", "v1", "nosuch") is None
    assert SCHEME.resource("nosuch.io", "v1", "pods") is None
    assert [r.api_version for r in SCHEME.kinds("Deployment") if r.retired is None] == ["apps/v1"]


def test_groups_come_in_upstreams_order() -> None:
    assert SCHEME.groups[:3] == ("", "apiregistration.k8s.io", "apps")


def test_a_group_is_imported_when_it_is_asked_for() -> None:
    scheme = Scheme()

    scheme.resources_of("scheduling.k8s.io")

    assert list(scheme._by_group) == ["scheduling.k8s.io"]


def test_two_schemes_share_nothing_that_changes() -> None:
    one, two = Scheme(SCHEME.schema), Scheme(SCHEME.schema)
    rtype = one.resource("", "v1", "configmaps")
    assert rtype is not None

    assert one.codec(rtype) is one.codec(rtype)
    assert one.codec(rtype) is not two.codec(rtype)


def config_map(**data: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}


def test_a_write_an_apply_and_a_patch_of_a_real_kind() -> None:
    rtype = SCHEME.resource("", "v1", "configmaps")
    assert rtype is not None
    codec = SCHEME.codec(rtype)
    obj, problems = codec.normalize({**config_map(k="v"), "bogus": 1})
    codec.record_update(None, obj, manager="maker", now=0)

    applied = codec.apply(copy.deepcopy(obj), config_map(l="m"), manager="one", force=False, now=1)
    patched = codec.strategic_merge(applied, {"data": {"k": None}})

    assert problems == ['unknown field "bogus"']
    assert applied["data"] == {"k": "v", "l": "m"}
    assert [e["manager"] for e in applied["metadata"]["managedFields"]] == ["one", "maker"]
    assert patched["data"] == {"l": "m"}


def test_patches_fail_with_the_status_upstream_gives_them() -> None:
    rtype = SCHEME.resource("", "v1", "pods")
    assert rtype is not None
    codec = SCHEME.codec(rtype)

    with pytest.raises(StatusError, match="does not contain declared merge key: name"):
        codec.strategic_merge({"spec": {"containers": []}}, {"spec": {"containers": [{"image": "i"}]}})
    with pytest.raises(BadRequest):
        codec.strategic_merge({"spec": {}}, {"spec": {"$setElementOrder/containers": 1, "containers": []}})
    with pytest.raises(BadRequest):
        codec.apply(None, config_map(), manager="one", force=False, now=0)


def test_what_is_owned_of_alike_objects_is_worked_out_once_and_right_for_each() -> None:
    rtype = SCHEME.resource("", "v1", "configmaps")
    assert rtype is not None
    bodies = [{"k": "v"}, {"k": "w"}, {"k": ""}, {"l": "v"}, {"k": "v", "l": "v"}, {"k": "x"}]

    for data in bodies:
        owned = []
        for scheme in (SCHEME, Scheme()):
            codec = scheme.codec(rtype)
            obj, _ = codec.normalize(config_map(**data))
            codec.record_update(None, obj, manager="maker", now=0)
            owned.append(obj["metadata"]["managedFields"][0]["fieldsV1"])
        assert owned[0] == owned[1]
        assert owned[0]["f:data"].keys() - {"."} == {f"f:{key}" for key in data}


def test_status_is_ignored_through_the_main_resource() -> None:
    rtype = SCHEME.resource("apps", "v1", "deployments")
    assert rtype is not None
    codec = SCHEME.codec(rtype)
    obj, _ = codec.normalize({"metadata": {"name": "d"}, "spec": {"paused": True}, "status": {"replicas": 1}})

    codec.record_update(None, obj, manager="m", now=0)

    assert obj["metadata"]["managedFields"][0]["fieldsV1"] == {"f:spec": {"f:paused": {}}}


def test_retired_versions_are_published_while_they_are_served() -> None:
    retired = {(r.group, r.version) for r in SCHEME.resources if r.retired is not None}

    assert retired <= {*SCHEME.published(legacy=True).group_versions()}
    assert not retired & {*SCHEME.published(legacy=False).group_versions()}
