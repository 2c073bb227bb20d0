"""How long admission takes. Upstream: apiserver/pkg/admission/metrics/metrics.go."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from timonel.aio.clock import stopwatch
from timonel.aio.histogram import Histogram
from timonel.server.metrics.text import HISTOGRAM, STABLE, Family
from timonel.server.request import AdmissionCall
from timonel.server.verbs.call import Admission

BOUNDS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5)

Step = Callable[[AdmissionCall], Coroutine[Any, Any, None]]


class Times:
    """By step, operation and outcome."""

    def __init__(self) -> None:
        self._histograms: dict[tuple[str, str, bool], Histogram] = {}

    def add(self, step: str, operation: str, seconds: float, *, rejected: bool) -> None:
        key = (step, operation, rejected)
        found = self._histograms.get(key)
        if found is None:
            found = self._histograms[key] = Histogram(BOUNDS)
        found.add(seconds)

    def families(self) -> Iterator[Family]:
        yield Family(
            "apiserver_admission_step_admission_duration_seconds",
            HISTOGRAM,
            "Admission sub-step latency histogram in seconds, broken out for each operation and API resource and step "
            "type (validate or admit).",
            histograms=[
                (
                    (("operation", operation), ("rejected", str(rejected).lower()), ("type", step)),
                    histogram,
                )
                for (step, operation, rejected), histogram in self._histograms.items()
            ],
            stability=STABLE,
        )


class MeasuredAdmission(Admission):
    """The plugins, with a look at the stopwatch before and after each of the two steps."""

    times: Times

    async def admit(self, call: AdmissionCall) -> None:
        await self._measured("admit", super().admit, call)

    async def validate(self, call: AdmissionCall) -> None:
        await self._measured("validate", super().validate, call)

    async def _measured(self, name: str, step: Step, call: AdmissionCall) -> None:
        started, rejected = stopwatch(), True
        try:
            await step(call)
            rejected = False
        finally:
            self.times.add(name, call.operation.value, stopwatch() - started, rejected=rejected)
