"""A cluster with something for every controller to do, what others change meanwhile, and a picture of the end.

Workloads have a test of their own (`test_faults`); here are the rest: owners and their dependents, namespaces, quotas,
volumes, nodes that fall silent, endpoints that others keep, accounts, certificates, roles, tokens, autoscaling.
"""

from __future__ import annotations

import base64
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.cluster.harness import NAMESPACE, World, template, workload
from timonel.aio.clock import VirtualClock
from timonel.aio.lifecycle import running_together
from timonel.client.discovery import UnknownResource
from timonel.client.faults import Faults, Faulty
from timonel.client.rest import Client
from timonel.client.transport import Transport
from timonel.distro.cluster import ADMIN, Cluster, Secrets
from timonel.distro.config import ClusterConfig
from timonel.distro.simulated import simulated_nodes
from timonel.machinery.errors import NotFound
from timonel.objects.meta import Key, Object
from timonel.store.memory import MemoryStore

RBAC, STORAGE = "rbac.authorization.k8s.io", "storage.k8s.io"
REQUESTS = "certificatesigningrequests.certificates.k8s.io"
SLICES = "endpointslices.discovery.k8s.io"
CIDRS = "servicecidrs.networking.k8s.io"
ELSEWHERE = ("kube-system", "kube-public", "temp")
# Without metrics, an autoscaler says so every 15 s; what is said that often is merged into one patch in five minutes.
HPA_COMPLAINTS = "horizontal-pod-autoscaler patch events"
SEEN = (
    "namespaces", "nodes", "persistentvolumes", f"clusterroles.{RBAC}", REQUESTS, CIDRS,
    "configmaps", "secrets", "serviceaccounts", "pods", "services", "endpoints", SLICES, "persistentvolumeclaims",
    "resourcequotas", "replicasets.apps", "deployments.apps", "jobs.batch", "poddisruptionbudgets.policy",
    "horizontalpodautoscalers.autoscaling", "resourceclaims.resource.k8s.io", "widgets.example.com",
)  # fmt: skip


class FaultyCluster(Cluster):
    """Its controllers are on the bad wire; scheduler, nodes and users are not."""

    faults: Faults

    def controller_transport(self, name: str) -> Transport:
        return Faulty(super().controller_transport(name), self.faults, name)


@asynccontextmanager
async def cluster(faults: Faults) -> AsyncIterator[World]:
    clock = VirtualClock()
    faults.clock = clock
    config = ClusterConfig("test", components=("api", "controllers", "scheduler"), nodes=2)
    secrets = authority(clock.now())
    plane = FaultyCluster(config, secrets=secrets, store=MemoryStore(), clock=clock, hosts=("127.0.0.1",))
    plane.faults = faults
    async with plane.running(), running_together(*simulated_nodes(plane, range(1, 3))):
        world = World(Client(plane.transport_for(ADMIN), plane.index), clock, plane)
        await world.client.create("namespaces", {"metadata": {"name": NAMESPACE}})
        await world.until(lambda: world.find("serviceaccounts", "default"), within=600)
        yield world


