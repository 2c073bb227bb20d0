"""From a decision to a binding: what plugins and extenders do about the one node that was chosen.

Upstream: pkg/scheduler/schedule_one.go (bindingCycle, bind), framework/runtime/framework.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from timonel.client.transport import Unreachable
from timonel.machinery.errors import StatusError
from timonel.objects.meta import Object
from timonel.scheduler import cycle, failures
from timonel.scheduler.extenders import Extender, ExtenderFailed
from timonel.scheduler.framework import Nomination, PluginFailed, Rejected, State, Work
from timonel.scheduler.measures import FAILED, REFUSED, SUCCESS, Measures
from timonel.scheduler.podinfo import PodInfo
from timonel.scheduler.profile import Profile
from timonel.scheduler.telling import Statuses

logger = logging.getLogger(__name__)

EXPECTED = "expected on"  # among the notes: the node that the pod's status names by now


class Binding:
    """`permitting` are the pods that wait for a permit, by uid."""

    def __init__(
        self,
        extenders: Sequence[Extender],
        statuses: Statuses,
        measures: Measures,
        permitting: dict[str, asyncio.Task[None]],
        in_background: Callable[[Work], None],
    ) -> None:
        self._in_background = in_background
        self._extenders, self._statuses, self._measures = extenders, statuses, measures
        self._permitting = permitting

    def reserve(self, profile: Profile, state: State, row: int) -> None:
        since, name = self._measures.watch(), profile.scheduler_name
        for plugin in profile.reserve:
            try:
                plugin.reserve(state, row)
            except Rejected as exc:
                self._measures.point("Reserve", name, since, REFUSED)
                raise cycle.refused(exc, profile.name_of(plugin)) from exc
            except Exception as exc:
                self._measures.point("Reserve", name, since, FAILED)
                raise failures.at_point("Reserve", profile.name_of(plugin), exc) from exc
        self._measures.point("Reserve", name, since)

    async def carry_out(self, profile: Profile, state: State, node: str) -> None:
        """Permit, work before the binding, the binding itself; raises what a plugin raises."""
        if profile.permit:
            await self._permit(profile, state.info, state, node)
        if _has_to_pre_bind(profile, state):
            await self._expect(state, node)
        await self._pre_bind(profile, state, node)
        await self._bind_by_plugin_or_extender(profile, state, node)

    async def _expect(self, state: State, node: str) -> None:
        """Say where the pod will run while there is still work to do before it is bound."""
        try:
            await self._statuses.update(state.info.pod, None, Nomination(node))
            state.notes[EXPECTED] = node
        except (StatusError, Unreachable) as failure:
            logger.info("Could not tell the node that a pod is expected on: %s", failure)

    async def _expect_if_it_waits(self, state: State, node: str) -> None:
        """Most permits are given at once."""
        if state.info.uid in self._permitting:
            await self._expect(state, node)

    async def _pre_bind(self, profile: Profile, state: State, node: str) -> None:
        since, name = self._measures.watch(), profile.scheduler_name
        for plugin in profile.pre_bind:
            try:
                await plugin.pre_bind(state, node)
            except Rejected:
                self._measures.point("PreBind", name, since, REFUSED)
                raise
            except Exception as exc:
                self._measures.point("PreBind", name, since, FAILED)
                raise failures.at_point("PreBind", profile.name_of(plugin), exc) from exc
        self._measures.point("PreBind", name, since)

    def post_bind(self, profile: Profile, state: State, node: str) -> None:
        since = self._measures.watch()
        for plugin in profile.post_bind:
            try:
                plugin.post_bind(state, node)
            except Exception:  # the pod is bound, whatever comes of it
                logger.exception("A plugin failed after a binding", extra={"pod": str(state.info.key)})
        self._measures.point("PostBind", profile.scheduler_name, since)

    async def _bind_by_plugin_or_extender(self, profile: Profile, state: State, node: str) -> None:
        since, name = self._measures.watch(), profile.scheduler_name
        for extender in self._extenders:
            if extender.config.bind_verb and extender.is_interested(state.info):
                try:
                    return await extender.bind(state.info.pod, node)
                except ExtenderFailed as exc:
                    if not extender.config.ignorable:
                        raise
                    logger.info("Skipping an extender that could not bind a pod and may be ignored: %s", exc)
        for plugin in profile.bind:
            try:
                did = await plugin.bind(state, node)
            except Rejected:
                self._measures.point("Bind", name, since, REFUSED)
                raise
            except Exception as exc:
                self._measures.point("Bind", name, since, FAILED)
                raise failures.at_point("Bind", profile.name_of(plugin), exc) from exc
            if did is not False:
                return self._measures.point("Bind", name, since)
        raise PluginFailed("no bind plugin has bound the pod")

    async def _permit(self, profile: Profile, info: PodInfo, state: State, node: str) -> None:
        """Plugins may let the pod wait; a pod of higher priority that needs its place ends that."""
        waiting = asyncio.current_task()
        assert waiting is not None
        self._permitting[info.uid] = waiting
        self._in_background(lambda: self._expect_if_it_waits(state, node))
        since, status, plugin = self._measures.watch(), FAILED, ""
        try:
            for permit in profile.permit:
                plugin = profile.name_of(permit)
                await permit.permit(state, node)
            status = SUCCESS
        except asyncio.CancelledError:
            if info.uid in self._permitting or waiting.uncancel():
                raise
            status = REFUSED
            raise cycle.refused(Rejected("preempted"), plugin) from None
        except Rejected as exc:
            status = REFUSED
            raise cycle.refused(exc, plugin) from exc
        except Exception as exc:
            raise failures.at_point("Permit", plugin, exc) from exc
        finally:
            self._permitting.pop(info.uid, None)
            self._measures.point("Permit", profile.scheduler_name, since, status)
            self._measures.permits[status].add(self._measures.watch() - since)


def _has_to_pre_bind(profile: Profile, state: State) -> bool:
    """Whether there is anything to do before the binding; raises PluginFailed."""
    for plugin in profile.pre_flight:
        try:
            if plugin.has_to_pre_bind(state):
                return True
        except Exception as exc:
            name = profile.name_of(plugin)
            raise PluginFailed(f'running PreBindPreFlight "{name}": {failures.said(exc)}') from exc
    return False


def expecting(pod: Object | None, state: State) -> Object | None:
    """The pod with the node that its status names, though the cache may not show it yet."""
    node = state.notes.get(EXPECTED)
    if pod is None or not node:
        return pod
    return {**pod, "status": {**(pod.get("status") or {}), "nominatedNodeName": node}}
