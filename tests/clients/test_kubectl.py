"""kubectl, in each version that lies beside the one on the PATH: what people see and type every day.

The one on the PATH may be as old as Debian's (1.20); what it does not know yet is said in other words, or left out.
"""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients.manifests import config_map, deployment


def binaries() -> Sequence[str]:
    """The one on the PATH first, then other versions of it (kubectl.1.31) in the same folder."""
    first = shutil.which("kubectl")
    if first is None:
        return ("kubectl",)
    folder = Path(first).resolve().parent
    return (first, *sorted(str(found) for found in folder.glob("kubectl.1.*")))


@dataclass(frozen=True)  # no slots: it caches
class Kubectl:
    binary: str
    namespace: str

    @functools.cached_property
    def minor(self) -> int:
        version = json.loads(self.run("version", "--client", "-o", "json"))["clientVersion"]
        return int(version["minor"].rstrip("+"))

    def fail(self, *arguments: str, stdin: str = "", code: int = 1) -> str:
        """What it says on stderr when it ends with `code`."""
        done = self._run(arguments, stdin)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stderr.strip()

    def run(self, *arguments: str, stdin: str = "") -> str:
        done = self._run(arguments, stdin)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def get(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("get", *arguments, "-o", "json"))
        return found

    def _run(self, arguments: Sequence[str], stdin: str) -> subprocess.CompletedProcess[str]:
        command = [self.binary, "--namespace", self.namespace, *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture(scope="module", autouse=True)
def prerequisite() -> None:
    if shutil.which("kubectl") is None:
        pytest.fail("kubectl is not on the PATH; scripts/test installs it as root")


@pytest.fixture(scope="module", params=binaries(), ids=lambda path: Path(path).name)
def every(request: pytest.FixtureRequest, kubeconfig: Path) -> Kubectl:
    """Each version, in a namespace of its own."""
    number = binaries().index(request.param)
    found = Kubectl(request.param, f"version-{number}")
    found.run("create", "namespace", found.namespace)
    return found


@pytest.fixture(scope="module", params=sorted({0, len(binaries()) - 1, min(1, len(binaries()) - 1)}))
def some(request: pytest.FixtureRequest, kubeconfig: Path) -> Kubectl:
    """The one on the PATH, and the oldest and the newest of the others."""
    return Kubectl(binaries()[request.param], "default")


@pytest.fixture
def kubectl(request: pytest.FixtureRequest, kubeconfig: Path) -> Kubectl:
    """The one on the PATH, in a namespace per test."""
    found = Kubectl("kubectl", request.node.originalname.replace("_", "-")[:60].strip("-"))
    found.run("create", "namespace", found.namespace)
    return found


def web(**fields: Any) -> str:
    found = deployment(**fields)
    del found["metadata"]["namespace"]
    return json.dumps(found)


def settings(**data: str) -> str:
    found = config_map(**data)
    del found["metadata"]["namespace"]
    return json.dumps(found)


# ---- every version, or some


def test_an_application_is_applied_changed_and_taken_back(every: Kubectl) -> None:
    created = every.run("apply", "-f", "-", stdin=web())
    unchanged = every.run("apply", "-f", "-", stdin=web())
    every.run("rollout", "status", "deployment/web", "--timeout=20s")
    difference = every._run(("diff", "-f", "-"), web(image="nginx:2"))
    every.run("set", "image", "deployment/web", "main=nginx:2")
    status = every.run("rollout", "status", "deployment/web", "--timeout=20s")
    history = every.run("rollout", "history", "deployment/web")
    every.run("rollout", "undo", "deployment/web")
    image = every.run("get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[*].image}")
    gone = every.run("delete", "deployment", "web", "--cascade=foreground")

    assert (created, unchanged) == ("deployment.apps/web created", "deployment.apps/web unchanged")
    assert difference.returncode == 1
    assert "+        image: nginx:2" in difference.stdout or "+      - image: nginx:2" in difference.stdout
    assert status.endswith('deployment "web" successfully rolled out')
    assert [line.split() for line in history.splitlines()[2:]] == [["1", "<none>"], ["2", "<none>"]]
    assert image == "nginx:1"
    assert gone.startswith('deployment.apps "web" deleted')


def test_a_kind_of_ones_own_is_like_any_other(every: Kubectl) -> None:
    spec = {
        "type": "object",
        "properties": {"size": {"type": "integer", "minimum": 1, "description": "How large."}},
    }
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    columns = [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]
    names = {"plural": "shoes", "kind": "Shoe", "shortNames": ["sh"], "categories": ["all"]}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": schema,
        "additionalPrinterColumns": columns,
    }
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "shoes.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }

    def shoe(**fields: Any) -> str:
        made = {"apiVersion": "example.com/v1", "kind": "Shoe", "metadata": {"name": "left"}, "spec": fields}
        return json.dumps(made)

    every.run("apply", "-f", "-", stdin=json.dumps(definition))
    every.run("wait", "--for=condition=established", "crd/shoes.example.com", "--timeout=10s")
    created = every.run("apply", "-f", "-", stdin=shoe(size=42))
    configured = every.run("apply", "-f", "-", stdin=shoe(size=43))
    invalid = every.fail("apply", "-f", "-", stdin=shoe(size=0))
    unknown = every.fail("apply", "-f", "-", stdin=shoe(sise=1))
    shown = every.run("get", "sh")
    described = every.run("explain", "shoe.spec.size")
    listed = every.run("api-resources", "--api-group=example.com")
    everything = every.run("get", "all", "-o", "name")
    every.run("delete", "crd", "shoes.example.com")
    gone = every.fail("get", "shoes.example.com")

    assert created == "shoe.example.com/left created"
    assert configured == "shoe.example.com/left configured"
    assert "greater than or equal to 1" in invalid
    assert 'unknown field "spec.sise"' in unknown or 'unknown field "sise"' in unknown
    assert [line.split() for line in shown.splitlines()] == [["NAME", "SIZE"], ["left", "43"]]
    assert "How large." in described
    assert "shoes" in listed
    assert "shoe.example.com/left" in everything
    assert "the server doesn't have a resource type" in gone or "NotFound" in gone


