"""What administrators ask a running server about encryption at rest, below /timonel/encryption/.

    GET  usage       how many objects are under which key
    POST reload      read the configuration again
    POST reencrypt   write what is under other keys anew, a part at a time: "left" tells to ask again

Only who may do everything has rights on these paths. `timonel secrets` is their client.
"""

from __future__ import annotations

from typing import Any

import orjson

from timonel.machinery import errors
from timonel.server.atrest.configuration import Misconfigured
from timonel.server.atrest.reencryption import reencrypt, resources_of, usage
from timonel.server.atrest.vault import Vault
from timonel.server.chain.info import Info
from timonel.server.exchange import Request, Response
from timonel.server.registry import Registry
from timonel.server.request import User

PATH = "/timonel/encryption/"
PART = 2000  # objects written in one request, which must not last too long


class Answers:
    def __init__(self, registry: Registry, vault: Vault) -> None:
        self._registry, self._vault = registry, vault

    async def __call__(self, request: Request, info: Info, user: User) -> Response:
        asked = f"{request.method} {info.path.removeprefix(PATH)}"
        answers = {
            "GET usage": self._usage,
            "POST reload": self._reload,
            "POST reencrypt": self._reencrypt,
        }
        if asked not in answers:
            raise errors.NotFound("the server could not find the requested resource")
        return Response(200, orjson.dumps(await answers[asked]()))

    def _resources(self) -> list[tuple[str, str]]:
        known = ((e.work.plural, e.work.group) for e in self._registry.by_qualified.values())
        return resources_of(self._vault.configuration, known)

    async def _usage(self) -> Any:
        found = {}
        for plural, group in self._resources():
            qualified = f"{plural}.{group}" if group else plural
            found[qualified] = dict(await usage(self._registry.store, plural, group))
        return found

    async def _reload(self) -> Any:
        try:
            return {"changed": self._vault.reload()}
        except (Misconfigured, OSError) as error:
            raise errors.BadRequest(f"the encryption configuration cannot be used: {error}") from error

    async def _reencrypt(self) -> Any:
        written, unreadable = 0, list[str]()
        for plural, group in self._resources():
            if written >= PART:
                return {"written": written, "unreadable": unreadable, "left": True}
            done, failed = await reencrypt(
                self._registry.store, self._vault, plural, group, limit=PART - written
            )
            written += done
            unreadable += failed
        return {"written": written, "unreadable": unreadable, "left": written >= PART}
