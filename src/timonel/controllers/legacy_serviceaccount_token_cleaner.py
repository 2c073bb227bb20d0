"""Token Secrets that were made for an account by itself go when nobody has used them for a year, and one more.

    unused for a year ── label invalid-since ──> a year later ── deleted

That a token was made for the account by itself is told by the account's list, which usually comes after the Secret.

Watches   secrets; serviceaccounts, pods, configmaps (read only)
Writes    secrets (label, delete)
Upstream  pkg/controller/serviceaccount/legacy_serviceaccount_token_cleaner.go
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from timonel.control.actions import Delete, Patch, Plan
from timonel.control.declare import Cache, ControllerType, Watch, nobody
from timonel.objects.meta import (
    Key,
    Object,
    annotations_of,
    format_time,
    is_deleting,
    key_of,
    labels_of,
    nested,
    parse_time,
    uid_of,
)
from timonel.records import dataclass

TYPE = "kubernetes.io/service-account-token"
ACCOUNT, ACCOUNT_UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
LAST_USED = "kubernetes.io/legacy-token-last-used"
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"
TRACKING = Key("kube-system", "kube-apiserver-legacy-service-account-token-tracking")
DAY = 86_400.0
CLEAN_UP_PERIOD = 365 * DAY  # since the last use


@dataclass(frozen=True, slots=True)
class Observed:
    """`tracked`: since when uses are noted; `automatic`: the account lists the Secret, as one made by itself."""

    tracked: float | None
    automatic: bool
    mounted: bool
    now: float


def observe(desired: Object, cache: Cache) -> Observed:
    tracking = cache.get("configmaps", TRACKING)
    tracked = _day(nested(tracking, "data", "since") or "")
    namespace, name = key_of(desired)
    account = cache.get("serviceaccounts", Key(namespace, annotations_of(desired).get(ACCOUNT, "")))
    wanted = annotations_of(desired).get(ACCOUNT_UID, "")
    same = account is not None and wanted in ("", uid_of(account))
    automatic = same and any(s.get("name") == name for s in (account or {}).get("secrets") or ())
    mounted = automatic and any(name in secrets_of(pod) for pod in cache.list("pods", namespace))
    return Observed(tracked + DAY if tracked is not None else None, automatic, mounted, cache.now())


def _day(text: str) -> float | None:
    try:
        return parse_time(f"{text}T00:00:00Z") if len(text) == 10 else None
    except ValueError:
        return None


def secrets_of(pod: Object) -> Iterator[str]:
    """Names of the Secrets that a pod uses in any way."""
    spec = pod.get("spec") or {}
    yield from (ref.get("name", "") for ref in spec.get("imagePullSecrets") or ())
    containers = (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
    for container in (*containers, *(spec.get("ephemeralContainers") or ())):
        yield from (nested(e, "secretRef", "name") or "" for e in container.get("envFrom") or ())
        yield from (nested(e, "valueFrom", "secretKeyRef", "name") or "" for e in container.get("env") or ())
    for volume in spec.get("volumes") or ():
        yield nested(volume, "secret", "secretName") or ""
        yield from (nested(s, "secret", "name") or "" for s in nested(volume, "projected", "sources") or ())
        for source in ("azureFile", "cephfs", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos"):
            yield nested(volume, source, "secretName") or nested(volume, source, "secretRef", "name") or ""
        yield nested(volume, "csi", "nodePublishSecretRef", "name") or ""


def reconcile(desired: Object, observed: Observed) -> Plan:
    if desired.get("type") != TYPE or is_deleting(desired):
        return Plan()
    if not observed.automatic or observed.tracked is None:
        return Plan((), DAY)
    labels, created = labels_of(desired), parse_time(desired["metadata"].get("creationTimestamp")) or 0.0
    last = _day(labels[LAST_USED]) if LAST_USED in labels else 0.0
    if last is None:
        return Plan()  # nobody can say when it was used
    # The day of its last use is over when the next one begins.
    due = max(observed.tracked, created, last + DAY if last else 0.0) + CLEAN_UP_PERIOD
    if observed.now < due:
        return Plan((), due - observed.now)
    if observed.mounted:
        return Plan((), DAY)
    invalid = _day(labels.get(INVALID_SINCE, ""))
    if invalid is None:
        marked = {"metadata": {"labels": {INVALID_SINCE: format_time(observed.now)[:10]}}}
        return Plan((Patch("secrets", key_of(desired), marked, uid=uid_of(desired), missing_ok=True),))
    end = invalid + DAY + CLEAN_UP_PERIOD
    if observed.now < end:
        return Plan((), end - observed.now)
    version = desired["metadata"]["resourceVersion"]
    return Plan((Delete("secrets", key_of(desired), uid_of(desired), resource_version=version),))


def _tokens(secret: Object, cache: Cache) -> Iterable[Key]:
    return (key_of(secret),) if secret.get("type") == TYPE else ()


def _listed(account: Object, cache: Cache) -> Iterable[Key]:
    namespace = account["metadata"]["namespace"]
    keys = (Key(namespace, ref.get("name", "")) for ref in account.get("secrets") or ())
    return [key for key in keys if (cache.get("secrets", key) or {}).get("type") == TYPE]


def _lists_others(old: Object, new: Object) -> bool:
    return (old.get("secrets") or []) != (new.get("secrets") or [])


LEGACY_SERVICEACCOUNT_TOKEN_CLEANER = ControllerType(
    name="legacy-service-account-token-cleaner",
    watches=(
        Watch("secrets", wakes=_tokens),
        Watch("serviceaccounts", wakes=_listed, matters=_lists_others),
        Watch("pods", wakes=nobody),
        Watch("configmaps", wakes=nobody),
    ),
    observe=observe,
    reconcile=reconcile,
    workers=1,
)
