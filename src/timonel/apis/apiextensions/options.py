"""How strict the rules for a definition are: on an update, what was let pass before is let pass again.

Upstream: apiextensions-apiserver/pkg/apis/apiextensions/validation/validation.go (validationOptions).
"""

from __future__ import annotations

from dataclasses import replace

from timonel.apis.apiextensions import structurality
from timonel.apis.apiextensions.hub import Hub, Tree, subschemas
from timonel.apis.webhooks import validate_ca_bundle
from timonel.objects.meta import Object
from timonel.records import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """The defaults are those of a new definition."""

    require_known_review: bool = True
    immutable_names: bool = False
    require_schema: bool = True
    require_valid_types: bool = True
    require_structural: bool = True
    require_pruned_defaults: bool = True
    require_atomic_sets: bool = True
    require_map_keys: bool = True
    unchanged: frozenset[str] = frozenset()  # versions whose schema is as it was
    ignore_rule_cost: bool = False
    allow_invalid_ca: bool = True

    @classmethod
    def of_update(cls, new: Hub, before: Hub, old: Object) -> Options:
        schemas = tuple(before.schemas())
        every = [one for schema in schemas for one in subschemas(schema)]
        reviews = _webhook(before).get("conversionReviewVersions") or []
        established = _is_established(old)
        names = [str(version.get("name", "")) for version in new.versions]
        return cls(
            require_known_review=not reviews or bool({"v1", "v1beta1"} & set(reviews)),
            immutable_names=established,
            require_schema=all(before.schema_of(str(v.get("name", ""))) is not None for v in before.versions),
            require_valid_types=all(
                not one.get("type") or one["type"] in structurality.TYPES for one in every
            ),
            require_structural=not any(structurality.is_broken(schema) for schema in schemas),
            require_pruned_defaults=not any(
                structurality.has_unpruned_defaults(schema) for schema in schemas
            ),
            require_atomic_sets=not any(structurality.is_set_of_parts(one) for one in every),
            require_map_keys=not any(next(structurality.map_key_causes(one, ""), None) for one in every),
            unchanged=frozenset(name for name in names if new.schema_of(name) == before.schema_of(name)),
            allow_invalid_ca=not established or _has_invalid_ca(before),
        )

    def structural(self) -> Options:
        return replace(self, require_structural=True)

    def of_version(self, name: str) -> Options:
        return replace(self, ignore_rule_cost=True) if name in self.unchanged else self


def _webhook(found: Hub) -> Tree:
    webhook: Tree = (found.spec.get("conversion") or {}).get("webhook") or {}
    return webhook


def _has_invalid_ca(found: Hub) -> bool:
    bundle = (_webhook(found).get("clientConfig") or {}).get("caBundle")
    return bundle is not None and any(True for _ in validate_ca_bundle("", bundle))


def _is_established(crd: Object) -> bool:
    conditions = (crd.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Established" and c.get("status") == "True" for c in conditions)
