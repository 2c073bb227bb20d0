"""Rules for the spec and the status of Jobs, alone and inside CronJobs.

Upstream: pkg/apis/batch/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from timonel.apis import checks
from timonel.apis.core.pod import validate_pod_template
from timonel.apis.core.podstructs import shown_template
from timonel.apis.templates import compiled, shown_selector
from timonel.machinery import field, names, selectors
from timonel.machinery.errors import Cause
from timonel.objects import conditions
from timonel.objects.meta import Object, nested, parse_time

_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_OPERATORS = ("In", "NotIn")
_MAX_INDEXES = 100_000
_MAX_RULES, _MAX_EXIT_CODES, _MAX_PATTERNS = 20, 255, 20


def _index_error(text: str) -> str:
    return f"cannot convert string to integer for index: {field.quote(text)}"


# ---- the spec


def validate_generated_selector(obj: Object) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    if spec.get("manualSelector") or spec.get("selector") is None:
        return
    metadata = obj["metadata"]
    uid, name = metadata.get("uid", ""), metadata.get("name", "")
    if not uid:
        yield field.required("metadata.uid")
    labels = nested(spec, "template", "metadata", "labels") or {}
    expected = {
        "controller-uid": uid,
        "job-name": name,
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
    }
    for key, value in (
        ("batch.kubernetes.io/controller-uid", uid),
        ("controller-uid", uid),
        ("batch.kubernetes.io/job-name", name),
        ("job-name", name),
    ):
        path = f"spec.template.metadata.labels[{key}]"
        if key not in labels:
            yield field.required(path, f"must be '{value}'")
        elif labels[key] != value:
            yield field.invalid(path, dict(sorted(labels.items())), f"must be '{value}'")
    selector = compiled(spec["selector"])
    if selector is not None and not selector.matches(expected):
        yield field.invalid(
            "spec.selector", shown_selector(spec["selector"]), "`selector` not auto-generated"
        )


def validate_spec(path: str, spec: Object) -> Iterator[Cause]:
    yield from validate_common(path, spec)
    selector = spec.get("selector")
    if selector is None:
        yield field.required(f"{path}.selector")
    else:
        yield from selectors.validate_label_selector(selector, f"{path}.selector")
    found = compiled(selector)
    labels = nested(spec, "template", "metadata", "labels")
    if found is not None and not found.matches(labels or {}):
        shown = dict(sorted(labels.items())) if labels else labels
        message = "`selector` does not match template `labels`"
        yield field.invalid(f"{path}.template.metadata.labels", shown, message)


def validate_common(path: str, spec: Object) -> Iterator[Cause]:
    """What holds for a Job's spec with or without a selector of its own."""
    for key in (
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
    ):
        yield from checks.not_negative(f"{path}.{key}", spec.get(key))
    if spec.get("maxFailedIndexes") is not None:
        yield from checks.not_negative(f"{path}.maxFailedIndexes", spec["maxFailedIndexes"])
        if spec.get("backoffLimitPerIndex") is None:
            yield field.required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified")
    if spec.get("managedBy") is not None:
        yield from _validate_managed_by(f"{path}.managedBy", spec["managedBy"])
    yield from _validate_mode(path, spec)
    if spec.get("podFailurePolicy") is not None:
        yield from _validate_failure_policy(f"{path}.podFailurePolicy", spec["podFailurePolicy"], spec)
    if spec.get("successPolicy") is not None:
        yield from _validate_success(f"{path}.successPolicy", spec)
    yield from _validate_replacement(path, spec)
    yield from validate_pod_template(spec.get("template") or {}, f"{path}.template")
    policy = nested(spec, "template", "spec", "restartPolicy") or ""
    where = f"{path}.template.spec.restartPolicy"
    if policy in ("", "Always"):
        yield field.required(where, 'valid values: "OnFailure", "Never"')
    elif policy not in ("OnFailure", "Never"):
        yield field.not_supported(where, policy, ("OnFailure", "Never"))
    elif policy == "OnFailure" and spec.get("podFailurePolicy") is not None:
        yield field.invalid(where, policy, 'only "Never" is supported when podFailurePolicy is specified')


def _validate_managed_by(path: str, value: str) -> Iterator[Cause]:
    yield from (
        checks.told(path, value, names.domain_prefixed_path(value)) if value else (field.required(path),)
    )
    if len(value) > 63:
        yield field.too_long(path, 63)


