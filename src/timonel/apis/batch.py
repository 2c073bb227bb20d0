"""batch/v1: Job and CronJob; batch/v1beta1: the CronJob that upstream stopped serving.

Upstream: pkg/apis/batch/{v1/defaults.go,validation/validation.go}, pkg/registry/batch/*/strategy.go,
pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator

from timonel.apis import checks, jobrules
from timonel.apis.core.pod import default_pod_template
from timonel.apis.core.pod_warnings import hostname_warning, template_warnings
from timonel.apis.printing import AGE, container_images, container_names, human_duration, selector_cell, since
from timonel.apis.resource import Column, ResourceType, Retired
from timonel.apis.templates import shown_selector
from timonel.machinery import cron, field, names
from timonel.machinery.errors import Cause
from timonel.objects import conditions
from timonel.objects.meta import Object, is_deleting, nested, parse_time

CONTROLLER_UID, JOB_NAME = "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"
NO_LIMIT = 2**31 - 1
IN_POD_NAMES = "Pod names and hostnames"
MANY_INDEXES = (
    "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4,"
    " Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
)
OLD_TIME_ZONE = (
    "CRON_TZ or TZ used in spec.schedule is not officially supported, see"
    " https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
)
MAX_CRON_NAME = 52  # what the controller appends must still be a label

# ---- Job


def default_job(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    default_pod_template(spec.setdefault("template", {}))
    _default_policies(spec)
    canonicalize_job(obj)
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = spec["parallelism"] = 1
    if spec.get("parallelism") is None:
        spec["parallelism"] = 1
    if spec.get("backoffLimit") is None:
        spec["backoffLimit"] = NO_LIMIT if spec.get("backoffLimitPerIndex") is not None else 6
    for key, value in (("completionMode", "NonIndexed"), ("suspend", False), ("manualSelector", False)):
        if spec.get(key) is None:
            spec[key] = value
    if spec.get("podReplacementPolicy") is None:
        policy = "Failed" if spec.get("podFailurePolicy") is not None else "TerminatingOrFailed"
        spec["podReplacementPolicy"] = policy


def canonicalize_job(obj: Object) -> None:
    """A Job without labels has those of its pods, the generated ones too."""
    labels = nested(obj, "spec", "template", "metadata", "labels")
    if labels and not obj["metadata"].get("labels"):
        obj["metadata"]["labels"] = dict(labels)


def _default_policies(spec: Object) -> None:
    for rule in nested(spec, "podFailurePolicy", "rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            pattern["status"] = pattern.get("status") or "True"


def prepare_job(obj: Object) -> None:
    """Jobs pick out their pods by uid, unless told to let the user choose."""
    spec = obj["spec"]
    obj["status"] = {}
    if not spec.get("manualSelector"):
        _generate_selector(obj, spec)


def _generate_selector(obj: Object, spec: Object) -> None:
    uid, name = obj["metadata"].get("uid", ""), obj["metadata"].get("name", "")
    metadata = spec.setdefault("template", {}).setdefault("metadata", {})
    labels = metadata.get("labels") or {}
    inherited = bool(labels) and obj["metadata"].get("labels") == labels
    for key, value in (("job-name", name), (JOB_NAME, name), ("controller-uid", uid), (CONTROLLER_UID, uid)):
        if key.endswith("job-name") and key in labels:
            continue  # a wrong one is refused below, in the words of validation
        if key not in labels:
            labels[key] = value
    metadata["labels"] = labels
    if inherited:
        obj["metadata"]["labels"] = dict(labels)
    selector = spec.get("selector")
    if selector is None:
        selector = spec["selector"] = {}
    matches = selector.get("matchLabels") or {}
    matches.setdefault(CONTROLLER_UID, uid)
    selector["matchLabels"] = matches


def prepare_job_update(new: Object, old: Object) -> None:
    new["status"] = old.get("status", {})
    spec = new.get("spec") or {}
    if not spec.get("manualSelector") and nested(old, "spec", "selector") and spec.get("selector") is None:
        spec["selector"] = old["spec"]["selector"]


def validate_job(obj: Object) -> Iterator[Cause]:
    yield from jobrules.validate_generated_selector(obj)
    yield from jobrules.validate_spec("spec", obj.get("spec") or {})
    yield from jobrules.validate_index_names(obj)


def validate_job_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from jobrules.validate_spec("spec", new.get("spec") or {})
    yield from jobrules.validate_spec_update("spec", new, old)


def validate_job_status(new: Object, old: Object) -> Iterator[Cause]:
    yield from jobrules.validate_status(new, old)


def job_warnings(obj: Object) -> Iterator[str]:
    spec = obj.get("spec") or {}
    completions, parallelism = spec.get("completions"), spec.get("parallelism")
    if (
        spec.get("completionMode") == "Indexed"
        and completions is not None
        and parallelism is not None
        and completions > 100_000
        and parallelism > 10_000
    ):
        yield MANY_INDEXES
    yield from template_warnings(spec.get("template") or {}, "spec.template")


def _job_state(obj: Object, now: float) -> str:
    found = nested(obj, "status", "conditions")
    for kind in ("Complete", "Failed"):
        if conditions.is_true(found, kind):
            return kind
    if is_deleting(obj):
        return "Terminating"
    for kind in ("Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if conditions.is_true(found, kind):
            return kind
    return "Running"


def _completions(obj: Object, now: float) -> str:
    spec = obj.get("spec") or {}
    done = nested(obj, "status", "succeeded") or 0
    if spec.get("completions") is not None:
        return f"{done}/{spec['completions']}"
    parallelism = spec.get("parallelism") or 0
    return f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"


def _duration(obj: Object, now: float) -> str:
    start = parse_time(nested(obj, "status", "startTime"))
    end = parse_time(nested(obj, "status", "completionTime"))
    return "" if start is None else human_duration((now if end is None else end) - start)


def _job_containers(obj: Object) -> list[Object]:
    return nested(obj, "spec", "template", "spec", "containers") or []


JOB = ResourceType(
    group="batch",
    version="v1",
    kind="Job",
    plural="jobs",
    categories=("all",),
    status=True,
    generation=True,
    selectable={"status.successful": lambda o: str(nested(o, "status", "succeeded") or 0)},
    default=default_job,
    prepare_create=prepare_job,
    prepare_update=prepare_job_update,
    validate=validate_job,
    validate_update=validate_job_update,
    validate_status_update=validate_job_status,
    canonicalize=canonicalize_job,
    warnings=lambda obj: (*hostname_warning(obj, IN_POD_NAMES), *job_warnings(obj)),
    warnings_update=lambda new, old: job_warnings(new),
    columns=(
        Column("Status", _job_state, description="Status of the job."),
        Column("Completions", _completions, doc="status.succeeded"),
        Column("Duration", _duration, description="Time required to complete the job."),
        AGE,
        Column(
            "Containers",
            lambda o, now: container_names(_job_containers(o)),
            priority=1,
            description="Names of each container in the template.",
        ),
        Column(
            "Images",
            lambda o, now: container_images(_job_containers(o)),
            priority=1,
            description="Images referenced by each container in the template.",
        ),
        Column(
            "Selector",
            lambda o, now: selector_cell(nested(o, "spec", "selector")),
            priority=1,
            doc="spec.selector",
        ),
    ),
)

# ---- CronJob


def default_cronjob(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    job = spec.setdefault("jobTemplate", {})
    job.setdefault("metadata", {})
    job_spec = job.setdefault("spec", {})
    default_pod_template(job_spec.setdefault("template", {}))
    _default_policies(job_spec)
    spec["concurrencyPolicy"] = spec.get("concurrencyPolicy") or "Allow"
    for key, value in (("suspend", False), ("successfulJobsHistoryLimit", 3), ("failedJobsHistoryLimit", 1)):
        if spec.get(key) is None:
            spec[key] = value


def prepare_cronjob(obj: Object) -> None:
    obj["status"] = {}


def prepare_cronjob_update(new: Object, old: Object) -> None:
    new["status"] = old.get("status", {})


def validate_cronjob(obj: Object) -> Iterator[Cause]:
    yield from _validate_cron_spec(obj.get("spec") or {}, "")
    name = obj["metadata"].get("name", "")
    if len(name) > MAX_CRON_NAME:
        yield field.invalid("metadata.name", name, names.max_length(MAX_CRON_NAME))


def validate_cronjob_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from _validate_cron_spec(new.get("spec") or {}, nested(old, "spec", "schedule") or "")


def _validate_cron_spec(spec: Object, old_schedule: str) -> Iterator[Cause]:
    yield from _validate_schedule(spec, old_schedule)
    yield from checks.not_negative("spec.startingDeadlineSeconds", spec.get("startingDeadlineSeconds"))
    if spec.get("timeZone") is not None:
        yield from _validate_time_zone("spec.timeZone", spec["timeZone"])
    yield from checks.one_of(
        "spec.concurrencyPolicy", spec.get("concurrencyPolicy", ""), ("Allow", "Forbid", "Replace")
    )
    template = spec.get("jobTemplate") or {}
    path, job = "spec.jobTemplate.spec", template.get("spec") or {}
    yield from jobrules.validate_common(path, job)
    if job.get("selector") is not None:
        yield field.invalid(
            f"{path}.selector", shown_selector(job["selector"]), "`selector` will be auto-generated"
        )
    if job.get("manualSelector"):
        yield field.not_supported(f"{path}.manualSelector", True, ("nil", "false"))
    yield from checks.not_negative("spec.successfulJobsHistoryLimit", spec.get("successfulJobsHistoryLimit"))
    yield from checks.not_negative("spec.failedJobsHistoryLimit", spec.get("failedJobsHistoryLimit"))


def _validate_schedule(spec: Object, old_schedule: str) -> Iterator[Cause]:
    schedule, path = spec.get("schedule", ""), "spec.schedule"
    if not schedule:
        yield field.required(path)
        return
    if "TZ" in schedule and schedule != old_schedule:
        message = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        yield field.invalid(path, schedule, message)
        return
    has_zone = schedule.startswith(("TZ=", "CRON_TZ="))
    try:
        cron.parse(schedule.partition(" ")[2] if has_zone else schedule)
    except cron.CronError as error:
        yield field.invalid(path, schedule, str(error))


def _validate_time_zone(path: str, zone: str) -> Iterator[Cause]:
    if not zone:
        yield field.invalid(path, zone, "timeZone must be nil or non-empty string")
    elif zone.lower() == "local":
        yield field.invalid(
            path, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        )
    else:
        try:
            zoneinfo.ZoneInfo(zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            yield field.invalid(path, zone, f"unknown time zone {zone}")


def cronjob_warnings(obj: Object) -> Iterator[str]:
    spec = obj.get("spec") or {}
    if "TZ" in spec.get("schedule", ""):
        yield OLD_TIME_ZONE
    template = nested(spec, "jobTemplate", "spec", "template") or {}
    yield from template_warnings(template, "spec.jobTemplate.spec.template")


def _suspended(obj: Object, now: float) -> str:
    found = nested(obj, "spec", "suspend")
    return "<unset>" if found is None else "True" if found else "False"


def _last_schedule(obj: Object, now: float) -> str:
    at = nested(obj, "status", "lastScheduleTime")
    return since(at, now) if at else "<none>"


def _cron_containers(obj: Object) -> list[Object]:
    return nested(obj, "spec", "jobTemplate", "spec", "template", "spec", "containers") or []


CRON_JOB = ResourceType(
    group="batch",
    version="v1",
    kind="CronJob",
    plural="cronjobs",
    short_names=("cj",),
    categories=("all",),
    status=True,
    generation=True,
    default=default_cronjob,
    prepare_create=prepare_cronjob,
    prepare_update=prepare_cronjob_update,
    validate=validate_cronjob,
    validate_update=validate_cronjob_update,
    warnings=lambda obj: (*hostname_warning(obj, IN_POD_NAMES), *cronjob_warnings(obj)),
    warnings_update=lambda new, old: cronjob_warnings(new),
    columns=(
        Column("Schedule", lambda o, now: nested(o, "spec", "schedule") or "", doc="spec.schedule"),
        Column("Timezone", lambda o, now: nested(o, "spec", "timeZone") or "<none>", doc="spec.timeZone"),
        Column("Suspend", _suspended, "boolean", doc="spec.suspend"),
        Column(
            "Active", lambda o, now: len(nested(o, "status", "active") or ()), "integer", doc="status.active"
        ),
        Column("Last Schedule", _last_schedule, doc="status.lastScheduleTime"),
        AGE,
        Column(
            "Containers",
            lambda o, now: container_names(_cron_containers(o)),
            priority=1,
            description="Names of each container in the template.",
        ),
        Column(
            "Images",
            lambda o, now: container_images(_cron_containers(o)),
            priority=1,
            description="Images referenced by each container in the template.",
        ),
        Column(
            "Selector",
            lambda o, now: selector_cell(nested(o, "spec", "jobTemplate", "spec", "selector")),
            priority=1,
            doc="spec.jobTemplate.spec.selector",
        ),
    ),
)

# ---- CronJob in v1beta1


V1BETA1_WARNING = "batch/v1beta1 CronJob is deprecated in v1.21+, unavailable in v1.25+; use batch/v1 CronJob"


def _to_v1(obj: Object) -> None:
    obj["apiVersion"] = "batch/v1"


def _to_v1beta1(obj: Object) -> None:
    obj["apiVersion"] = "batch/v1beta1"


CRON_JOB_V1BETA1 = ResourceType(
    group="batch",
    version="v1beta1",
    kind="CronJob",
    plural="cronjobs",
    short_names=("cj",),
    categories=("all",),
    status=True,
    default=default_cronjob,
    columns=CRON_JOB.columns,
    retired=Retired("v1", _to_v1, _to_v1beta1, V1BETA1_WARNING),
)

RESOURCES = (JOB, CRON_JOB, CRON_JOB_V1BETA1)