def test_a_pod_is_run_looked_at_and_deleted(every: Kubectl) -> None:
    every.run("run", "one", "--image=busybox", "--labels=a=b")
    every.run("wait", "--for=condition=PodScheduled", "pod/one", "--timeout=20s")
    every.run("wait", "--for=condition=Ready", "pod/one", "--timeout=20s")
    wide = every.run("get", "pods", "-o", "wide", "-l", "a=b").splitlines()
    described = every.run("describe", "pod", "one")
    log = every.run("logs", "one")
    exec_error = every.fail("exec", "one", "--", "ls")
    removed = every.run("delete", "pod", "one", "--grace-period=1")

    assert wide[0].split()[:6] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP"]
    assert wide[1].split()[0] == "one"
    assert "Successfully assigned" in described
    assert "Container started" in described
    assert "one: nothing runs here, this node simulates its containers" in log
    assert "there is no process to run a command in" in exec_error
    assert removed.startswith('pod "one" deleted')


def test_the_api_is_explained(some: Kubectl) -> None:
    resources = some.run("api-resources", "--verbs=list,watch", "-o", "name").splitlines()
    old = ["--output=plaintext-openapiv2"] if some.minor >= 27 else []
    explained = some.run("explain", "deployment.spec.strategy", *old)
    server = json.loads(some.run("version", "-o", "json"))["serverVersion"]

    assert {"pods", "deployments.apps", "ingresses.networking.k8s.io"} <= set(resources)
    assert "RESOURCE: strategy <Object>" in explained
    if some.minor >= 27:  # from OpenAPI v3
        strategy = some.run("explain", "deployment.spec.strategy")
        assert "rollingUpdate\t<RollingUpdateDeployment>" in strategy
    assert server["gitVersion"].startswith("v1.36.")


