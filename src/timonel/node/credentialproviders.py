"""Credentials for images from programs that the administrator names (`--image-credential-provider-config`).

A program is run once for each image, registry or for all, as its answer says, and again when its answer is out of date.
Whatever goes wrong with it costs its credentials and nothing else.
Upstream: pkg/credentialprovider/plugin/plugin.go.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timonel.aio.clock import Clock
from timonel.client.transport import Resource, Transport, Unreachable
from timonel.machinery import durations
from timonel.machinery.errors import StatusError
from timonel.node import credentialconfig, imagenames
from timonel.node.credentialconfig import Provider
from timonel.node.cri.runtime import Auth
from timonel.node.tokens import Tokens
from timonel.node.volumes.source import VolumeError
from timonel.objects.meta import Key, Object

logger = logging.getLogger(__name__)

SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", True)
PATIENCE = 60.0
TOKEN_SECONDS = 3600
SUFFIXES = (".json", ".yaml", ".yml")
GLOBAL = "global"

Entries = list[tuple[str, Auth]]  # pattern, what fits it


class Unusable(Exception):
    """A program did not answer as it should."""


def read(config: Path, programs: Path) -> tuple[Provider, ...]:
    """Of a file, or of all files in a folder. Raises ValueError for what the agent cannot start with."""
    import yaml  # here: most nodes have no such file

    files = sorted(f for f in config.iterdir() if f.suffix in SUFFIXES) if config.is_dir() else [config]
    if not files:
        raise ValueError(f'no configuration files found in directory "{config}"')
    try:
        trees = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in files]
        found = credentialconfig.parse(trees)
    except (OSError, yaml.YAMLError, ValueError) as e:
        raise ValueError(f"the configuration of credential providers {config} cannot be used: {e}") from e
    if not programs.is_dir():
        raise ValueError(f"plugin binary directory {programs} did not exist")
    for provider in found:
        if not os.access(programs / provider.name, os.X_OK):
            raise ValueError(f"plugin binary executable {programs / provider.name} did not exist")
    return found


class CredentialProviders:
    def __init__(
        self,
        providers: Sequence[Provider],
        programs: Path,
        transport: Transport,
        tokens: Tokens,
        clock: Clock,
    ) -> None:
        self._providers = providers
        self._programs = programs
        self._transport = transport
        self._tokens = tokens
        self._clock = clock
        self._kept: dict[tuple[str, ...], tuple[float, Entries]] = {}  # -> until when, what
        self._locks: dict[tuple[str, ...], asyncio.Lock] = {}

    async def credentials(self, image: str, pod: Object) -> list[Auth]:
        """What fits the image, whose name is whole; the most specific first."""
        repository = imagenames.repository(image)
        found = Entries()
        for provider in self._providers:
            if provider.serves(repository):
                try:
                    found += await self._of(provider, repository, pod)
                except (Unusable, OSError, VolumeError, StatusError, Unreachable) as e:
                    logger.warning(
                        "A credential provider gave nothing",
                        extra={"provider": provider.name, "image": repository, "error": str(e)},
                    )
        return imagenames.fitting(image, found)

    async def _of(self, provider: Provider, repository: str, pod: Object) -> Entries:
        request: dict[str, Any] = {
            "kind": "CredentialProviderRequest",
            "apiVersion": provider.api_version,
            "image": repository,
        }
        owner: tuple[str, ...] = ()
        if provider.token is not None:
            account = await self._account(provider, pod)
            if account is None:
                return []
            request |= account[0]
            owner = account[1]
        key = (provider.name, repository, *owner)
        lock = self._locks.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                kept = self._find(provider, repository, owner)
                return kept if kept is not None else await self._ask(provider, request, repository, owner)
        finally:
            if not lock.locked():
                self._locks.pop(key, None)

    async def _account(
        self, provider: Provider, pod: Object
    ) -> tuple[dict[str, Any], tuple[str, ...]] | None:
        """What the request says of the pod's service account, and who the answer is for; None: do not ask."""
        wish = provider.token
        assert wish is not None
        name = pod["spec"].get("serviceAccountName")
        if not name:
            return None if wish.is_required else ({}, ())
        key = Key(pod["metadata"]["namespace"], name)
        needs_object = wish.required or wish.optional or not wish.caches_by_token
        account = await self._transport.get(SERVICE_ACCOUNTS, key) if needs_object else {"metadata": {}}
        has = account["metadata"].get("annotations") or {}
        if any(k not in has for k in wish.required):
            return None
        told = {k: has[k] for k in (*wish.required, *wish.optional) if k in has}
        token, _ = await self._tokens.get(pod, wish.audience, TOKEN_SECONDS)
        extra: dict[str, Any] = {"serviceAccountToken": token}
        if told:
            extra["serviceAccountAnnotations"] = told
        whose: tuple[str, ...] = (*key, account["metadata"].get("uid", ""), json.dumps(told, sort_keys=True))
        if wish.caches_by_token:
            whose = (*whose, hashlib.sha256(token.encode()).hexdigest())
        return extra, whose

    # ---- what is remembered

    def _find(self, provider: Provider, repository: str, owner: tuple[str, ...]) -> Entries | None:
        now = self._clock.now()
        for key in [key for key, (until, _) in self._kept.items() if until <= now]:
            del self._kept[key]
        for whole in (repository, imagenames.registry(repository), GLOBAL):
            found = self._kept.get((provider.name, whole, *owner))
            if found is not None:
                return found[1]
        return None

    async def _ask(
        self, provider: Provider, request: Mapping[str, Any], repository: str, owner: tuple[str, ...]
    ) -> Entries:
        answer = _checked(await self._run(provider, json.dumps(request).encode()), provider)
        kinds = {"Image": repository, "Registry": imagenames.registry(repository), "Global": GLOBAL}
        whole = kinds.get(str(answer.get("cacheKeyType")))
        if whole is None:
            raise Unusable(f"it did not return a valid cacheKeyType: {answer.get('cacheKeyType')!r}")
        try:
            found = [
                (pattern, Auth(entry.get("username", ""), entry.get("password", "")))
                for pattern, entry in (answer.get("auth") or {}).items()
            ]
            spoken = answer.get("cacheDuration")
            seconds = provider.cache_seconds if spoken is None else durations.parse(str(spoken))
        except (AttributeError, ValueError) as e:
            raise Unusable("its answer cannot be understood") from e  # whose text may hold credentials
        if seconds > 0:
            self._kept[provider.name, whole, *owner] = (self._clock.now() + seconds, found)
        return found

    async def _run(self, provider: Provider, request: bytes) -> bytes:
        process = await asyncio.create_subprocess_exec(
            str(self._programs / provider.name),
            *provider.args,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **dict(provider.env)},
        )
        try:
            async with asyncio.timeout(PATIENCE):
                out, err = await process.communicate(request)
        except TimeoutError:
            raise Unusable(f"it did not answer within {PATIENCE:g}s") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode:
            text = err.decode("utf-8", "replace").strip()[-500:]
            raise Unusable(f"it failed with exit status {process.returncode}: {text}")
        return out


def _checked(text: bytes, provider: Provider) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError as e:
        raise Unusable("its answer is not JSON") from e
    if not isinstance(answer, dict) or answer.get("kind") != "CredentialProviderResponse":
        raise Unusable("its answer is not a CredentialProviderResponse")
    if answer.get("apiVersion") != provider.api_version:
        raise Unusable(
            "apiVersion from credential plugin response did not match expected "
            f"apiVersion:{provider.api_version}, actual apiVersion:{answer.get('apiVersion', '')}"
        )
    return answer
