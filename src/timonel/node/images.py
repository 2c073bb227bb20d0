"""Images on the node: present, pulled or backed off, in upstream's words.

One pull per image at a time; different images in parallel, or so many at once, first come first served.
Upstream: pkg/kubelet/images/image_manager.go, puller.go.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from timonel.aio.clock import Clock
from timonel.client.events import EventRecorder
from timonel.node import backoff, imagenames
from timonel.node.backoff import Backoff
from timonel.node.cri.errors import RuntimeFailure
from timonel.node.cri.runtime import Auth, Image, Images
from timonel.node.imagerecords import Credential, PullRecords, of_secrets
from timonel.node.measures import Measures
from timonel.objects.meta import Object, uid_of


class ImageError(Exception):
    """`reason` is the container's waiting reason; `retry_at` is when another try may be made."""

    def __init__(self, reason: str, message: str, retry_at: float | None = None) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.retry_at = retry_at


Credentials = Callable[[str, Object], Awaitable[list[Auth]]]


class ImageManager:
    """`at_once` pulls at the most; 0 is no limit. `credentials` says what fits an image beside the pod's secrets.
    `pulls` knows who may use what is there; without it everybody may."""

    def __init__(
        self,
        runtime: Images,
        clock: Clock,
        records: EventRecorder,
        *,
        at_once: int = 0,
        credentials: Credentials | None = None,
        measures: Measures | None = None,
        pulls: PullRecords | None = None,
    ) -> None:
        self._pulls = pulls
        self._measures = measures or Measures()
        self._turns: contextlib.AbstractAsyncContextManager[None] = (
            asyncio.Semaphore(at_once) if at_once else contextlib.nullcontext()
        )
        self._credentials = credentials
        self._runtime = runtime
        self._clock = clock
        self._records = records
        self._locks: dict[str, asyncio.Lock] = {}
        # (pod uid, image) -> entry, last message
        self._backoffs: dict[tuple[str, str], tuple[Backoff, str]] = {}

    async def ensure(self, pod: Object, container: Mapping[str, Any], secrets: Sequence[Object]) -> Image:
        """The image of a container, pulled if its policy says so."""
        name, image = container["name"], container["image"]
        if not imagenames.is_valid(image):
            message = (
                f'Failed to apply default image tag "{image}": '
                f'couldn\'t parse image reference "{image}": invalid reference format'
            )
            self._records.record(pod, "Warning", "InspectFailed", message, container=name)
            raise ImageError("InvalidImageName", message, self._clock.now() + backoff.LIMIT)
        full = imagenames.normalized(image)
        policy = container.get("imagePullPolicy", "IfNotPresent")
        found = await self._inspect(pod, container, full)
        if found is not None and policy != "Always" and not await self._may_use(found, full, pod, secrets):
            found = None
        if policy == "Never" and found is None:
            message = f'Container image "{image}" is not present with pull policy of Never'
            self._records.record(pod, "Warning", "ErrImageNeverPull", message, container=name)
            raise ImageError("ErrImageNeverPull", message, self._clock.now() + backoff.INITIAL)
        if found is not None and policy != "Always":
            message = f'Container image "{image}" already present on machine and can be accessed by the pod'
            self._records.record(pod, "Normal", "Pulled", message, container=name)
            return found
        self._refuse_in_backoff(pod, container)
        return await self._pull(pod, container, full, secrets)

    async def _may_use(self, found: Image, full: str, pod: Object, secrets: Sequence[Object]) -> bool:
        """Who could not have pulled an image does not get it because somebody else did."""
        is_open = self._pulls.is_open(full, found.id) if self._pulls is not None else True
        if is_open is not None or self._pulls is None:
            return bool(is_open)
        return self._pulls.admits(full, found.id, await self._fitting(full, pod, secrets))

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        for key in [key for key in self._backoffs if key[0] == uid]:
            del self._backoffs[key]

    async def _inspect(self, pod: Object, container: Mapping[str, Any], full: str) -> Image | None:
        try:
            return await self._runtime.image_status(full)
        except RuntimeFailure as e:
            message = f'Failed to inspect image "{container["image"]}": {e.text}'
            self._records.record(pod, "Warning", "InspectFailed", message, container=container["name"])
            raise ImageError("ImageInspectError", message, self._clock.now() + 1) from e

    def _refuse_in_backoff(self, pod: Object, container: Mapping[str, Any]) -> None:
        image, now = container["image"], self._clock.now()
        entry, why = self._backoffs.get((uid_of(pod), image), (None, ""))
        until = backoff.waits_until(entry, entry.updated if entry else now, now)
        if until is None:
            return
        message = f'Back-off pulling image "{image}"'
        self._records.record(pod, "Normal", "BackOff", message, container=container["name"])
        raise ImageError("ImagePullBackOff", f"{message}: ErrImagePull: {why}", until)

    async def _pull(
        self, pod: Object, container: Mapping[str, Any], full: str, secrets: Sequence[Object]
    ) -> Image:
        name, image = container["name"], container["image"]
        self._records.record(pod, "Normal", "Pulling", f'Pulling image "{image}"', container=name)
        asked = self._clock.monotonic()
        lock = self._locks.setdefault(full, asyncio.Lock())
        try:
            async with lock, self._turns:
                started = self._clock.monotonic()
                used = await self._recorded(full, self._fetch(full, pod, secrets))
                took = self._clock.monotonic() - started
            found = await self._runtime.image_status(full)
            if found is None:
                raise RuntimeFailure(f'image "{full}" vanished after it was pulled')
            if self._pulls is not None:
                self._pulls.pulled(full, found.id, used, self._clock.now())
        except RuntimeFailure as e:
            now = self._clock.now()
            key = (uid_of(pod), image)
            entry = backoff.advance(self._backoffs.get(key, (None, ""))[0], now, now)
            self._backoffs[key] = (entry, e.text)
            message = f'Failed to pull image "{image}": {e.text}'
            self._records.record(pod, "Warning", "Failed", message, container=name)
            # a moment later: the state ErrImagePull is shown, then ImagePullBackOff
            raise ImageError("ErrImagePull", e.text, now + 1) from e
        finally:
            if not lock.locked():
                self._locks.pop(full, None)
        self._backoffs.pop((uid_of(pod), image), None)
        whole = self._clock.monotonic() - asked
        self._measures.pulled(found.size, took)
        message = (
            f'Successfully pulled image "{image}" in {spoken_time(took)} ({spoken_time(whole)} including waiting). '
            f"Image size: {found.size} bytes."
        )
        self._records.record(pod, "Normal", "Pulled", message, container=name)
        return found

    async def _recorded(self, full: str, pull: Awaitable[Credential | None]) -> Credential | None:
        """An agent that dies meanwhile knows afterwards that the image, if it is there, is not everybody's."""
        if self._pulls is None:
            return await pull
        self._pulls.begin(full)
        try:
            return await pull
        except BaseException:
            self._pulls.fail(full)
            raise

    async def _fitting(self, full: str, pod: Object, secrets: Sequence[Object]) -> list[Credential]:
        found = of_secrets(full, secrets)
        if self._credentials is not None:
            found += [Credential(auth) for auth in await self._credentials(full, pod)]
        return found

    async def _fetch(self, full: str, pod: Object, secrets: Sequence[Object]) -> Credential | None:
        """What it was pulled with."""
        failure: RuntimeFailure | None = None
        anonymous: list[Credential | None] = [None]
        for used in await self._fitting(full, pod, secrets) or anonymous:
            try:
                await self._runtime.pull_image(full, used.auth if used is not None else None)
                return used
            except RuntimeFailure as e:
                failure = e
        assert failure is not None
        raise failure


def spoken_time(seconds: float) -> str:
    """To the millisecond, as Go prints a truncated Duration: 12ms, 1.234s, 1m2.5s."""
    millis = int(seconds * 1000)
    if millis < 1000:
        return f"{millis}ms" if millis else "0s"
    minutes, rest = divmod(millis, 60_000)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{minutes}m{text}" if minutes else text