def test_what_is_not_there_or_not_allowed(some: Kubectl) -> None:
    assert some.fail("get", "pods", "nope") == 'Error from server (NotFound): pods "nope" not found'
    assert some.fail("get", "nope") == 'error: the server doesn\'t have a resource type "nope"'
    assert some.fail("get", "secrets", "--as=jane") == (
        'Error from server (Forbidden): secrets is forbidden: User "jane" cannot list resource "secrets" '
        f'in API group "" in the namespace "{some.namespace}"'
    )
    unknown = some.fail("create", "-f", "-", stdin=web().replace('"replicas"', '"replica"'))
    # by the server, or by kubectl itself before 1.27
    assert 'unknown field "spec.replica"' in unknown or 'unknown field "replica" in io.k8s' in unknown


# ---- the one on the PATH


def test_output_formats(kubectl: Kubectl) -> None:
    kubectl.run("create", "configmap", "one", "--from-literal=a=b")
    kubectl.run("label", "configmap", "one", "colour=blue")
    one = ("get", "configmap", "one")

    assert kubectl.run(*one, "-o", "name") == "configmap/one"
    assert kubectl.run(*one, "-o", "jsonpath={.data}") == '{"a":"b"}'
    assert kubectl.run(*one, "-o", "go-template={{.metadata.name}}") == "one"
    assert kubectl.run(*one, "-o", "custom-columns=N:.metadata.name,A:.data.a").split() == [
        "N",
        "A",
        "one",
        "b",
    ]
    assert kubectl.run(*one, "-L", "colour", "--no-headers").split()[::3] == ["one", "blue"]
    assert kubectl.run(*one, "--show-labels").splitlines()[1].endswith("colour=blue")
    assert "data:\n  a: b\n" in kubectl.run(*one, "-o", "yaml")
    assert kubectl.run("get", "cm", "--field-selector=metadata.name=one", "-o", "name") == "configmap/one"
    sorted_names = kubectl.run("get", "cm", "--sort-by=.metadata.name", "-o", "name").split()
    assert sorted_names == ["configmap/kube-root-ca.crt", "configmap/one"]
    watched = kubectl.run(*one, "--watch", "--output-watch-events", "--request-timeout=1s")
    assert watched.splitlines()[1].split()[:2] == ["ADDED", "one"]


def test_patches(kubectl: Kubectl) -> None:
    kubectl.run("create", "-f", "-", stdin=web())
    patch = ("patch", "deployment", "web")

    assert kubectl.run(*patch, "-p", '{"spec":{"replicas":3}}') == "deployment.apps/web patched"
    assert kubectl.run(*patch, "-p", '{"spec":{"replicas":3}}') == "deployment.apps/web patched (no change)"
    kubectl.run(*patch, "--type=merge", "-p", '{"metadata":{"labels":{"app":null}}}')
    kubectl.run(*patch, "--type=json", "-p", '[{"op":"replace","path":"/spec/replicas","value":4}]')
    if kubectl.minor >= 24:
        kubectl.run(*patch, "--subresource=scale", "--type=merge", "-p", '{"spec":{"replicas":1}}')
    else:
        kubectl.run("scale", "deployment", "web", "--replicas=1")
    found = kubectl.get("deployment", "web")
    refused = kubectl.fail("label", "deployment", "web", "bad key=x")

    assert found["spec"]["replicas"] == 1
    assert "labels" not in found["metadata"]
    assert "name part must consist of alphanumeric characters" in refused


def test_server_side_apply_and_its_conflicts(kubectl: Kubectl) -> None:
    apply = ("apply", "--server-side", "-f", "-")

    assert kubectl.run(*apply, stdin=settings(a="1")) == "configmap/settings serverside-applied"
    conflict = kubectl.fail(*apply, "--field-manager=other", stdin=settings(a="2"))
    kubectl.run(*apply, "--field-manager=other", "--force-conflicts", stdin=settings(a="2"))

    assert 'Apply failed with 1 conflict: conflict with "kubectl": .data.a' in conflict
    assert kubectl.get("configmap", "settings")["data"] == {"a": "2"}


