"""PodSecurity: refuses pods that a namespace's level forbids, warns about templates that would make such pods.

Upstream: pod-security-admission/admission/admission.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from timonel.apis.resource import ResourceType
from timonel.machinery import errors
from timonel.machinery.field import quote
from timonel.objects.meta import Object, annotations_of, controller_of, labels_of
from timonel.server.admission.attributes import forbidden
from timonel.server.admission.configuration import PodSecuritySettings
from timonel.server.admission.podsecurity import checks, policy
from timonel.server.admission.podsecurity.checks import Refusal
from timonel.server.admission.podsecurity.policy import Level, Policy
from timonel.server.request import AdmissionCall, OnlyValidates, Operation, Reader

_TEMPLATES = {
    "podtemplates": ("template",),
    "replicationcontrollers": ("spec", "template"),
    "replicasets.apps": ("spec", "template"),
    "deployments.apps": ("spec", "template"),
    "statefulsets.apps": ("spec", "template"),
    "daemonsets.apps": ("spec", "template"),
    "jobs.batch": ("spec", "template"),
    "cronjobs.batch": ("spec", "jobTemplate", "spec", "template"),
}
ANNOTATIONS = "pod-security.kubernetes.io/"
_MOST_PODS = 3000  # looked at when a namespace becomes stricter


class PodSecurity(OnlyValidates):
    name = "PodSecurity"

    def __init__(self, reader: Reader, settings: PodSecuritySettings | None = None) -> None:
        self._reader = reader
        self._settings = settings or PodSecuritySettings()
        self._default = self._settings.policy({})
        self._policies: dict[str, Policy] = {}
        reader.on_change("namespaces", self._namespace_changed)

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool:
        if operation not in (Operation.CREATE, Operation.UPDATE):
            return False
        if resource.qualified == "pods":
            return subresource in ("", "ephemeralcontainers", "resize")
        return not subresource and (resource.qualified == "namespaces" or resource.qualified in _TEMPLATES)

    async def validate(self, call: AdmissionCall) -> None:
        assert call.obj is not None
        match call.resource.qualified:
            case "namespaces":
                self._check_namespace(call, call.obj)
            case "pods":
                self._check_pod(call, call.obj)
            case kind:
                self._check_template(call, call.obj, _TEMPLATES[kind])

    def _is_exempt(self, call: AdmissionCall, spec: Object) -> bool:
        settings = self._settings
        for what, value, exempt in (
            ("namespace", call.namespace, settings.namespaces),
            ("user", call.user.name, settings.users),
            ("runtimeClass", spec.get("runtimeClassName", ""), settings.runtime_classes),
        ):
            if value in exempt:
                call.annotations[f"{ANNOTATIONS}exempt"] = what
                return True
        return False

    def _policy(self, namespace: str) -> Policy:
        return self._policies.get(namespace) or self._default

    def _namespace_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._policies[new["metadata"]["name"]] = self._settings.policy(labels_of(new))
        elif old is not None:
            self._policies.pop(old["metadata"]["name"], None)

    def _check_pod(self, call: AdmissionCall, pod: Object) -> None:
        if call.old is not None and not _is_significant(pod, call.old):
            return
        if self._is_exempt(call, pod["spec"]):
            return
        held = self._policy(call.namespace)
        refusals = checks.evaluate(held.enforce, pod["metadata"], pod["spec"])
        call.annotations[f"{ANNOTATIONS}enforce-policy"] = str(held.enforce)
        self._note(call, held.audit, pod)
        if refusals:
            raise forbidden(call, f'violates PodSecurity "{held.enforce}": {_listed(refusals)}')
        if held.warn != held.enforce:
            self._warn(call, held.warn, pod)

    def _check_template(self, call: AdmissionCall, obj: Object, path: tuple[str, ...]) -> None:
        template: Object | None = obj
        for key in path:
            template = (template or {}).get(key)
        if template and template.get("spec") and not self._is_exempt(call, template["spec"]):
            held = self._policy(call.namespace)
            self._note(call, held.audit, template)
            self._warn(call, held.warn, template)

    def _note(self, call: AdmissionCall, level: Level, pod: Object) -> None:
        """For the audit log."""
        refusals = checks.evaluate(level, pod.get("metadata") or {}, pod["spec"])
        if refusals:
            text = f'would violate PodSecurity "{level}": {_listed(refusals)}'
            call.annotations[f"{ANNOTATIONS}audit-violations"] = text

    def _warn(self, call: AdmissionCall, level: Level, pod: Object) -> None:
        refusals = checks.evaluate(level, pod.get("metadata") or {}, pod["spec"])
        if refusals:
            call.warnings.append(f'would violate PodSecurity "{level}": {_listed(refusals)}')

    def _check_namespace(self, call: AdmissionCall, namespace: Object) -> None:
        new, causes = policy.parse(labels_of(namespace))
        old, known = policy.parse(labels_of(call.old)) if call.old is not None else (None, [])
        if causes and causes != known:
            raise errors.invalid("Namespace", call.name, causes)
        if call.name in self._settings.namespaces:
            if old is not None and new != old:
                call.warnings.append(
                    f"namespace {quote(call.name)} is exempt from Pod Security, and the policy "
                    f"({_shown(namespace)}) will be ignored"
                )
            return
        if old is None or new.enforce == old.enforce or new.enforce.level == "privileged":
            return
        if new.enforce.minor == old.enforce.minor and new.enforce.rank < old.enforce.rank:
            return
        call.warnings.extend(self._existing(call.name, new.enforce))

    def _existing(self, namespace: str, level: Level) -> Iterator[str]:
        """Warnings about pods that are there already; they stay."""
        found: dict[str, list[str]] = {}
        pods = _one_per_controller(self._reader.list("pods", namespace))
        if len(pods) > _MOST_PODS:
            seen = f"first {_MOST_PODS} of {len(pods)} existing pods"
            yield f"new PodSecurity enforce level only checked against the {seen}"
        for pod in pods[:_MOST_PODS]:
            refusals = checks.evaluate(level, pod["metadata"], pod["spec"])
            if refusals:
                found.setdefault(", ".join(r.reason for r in refusals), []).append(pod["metadata"]["name"])
        if not found:
            return
        yield f'existing pods in namespace {quote(namespace)} violate the new PodSecurity enforce level "{level}"'
        for reasons, names in sorted(found.items(), key=lambda item: item[1][0]):
            others = len(names) - 1
            more = f" (and {others} other {checks.plural('pod', 'pods', others)})" if others else ""
            yield f"{names[0]}{more}: {reasons}"


def _shown(namespace: Object) -> str:
    """The labels of the policy: enforce=restricted:latest."""
    labels = labels_of(namespace)
    held, _ = policy.parse(labels)
    return ", ".join(
        f"{mode}={level}"
        for mode, level in (("enforce", held.enforce), ("audit", held.audit), ("warn", held.warn))
        if f"{policy.PREFIX}{mode}" in labels
    )


def _one_per_controller(pods: Iterable[Object]) -> list[Object]:
    """The pods by name, but of those with one controller only the first."""
    seen: set[str] = set()
    kept: list[Object] = []
    for pod in sorted(pods, key=lambda p: str(p["metadata"]["name"])):
        owner = controller_of(pod)
        if owner is not None:
            if owner["uid"] in seen:
                continue
            seen.add(owner["uid"])
        kept.append(pod)
    return kept


def _is_significant(new: Object, old: Object) -> bool:
    """Whether an update touches anything that a check looks at."""
    return new["spec"] != old["spec"] or annotations_of(new) != annotations_of(old)


def _listed(refusals: list[Refusal]) -> str:
    return ", ".join(map(str, refusals))
