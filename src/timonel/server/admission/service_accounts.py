"""ServiceAccount: every pod has one; its token, the cluster's CA and the namespace are mounted into the containers.

Upstream: plugin/pkg/admission/serviceaccount/admission.go.
"""

from __future__ import annotations

from typing import Any

from timonel.apis.resource import ResourceType
from timonel.machinery import names
from timonel.objects.meta import Object, annotations_of
from timonel.server.admission.attributes import MIRROR, creates, forbidden
from timonel.server.request import AdmissionCall, Operation, Reader

DEFAULT = "default"
VOLUME = "kube-api-access"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
ROOT_CA = "kube-root-ca.crt"
TOKEN_SECONDS = 3607  # an hour and what it takes to renew


class ServiceAccount:
    name = "ServiceAccount"

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        return creates(resource, subresource, operation, "pods")

    async def admit(self, call: AdmissionCall) -> None:
        pod = call.obj
        assert pod is not None
        if MIRROR in annotations_of(pod):
            return
        spec = pod["spec"]
        chosen = spec.get("serviceAccountName") or spec.get("serviceAccount") or DEFAULT
        spec["serviceAccountName"] = spec["serviceAccount"] = chosen
        account = self._account(call, chosen)
        if _mounts_token(account, spec):
            _mount_token(spec)
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [dict(ref) for ref in account["imagePullSecrets"]]

    async def validate(self, call: AdmissionCall) -> None:
        pod = call.obj
        assert pod is not None
        spec = pod["spec"]
        if MIRROR not in annotations_of(pod):
            self._account(call, spec.get("serviceAccountName", ""))
            return
        if spec.get("serviceAccountName"):
            raise forbidden(call, "a mirror pod may not reference service accounts")
        for volume in spec.get("volumes") or ():
            sources = (volume.get("projected") or {}).get("sources") or ()
            if any("serviceAccountToken" in source for source in sources):
                raise forbidden(call, "a mirror pod may not use ServiceAccountToken volume projections")

    def _account(self, call: AdmissionCall, name: str) -> Object:
        found = self._reader.get("serviceaccounts", call.namespace, name)
        if found is None:
            where = f"{call.namespace}/{name}"
            why = f'error looking up service account {where}: serviceaccount "{name}" not found'
            raise forbidden(call, why)
        return found


def _mounts_token(account: Object, spec: Object) -> bool:
    for holder in (spec, account):
        if holder.get("automountServiceAccountToken") is not None:
            return bool(holder["automountServiceAccountToken"])
    return True


def _mount_token(spec: Object) -> None:
    volumes: list[Object] = spec.get("volumes") or []
    existing = next((v["name"] for v in volumes if v["name"].startswith(f"{VOLUME}-")), "")
    name = existing or names.generate_name(f"{VOLUME}-")
    is_needed = False
    for kind in ("initContainers", "containers"):
        for container in spec.get(kind) or ():
            mounts = container.get("volumeMounts") or []
            if any(mount.get("mountPath") == MOUNT_PATH for mount in mounts):
                continue
            container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": MOUNT_PATH}]
            is_needed = True
    if is_needed and not existing:
        spec["volumes"] = [*volumes, {"name": name, "projected": _projection()}]


def _projection() -> dict[str, Any]:
    namespace = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    return {
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": {"name": ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": namespace}]}},
        ],
        "defaultMode": 0o644,
    }