def test_dry_run_edit_replace_and_prune(kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBE_EDITOR", "sed -i -e 's/colour: red/colour: green/'")
    dry = kubectl.run("create", "-f", "-", "--dry-run=server", stdin=settings(colour="red"))
    kubectl.run("create", "-f", "-", "--save-config", stdin=settings(colour="red"))
    edited = kubectl.run("edit", "configmap", "settings")
    replaced = kubectl.run("replace", "--force", "-f", "-", stdin=settings(colour="blue"))
    exists = kubectl.fail("create", "-f", "-", stdin=settings())

    assert dry == "configmap/settings created (server dry run)"
    assert edited == "configmap/settings edited"
    assert replaced.splitlines()[-1] == "configmap/settings replaced"
    assert exists.endswith('configmaps "settings" already exists')


def test_access(kubectl: Kubectl) -> None:
    kubectl.run("create", "serviceaccount", "bob")
    kubectl.run("create", "role", "reader", "--verb=get,list", "--resource=pods")
    kubectl.run("create", "rolebinding", "bob", "--role=reader", f"--serviceaccount={kubectl.namespace}:bob")
    bob = f"--as=system:serviceaccount:{kubectl.namespace}:bob"

    assert kubectl.run("auth", "can-i", "list", "pods", bob) == "yes"
    assert kubectl.fail("auth", "can-i", "delete", "pods", bob) == ""
    if kubectl.minor >= 28:
        asked = json.loads(kubectl.run("auth", "whoami", "-o", "json", bob))["status"]["userInfo"]
        assert asked["groups"][0] == "system:serviceaccounts"
        token = kubectl.run("create", "token", "bob", "--duration=10m")
        assert token.count(".") == 2


def test_a_node_is_tainted_and_drained(kubectl: Kubectl) -> None:
    node = kubectl.get("nodes")["items"][0]["metadata"]["name"]
    kubectl.run("create", "-f", "-", stdin=web())
    kubectl.run("rollout", "status", "deployment/web", "--timeout=20s")

    drained = kubectl.run("drain", node, "--pod-selector=app=web", "--ignore-daemonsets", "--timeout=20s")
    kubectl.run("wait", "--for=condition=Available=false", "deployment/web", "--timeout=20s")
    events = kubectl.run("get", "events", "--field-selector=reason=FailedScheduling")
    uncordoned = kubectl.run("uncordon", node)
    kubectl.run("rollout", "status", "deployment/web", "--timeout=20s")

    assert drained.splitlines()[-1] in (f"node/{node} drained", f"node/{node} evicted")
    assert "0/1 nodes are available: 1 node(s) were unschedulable" in events
    assert uncordoned == f"node/{node} uncordoned"
    assert "CPU(cores)" in kubectl.run("top", "nodes")


def test_dependents_are_orphaned_or_deleted(kubectl: Kubectl) -> None:
    kubectl.run("create", "-f", "-", stdin=web())
    kubectl.run("rollout", "status", "deployment/web", "--timeout=20s")

    kubectl.run("delete", "deployment", "web", "--cascade=orphan")
    orphans = kubectl.run("get", "replicasets,pods", "-o", "name").split()
    kubectl.run("delete", "replicasets", "--all", "--cascade=foreground")

    assert len(orphans) == 3
    assert kubectl.run("get", "all", "-o", "name") == ""


def test_a_job_by_cronjob_and_a_claim(kubectl: Kubectl) -> None:
    kubectl.run("create", "cronjob", "tick", "--image=busybox", "--schedule=0 0 1 1 *", "--", "date")
    origin = ["--from=cronjob/tick"] if kubectl.minor >= 21 else ["--image=busybox"]
    kubectl.run("create", "job", "now", *origin)
    kubectl.run("wait", "--for=condition=complete", "job/now", "--timeout=20s")
    bad = kubectl.fail("create", "cronjob", "bad", "--image=busybox", "--schedule=nope")

    assert "nothing runs here" in kubectl.run("logs", "job/now")
    assert "expected exactly 5 fields, found 1: [nope]" in bad


def test_claims_are_bound_on_simulated_nodes(kubectl: Kubectl) -> None:
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    labels = {"app": "db"}
    container = {"name": "main", "image": "mariadb", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    database = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db"},
        "spec": {
            "serviceName": "db",
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
        },
    }
    kubectl.run("create", "-f", "-", stdin=json.dumps(database))

    kubectl.run("rollout", "status", "statefulset/db", "--timeout=20s")
    assert kubectl.get("pvc", "data-db-0")["status"]["phase"] == "Bound"