def _validate_mode(path: str, spec: Object) -> Iterator[Cause]:
    mode = spec.get("completionMode")
    if mode is not None and mode not in ("NonIndexed", "Indexed"):
        yield field.not_supported(f"{path}.completionMode", mode, ("NonIndexed", "Indexed"))
    if mode == "Indexed":
        completions = spec.get("completions")
        if completions is None:
            yield field.required(f"{path}.completions", "when completion mode is Indexed")
        parallelism, per_index = spec.get("parallelism"), spec.get("backoffLimitPerIndex")
        if parallelism is not None and parallelism > _MAX_INDEXES:
            message = f"must be less than or equal to {_MAX_INDEXES} when completion mode is Indexed"
            yield field.invalid(f"{path}.parallelism", parallelism, message)
        most = spec.get("maxFailedIndexes")
        if completions is not None and most is not None and most > completions:
            message = "must be less than or equal to completions"
            yield field.invalid(f"{path}.maxFailedIndexes", most, message)
        if most is not None and most > _MAX_INDEXES:
            yield field.invalid(
                f"{path}.maxFailedIndexes", most, f"must be less than or equal to {_MAX_INDEXES}"
            )
        if completions is not None and completions > _MAX_INDEXES and per_index is not None:
            yield from _validate_many_indexes(path, spec)
    if mode in (None, "NonIndexed"):
        for key in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if spec.get(key) is not None:
                yield field.invalid(f"{path}.{key}", spec[key], "requires indexed completion mode")


def _validate_many_indexes(path: str, spec: Object) -> Iterator[Cause]:
    parallelism, most = spec.get("parallelism"), spec.get("maxFailedIndexes")
    if most is None:
        yield field.required(
            f"{path}.maxFailedIndexes", f"must be specified when completions is above {_MAX_INDEXES}"
        )
    for key, value in (("parallelism", parallelism), ("maxFailedIndexes", most)):
        if value is not None and value > 10_000:
            message = (
                "must be less than or equal to 10000 when completions are above 100000 and used with backoff"
                " limit per index"
            )
            yield field.invalid(f"{path}.{key}", value, message)


def _validate_replacement(path: str, spec: Object) -> Iterator[Cause]:
    policy = spec.get("podReplacementPolicy")
    if policy is None:
        return
    if spec.get("podFailurePolicy") is not None:
        if policy != "Failed":
            yield field.not_supported(f"{path}.podReplacementPolicy", policy, ("Failed",))
    elif policy not in ("Failed", "TerminatingOrFailed"):
        yield field.not_supported(f"{path}.podReplacementPolicy", policy, ("Failed", "TerminatingOrFailed"))


def _validate_failure_policy(path: str, policy: Object, spec: Object) -> Iterator[Cause]:
    rules = policy.get("rules") or []
    if len(rules) > _MAX_RULES:
        yield field.too_many(f"{path}.rules", len(rules), _MAX_RULES)
    containers = {
        c.get("name", "")
        for key in ("containers", "initContainers")
        for c in nested(spec, "template", "spec", key) or ()
    }
    for index, rule in enumerate(rules):
        yield from _validate_failure_rule(f"{path}.rules[{index}]", rule, containers, spec)


def _validate_failure_rule(path: str, rule: Object, containers: set[str], spec: Object) -> Iterator[Cause]:
    action = rule.get("action", "")
    if not action:
        yield field.required(f"{path}.action", f"valid values: {_go_list(_ACTIONS)}")
    elif action == "FailIndex":
        if spec.get("backoffLimitPerIndex") is None:
            yield field.invalid(f"{path}.action", action, "requires the backoffLimitPerIndex to be set")
    elif action not in _ACTIONS:
        yield field.not_supported(f"{path}.action", action, _ACTIONS)
    codes, patterns = rule.get("onExitCodes"), rule.get("onPodConditions")
    if codes is not None:
        yield from _validate_exit_codes(f"{path}.onExitCodes", codes, containers)
    if patterns:
        if len(patterns) > _MAX_PATTERNS:
            yield field.too_many(f"{path}.onPodConditions", len(patterns), _MAX_PATTERNS)
        for index, pattern in enumerate(patterns):
            yield from _validate_pattern(f"{path}.onPodConditions[{index}]", pattern)
    if codes is not None and patterns:
        yield _bare(path, "specifying both OnExitCodes and OnPodConditions is not supported")
    if codes is None and not patterns:
        yield _bare(path, "specifying one of OnExitCodes and OnPodConditions is required")


def _bare(path: str, text: str) -> Cause:
    """A cause that shows no value, as upstream passes it a field.OmitValueType."""
    return Cause("FieldValueInvalid", f"Invalid value: {text}", path)


def _go_list(words: Sequence[str]) -> str:
    return "[" + " ".join(map(field.quote, words)) + "]"


