"""What the status of a definition says, decided from it and from the others of its group.

Names are taken by who was accepted with them first. A definition whose names are its own is established, and stays so.

Upstream: apiextensions-apiserver/pkg/controller/{status/naming_controller,establish,apiapproval}, pkg/apihelpers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from timonel.machinery.field import quote
from timonel.objects.meta import Object, format_time
from timonel.server.custom.definition import (
    API_APPROVAL,
    ESTABLISHED,
    NAMES_ACCEPTED,
    NON_STRUCTURAL,
    condition,
    names_of,
)

APPROVED = "api-approved.kubernetes.io"
PROTECTED = ("k8s.io", "kubernetes.io")
SEE = "see https://github.com/kubernetes/enhancements/pull/1111"
# members of spec.names, in upstream's order; the last conflict is the one that is told
SINGLE_NAMES = (
    ("plural", "PluralConflict"), ("singular", "SingularConflict"), ("shortNames", "ShortNamesConflict"),
    ("kind", "KindConflict"), ("listKind", "ListKindConflict"),
)  # fmt: skip

Tree = Mapping[str, Any]


def settle(crd: Object, others: Iterable[Tree], now: float) -> None:
    """Bring the status up to date, in place. `others` are the accepted names of the other definitions of the group."""
    status = crd.setdefault("status", {})
    accepted, reason, message = accept(crd["spec"]["names"], status.get("acceptedNames") or {}, others)
    status["acceptedNames"] = accepted
    fine = not reason
    set_condition(
        crd,
        NAMES_ACCEPTED,
        "True" if fine else "False",
        reason or "NoConflicts",
        message or "no conflicts found",
        now,
    )
    established = condition(crd, ESTABLISHED)
    if fine and (established is None or established.get("status") != "True"):
        text = "the initial names have been accepted"
        set_condition(crd, ESTABLISHED, "True", "InitialNamesAccepted", text, now)
    elif established is None:
        set_condition(crd, ESTABLISHED, "False", "NotAccepted", "not all names are accepted", now)
    problems = violations(crd)
    if problems:
        set_condition(crd, NON_STRUCTURAL, "True", "Violations", problems, now)
    elif condition(crd, NON_STRUCTURAL) is not None:
        status["conditions"] = [c for c in status["conditions"] if c["type"] != NON_STRUCTURAL]
    approval = approval_of(crd)
    if approval is not None:
        set_condition(crd, API_APPROVAL, *approval, now)


def accept(wanted: Tree, accepted: Tree, others: Iterable[Tree]) -> tuple[Object, str, str]:
    """The names that are this definition's from now on, and the reason and message of a conflict."""
    resources: set[str] = set()
    kinds: set[str] = set()
    for names in (accepted, *others):
        found = names_of(names)
        resources |= {found.plural, found.singular, *found.short_names}
        kinds |= {found.kind, found.list_kind}
    new: Object = {"plural": accepted.get("plural", ""), "kind": accepted.get("kind", ""), **accepted}
    reason = message = ""
    for key, conflict in SINGLE_NAMES:
        if key == "shortNames":
            problem = _short_names_taken(wanted, accepted, resources)
        else:
            taken = kinds if key in ("kind", "listKind") else resources
            name = wanted.get(key) or ""
            is_taken = name != (accepted.get(key) or "") and name in taken
            problem = f"{quote(name)} is already in use" if is_taken else ""
        if problem:
            reason, message = conflict, problem
        else:
            _put(new, key, wanted.get(key))
    _put(new, "categories", wanted.get("categories"))
    return new, reason, message


def _put(tree: Object, key: str, value: Any) -> None:
    if value:
        tree[key] = value
    elif key in ("plural", "kind"):
        tree[key] = ""
    else:
        tree.pop(key, None)


def _short_names_taken(wanted: Tree, accepted: Tree, taken: set[str]) -> str:
    own = {*(accepted.get("shortNames") or ()), accepted.get("plural"), accepted.get("singular")}
    lost = [n for n in wanted.get("shortNames") or () if n not in own and n in taken]
    texts = [f"{quote(name)} is already in use" for name in lost]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]" if texts else ""


def violations(crd: Object) -> str:
    """Why schemas are not structural: only definitions from before they had to be can have any that are not."""
    spec = crd["spec"]
    if not spec.get("preserveUnknownFields"):
        return ""
    from timonel.apis.apiextensions import structurality  # here: hardly any cluster has one

    found = ["spec.preserveUnknownFields: Invalid value: true: must be false"]
    for index, version in enumerate(spec["versions"]):
        path = f"spec.versions[{index}].schema.openAPIV3Schema"
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is None:
            found.append(f"{path}: Required value: schema must not be empty")
        else:
            found += map(str, structurality.causes(schema, path))
    return found[0] if len(found) == 1 else f"[{', '.join(found)}]"


def approval_of(crd: Object) -> tuple[str, str, str] | None:
    """Status, reason and message for groups of Kubernetes itself; None for all others."""
    group: str = crd["spec"]["group"]
    if not any(group == domain or group.endswith(f".{domain}") for domain in PROTECTED):
        return None
    text: str = (crd["metadata"].get("annotations") or {}).get(APPROVED, "")
    if not text:
        return (
            "False",
            "MissingAnnotation",
            f"protected groups must have approval annotation {quote(APPROVED)}, {SEE}",
        )
    if text.startswith("unapproved"):
        return "False", "UnapprovedAnnotation", f"not approved: {quote(text)}"
    parts = urlsplit(text)
    if parts.scheme and parts.netloc:
        return "True", "ApprovedAnnotation", f"approved in {text}"
    why = 'with either a URL or a reason starting with "unapproved"'
    text = f"protected groups must have approval annotation {quote(APPROVED)} {why}, {SEE}"
    return "False", "InvalidAnnotation", text


def set_condition(crd: Object, kind: str, status: str, reason: str, message: str, now: float) -> None:
    """The time of a condition is that of its last change between true and false."""
    held = crd.setdefault("status", {})
    conditions = held["conditions"] = list(held.get("conditions") or ())
    for i, found in enumerate(conditions):
        if found["type"] == kind:
            changed = found["status"] != status
            when = format_time(now) if changed else found["lastTransitionTime"]
            conditions[i] = _condition(kind, status, reason, message, when)
            return
    conditions.append(_condition(kind, status, reason, message, format_time(now)))


def _condition(kind: str, status: str, reason: str, message: str, when: str) -> Object:
    return {"type": kind, "status": status, "lastTransitionTime": when, "reason": reason, "message": message}
