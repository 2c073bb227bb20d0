"""Volumes of CSI drivers: attached (by the driver's attacher), staged once per node, published for each pod.

What was published is written beside the mount (`vol_data.json`), so that an agent that was restarted, or finds a pod
that nobody knows any more, can give it back. Upstream: pkg/volume/csi/{csi_mounter.go,csi_attacher.go}.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timonel.aio.clock import Clock
from timonel.aio.threads import Threads
from timonel.client.transport import Resource, Transport, Unreachable
from timonel.machinery.errors import NotFound, StatusError
from timonel.node import amounts
from timonel.node.plugins.csi import EXPANDS, SETS_GROUP, STAGES, TELLS_WRITERS, Access, CsiDriver, CsiDrivers
from timonel.node.plugins.rpc import PluginFailed
from timonel.node.volumes import mounts, ownership
from timonel.node.volumes.source import Context, VolumeError
from timonel.objects.meta import Key, Object, format_time, key_of, uid_of
from timonel.records import dataclass

logger = logging.getLogger(__name__)

KIND = "kubernetes.io~csi"
CLAIMS = Resource("", "v1", "persistentvolumeclaims", True)
PENDING = "FileSystemResizePending"
RESIZE_TYPES = (PENDING, "Resizing", "ControllerResizeError", "NodeResizeError")
DATA = "vol_data.json"
CSI_DRIVERS = Resource("storage.k8s.io", "v1", "csidrivers", False)
ATTACHMENTS = Resource("storage.k8s.io", "v1", "volumeattachments", False)
SECRETS = Resource("", "v1", "secrets", True)
WAIT_ATTACHED, LOOK = 15.0, 0.3
GIVE_UP, RETRY, RETRY_LIMIT = 120.0, 0.5, 10.0
_MODES = {"ReadWriteOnce": 1, "ReadOnlyMany": 3, "ReadWriteMany": 5, "ReadWriteOncePod": 1}
_EXACT_MODES = {"ReadWriteOnce": 7, "ReadWriteOncePod": 6}


@dataclass(frozen=True, slots=True)
class Wanted:
    """One volume of one pod. `source` is the PV's or the pod's `csi`."""

    spec_name: str  # the PV's name, or the volume's
    handle: str
    source: Mapping[str, Any]
    modes: Sequence[str]
    options: Sequence[str]
    is_ephemeral: bool
    read_only: bool
    is_block: bool = False


@dataclass(frozen=True, slots=True)
class Published:
    """What is noted of a volume of a pod: `place` is where. `staged` is empty for a driver that does not stage."""

    place: Path
    driver: str
    handle: str
    target: str
    staged: str


def of_claim(pv: Object, volume: Mapping[str, Any]) -> Wanted:
    spec = pv["spec"]
    source = spec["csi"]
    claim = volume.get("persistentVolumeClaim") or {}
    return Wanted(
        spec_name=pv["metadata"]["name"],
        handle=source["volumeHandle"],
        source=source,
        modes=spec.get("accessModes") or (),
        options=spec.get("mountOptions") or (),
        is_ephemeral=False,
        read_only=bool(source.get("readOnly") or claim.get("readOnly")),
        is_block=spec.get("volumeMode") == "Block",
    )


def of_pod(pod: Object, volume: Mapping[str, Any]) -> Wanted:
    """An inline volume: it lives and dies with its pod, and so has a handle of its own."""
    digest = hashlib.sha256(f"{uid_of(pod)}{volume['name']}".encode()).hexdigest()
    source = volume["csi"]
    return Wanted(
        spec_name=volume["name"],
        handle=f"csi-{digest}",
        source=source,
        modes=(),
        options=(),
        is_ephemeral=True,
        read_only=bool(source.get("readOnly")),
    )


def attachment_name(handle: str, driver: str, node: str) -> str:
    return f"csi-{hashlib.sha256(f'{handle}{driver}{node}'.encode()).hexdigest()}"


def unique_name(driver: str, handle: str) -> str:
    """What the node's status calls it."""
    return f"kubernetes.io/csi/{driver}^{handle}"