def _validate_exit_codes(path: str, codes: Object, containers: set[str]) -> Iterator[Cause]:
    operator, values = codes.get("operator", ""), codes.get("values")
    if not operator:
        yield field.required(f"{path}.operator", f"valid values: {_go_list(_OPERATORS)}")
    elif operator not in _OPERATORS:
        yield field.not_supported(f"{path}.operator", operator, _OPERATORS)
    name = codes.get("containerName")
    if name is not None and name not in containers:
        message = "must be one of the container or initContainer names in the pod template"
        yield field.invalid(f"{path}.containerName", name, message)
    if not values:
        yield field.invalid(f"{path}.values", values, "at least one value is required")
        return
    if len(values) > _MAX_EXIT_CODES:
        yield field.too_many(f"{path}.values", len(values), _MAX_EXIT_CODES)
    seen: set[int] = set()
    for index, value in enumerate(values):
        if operator == "In" and value == 0:
            yield field.invalid(f"{path}.values[{index}]", value, "must not be 0 for the In operator")
        if value in seen:
            yield field.duplicate(f"{path}.values[{index}]", value)
        seen.add(value)
    if any(a > b for a, b in pairwise(values)):
        yield field.invalid(f"{path}.values", values, "must be ordered")


def _validate_pattern(path: str, pattern: Object) -> Iterator[Cause]:
    yield from checks.qualified_name(f"{path}.type", pattern.get("type", ""))
    status = pattern.get("status", "")
    if not status:
        yield field.required(f"{path}.status", f"valid values: {_go_list(('False', 'True', 'Unknown'))}")
    elif status not in ("False", "True", "Unknown"):
        yield field.not_supported(f"{path}.status", status, ("False", "True", "Unknown"))


def _shown_success(policy: Object) -> Object:
    rules = policy.get("rules")
    shown = [
        {"SucceededIndexes": r.get("succeededIndexes"), "SucceededCount": r.get("succeededCount")}
        for r in rules or ()
    ]
    return {"Rules": shown if rules is not None else None}


def _validate_success(path: str, spec: Object) -> Iterator[Cause]:
    policy = spec["successPolicy"]
    if spec.get("completionMode") != "Indexed":
        yield field.invalid(path, _shown_success(policy), "requires indexed completion mode")
        return
    rules = policy.get("rules") or []
    if not rules:
        message = "at least one rules must be specified when the successPolicy is specified"
        yield field.required(f"{path}.rules", message)
    if len(rules) > _MAX_RULES:
        yield field.too_many(f"{path}.rules", len(rules), _MAX_RULES)
    for index, rule in enumerate(rules):
        yield from _validate_success_rule(f"{path}.rules[{index}]", rule, spec.get("completions"))


def _validate_success_rule(path: str, rule: Object, completions: int | None) -> Iterator[Cause]:
    count, text = rule.get("succeededCount"), rule.get("succeededIndexes")
    if count is None and text is None:
        yield field.required(path, "at least one of succeededCount or succeededIndexes must be specified")
    total: int | None = None
    if text is not None:
        if len(text) > 64 * 1024:
            yield field.too_long(f"{path}.succeededIndexes", 64 * 1024)
        try:
            total = count_indexes(text, completions or 0)
        except ValueError as error:
            total = 0
            yield field.invalid(f"{path}.succeededIndexes", text, f"error parsing succeededIndexes: {error}")
    if count is not None:
        yield from checks.not_negative(f"{path}.succeededCount", count)
        if completions is not None and count > completions:
            message = f"must be less than or equal to {completions} (the number of specified completions)"
            yield field.invalid(f"{path}.succeededCount", count, message)
        if total is not None and count > total:
            message = (
                f"must be less than or equal to {total}"
                " (the number of indexes in the specified succeededIndexes field)"
            )
            yield field.invalid(f"{path}.succeededCount", count, message)


def count_indexes(text: str, completions: int) -> int:
    """How many indexes a list such as `0,2-4` names; ValueError says what is wrong with it."""
    if not text:
        return 0
    total, last = 0, None
    for interval in text.split(","):
        first, end = _parse_interval(interval, completions)
        if last is not None and last >= first:
            raise ValueError(f"non-increasing order, previous: {last}, current: {first}")
        total += end - first + 1
        last = end
    return total


def _parse_interval(interval: str, completions: int) -> tuple[int, int]:
    parts = interval.split("-")
    if len(parts) > 2:
        raise ValueError(
            f"the fragment {field.quote(interval)} violates the requirement that an index interval can have"
            " at most two parts separated by '-'"
        )
    ends = []
    for part in parts:
        if not part.isascii() or not part.isdigit():
            raise ValueError(_index_error(part))
        if int(part) >= completions:
            raise ValueError(f"too large index: {field.quote(part)}")
        ends.append(int(part))
    first, end = ends[0], ends[-1]
    if len(ends) == 2 and first >= end:
        raise ValueError(f"non-increasing order, previous: {first}, current: {end}")
    return first, end