def authority(now: float) -> Secrets:
    """A CA in memory."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(datetime.fromtimestamp(now - 60, UTC))
        .not_valid_after(datetime.fromtimestamp(now + 1e9, UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Secrets(ca_pem=made.public_bytes(serialization.Encoding.PEM).decode(), ca_key=key)


# ---- what there is


def config(name: str, *owners: Object, blocks: bool = False) -> Object:
    refs = [
        {
            "apiVersion": o["apiVersion"],
            "kind": o["kind"],
            "name": o["metadata"]["name"],
            "uid": o["metadata"]["uid"],
            **({"blockOwnerDeletion": True} if blocks else {}),
        }
        for o in owners
    ]
    return {"metadata": {"name": name, **({"ownerReferences": refs} if refs else {})}}


def certificate_request(signer: str, user: str, *groups: str) -> Object:
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject = x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, user)])
    key = ec.generate_private_key(ec.SECP256R1())
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    text = base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()
    spec = {"request": text, "signerName": f"kubernetes.io/{signer}", "usages": ["client auth"]}
    return {"metadata": {"name": user.replace(":", "-")}, "spec": spec}


def volume(name: str, size: str, storage_class: str = "by-hand") -> Object:
    return {
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": storage_class,
            "hostPath": {"path": "/data"},
        },
    }


def claim(name: str, size: str, **spec: Any) -> Object:
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}
    return {"metadata": {"name": name}, "spec": wanted}


def pod(name: str, **spec: Any) -> Object:
    return {"metadata": {"name": name}, "spec": {**template()["spec"], **spec}}


def labelled(name: str, replicas: int) -> Object:
    labels = {"app": name}
    made = template()
    made["metadata"] = {"labels": labels}
    return workload(name, replicas=replicas, selector={"matchLabels": labels}, template=made)


async def populate(world: World) -> None:
    make, create = world.client.create, world.create
    await make("nodes", {"metadata": {"name": "silent"}})
    await make("nodes", {"metadata": {"name": "ghost"}})
    await make(f"clusterroles.{RBAC}", {
        "metadata": {"name": "part", "labels": {"into": "whole"}},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    })  # fmt: skip
    await make(f"clusterroles.{RBAC}", {
        "metadata": {"name": "whole"}, "rules": [],
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"into": "whole"}}]},
    })  # fmt: skip
    quota = {"metadata": {"name": "all"}, "spec": {"hard": {"pods": "30", "configmaps": "30"}}}
    await create("resourcequotas", quota)
    await world.until(lambda: world.status("resourcequotas", "all"), within=600)
    await make(f"storageclasses.{STORAGE}", {
        "metadata": {"name": "local", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "timonel.dev/local-path", "volumeBindingMode": "WaitForFirstConsumer",
    })  # fmt: skip
    await make("persistentvolumes", volume("small", "1Gi"))
    await make("persistentvolumes", volume("large", "9Gi"))
    await create("persistentvolumeclaims", claim("kept", "2Gi", storageClassName="by-hand"))
    await create("persistentvolumeclaims", claim("dropped", "1Gi", storageClassName="by-hand"))
    await create("persistentvolumeclaims", claim("hopeless", "90Gi", storageClassName="by-hand"))
    inline = {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": claim("", "1Gi")["spec"]}}}
    await create("pods", pod("writer", volumes=[inline]))
    await create("pods", pod("stray", nodeName="ghost"))
    await create("services", {"metadata": {"name": "outside"}, "spec": {"ports": [{"port": 80}]}})
    subsets = [{"addresses": [{"ip": "203.0.113.7"}], "ports": [{"port": 80}]}]
    await create("endpoints", {"metadata": {"name": "outside"}, "subsets": subsets})
    await create(
        "services",
        {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}},
    )
    await create("deployments.apps", labelled("web", 2))
    await create("deployments.apps", labelled("scaled", 1))
    await create("horizontalpodautoscalers.autoscaling", {
        "metadata": {"name": "scaled"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "scaled"},
            "minReplicas": 2, "maxReplicas": 5,
        },
    })  # fmt: skip
    await create("poddisruptionbudgets.policy", {
        "metadata": {"name": "web"}, "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    })  # fmt: skip
    for name in ("robot", "fired"):
        await create("serviceaccounts", {"metadata": {"name": name}})
        noted = {"kubernetes.io/service-account.name": name}
        await create("secrets", {
            "metadata": {"name": f"{name}-token", "annotations": noted}, "type": "kubernetes.io/service-account-token",
        })  # fmt: skip
    token = {"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true"}
    await make("secrets", {
        "metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token", "stringData": token,
    }, namespace="kube-system")  # fmt: skip
    await make(
        "configmaps",
        {"metadata": {"name": "cluster-info"}, "data": {"kubeconfig": "who"}},
        namespace="kube-public",
    )
    await make(
        REQUESTS, certificate_request("kube-apiserver-client-kubelet", "system:node:n9", "system:nodes")
    )
    await make(REQUESTS, certificate_request("kube-apiserver-client", "nobody"))
    await make(CIDRS, {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.77.0.0/24"]}})
    await create("resourceclaimtemplates.resource.k8s.io", {
        "metadata": {"name": "device"},
        "spec": {"spec": {"devices": {"requests": [{"name": "one", "exactly": {"deviceClassName": "none"}}]}}},
    })  # fmt: skip
    await create(
        "pods", pod("worker", resourceClaims=[{"name": "device", "resourceClaimTemplateName": "device"}])
    )
    done = {"metadata": {"annotations": {"timonel.dev/simulate": '{"runFor": "1s", "exitCode": 0}'}}}
    short = {**template(restartPolicy="Never"), **done}
    await create(
        "jobs.batch",
        {"metadata": {"name": "short"}, "spec": {"template": short, "ttlSecondsAfterFinished": 30}},
    )
    await families(world)


async def families(world: World) -> None:
    for name in ("first", "held", "loose"):
        owner = await world.create("configmaps", config(name))
        owner = {"apiVersion": "v1", "kind": "ConfigMap", **owner}
        for number in range(2):
            await world.create("configmaps", config(f"{name}-{number}", owner, blocks=name == "held"))
    await world.client.create("customresourcedefinitions.apiextensions.k8s.io", {
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": True}}}],
        },
    })  # fmt: skip
    await world.until(lambda: is_served(world), within=60)
    for name in ("stays", "goes"):
        widget = await world.create("widgets.example.com", {
            "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}})  # fmt: skip
        await world.create("configmaps", config(f"of-{name}", widget))
    await world.client.create("namespaces", {"metadata": {"name": "temp"}})
    for number in range(3):
        await world.client.create("configmaps", config(f"c{number}"), namespace="temp")
    await world.until(lambda: world.names("serviceaccounts", "temp"), within=600)
    await world.client.create("pods", pod("p"), namespace="temp")


async def is_served(world: World) -> bool:
    try:
        await world.client.list("widgets.example.com", NAMESPACE)
    except (NotFound, UnknownResource):
        return False
    return True


# ---- what becomes of it


async def is_bound(world: World, name: str) -> bool:
    return (await world.status("persistentvolumeclaims", name)).get("phase") == "Bound"


async def change(world: World) -> None:
    """What users decide; all of it shows in the end."""
    await world.delete("configmaps", "first", propagation="Background")
    await world.delete("configmaps", "held", propagation="Foreground")
    await world.delete("configmaps", "loose", propagation="Orphan")
    await world.delete("widgets.example.com", "goes")
    await world.client.delete("namespaces", Key("", "temp"))
    await world.until(lambda: is_bound(world, "dropped"), within=1200)  # or its volume would stay free
    await world.delete("persistentvolumeclaims", "dropped")
    await world.delete("serviceaccounts", "fired")
    await world.client.delete("nodes", Key("", "ghost"))
    await world.client.delete(CIDRS, Key("", "more"))
    rule = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}
    await world.client.patch(f"clusterroles.{RBAC}", Key("", "part"), {"rules": [rule]})
    subsets = [{"addresses": [{"ip": "203.0.113.8"}, {"ip": "203.0.113.9"}], "ports": [{"port": 81}]}]
    await world.patch("endpoints", "outside", {"subsets": subsets})
    await world.patch("deployments.apps", "web", {"spec": {"replicas": 3}})


async def disturb(world: World, dice: random.Random) -> None:
    """What others do in between; controllers set it right, so that nothing of it shows in the end."""
    some = [_delete_one("pods", lambda p: bool(p["metadata"].get("ownerReferences"))), _delete_one(SLICES),
            _delete_one("endpoints", lambda e: e["metadata"]["name"] == "web"),
            _delete_one("serviceaccounts", lambda a: a["metadata"]["name"] == "default"),
            _delete_one("configmaps", lambda c: c["metadata"]["name"] == "kube-root-ca.crt"),
            _edit("configmaps", "kube-root-ca.crt", {"data": {"ca.crt": "forged"}}),
            _edit("deployments.apps", "scaled", {"spec": {"replicas": 1}}), _untaint, _unaggregate]  # fmt: skip
    for work in dice.sample(some, 4):
        try:
            await work(world, dice)
        except NotFound:
            continue
        await world.pass_by(dice.choice((0, 0.1, 2)))


Disturbance = Callable[[World, random.Random], Awaitable[None]]


def _delete_one(resource: str, which: Callable[[Object], bool] = lambda obj: True) -> Disturbance:
    async def work(world: World, dice: random.Random) -> None:
        found = sorted(o["metadata"]["name"] for o in await world.all(resource) if which(o))
        if found:
            await world.delete(resource, dice.choice(found))

    return work


def _edit(resource: str, name: str, patch: dict[str, Any]) -> Disturbance:
    async def work(world: World, dice: random.Random) -> None:
        await world.patch(resource, name, patch)

    return work


async def _untaint(world: World, dice: random.Random) -> None:
    await world.client.patch("nodes", Key("", "silent"), {"spec": {"taints": None}})


async def _unaggregate(world: World, dice: random.Random) -> None:
    await world.client.patch(f"clusterroles.{RBAC}", Key("", "whole"), {"rules": []})


# ---- the end

COUNTS = (
    "replicas", "readyReplicas", "availableReplicas", "currentReplicas", "phase", "used",
    "disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods", "reservedFor",
)  # fmt: skip


async def picture(world: World) -> list[str]:
    """All that does not depend on the order in which things happened."""
    lines: list[str] = []
    for resource in SEEN:
        namespaced = world.client.index.resource(resource).namespaced
        for namespace in (NAMESPACE, *ELSEWHERE) if namespaced else ("",):
            found = await world.all(resource, namespace)
            lines += [
                f"{resource} {namespace} {_face(obj)}" for obj in found if ":" not in obj["metadata"]["name"]
            ]
    return sorted(lines)


def _face(obj: Object) -> str:
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    owners = [ref["kind"] for ref in meta.get("ownerReferences") or ()]
    is_random = (
        "generateName" in meta or "ReplicaSet" in owners or spec.get("volumeName", "").startswith("pvc-")
    )
    found = {
        "name": "" if is_random or meta["name"].startswith("pvc-") else meta["name"],
        "owners": owners,
        "finalizers": meta.get("finalizers"),
        "deleting": "deletionTimestamp" in meta,
        "conditions": sorted(
            (c["type"], c["status"], c.get("reason")) for c in status.get("conditions") or ()
        ),
        "certificate": bool(status.get("certificate")),
        "taints": sorted((t["key"], t["effect"]) for t in spec.get("taints") or ()),
        "rules": obj.get("rules"),
        "keys": sorted(obj.get("data") or ()),
        "claim": (spec.get("claimRef") or {}).get("name"),
        "endpoints": sorted(
            (e["addresses"][0] if "targetRef" not in e else "pod", e["conditions"].get("ready"))
            for e in obj.get("endpoints") or ()
        ),
        "subsets": sum(len(s.get("addresses") or ()) for s in obj.get("subsets") or ()),
        **{key: status[key] for key in COUNTS if status.get(key)},
    }
    if meta["name"] == "kube-root-ca.crt":
        found["data"] = len(obj["data"]["ca.crt"])
    return str({key: value for key, value in found.items() if value})
