"""What is no proper request: upstream's status, reason and message come back, and nothing has changed.

Beside it, what no client sends: garbage instead of TLS or HTTP, nesting without end. The server goes on.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.servers import JSON, PATCH_TYPES, TOKEN, ServerProcess, running

MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
YAML = "application/yaml"
JSON_PATCH, MERGE, STRATEGIC = PATCH_TYPES["json"], PATCH_TYPES["merge"], PATCH_TYPES["strategic"]
LONG = "x" * 254
REJECTED = "the server rejected our request due to an error in our request"
IMMUTABLE = 'Invalid value: {"matchLabels":{"app":"other"}}: field is immutable'
STALE = "the object has been modified; please apply your changes to the latest version and try again"


def deployment(app: str = "web", **spec: Any) -> dict[str, Any]:
    template = {
        "metadata": {"labels": {"app": app}},
        "spec": {"containers": [{"name": "main", "image": "nginx"}]},
    }
    return {
        "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": {"app": app}}, "template": template, **spec},
    }


def growing() -> bytes:
    """A few hundred bytes that stand for thousands of millions of values."""
    lines = [b"a: &a [" + b",".join([b"x"] * 9) + b"]"]
    for n in b"abcdefghijkl":
        lines.append(b"%c: &%c [" % (n + 1, n + 1) + b",".join([b"*%c" % n] * 9) + b"]")
    return b"\n".join(lines)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running(tmp_path_factory.mktemp("input")) as server:
        assert server.send("POST", MAPS, {"metadata": {"name": "kept"}, "data": {"a": "b"}}).status == 201
        assert server.send("POST", DEPLOYMENTS, deployment()).status == 201
        yield server
        assert "Traceback" not in server.log


def everything(server: ServerProcess) -> list[Any]:
    return [server.send("GET", path).body["items"] for path in (MAPS, DEPLOYMENTS)]


CASES: list[tuple[str, str, str, Any, str, int, str, str]] = [
    ("JSON that ends too early", "POST", MAPS, b'{"metadata": {"name": "a"}', JSON, 400, "BadRequest",
     "couldn't get version/kind; json parse error: unexpected end of JSON input"),
    ("YAML that ends too early", "POST", MAPS, b"data: [", YAML, 400, "BadRequest",
     "error converting YAML to JSON: yaml: line 2: did not find expected node content"),
    ("YAML out of line", "POST", MAPS, b"a: b\n  c: d", YAML, 400, "BadRequest",
     "error converting YAML to JSON: yaml: line 2: mapping values are not allowed in this context"),
    ("another kind", "POST", MAPS, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}, JSON,
     400, "BadRequest", ""),
    ("an unknown field", "POST", f"{MAPS}?fieldValidation=Strict", {"metadata": {"name": "a"}, "bogus": 1}, JSON,
     400, "BadRequest",
     'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "bogus"'),
    ("a text for a number", "POST", DEPLOYMENTS, deployment(replicas="three"), JSON, 400, "BadRequest",
     'Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct '
     "field DeploymentSpec.spec.replicas of type int32"),
    ("a number too large", "POST", DEPLOYMENTS, deployment(replicas=1 << 40), JSON, 400, "BadRequest",
     'Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal number 1099511627776 '
     "into Go struct field DeploymentSpec.spec.replicas of type int32"),
    ("a negative number", "PUT", f"{DEPLOYMENTS}/web", deployment(replicas=-1), JSON, 422, "Invalid",
     'Deployment.apps "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0'),
    ("an immutable field", "PUT", f"{DEPLOYMENTS}/web", deployment("other"), JSON, 422, "Invalid",
     f'Deployment.apps "web" is invalid: spec.selector: {IMMUTABLE}'),
    ("a name too long", "POST", MAPS, {"metadata": {"name": LONG}}, JSON, 422, "Invalid",
     f'ConfigMap "{LONG}" is invalid: metadata.name: Invalid value: "{LONG}": must be no more than 253 characters'),
    ("a body too large", "POST", MAPS, {"metadata": {"name": "a"}, "data": {"a": "x" * (3 << 20)}}, JSON, 413,
     "RequestEntityTooLarge", "Request entity too large: limit is 3145728"),
    ("an object too large", "POST", MAPS, {"metadata": {"name": "a"}, "data": {"a": "x" * (1 << 20) + "y"}}, JSON,
     422, "Invalid", ""),
    ("a merge patch that is none", "PATCH", f"{MAPS}/kept", b'{"data":', MERGE, 400, "BadRequest", ""),
    ("a strategic patch that is none", "PATCH", f"{MAPS}/kept", b'{"data":', STRATEGIC, 400, "BadRequest", ""),
    ("a JSON patch that is none", "PATCH", f"{MAPS}/kept", b"{}", JSON_PATCH, 400, "BadRequest", ""),
    ("a test that fails", "PATCH", f"{MAPS}/kept", [{"op": "test", "path": "/data/a", "value": "z"}], JSON_PATCH,
     422, "Invalid", REJECTED),
    ("an operation that does not exist", "PATCH", f"{MAPS}/kept", [{"op": "fly", "path": "/data/a"}], JSON_PATCH,
     422, "Invalid", REJECTED),
    ("half a JSON patch", "PATCH", f"{MAPS}/kept",
     [{"op": "add", "path": "/data/new", "value": "x"}, {"op": "remove", "path": "/data/none"}], JSON_PATCH,
     422, "Invalid", REJECTED),
    ("a patch to a wrong type", "PATCH", f"{MAPS}/kept", {"data": {"a": 1}}, MERGE, 422, "Invalid", ""),
    ("a patch of no known type", "PATCH", f"{MAPS}/kept", {}, JSON, 415, "UnsupportedMediaType", ""),
    ("a stale version", "PUT", f"{MAPS}/kept", {"metadata": {"name": "kept", "resourceVersion": "1"}}, JSON, 409,
     "Conflict", f'Operation cannot be fulfilled on configmaps "kept": {STALE}'),
    ("another's uid", "DELETE", f"{MAPS}/kept", {"preconditions": {"uid": "other"}}, JSON, 409, "Conflict", ""),
    ("another name", "PUT", f"{MAPS}/kept", {"metadata": {"name": "other"}}, JSON, 400, "BadRequest",
     "the name of the object (other) does not match the name on the URL (kept)"),
    ("nothing of that name", "DELETE", f"{MAPS}/nothing", None, JSON, 404, "NotFound",
     'configmaps "nothing" not found'),
    ("a name that is taken", "POST", MAPS, {"metadata": {"name": "kept"}}, JSON, 409, "AlreadyExists",
     'configmaps "kept" already exists'),
    ("nesting without end in JSON", "POST", MAPS, b'{"data":' * 100_000, JSON, 400, "BadRequest", ""),
    ("nesting without end in YAML", "POST", MAPS, b"[" * 10_000, YAML, 400, "BadRequest", ""),
    ("nesting without end in a patch", "PATCH", f"{MAPS}/kept", b'{"data":' * 50_000, MERGE, 400, "BadRequest", ""),
    ("YAML that contains itself", "POST", MAPS, b"data: &a {b: *a}", YAML, 400, "BadRequest",
     "error converting YAML to JSON: yaml: anchor value contains itself"),
    ("YAML that grows", "POST", MAPS, growing(), YAML, 400, "BadRequest",
     "error converting YAML to JSON: yaml: document contains excessive aliasing"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_it_is_refused_as_upstream_does_and_changes_nothing(
    server: ServerProcess, case: tuple[str, str, str, Any, str, int, str, str]
) -> None:
    _, method, path, body, content_type, status, reason, message = case
    before = everything(server)

    answer = server.send(method, path, body, content_type)

    assert (answer.status, answer.body["kind"], answer.body.get("reason")) == (status, "Status", reason)
    assert answer.body["code"] == status
    if message:
        assert answer.body["message"] == message
    assert everything(server) == before


def test_a_body_too_large_without_a_length_is_refused_too(server: ServerProcess) -> None:
    before = everything(server)
    chunk = b"x" * 100_000
    context = ssl.create_default_context(cafile=str(server.folder / "pki" / "ca.crt"))
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=10, context=context)

    connection.request(
        "POST", MAPS, iter([chunk] * 40), {"Authorization": f"Bearer {TOKEN}", "Content-Type": JSON}
    )  # fmt: skip
    answer = connection.getresponse()
    answer.read()
    connection.close()

    assert answer.status == 413
    assert everything(server) == before


@pytest.mark.parametrize(
    "garbage", [b"\x00" * 100, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\xff" * 500]
)
def test_what_is_no_tls_is_hung_up_on(server: ServerProcess, garbage: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        raw.sendall(garbage)
        raw.shutdown(socket.SHUT_WR)
        try:
            while raw.recv(4096):
                pass
        except ConnectionResetError:
            pass

    assert server.send("GET", MAPS).status == 200


@pytest.mark.parametrize(
    "garbage",
    [
        b"NONSENSE\r\n\r\n",
        b"GET /api HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"POST /api/v1/namespaces HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /api HTTP/1.1\r\n" + b"X-Long: " + b"x" * (2 << 20) + b"\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(server: ServerProcess, garbage: bytes) -> None:
    context = ssl.create_default_context(cafile=str(server.folder / "pki" / "ca.crt"))
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1") as tls,
    ):
        try:
            tls.sendall(garbage)
            answer = tls.recv(4096)
        except OSError:
            answer = b""

    assert answer == b"" or answer.split()[1] in (b"400", b"405", b"413", b"431")
    assert server.send("GET", MAPS).status == 200