def validate_index_names(obj: Object) -> Iterator[Cause]:
    """The pods of an indexed Job are called `name-index`, which must be a label."""
    spec = obj.get("spec") or {}
    completions = spec.get("completions")
    if spec.get("completionMode") != "Indexed" or completions is None or completions < 1:
        return
    name = obj["metadata"].get("name", "")
    longest = f"{name}-{completions - 1}"
    if names.dns1123_label(longest):
        message = f"will not able to create pod with invalid DNS label: {longest}"
        yield field.invalid("metadata.name", name, message)


# ---- updates


def validate_spec_update(path: str, new: Object, old: Object) -> Iterator[Cause]:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    yield from _validate_completions_update(f"{path}.completions", spec, before)
    yield from _immutable_selector(f"{path}.selector", spec, before)
    yield from _validate_template_update(path, new, old)
    for key in ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"):
        if spec.get(key) != before.get(key):
            yield field.invalid(f"{path}.{key}", spec.get(key), checks.IMMUTABLE)


def _validate_completions_update(path: str, spec: Object, before: Object) -> Iterator[Cause]:
    now, was = spec.get("completions"), before.get("completions")
    if now == was:
        return
    if spec.get("completionMode") != "Indexed" or now is None or was is None:
        yield field.invalid(path, now, checks.IMMUTABLE)
    elif now != spec.get("parallelism"):
        message = f"can only be modified in tandem with {path.replace('completions', 'parallelism')}"
        yield field.invalid(path, now, message)


def _immutable_selector(path: str, spec: Object, before: Object) -> Iterator[Cause]:
    if spec.get("selector") != before.get("selector"):
        yield field.invalid(path, shown_selector(spec.get("selector")), checks.IMMUTABLE)


_SCHEDULING = ("affinity", "nodeSelector", "tolerations", "schedulingGates")


def _validate_template_update(path: str, new: Object, old: Object) -> Iterator[Cause]:
    template, before = nested(new, "spec", "template") or {}, nested(old, "spec", "template") or {}
    if template == before:
        return
    if _may_change(old) and _without_directives(template) == _without_directives(before):
        return
    yield field.invalid(f"{path}.template", shown_template(template), checks.IMMUTABLE)


def _may_change(job: Object) -> bool:
    """Where its pods go, and what they ask for: while it is suspended and none of them is left."""
    return bool(nested(job, "spec", "suspend")) and not nested(job, "status", "active")


def _without_directives(template: Object) -> Object:
    """A template apart from what says where its pods go and what they ask for."""
    spec = {k: v for k, v in (template.get("spec") or {}).items() if k not in _SCHEDULING}
    for kind in ("containers", "initContainers"):
        if spec.get(kind):
            spec[kind] = [{k: v for k, v in one.items() if k != "resources"} for one in spec[kind]]
    metadata = {
        k: v for k, v in (template.get("metadata") or {}).items() if k not in ("labels", "annotations")
    }
    return {"metadata": metadata, "spec": spec}


# ---- the status


def validate_status(new: Object, old: Object) -> Iterator[Cause]:
    status = new.get("status") or {}
    for key in ("active", "succeeded", "failed", "ready", "terminating"):
        yield from checks.not_negative(f"status.{key}", status.get(key))
    yield from _validate_endings(status)
    start, end = parse_time(status.get("startTime")), parse_time(status.get("completionTime"))
    if start is not None and end is not None and end < start:
        yield field.invalid(
            "status.completionTime", status["completionTime"], "must be equal to or after `startTime`"
        )


def _validate_endings(status: Object) -> Iterator[Cause]:
    found: list[dict[str, Any]] = status.get("conditions") or []
    complete, failed = conditions.is_true(found, "Complete"), conditions.is_true(found, "Failed")
    shown = "status.conditions"
    if complete and not status.get("completionTime"):
        yield field.required("status.completionTime", "completionTime is required for Complete jobs")
    if complete and failed:
        yield _bare(shown, "cannot set Complete=True and Failed=true conditions")
    if complete and not conditions.is_true(found, "SuccessCriteriaMet"):
        yield _bare(shown, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
    if failed and not conditions.is_true(found, "FailureTarget"):
        yield _bare(shown, "cannot set Failed=True condition without the FailureTarget=true condition")
    if (complete or failed) and status.get("active", 0) > 0:
        yield field.invalid("status.active", status["active"], "active>0 is invalid for finished job")
    if (complete or failed) and (status.get("terminating") or 0) > 0:
        yield field.invalid(
            "status.terminating", status["terminating"], "terminating>0 is invalid for finished job"
        )
