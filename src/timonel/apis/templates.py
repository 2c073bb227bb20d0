"""Rules for selectors and pod templates that the workload kinds of several groups share.

Upstream: pkg/apis/apps/validation/validation.go, pkg/apis/core/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.machinery import field, selectors
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object


def shown_selector(selector: Object | None) -> Object | None:
    """A LabelSelector as upstream prints it: empty parts left out, fields in the struct's order."""
    if selector is None:
        return None
    shown: Object = {}
    if selector.get("matchLabels"):
        shown["matchLabels"] = dict(sorted(selector["matchLabels"].items()))
    if selector.get("matchExpressions"):
        shown["matchExpressions"] = [_shown_expression(e) for e in selector["matchExpressions"]]
    return shown


def _shown_expression(expression: Object) -> Object:
    shown: Object = {key: expression.get(key, "") for key in ("key", "operator")}
    if expression.get("values"):
        shown["values"] = expression["values"]
    return shown


def validate_selector(
    path: str, selector: Object | None, kind: str, required: bool = True
) -> Iterator[Cause]:
    if selector is None:
        if required:
            yield field.required(path)
        return
    yield from selectors.validate_label_selector(selector, path)
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        yield field.invalid(path, {}, f"empty selector is invalid for {kind}")


def selector_is_sound(selector: Object | None) -> bool:
    return compiled(selector) is not None


def compiled(selector: Object | None) -> selectors.LabelSelector | None:
    try:
        return selectors.from_label_selector(selector)
    except selectors.SelectorError:
        return None


def matches_template(path: str, selector: Object | None, template: Object) -> Iterator[Cause]:
    """An empty selector is not held against the labels; an absent one matches nothing."""
    found = compiled(selector)
    if found is not None:
        yield from compiled_matches_template(path, found, template)


def compiled_matches_template(path: str, found: selectors.LabelSelector, template: Object) -> Iterator[Cause]:
    labels = (template.get("metadata") or {}).get("labels")
    if found.is_everything:
        return
    if not found.matches(labels or {}):
        shown = dict(sorted(labels.items())) if labels else labels
        yield field.invalid(f"{path}.metadata.labels", shown, "`selector` does not match template `labels`")


def only_always(path: str, template: Object, kind: str) -> Iterator[Cause]:
    """Pods of workloads that run forever are restarted for ever."""
    spec = template.get("spec") or {}
    if spec.get("restartPolicy") != "Always":
        yield field.not_supported(f"{path}.spec.restartPolicy", spec.get("restartPolicy", ""), ("Always",))
    if spec.get("activeDeadlineSeconds") is not None:
        message = f"activeDeadlineSeconds in {kind} is not Supported"
        yield field.forbidden(f"{path}.spec.activeDeadlineSeconds", message)