def pod_info(pod: Object, *, is_ephemeral: bool) -> dict[str, str]:
    meta = pod["metadata"]
    return {
        "csi.storage.k8s.io/pod.name": meta["name"],
        "csi.storage.k8s.io/pod.namespace": meta["namespace"],
        "csi.storage.k8s.io/pod.uid": meta["uid"],
        "csi.storage.k8s.io/serviceAccount.name": pod["spec"].get("serviceAccountName", ""),
        "csi.storage.k8s.io/ephemeral": "true" if is_ephemeral else "false",
    }


def mode_of(modes: Sequence[str], *, exact: bool) -> int:
    """`exact`: the driver tells apart who writes."""
    mode = next((m for m in ("ReadWriteMany", "ReadWriteOncePod", "ReadWriteOnce") if m in modes), None)
    mode = mode or next(iter(modes), "ReadWriteOnce")
    return (_EXACT_MODES if exact else _MODES).get(mode, _MODES.get(mode, 1))


def changes_owner(policy: str, source: Mapping[str, Any], modes: Sequence[str]) -> bool:
    """Whether fsGroup is ours to apply."""
    if policy == "File":
        return True
    return policy != "None" and bool(source.get("fsType")) and "ReadWriteOnce" in modes


class CsiVolumes:
    """`root` is the node's directory as the drivers see it (/var/lib/kubelet, where that can be)."""

    def __init__(
        self,
        transport: Transport,
        drivers: CsiDrivers,
        clock: Clock,
        threads: Threads,
        *,
        node: str,
        root: Path,
    ) -> None:
        self._transport = transport
        self._drivers = drivers
        self._clock = clock
        self._threads = threads
        self._node = node
        self._root = root
        self._locks: dict[str, asyncio.Lock] = {}  # by handle: two pods of one volume take turns

    # ---- for a pod

    async def publish(self, context: Context, wanted: Wanted) -> str:
        """Where the volume is now. Safe to repeat."""
        pod = context.pod
        name = wanted.source["driver"]
        driver = self._drivers.get(name)
        if driver is None:
            raise VolumeError(
                f"kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: driver name {name} "
                "not found in the list of registered CSI drivers"
            )
        place = self._root / "pods" / uid_of(pod) / "volumes" / KIND / wanted.spec_name
        target = (
            self._devices / "publish" / wanted.spec_name / uid_of(pod) if wanted.is_block else place / "mount"
        )
        if await self._threads.run(_is_there, target):
            return str(target)
        try:
            settings = await self._settings(name)
            async with self._locks.setdefault(wanted.handle, asyncio.Lock()):
                await self._publish(context, wanted, driver, settings, place, target)
        except PluginFailed as e:
            raise VolumeError(str(e)) from e
        except (StatusError, Unreachable) as e:
            raise VolumeError(f"kubernetes.io/csi: {e}") from e
        return str(target)

    async def _settings(self, driver: str) -> Mapping[str, Any]:
        """The CSIDriver's spec; {} for a driver that has none."""
        try:
            found: Mapping[str, Any] = (await self._transport.get(CSI_DRIVERS, Key("", driver)))["spec"]
            return found
        except NotFound:
            return {}

    async def _publish(
        self,
        context: Context,
        wanted: Wanted,
        driver: CsiDriver,
        settings: Mapping[str, Any],
        place: Path,
        target: Path,
    ) -> None:
        pod, source = context.pod, wanted.source
        lives = "Ephemeral" if wanted.is_ephemeral else "Persistent"
        allowed = settings.get("volumeLifecycleModes") or ["Persistent"]
        if lives not in allowed:
            raise VolumeError(
                f'volume mode "{lives}" not supported by driver {driver.name} (only supports {allowed})'
            )
        published: Mapping[str, str] = {}
        if not wanted.is_ephemeral and settings.get("attachRequired") is not False:
            published = await self._attached(wanted, driver.name)
        owner_is_ours = changes_owner(settings.get("fsGroupPolicy", ""), source, wanted.modes)
        group = context.fs_group
        by_driver = group is not None and await driver.can(SETS_GROUP)
        exact = await driver.can(TELLS_WRITERS)
        access = Access(
            mode_of(wanted.modes, exact=exact),
            source.get("fsType") or "",
            tuple(wanted.options),
            str(group) if by_driver else "",
            wanted.is_block,
        )
        attributes = dict(source.get("volumeAttributes") or {})
        staged = ""
        if not wanted.is_ephemeral and await driver.can(STAGES):
            staged = str(self._staging(driver.name, wanted))
            await self._threads.run(_make_directory, Path(staged))
            secrets = await self._secret(source.get("nodeStageSecretRef"), "")
            await driver.stage(
                wanted.handle, staged, access, published=published, secrets=secrets, attributes=attributes
            )
        if settings.get("podInfoOnMount"):
            attributes |= pod_info(pod, is_ephemeral=wanted.is_ephemeral)
        attributes |= await self._tokens(context, settings)
        await self._threads.run(_note, Published(place, driver.name, wanted.handle, str(target), staged))
        await driver.publish(
            wanted.handle,
            str(target),
            access,
            staged=staged,
            read_only=wanted.read_only,
            published=published,
            secrets=await self._secret(source.get("nodePublishSecretRef"), pod["metadata"]["namespace"]),
            attributes=attributes,
        )
        if wanted.is_block:
            return
        if group is not None and owner_is_ours and not by_driver and not wanted.read_only:
            lazily = (pod["spec"].get("securityContext") or {}).get("fsGroupChangePolicy") == "OnRootMismatch"
            await self._threads.run(_give, target, group, lazily)

    @property
    def _devices(self) -> Path:
        return self._root / "plugins" / "kubernetes.io" / "csi" / "volumeDevices"

    def _staging(self, driver: str, wanted: Wanted) -> Path:
        if wanted.is_block:
            return self._devices / "staging" / wanted.spec_name
        digest = hashlib.sha256(wanted.handle.encode()).hexdigest()
        return self._root / "plugins" / "kubernetes.io" / "csi" / driver / digest / "globalmount"

    async def _attached(self, wanted: Wanted, driver: str) -> Mapping[str, str]:
        """What the attacher has to say to the node, once the volume is attached."""
        name = attachment_name(wanted.handle, driver, self._node)
        until = self._clock.monotonic() + WAIT_ATTACHED
        while True:
            try:
                status = (await self._transport.get(ATTACHMENTS, Key("", name))).get("status") or {}
            except NotFound:
                status = {}
            if status.get("attached"):
                found: Mapping[str, str] = status.get("attachmentMetadata") or {}
                return found
            if self._clock.monotonic() >= until:
                why = (status.get("attachError") or {}).get(
                    "message"
                ) or "volume attachment is being waited for"
                raise VolumeError(f'volume "{wanted.spec_name}" is not attached: {why}')
            await self._clock.sleep(LOOK)

    async def _secret(self, ref: Mapping[str, str] | None, namespace: str) -> dict[str, str]:
        if not ref:
            return {}
        found = await self._transport.get(SECRETS, Key(ref.get("namespace") or namespace, ref["name"]))
        return {k: base64.b64decode(v).decode() for k, v in (found.get("data") or {}).items()}

    async def _tokens(self, context: Context, settings: Mapping[str, Any]) -> dict[str, str]:
        tokens = dict[str, Any]()
        for request in settings.get("tokenRequests") or ():
            audience = request.get("audience") or ""
            token, expiry = await context.token(audience, request.get("expirationSeconds") or 3600)
            tokens[audience] = {"token": token, "expirationTimestamp": format_time(expiry)}
        return {"csi.storage.k8s.io/serviceAccount.tokens": json.dumps(tokens)} if tokens else {}

    # ---- growing

    async def grow(self, wanted: Wanted, claim: Object, pv: Object) -> bool:
        """The driver's controller made the volume larger, and waits for the node: whether that is done now."""
        conditions = (claim.get("status") or {}).get("conditions") or ()
        if not any(c["type"] == PENDING and c["status"] == "True" for c in conditions):
            return False
        driver = self._drivers.get(wanted.source["driver"])
        notes = await self._threads.run(_all_noted, self._root / "pods")
        here = [n for n in notes if (n.driver, n.handle) == (wanted.source["driver"], wanted.handle)]
        if driver is None or not here:
            return False
        size = pv["spec"]["capacity"]["storage"]
        access = Access(mode_of(wanted.modes, exact=False), wanted.source.get("fsType") or "",
                        is_block=wanted.is_block)  # fmt: skip
        try:
            if await driver.can(EXPANDS):
                await driver.expand(
                    wanted.handle, here[0].target, here[0].staged, amounts.whole(size), access
                )
            gone = [{"$patch": "delete", "type": c["type"]} for c in conditions if c["type"] in RESIZE_TYPES]
            patch = {"status": {"capacity": {"storage": size}, "conditions": gone}}
            await self._transport.patch(CLAIMS, key_of(claim), patch, kind="strategic", subresource="status")
        except PluginFailed as e:
            raise VolumeError(f"NodeExpandVolume failed: {e}") from e
        except (StatusError, Unreachable) as e:
            raise VolumeError(f"kubernetes.io/csi: {e}") from e
        return True

    # ---- and back

    async def unpublish(self, uid: str) -> None:
        """All volumes of a pod. A driver that does not answer is asked again for a while; then its mounts are taken
        from it, since the pod could never go otherwise."""
        for found in await self._threads.run(_noted, self._root / "pods" / uid):
            async with self._locks.setdefault(found.handle, asyncio.Lock()):
                await self._unpublish(found)
            self._locks.pop(found.handle, None)

    async def _unpublish(self, found: Published) -> None:
        handle, target, staged = found.handle, found.target, found.staged
        await self._insist(found.driver, f"unpublish of {handle}", lambda d: d.unpublish(handle, target))
        await self._threads.run(_forget, found)
        others = await self._threads.run(_all_noted, self._root / "pods")
        if staged and not any((o.driver, o.handle) == (found.driver, handle) for o in others):
            await self._insist(found.driver, f"unstage of {handle}", lambda d: d.unstage(handle, staged))
            await self._threads.run(_clear, Path(staged))

    async def _insist(self, name: str, what: str, call: Any) -> None:
        delay, until = RETRY, self._clock.monotonic() + GIVE_UP
        while True:
            driver = self._drivers.get(name)
            error = f"driver {name} is not there"
            if driver is not None:
                try:
                    await call(driver)
                    return
                except PluginFailed as e:
                    error = str(e)
                    if e.code == "NotFound":
                        return
            if self._clock.monotonic() + delay > until:
                logger.warning("Gave up on a CSI driver", extra={"what": what, "error": error})
                return
            await self._clock.sleep(delay)
            delay = min(2 * delay, RETRY_LIMIT)

    async def in_use(self) -> list[str]:
        """As the node's status names them."""
        found = await self._threads.run(_all_noted, self._root / "pods")
        return sorted({unique_name(volume.driver, volume.handle) for volume in found})


