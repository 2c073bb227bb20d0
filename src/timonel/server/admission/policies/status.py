"""Keeps the status of ValidatingAdmissionPolicies: what checking their types found, for which generation.

Upstream: pkg/controller/validatingadmissionpolicystatus/controller.go.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from timonel.machinery import errors
from timonel.objects.meta import Object
from timonel.server.admission.policies.typecheck import Kind, warnings
from timonel.server.admission.policies.validating import POLICIES
from timonel.server.registry import Registry
from timonel.server.request import Objects, Reader

if TYPE_CHECKING:
    from timonel.machinery.cel.types import Type

logger = logging.getLogger(__name__)

MANAGER = "kube-controller-manager"


class StatusKeeper:
    def __init__(self, registry: Registry, reader: Reader, objects: Objects) -> None:
        self._registry, self._reader, self._objects = registry, reader, objects
        self._waiting: dict[str, None] = {}  # names, in order
        self._wake = asyncio.Event()
        reader.on_change(POLICIES, self._changed)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            return
        status = new.get("status") or {}
        if status.get("observedGeneration") != new["metadata"].get("generation"):
            self._waiting[str(new["metadata"]["name"])] = None
            self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                name = next(iter(self._waiting))
                del self._waiting[name]
                try:
                    await self._check(name)
                except errors.NotFound:
                    continue
                except Exception:
                    logger.exception("Could not check the types of a policy", extra={"policy": name})

    async def _check(self, name: str) -> None:
        policy = self._reader.get(POLICIES, "", name)
        if policy is None:
            return
        generation = policy["metadata"].get("generation")
        found = warnings(policy, self._find, self._resolve)
        checking: Object = {"expressionWarnings": found} if found else {}

        def note(current: Object) -> None:
            if current["metadata"].get("generation") == generation:
                status = current.get("status") or {}
                current["status"] = {
                    **status,
                    "observedGeneration": generation,
                    "typeChecking": checking,
                }

        await self._objects.change(POLICIES, "", name, note, manager=MANAGER, subresource="status")

    def _find(self, group: str, version: str, resource: str) -> Kind | None:
        endpoint = self._registry.endpoints.get((group, version, resource))
        return None if endpoint is None else Kind(group, version, endpoint.rtype.kind)

    def _resolve(self, kind: Kind) -> Type | None:
        for endpoint in self._registry.served():
            rtype = endpoint.rtype
            if (rtype.group, rtype.version, rtype.kind) == (kind.group, kind.version, kind.kind):
                return endpoint.machinery.declared()
        return None
