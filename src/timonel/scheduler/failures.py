"""What plugins raise that they should not: told in upstream's words, and logged once with where it comes from.

Upstream: framework/runtime/framework.go.
"""

from __future__ import annotations

import logging

from timonel.objects.meta import Key
from timonel.scheduler.framework import PluginFailed

logger = logging.getLogger(__name__)

Place = tuple[type[BaseException], str, int]


def said(exc: BaseException) -> str:
    return str(exc) or type(exc).__name__


def at_point(point: str, plugin: str, exc: Exception) -> PluginFailed:
    return PluginFailed(f'running {point} plugin "{plugin}": {said(exc)}')


def at_filter(plugin: str, exc: Exception) -> PluginFailed:
    return PluginFailed(f'running "{plugin}" filter plugin: {said(exc)}')


def at_scores(what: str, plugin: str, exc: Exception) -> PluginFailed:
    return PluginFailed(f'{what} Score plugins: plugin "{plugin}" failed with: {said(exc)}')


def at_change(sign: int, plugin: str, exc: Exception) -> PluginFailed:
    deed = "AddPod" if sign > 0 else "RemovePod"
    return PluginFailed(f'running {deed} on PreFilter plugin "{plugin}": {said(exc)}')


class Failures:
    """A pod is tried again and again: a traceback is of use once for each place that failures come from."""

    def __init__(self) -> None:
        self._known: set[Place] = set()

    def log(self, what: str, exc: Exception, pod: Key) -> None:
        place = _place(exc)
        is_new = place not in self._known
        self._known.add(place)
        logger.error("%s: %s", what, said(exc), extra={"pod": str(pod)}, exc_info=exc if is_new else None)


def _place(exc: BaseException) -> Place:
    """Where the first of a chain was raised."""
    while exc.__cause__ is not None:
        exc = exc.__cause__
    trace = exc.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = ("", 0) if trace is None else (trace.tb_frame.f_code.co_filename, trace.tb_lineno)
    return (type(exc), *where)