def _make_directory(path: Path) -> None:
    path.mkdir(0o750, parents=True, exist_ok=True)


def _give(path: Path, group: int, lazily: bool) -> None:
    ownership.give_to_group(path, group, only_if_root_differs=lazily)


def _is_there(target: Path) -> bool:
    return target.is_block_device() or mounts.is_mounted(target)


def _note(published: Published) -> None:
    published.place.mkdir(0o750, parents=True, exist_ok=True)
    Path(published.target).parent.mkdir(0o750, parents=True, exist_ok=True)
    fresh = published.place / f"{DATA}.new"
    data = {
        "driverName": published.driver,
        "volumeHandle": published.handle,
        "targetPath": published.target,
        "stagingPath": published.staged,
    }
    fresh.write_text(json.dumps(data))
    os.replace(fresh, published.place / DATA)


def _noted(pod: Path) -> list[Published]:
    found = []
    for file in sorted((pod / "volumes" / KIND).glob(f"*/{DATA}")):
        try:
            data = json.loads(file.read_text())
            names = ("driverName", "volumeHandle", "targetPath", "stagingPath")
            found.append(Published(file.parent, *(str(data[name]) for name in names)))
        except (OSError, ValueError, KeyError):
            continue  # half written by an agent that ended there: nothing was published yet
    return found


def _all_noted(pods: Path) -> list[Published]:
    return [entry for pod in pods.iterdir() for entry in _noted(pod)] if pods.is_dir() else []


def _forget(published: Published) -> None:
    (published.place / DATA).unlink(missing_ok=True)
    _clear(Path(published.target))


def _clear(path: Path) -> None:
    """Unmount what is left there, and remove the directory or file if it is empty then."""
    mounts.clear(path)
    with contextlib.suppress(OSError):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
