"""How long webhooks and policies take, and what they refuse.

Upstream: apiserver/pkg/admission/metrics/metrics.go, admission/plugin/policy/{validating,mutating}/metrics/metrics.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from timonel.aio.histogram import Histogram
from timonel.server.metrics.text import BETA, COUNTER, HISTOGRAM, STABLE, Counts, Family

WEBHOOK_BOUNDS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0)
POLICY_BOUNDS = (0.0000005, 0.001, 0.01, 0.1, 1.0)
CALLING, INTERNAL, NO_ERROR = "calling_webhook_error", "apiserver_internal_error", "no_error"

_CALLED = ("name", "type", "operation", "rejected")
_CHECKED = ("policy", "policy_binding", "error_type", "enforcement_action")

Keyed = dict[tuple[str, ...], Histogram]


class Figures:
    """Of one server."""

    def __init__(self) -> None:
        self._durations: Keyed = {}
        self._requests = Counts(("name", "type", "operation", "code", "rejected"))
        self._rejections = Counts(("name", "type", "operation", "error_type", "rejection_code"))
        self._open = Counts(("name", "type"))
        self._checks = {"validating": Counts(_CHECKED), "mutating": Counts(_CHECKED)}
        self._check_durations: dict[str, Keyed] = {"validating": {}, "mutating": {}}

    def called(
        self, name: str, kind: str, operation: str, *, code: int, rejected: bool, seconds: float
    ) -> None:
        """One call of a webhook; `kind` is admit or validating."""
        shown = str(rejected).lower()
        _add(self._durations, (name, kind, operation, shown), seconds, WEBHOOK_BOUNDS)
        self._requests.add(name, kind, operation, str(code), shown)

    def rejected(self, name: str, kind: str, operation: str, error: str, code: int) -> None:
        self._rejections.add(name, kind, operation, error, str(code))

    def failed_open(self, name: str, kind: str) -> None:
        self._open.add(name, kind)

    def checked(self, kind: str, policy: str, binding: str, action: str, error: str, seconds: float) -> None:
        """One evaluation of a policy; `kind` is validating or mutating."""
        labels = (policy, binding, error, action)
        self._checks[kind].add(*labels)
        _add(self._check_durations[kind], labels, seconds, POLICY_BOUNDS)

    def families(self) -> Iterator[Family]:
        prefix = "apiserver_admission_webhook"
        yield Family(
            f"{prefix}_admission_duration_seconds",
            HISTOGRAM,
            "Seconds that calls of admission webhooks took, by webhook, phase and operation.",
            histograms=_shown(_CALLED, self._durations),
            stability=STABLE,
        )
        for name, about, counts in (
            ("request_total", "Calls of admission webhooks, by status code and outcome.", self._requests),
            ("rejection_count", "Writes that admission webhooks refused, and why.", self._rejections),
            ("fail_open_count", "Calls of admission webhooks that failed and were ignored.", self._open),
        ):
            yield Family(f"{prefix}_{name}", COUNTER, about, counts.samples())
        for kind in ("validating", "mutating"):
            family = f"apiserver_{kind}_admission_policy_check"
            yield Family(
                f"{family}_total",
                COUNTER,
                f"Evaluations of {kind} admission policies, by policy, binding and what came of it.",
                self._checks[kind].samples(),
                stability=BETA,
            )
            yield Family(
                f"{family}_duration_seconds",
                HISTOGRAM,
                f"Seconds that evaluations of {kind} admission policies took.",
                histograms=_shown(_CHECKED, self._check_durations[kind]),
                stability=BETA,
            )


def _add(kept: Keyed, key: tuple[str, ...], seconds: float, bounds: tuple[float, ...]) -> None:
    found = kept.get(key)
    if found is None:
        found = kept[key] = Histogram(bounds)
    found.add(seconds)


def _shown(
    names: tuple[str, ...], kept: Mapping[tuple[str, ...], Histogram]
) -> list[tuple[tuple[tuple[str, str], ...], Histogram]]:
    return [(tuple(zip(names, key, strict=True)), histogram) for key, histogram in kept.items()]
