"""Rules for tolerations: of pods, runtime classes and device requests.

Upstream: pkg/apis/core/validation/validation.go ValidateTolerations.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis import checks
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
OPERATORS = ("Equal", "Exists")
_MATCH_ALL = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'


def validate_toleration(path: str, toleration: Object) -> Iterator[Cause]:
    key, operator = toleration.get("key", ""), toleration.get("operator", "")
    value, effect = toleration.get("value", ""), toleration.get("effect", "")
    if key:
        yield from checks.qualified_name(f"{path}.key", key)
    elif operator != "Exists":
        yield field.invalid(f"{path}.operator", operator, _MATCH_ALL)
    if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
        message = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        yield field.invalid(f"{path}.effect", effect, message)
    if operator in ("", "Equal"):
        yield from checks.told(f"{path}.operator", value, names.label_value(value))
    elif operator == "Exists":
        if value:
            yield field.invalid(
                f"{path}.operator", toleration, "value must be empty when `operator` is 'Exists'"
            )
    else:
        yield field.not_supported(f"{path}.operator", operator, OPERATORS)
    if effect:
        yield from checks.one_of(f"{path}.effect", effect, EFFECTS)
