"""What a request means: paths, queries, Accept headers, metadata."""

from __future__ import annotations

import pytest

from tests.server.starting import SCHEME
from timonel.machinery import errors
from timonel.objects.meta import Object
from timonel.server import negotiate, objectmeta, options
from timonel.server.chain.info import parse


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("GET", "/api/v1/pods", "", ("list", "", "v1", "", "pods", "", "")),
        ("GET", "/api/v1/pods", "watch=true", ("watch", "", "v1", "", "pods", "", "")),
        ("GET", "/api/v1/pods", "watch=0", ("list", "", "v1", "", "pods", "", "")),
        ("GET", "/api/v1/namespaces/n/pods/p", "", ("get", "", "v1", "n", "pods", "", "p")),
        ("GET", "/api/v1/namespaces/n/pods/p/log", "", ("get", "", "v1", "n", "pods", "log", "p")),
        ("GET", "/api/v1/namespaces/n", "", ("get", "", "v1", "n", "namespaces", "", "n")),
        ("PUT", "/api/v1/namespaces/n/finalize", "", ("update", "", "v1", "n", "namespaces", "finalize", "n")),
        ("GET", "/api/v1/watch/namespaces/n/pods", "", ("watch", "", "v1", "n", "pods", "", "")),
        ("DELETE", "/apis/a/v1/namespaces/n/things", "", ("deletecollection", "a", "v1", "n", "things", "", "")),
        ("GET", "/api/v1/pods", "fieldSelector=metadata.name%3Dp", ("list", "", "v1", "", "pods", "", "p")),
        ("GET", "/api/v1/namespaces/n/secrets/a%2Fb", "", ("get", "", "v1", "n", "secrets", "b", "a")),
    ],
)  # fmt: skip
def test_a_path_says_what_is_asked_for(method: str, path: str, query: str, expected: tuple[str, ...]) -> None:
    info = parse(method, path, query)

    assert info.is_resource
    assert (
        info.verb, info.group, info.version, info.namespace, info.resource, info.subresource, info.name
    ) == expected  # fmt: skip


@pytest.mark.parametrize("path", ["/", "/api", "/apis/apps/v1", "/healthz", "//api/v1/pods", "/api/v1"])
def test_other_paths_are_no_resources(path: str) -> None:
    assert not parse("GET", path, "").is_resource


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", negotiate.Form()),
        ("*/*", negotiate.Form()),
        ("application/yaml", negotiate.Form(yaml=True)),
        ("application/json;q=0.1,application/yaml", negotiate.Form(yaml=True)),
        ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", negotiate.Form(transform="Table")),
        ("application/json;as=Table;v=v7;g=meta.k8s.io,application/json", negotiate.Form()),
        ("application/vnd.kubernetes.protobuf,application/json", negotiate.Form()),
    ],
)
def test_the_first_acceptable_form_is_taken(accept: str, expected: negotiate.Form) -> None:
    assert negotiate.negotiate(accept) == expected


@pytest.mark.parametrize(
    "accept", ["text/html", "application/vnd.kubernetes.protobuf", "application/json;as=Chair"]
)
def test_what_cannot_be_made_is_not_acceptable(accept: str) -> None:
    with pytest.raises(errors.NotAcceptable):
        negotiate.negotiate(accept)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=abc", 'strconv.ParseInt: parsing "abc": invalid syntax'),
        (
            "limit=99999999999999999999",
            'strconv.ParseInt: parsing "99999999999999999999": value out of range',
        ),
        (
            "resourceVersionMatch=Exact",
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        ("sendInitialEvents=true", "sendInitialEvents is forbidden for list"),
    ],
)
def test_list_parameters_that_make_no_sense_are_refused(query: str, message: str) -> None:
    with pytest.raises((errors.BadRequest, errors.Invalid)) as refused:
        options.list_options(parse("GET", "/api/v1/pods", query), watch=False)

    assert message in refused.value.message


def obj(**metadata: object) -> Object:
    return {"kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n", **metadata}}


@pytest.mark.parametrize(
    ("metadata", "path"),
    [
        ({"name": ""}, "metadata.name"),
        ({"name": "Upper"}, "metadata.name"),
        ({"namespace": ""}, "metadata.namespace"),
        ({"labels": {"bad key": "x"}}, "metadata.labels"),
        ({"labels": {"k": "-x"}}, "metadata.labels"),
        ({"annotations": {"k": "x" * 300_000}}, "metadata.annotations"),
        ({"finalizers": ["Not Valid"]}, "metadata.finalizers"),
        (
            {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]},
            "metadata.ownerReferences.uid",
        ),
        ({"generation": -1}, "metadata.generation"),
    ],
)
def test_metadata_is_refused_by_field(metadata: dict[str, object], path: str) -> None:
    rtype = SCHEME.resource("", "v1", "configmaps")
    assert rtype is not None

    assert [cause.field for cause in objectmeta.validate(obj(**metadata), rtype)] == [path]


def test_a_finalizer_without_a_domain_must_be_well_known() -> None:
    found = objectmeta.validate_domains(obj(finalizers=["orphan", "mine", "a.io/b"]))

    assert [cause.field for cause in found] == ["metadata.finalizers[1]"]


def test_good_metadata_passes() -> None:
    rtype = SCHEME.resource("", "v1", "configmaps")
    assert rtype is not None

    assert not list(objectmeta.validate(obj(labels={"a.io/b": "c"}, finalizers=["a.io/b", "orphan"]), rtype))
