"""policy/v1beta1 PodDisruptionBudget, whose empty selector selects nothing: in v1 it selects everything.

Upstream: pkg/apis/policy/v1beta1/conversion.go, pkg/apis/policy/helper.go.
"""

from __future__ import annotations

from timonel.apis.policy import POD_DISRUPTION_BUDGET
from timonel.apis.retired.version import retired
from timonel.objects.meta import Object

# No pod has this label, so that whether it exists says all or nothing.
_LABEL = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match"
_NOTHING = {"matchExpressions": [{"key": _LABEL, "operator": "Exists"}]}
_EVERYTHING = {"matchExpressions": [{"key": _LABEL, "operator": "DoesNotExist"}]}


def _replace_selector(obj: Object, pairs: tuple[tuple[Object, Object], ...]) -> None:
    spec = obj.get("spec") or {}
    selector = spec.get("selector")
    for before, after in pairs:
        if selector == before:
            spec["selector"] = dict(after)
            return


def to_v1(obj: Object) -> None:
    _replace_selector(obj, (({}, _NOTHING), (_EVERYTHING, {})))


def to_v1beta1(obj: Object) -> None:
    _replace_selector(obj, (({}, _EVERYTHING), (_NOTHING, {})))


RESOURCES = (
    retired(POD_DISRUPTION_BUDGET, "policy/v1beta1", "1.21", "1.25", to_stored=to_v1, from_stored=to_v1beta1),
)
