"""Admission policies behind a whole API server: what they refuse, warn of, note and change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.server.starting import Answer, send, started
from timonel.server.app import ApiServer

pytestmark = pytest.mark.looptime(False)

Object = dict[str, Any]
GROUP = "/apis/admissionregistration.k8s.io/v1"
MAPS = "/api/v1/namespaces/default/configmaps"
MERGE = "application/merge-patch+json"
WRITES = {
    "apiGroups": [""],
    "apiVersions": ["v1"],
    "operations": ["CREATE", "UPDATE"],
    "resources": ["configmaps"],
}


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with started() as made:
        yield made


async def create(server: ApiServer, path: str, body: Object) -> Answer:
    answer = await send(server, "POST", path, body)
    assert answer.status == 201, answer.body
    return answer


async def refusing(
    server: ApiServer, *validations: Object, binding: Object | None = None, name: str = "p", **spec: Any
) -> None:
    """A ValidatingAdmissionPolicy about ConfigMaps with a binding."""
    rules = {"matchConstraints": {"resourceRules": [WRITES]}}
    body = {"metadata": {"name": name}, "spec": {**rules, "validations": list(validations), **spec}}
    await create(server, f"{GROUP}/validatingadmissionpolicies", body)
    bound = {"policyName": name, "validationActions": ["Deny"], **(binding or {})}
    path = f"{GROUP}/validatingadmissionpolicybindings"
    await create(server, path, {"metadata": {"name": f"{name}-b"}, "spec": bound})


async def changing(
    server: ApiServer, *expressions: str, name: str = "p", ref: Object | None = None, **spec: Any
) -> None:
    """A MutatingAdmissionPolicy about ConfigMaps; an expression in brackets gives a JSON patch."""
    mutations = [
        {"patchType": "JSONPatch", "jsonPatch": {"expression": e}}
        if e.startswith("[")
        else {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": e}}
        for e in expressions
    ]
    rules = {"matchConstraints": {"resourceRules": [WRITES]}, "reinvocationPolicy": "Never"}
    body = {"metadata": {"name": name}, "spec": {**rules, "mutations": mutations, **spec}}
    await create(server, f"{GROUP}/mutatingadmissionpolicies", body)
    bound: Object = {"policyName": name} if ref is None else {"policyName": name, "paramRef": ref}
    path = f"{GROUP}/mutatingadmissionpolicybindings"
    await create(server, path, {"metadata": {"name": f"{name}-b"}, "spec": bound})


async def post(server: ApiServer, name: str = "m", **more: Any) -> Answer:
    token = more.pop("token", "secret")
    return await send(server, "POST", MAPS, {"metadata": {"name": name}, **more}, token=token)


SMALL = {"expression": "object.?data.orValue({}).size() <= 1"}


async def test_a_violation_is_refused_with_policy_and_binding(server: ApiServer) -> None:
    await refusing(server, SMALL)

    answer = await post(server, data={"a": "1", "b": "2"})

    text = (
        "ValidatingAdmissionPolicy 'p' with binding 'p-b' denied request: failed expression: "
        "object.?data.orValue({}).size() <= 1"
    )
    assert (answer.status, answer.body["reason"]) == (422, "Invalid")
    assert answer.body["message"] == f'configmaps "m" is forbidden: {text}'
    assert answer.body["details"]["causes"] == [{"message": text}]
    assert (await post(server, data={"a": "1"})).status == 201


@pytest.mark.parametrize(
    ("reason", "status"), [("Forbidden", 403), ("RequestEntityTooLarge", 413), ("Invalid", 422)]
)
async def test_the_reason_is_the_policys(server: ApiServer, reason: str, status: int) -> None:
    await refusing(server, {"expression": "false", "message": "no", "reason": reason})

    answer = await post(server)

    assert (answer.status, answer.body["reason"]) == (status, reason)
    assert answer.body["message"].endswith("denied request: no")


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("'too many: ' + string(object.data.size())", "too many: 2"),
        ("object.missing", "fixed"),
        ("'two\\nlines'", "fixed"),
        ("'  '", "fixed"),
    ],
)
async def test_a_message_is_computed_or_the_fixed_one(server: ApiServer, expression: str, told: str) -> None:
    await refusing(server, {**SMALL, "message": "fixed", "messageExpression": expression})

    answer = await post(server, data={"a": "1", "b": "2"})

    assert answer.body["message"].endswith(f"denied request: {told}")


async def test_variables_are_computed_when_they_are_used(server: ApiServer) -> None:
    variables = [
        {"name": "broken", "expression": "object.nothing.at.all"},
        {"name": "count", "expression": "object.data.size()"},
        {"name": "twice", "expression": "variables.count * 2"},
    ]
    await refusing(server, {"expression": "variables.twice < 4"}, variables=variables)

    assert (await post(server, data={"a": "1"})).status == 201
    assert (await post(server, "n", data={"a": "1", "b": "2"})).status == 422


async def test_a_variable_that_fails_is_named(server: ApiServer) -> None:
    variables = [{"name": "broken", "expression": "object.nothing.at"}]
    await refusing(server, {"expression": "variables.broken"}, variables=variables)

    answer = await post(server)

    assert answer.body["message"].endswith(
        "denied request: expression 'variables.broken' resulted in error: composited variable \"broken\" fails to "
        "evaluate: no such key: nothing"
    )


async def test_a_failure_is_ignored_where_the_policy_fails_open(server: ApiServer) -> None:
    await refusing(server, {"expression": "object.nothing.at"}, failurePolicy="Ignore")

    assert (await post(server)).status == 201


async def test_match_conditions_choose(server: ApiServer) -> None:
    condition = {"name": "named", "expression": "request.name.startsWith('x')"}
    await refusing(server, {"expression": "false"}, matchConditions=[condition])

    assert (await post(server, "a")).status == 201
    assert (await post(server, "x")).status == 422


async def test_the_request_is_seen(server: ApiServer) -> None:
    rule = (
        "request.userInfo.username == 'admin' && 'system:masters' in request.userInfo.groups && "
        "request.operation == 'CREATE' && request.kind.kind == 'ConfigMap' && request.resource.resource == 'configmaps'"
        " && request.namespace == 'default' && !request.dryRun && request.options.kind == 'CreateOptions' && "
        "oldObject == null && namespaceObject.metadata.name == 'default'"
    )
    await refusing(server, {"expression": rule})

    answer = await post(server)

    assert answer.status == 201, answer.body


async def test_the_authorizer_can_be_asked(server: ApiServer) -> None:
    own = (
        "authorizer.group('apps').resource('deployments').namespace('default').check('create').allowed() && "
        "authorizer.requestResource.check('delete').allowed()"
    )
    others = (
        "!authorizer.serviceAccount('default', 'default').group('').resource('pods').check('get').allowed() && "
        "authorizer.path('/healthz').check('get').allowed()"
    )
    await refusing(server, {"expression": own}, {"expression": others})

    answer = await post(server)

    assert answer.status == 201, answer.body


async def test_expensive_rules_are_cut_off(server: ApiServer) -> None:
    numbers = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"
    rule = f"{numbers}.all(a, {numbers}.all(b, {numbers}.all(c, {numbers}.all(d, {numbers}.all(e, {numbers}.all(f, "
    await refusing(server, {"expression": rule + "a + b + c + d + e + f > 0))))))"})

    answer = await post(server)

    assert answer.body["message"].endswith(
        "resulted in error: operation cancelled: actual cost limit exceeded"
    )


async def test_warnings_let_the_write_through(server: ApiServer) -> None:
    await refusing(
        server, {"expression": "false", "message": "hm"}, binding={"validationActions": ["Warn", "Audit"]}
    )

    answer = await post(server)

    text = "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'p-b': hm"
    assert (answer.status, answer.headers["warning"]) == (201, f'299 - "{text}"')


async def test_excluded_rules_and_selectors_narrow_what_is_matched(server: ApiServer) -> None:
    constraints = {
        "resourceRules": [WRITES],
        "excludeResourceRules": [{**WRITES, "resourceNames": ["free"]}],
        "objectSelector": {"matchLabels": {"checked": "yes"}},
    }
    await refusing(server, {"expression": "false"}, matchConstraints=constraints)

    async def status(name: str, **labels: str) -> int:
        body = {"metadata": {"name": name, "labels": labels}}
        return (await send(server, "POST", MAPS, body)).status

    assert await status("a") == 201
    assert await status("free", checked="yes") == 201
    assert await status("b", checked="yes") == 422


async def test_a_binding_narrows_its_policy(server: ApiServer) -> None:
    selector = {"matchLabels": {"kubernetes.io/metadata.name": "other"}}
    await refusing(
        server, {"expression": "false"}, binding={"matchResources": {"namespaceSelector": selector}}
    )
    await create(server, "/api/v1/namespaces", {"metadata": {"name": "other"}})

    assert (await post(server)).status == 201
    path = "/api/v1/namespaces/other/configmaps"
    assert (await send(server, "POST", path, {"metadata": {"name": "m"}})).status == 422


async def test_an_unbound_policy_does_nothing(server: ApiServer) -> None:
    await refusing(server, {"expression": "false"})
    await send(server, "DELETE", f"{GROUP}/validatingadmissionpolicybindings/p-b")

    assert (await post(server)).status == 201


async def test_a_policy_can_be_deleted_whatever_it_says(server: ApiServer) -> None:
    everything = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}
    await refusing(server, {"expression": "false"}, matchConstraints={"resourceRules": [everything]})

    assert (await send(server, "DELETE", f"{GROUP}/validatingadmissionpolicies/p")).status == 200
    assert (await post(server)).status == 201


# ---- parameters

KIND = {"apiVersion": "v1", "kind": "ConfigMap"}
LIMITED = {
    "expression": "params == null || object.data.size() <= int(params.data.most)",
    "message": "too many",
}


async def limit(
    server: ApiServer, name: str, most: int, namespace: str = "kube-system", **labels: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    metadata = {"name": name, "labels": labels}
    await create(server, path, {"metadata": metadata, "data": {"most": str(most)}})


async def test_parameters_by_name(server: ApiServer) -> None:
    await limit(server, "limits", 1)
    ref = {"name": "limits", "namespace": "kube-system", "parameterNotFoundAction": "Deny"}
    await refusing(server, LIMITED, binding={"paramRef": ref}, paramKind=KIND)

    assert (await post(server, data={"a": "1", "b": "2"})).body["message"].endswith("too many")
    path = "/api/v1/namespaces/kube-system/configmaps/limits"
    await send(server, "PATCH", path, {"data": {"most": "2"}}, Content_Type=MERGE)
    assert (await post(server, data={"a": "1", "b": "2"})).status == 201


async def test_all_parameters_that_a_selector_finds_must_be_content(server: ApiServer) -> None:
    await limit(server, "one", 1, limits="yes")
    await limit(server, "nine", 9, limits="yes")
    ref = {
        "selector": {"matchLabels": {"limits": "yes"}},
        "namespace": "kube-system",
        "parameterNotFoundAction": "Deny",
    }
    await refusing(server, LIMITED, binding={"paramRef": ref}, paramKind=KIND)

    assert (await post(server, data={"a": "1", "b": "2"})).status == 422


@pytest.mark.parametrize(("action", "status"), [("Deny", 422), ("Allow", 201)])
async def test_missing_parameters(server: ApiServer, action: str, status: int) -> None:
    ref = {"name": "gone", "namespace": "kube-system", "parameterNotFoundAction": action}
    await refusing(server, {"expression": "false"}, binding={"paramRef": ref}, paramKind=KIND)

    answer = await post(server)

    assert answer.status == status
    if action == "Deny":
        assert answer.body["message"].endswith(
            "denied request: failed to configure binding: no params found for policy binding with `Deny` "
            "parameterNotFoundAction"
        )


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        (
            "object.metadata.name.startsWith(params.metadata.name)",
            "expression 'object.metadata.name.startsWith(params.metadata.name)' resulted in error: no such "
            "key: metadata",
        ),
        ("has(params.metadata) && has(params.metadata.name)", "failed expression: has(params.metadata) && "),
        ("params != null", "failed expression: params != null"),
        ("params == null || params.metadata.name == 'x'", ""),
        ("(has(params.metadata) && params.metadata.name == 'x') || object.metadata.name == 'm'", ""),
    ],
)
async def test_parameters_that_a_binding_does_not_name_are_null(
    server: ApiServer, expression: str, told: str
) -> None:
    await refusing(server, {"expression": expression}, paramKind=KIND)

    answer = await post(server)

    if told:
        assert f"denied request: {told}" in answer.body["message"]
    else:
        assert answer.status == 201


async def test_parameters_of_a_kind_that_is_not_served(server: ApiServer) -> None:
    kind = {"apiVersion": "shop.example.com/v1", "kind": "Limit"}
    ref = {"name": "x", "parameterNotFoundAction": "Allow"}
    await refusing(server, {"expression": "true"}, binding={"paramRef": ref}, paramKind=kind)

    answer = await post(server)

    assert answer.body["message"] == (
        "configmaps \"m\" is forbidden: ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: "
        "failed to find resource referenced by paramKind: 'shop.example.com/v1, Kind=Limit'"
    )


# ---- type checking


async def test_the_status_tells_what_checking_types_found(server: ApiServer) -> None:
    rule = {**WRITES, "apiGroups": ["apps"], "resources": ["deployments"]}
    await refusing(
        server,
        {"expression": "object.spec.replicsa < 3", "messageExpression": "string(object.spec.replicas)"},
        matchConstraints={"resourceRules": [rule]},
    )

    path = f"{GROUP}/validatingadmissionpolicies/p"
    for _ in range(250):
        if found := (await send(server, "GET", path)).body["status"]:
            break
        await asyncio.sleep(0.02)
    assert found["observedGeneration"] == 1
    [warning] = found["typeChecking"]["expressionWarnings"]
    assert warning["fieldRef"] == "spec.validations[0].expression"
    assert warning["warning"] == (
        "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'replicsa'\n"
        " | object.spec.replicsa < 3\n"
        " | ...........^\n"
    )


async def test_each_confused_expression_is_told(server: ApiServer) -> None:
    rule = {**WRITES, "apiGroups": ["apps"], "resources": ["deployments"]}
    confused = {
        "expression": "object.spec.replicas > '1'",
        "messageExpression": "'wants replicas > 1, got ' + object.spec.replicas",
    }
    await refusing(server, confused, matchConstraints={"resourceRules": [rule]})

    path = f"{GROUP}/validatingadmissionpolicies/p"
    for _ in range(250):
        if found := (await send(server, "GET", path)).body["status"]:
            break
        await asyncio.sleep(0.02)
    first, second = found["typeChecking"]["expressionWarnings"]
    assert "found no matching overload for '_>_' applied to '(int, string)'" in first["warning"]
    assert second["fieldRef"] == "spec.validations[0].messageExpression"
    assert "found no matching overload for '_+_' applied to '(string, int)'" in second["warning"]


# ---- mutation


async def test_a_configuration_is_merged_and_nobody_owns_it(server: ApiServer) -> None:
    await changing(server, "Object{metadata: Object.metadata{labels: {'by': 'policy'}}}")

    answer = await post(server, data={"a": "1"})

    assert answer.body["metadata"]["labels"] == {"by": "policy"}
    [entry] = answer.body["metadata"]["managedFields"]
    assert entry["fieldsV1"] == {"f:data": {".": {}, "f:a": {}}}


async def test_a_patch_is_applied(server: ApiServer) -> None:
    await changing(
        server,
        "[JSONPatch{op: 'test', path: '/data/a', value: '1'}, JSONPatch{op: 'add', path: '/data/b', value: 'x'}]",
    )

    assert (await post(server, data={"a": "1"})).body["data"] == {"a": "1", "b": "x"}
    assert (await post(server, "n", data={"a": "2"})).body["data"] == {"a": "2"}


async def test_list_items_are_merged_by_their_keys(server: ApiServer) -> None:
    rule = {**WRITES, "apiGroups": ["apps"], "resources": ["deployments"]}
    await changing(
        server,
        "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{"
        "containers: [Object.spec.template.spec.containers{name: 'c', image: 'better'}]}}}}",
        matchConstraints={"resourceRules": [rule]},
    )
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}

    path = "/apis/apps/v1/namespaces/default/deployments"
    answer = await create(server, path, {"metadata": {"name": "d"}, "spec": spec})

    [container] = answer.body["spec"]["template"]["spec"]["containers"]
    assert (container["name"], container["image"]) == ("c", "better")


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        (
            "Object{metadata: Object.wrong{name: 'x'}}",
            'type mismatch: unexpected type name "Object.wrong", expected "Object.metadata", which matches field name '
            "path from root Object type",
        ),
        (
            "Object{nothing: 1}",
            "error applying patch: failed to convert patch object to typed object: .nothing: field not declared in "
            "schema",
        ),
        ("[JSONPatch{op: 'remove', path: '/data/x'}]", "JSONPath: /data/x does not exist"),
    ],
)
async def test_a_mutation_that_cannot_be_is_refused(server: ApiServer, expression: str, told: str) -> None:
    await changing(server, expression)

    answer = await post(server, data={"a": "1"})

    assert (answer.status, answer.body["reason"]) == (403, "Invalid")
    assert answer.body["message"] == f"policy 'p' with binding 'p-b' denied request: {told}"


async def test_a_policy_that_wants_it_is_asked_again(server: ApiServer) -> None:
    count = "string(int(object.?data['n'].orValue('0')) + 1)"
    await changing(server, f"Object{{data: {{'n': {count}}}}}", name="a", reinvocationPolicy="IfNeeded")
    await changing(server, "Object{data: {'z': 'z'}}", name="b")

    assert (await post(server)).body["data"] == {"n": "2", "z": "z"}


async def test_what_a_mutation_makes_is_validated(server: ApiServer) -> None:
    await changing(server, "Object{data: {'not a key': 'x'}}")
    await refusing(server, SMALL, name="v")

    assert (await post(server)).body["message"].startswith('ConfigMap "m" is invalid: data[not a key]')


def counting(mark: str) -> str:
    """Adds one to the annotation `n`, and leaves a mark."""
    more = "?'n': optional.of(string(int(object.metadata.annotations['n']) + 1))"
    return f"Object{{metadata: Object.metadata{{annotations: {{{more}, '{mark}': 'was here'}}}}}}"


async def test_those_who_want_it_are_asked_a_second_time_and_no_third(server: ApiServer) -> None:
    await changing(server, counting("a"), name="a", reinvocationPolicy="IfNeeded")
    await changing(server, counting("b"), name="b", reinvocationPolicy="IfNeeded")
    await changing(server, counting("c"), name="c")

    body = {"metadata": {"name": "m", "annotations": {"n": "0"}}}
    answer = await send(server, "POST", MAPS, body)

    marks = dict.fromkeys("abc", "was here")
    assert answer.body["metadata"]["annotations"] == {"n": "5", **marks}


async def test_each_object_of_parameters_is_asked_for_by_itself(server: ApiServer) -> None:
    for name in ("one", "two"):
        metadata = {"name": name, "labels": {"mark": "yes"}}
        await create(server, MAPS, {"metadata": metadata, "data": {name: "seen"}})
    rule = {**WRITES, "resources": ["secrets"]}
    await changing(
        server,
        "Object{metadata: Object.metadata{annotations: params.data}}",
        paramKind=KIND,
        matchConstraints={"resourceRules": [rule]},
        ref={"selector": {"matchLabels": {"mark": "yes"}}, "parameterNotFoundAction": "Allow"},
    )

    path = "/api/v1/namespaces/default/secrets"
    answer = await create(server, path, {"metadata": {"name": "s"}})

    assert answer.body["metadata"]["annotations"] == {"one": "seen", "two": "seen"}


async def test_mutations_of_one_policy_build_on_each_other(server: ApiServer) -> None:
    await changing(
        server,
        "Object{data: {'one': variables.one}}",
        "[JSONPatch{op: 'test', path: '/data', value: {'one': variables.one}}, "
        "JSONPatch{op: 'add', path: '/data/' + jsonpatch.escapeKey('two'), value: variables.two},]",
        "Object{data: {'three': object.data.two.replace('2', '3')}}",
        variables=[
            {"name": "one", "expression": "'value' + '1'"},
            {"name": "two", "expression": "variables.one.replace('1', '2')"},
        ],
    )

    answer = await post(server)

    assert answer.body["data"] == {"one": "value1", "two": "value2", "three": "value3"}


async def test_a_status_is_changed_by_the_keys_of_its_conditions(server: ApiServer) -> None:
    rule = {**WRITES, "resources": ["namespaces/status"], "operations": ["*"]}
    condition = "Object.status.conditions{type: 'NamespaceDeletionContentFailure', message: 'changed'}"
    await changing(
        server,
        f"Object{{status: Object.status{{conditions: [{condition}]}}}}",
        matchConstraints={"resourceRules": [rule]},
    )
    path = "/api/v1/namespaces/default"
    namespace = (await send(server, "GET", path)).body
    namespace["status"]["conditions"] = [{"type": "NamespaceDeletionContentFailure", "status": "Unknown"}]

    answer = await send(server, "PUT", f"{path}/status?dryRun=All", namespace)

    [found] = answer.body["status"]["conditions"]
    assert (found["status"], found["message"]) == ("Unknown", "changed")
    assert answer.body["status"]["phase"] == "Active"
