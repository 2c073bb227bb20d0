"""podFailurePolicy and successPolicy: what a failed pod means, and when enough indexes have succeeded.

Upstream: pkg/controller/job/pod_failure_policy.go, success_policy.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from timonel.controllers.job import indexes
from timonel.objects.meta import Object, key_of


class Match(NamedTuple):
    action: str  # FailJob, FailIndex, Ignore or Count
    message: str


COUNT = Match("Count", "")


def match(job: Object, pod: Object) -> Match:
    """The first rule that the failed pod meets; without one it counts towards backoffLimit."""
    rules = (job["spec"].get("podFailurePolicy") or {}).get("rules") or ()
    for number, rule in enumerate(rules):
        action = rule["action"]
        if rule.get("onExitCodes"):
            found = _exited(rule["onExitCodes"], pod)
            if found is not None:
                name, code = found
                text = f"Container {name} for pod {key_of(pod)} failed with exit code {code}"
                return Match(action, f"{text} matching {action} rule at index {number}")
        elif (type_ := _has_condition(rule.get("onPodConditions") or (), pod)) is not None:
            text = f"Pod {key_of(pod)} has condition {type_} matching {action} rule at index {number}"
            return Match(action, text)
    return COUNT


def _exited(requirement: Mapping[str, Any], pod: Object) -> tuple[str, int] | None:
    status = pod.get("status") or {}
    for container in (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())):
        if requirement.get("containerName") not in (None, "", container["name"]):
            continue
        ended = (container.get("state") or {}).get("terminated")
        if ended is None or not ended.get("exitCode", 0):
            continue
        if (ended["exitCode"] in requirement["values"]) == (requirement["operator"] == "In"):
            return container["name"], ended["exitCode"]
    return None


def _has_condition(patterns: Iterable[Mapping[str, Any]], pod: Object) -> str | None:
    wanted = {(p["type"], p.get("status", "True")) for p in patterns}
    found = (pod.get("status") or {}).get("conditions") or ()
    return next((c["type"] for c in found if (c["type"], c["status"]) in wanted), None)


def fail_message(job: Object, failed: Iterable[Object]) -> str | None:
    """Why the whole Job fails at once, if a rule says so."""
    if not job["spec"].get("podFailurePolicy"):
        return None
    matches = (match(job, pod) for pod in failed)
    return next((m.message for m in matches if m.action == "FailJob"), None)


def success_message(job: Object, succeeded: set[int]) -> str | None:
    for number, rule in enumerate((job["spec"].get("successPolicy") or {}).get("rules") or ()):
        wanted = succeeded
        if rule.get("succeededIndexes"):
            listed = indexes.parse(rule["succeededIndexes"], job["spec"].get("completions", 0))
            wanted = succeeded & listed
            needed = rule.get("succeededCount") or len(listed)
        else:
            needed = rule.get("succeededCount") or 0
        if needed and len(wanted) >= needed:
            return f"Matched rules at index {number}"
    return None
