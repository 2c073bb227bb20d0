"""The rules for definitions: names, scope, versions, subresources, columns, selectable fields, conversion.

Upstream: apiextensions-apiserver/pkg/apis/apiextensions/validation/validation.go, pkg/apihelpers/helpers.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from timonel.apis import checks
from timonel.apis.apiextensions import gotext, hub, openapi
from timonel.apis.apiextensions.hub import Hub, Tree, hub_of, schema_in
from timonel.apis.apiextensions.options import Options
from timonel.apis.webhooks import validate_ca_bundle, validate_service, validate_url
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.machinery.structural import fieldpaths
from timonel.machinery.structural.schema import Schema
from timonel.objects.meta import Object

SCOPES = ("Cluster", "Namespaced")
STRATEGIES = ("None", "Webhook")
REVIEW_VERSIONS = ("v1", "v1beta1")
COLUMN_TYPES = "boolean,date,integer,number,string"
COLUMN_FORMATS = "byte,date,date-time,double,float,int32,int64,password"
MAX_SELECTABLE_FIELDS = 8
APPROVAL = "api-approved.kubernetes.io"
_SEE = "see https://github.com/kubernetes/enhancements/pull/1111"


def validate_definition(crd: Object) -> Iterator[Cause]:
    found = hub_of(crd)
    yield from _validate_name(crd)
    yield from _validate_spec(found, Options())
    yield from _validate_status(crd)
    yield from _validate_approval(crd, None)
    yield from _validate_keeps_unknown(found, None)


def validate_definition_update(new: Object, old: Object) -> Iterator[Cause]:
    found, before = hub_of(new), hub_of(old)
    options = Options.of_update(found, before, old)
    yield from _validate_spec(found, options)
    yield from _validate_immutable(found.spec, before.spec, is_established=options.immutable_names)
    yield from _validate_status(new)
    yield from _validate_approval(new, old)
    yield from _validate_keeps_unknown(found, before)


def validate_definition_status(new: Object, old: Object) -> Iterator[Cause]:
    yield from _validate_names((new.get("status") or {}).get("acceptedNames") or {}, "status.acceptedNames")


# ---------------------------------------------------------------- names


def _validate_name(crd: Object) -> Iterator[Cause]:
    metadata, spec = crd["metadata"], crd.get("spec") or {}
    wanted = f"{(spec.get('names') or {}).get('plural', '')}.{spec.get('group', '')}"
    for key in ("generateName", "name"):
        given = metadata.get(key, "")
        if given and given != wanted:
            yield field.invalid(f"metadata.{key}", given, 'must be spec.names.plural+"."+spec.group')


def _validate_names(tree: Tree, path: str) -> Iterator[Cause]:
    for key in ("plural", "singular"):
        if tree.get(key):
            yield from _label(f"{path}.{key}", tree[key])
    for key in ("kind", "listKind"):
        text = tree.get(key) or ""
        problems = names.dns1035_label(text.lower()) if text else []
        if problems:
            detail = f"may have mixed case, but should otherwise match: {','.join(problems)}"
            yield field.invalid(f"{path}.{key}", text, detail)
    yield from checks.each(f"{path}.shortNames", tree.get("shortNames"), _label)
    if tree.get("kind") and tree.get("kind") == tree.get("listKind"):
        yield field.invalid(f"{path}.listKind", tree["listKind"], "kind and listKind may not be the same")
    yield from checks.each(f"{path}.categories", tree.get("categories"), _label)


def _label(path: str, text: str) -> Iterator[Cause]:
    problems = names.dns1035_label(text)
    if problems:
        yield field.invalid(path, text, ",".join(problems))


def _validate_immutable(new: Tree, old: Tree, *, is_established: bool) -> Iterator[Cause]:
    after, before = new.get("names") or {}, old.get("names") or {}
    if is_established:
        yield from checks.immutable("spec.scope", new.get("scope"), old.get("scope"))
        yield from checks.immutable("spec.names.kind", after.get("kind"), before.get("kind"))
    yield from checks.immutable("spec.group", new.get("group"), old.get("group"))
    yield from checks.immutable("spec.names.plural", after.get("plural"), before.get("plural"))


# ---------------------------------------------------------------- spec


def _validate_spec(found: Hub, options: Options) -> Iterator[Cause]:
    spec = found.spec
    yield from _validate_group(spec.get("group") or "")
    yield from _choice("spec.scope", spec.get("scope") or "", SCOPES)
    yield from _validate_presence(found, options)
    if any(map(hub.has_defaults, found.schemas())):
        options = options.structural()
        if found.keeps_unknown:
            detail = "must be false in order to use defaults in the schema"
            yield field.invalid("spec.preserveUnknownFields", True, detail)
    if not found.keeps_unknown or any(map(hub.has_extensions, found.schemas())):
        options = options.structural()
    yield from _validate_versions(found, options)
    given = spec.get("names") or {}
    for key in ("plural", "singular", "kind", "listKind"):
        if not given.get(key):
            yield field.required(f"spec.names.{key}")
    yield from _validate_names(given, "spec.names")
    yield from _validate_shared(found, options)
    yield from _validate_conversion(found, options)


def _validate_group(group: str) -> Iterator[Cause]:
    if not group:
        yield field.required("spec.group")
    elif problems := names.dns1123_subdomain(group):
        yield field.invalid("spec.group", group, ",".join(problems))
    elif "." not in group:
        yield field.invalid("spec.group", group, "should be a domain with at least one dot")


def _choice(path: str, value: str, valid: tuple[str, ...]) -> Iterator[Cause]:
    if not value:
        yield field.required(path)
    else:
        yield from checks.one_of(path, value, valid)


def _validate_presence(found: Hub, options: Options) -> Iterator[Cause]:
    if schema_in(found.shared) is not None:
        return
    for index, version in enumerate(found.versions):
        path = f"spec.versions[{index}].schema.openAPIV3Schema"
        if schema_in(version) is not None:
            continue
        if options.require_schema:
            yield field.required(path)
        elif not found.keeps_unknown and version.get("served"):
            yield field.required(path, "because otherwise all fields are pruned")


def _validate_versions(found: Hub, options: Options) -> Iterator[Cause]:
    for index, version in enumerate(found.versions):
        path = f"spec.versions[{index}]"
        yield from _label(f"{path}.name", version.get("name", ""))
        yield from _validate_version(found, version, path, options)
    shown = gotext.versions(
        found.versions if "versions" in found.spec and found.spec["versions"] is not None else None
    )
    given = [version.get("name", "") for version in found.versions]
    if len(set(given)) != len(given):
        yield gotext.invalid("spec.versions", shown, "must contain unique version names")
    if sum(bool(version.get("storage")) for version in found.versions) != 1:
        yield gotext.invalid(
            "spec.versions", shown, "must have exactly one version marked as storage version"
        )
    if found.first_name:
        yield from _label("spec.version", found.first_name)


def _validate_version(found: Hub, version: Tree, path: str, options: Options) -> Iterator[Cause]:
    yield from _validate_deprecation(version, f"{path}.deprecationWarning")
    has_status = (found.subresources_of(version) or {}).get("status") is not None
    yield from openapi.validate(
        version.get("schema"),
        f"{path}.schema",
        options.of_version(version.get("name", "")),
        has_status=has_status,
    )
    yield from _validate_subresources(version.get("subresources"), f"{path}.subresources")
    yield from checks.each(
        f"{path}.additionalPrinterColumns", version.get("additionalPrinterColumns"), _validate_column
    )
    selectable = version.get("selectableFields")
    if not selectable:
        return
    schema = schema_in(version)
    if schema is None:
        detail = "may only be set when version.schema.openAPIV3Schema is not included"
        yield field.invalid(f"{path}.selectableFields", "", detail)
    else:
        yield from _validate_selectable(selectable, schema, f"{path}.selectableFields")


def _validate_shared(found: Hub, options: Options) -> Iterator[Cause]:
    shared = found.shared
    holders = (shared, *found.versions)
    has_status = any((holder.get("subresources") or {}).get("status") is not None for holder in holders)
    yield from openapi.validate(
        shared.get("schema"), "spec.validation", options.of_version(found.first_name), has_status=has_status
    )
    yield from _validate_subresources(shared.get("subresources"), "spec.subresources")
    columns = shared.get("additionalPrinterColumns")
    yield from checks.each("spec.additionalPrinterColumns", columns, _validate_column)
    selectable = shared.get("selectableFields")
    if not selectable:
        return
    schema = schema_in(shared)
    if schema is None:
        detail = "may only be set when validations.schema is included"
        yield field.invalid("spec.selectableFields", "", detail)
    else:
        yield from _validate_selectable(selectable, schema, "spec.selectableFields")


def _validate_deprecation(version: Tree, path: str) -> Iterator[Cause]:
    warning = version.get("deprecationWarning")
    if warning is None:
        return
    if not version.get("deprecated"):
        yield field.invalid(path, warning, "can only be set for deprecated versions")
        return
    if len(warning.encode()) > 256:
        yield field.invalid(path, warning, "must be <= 256 characters long")
    if not warning:
        yield field.invalid(path, warning, "must not be an empty string")
    unprintable = re.search(r"[^ -~]", warning) and next(
        (i for i, c in enumerate(warning) if not (c == " " or (c.isprintable() and not c.isspace()))), None
    )
    if unprintable is not None:
        at = len(warning[:unprintable].encode())
        kind = "must only contain printable UTF-8 characters; non-printable character found at index"
        yield field.invalid(path, warning, f"{kind} {at}")


# ---------------------------------------------------------------- subresources, columns, selectable fields


def _validate_subresources(tree: Tree | None, path: str) -> Iterator[Cause]:
    scale = (tree or {}).get("scale")
    if scale is None:
        return
    for key, root in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
        at, given = f"{path}.scale.{key}", scale.get(key) or ""
        if not given:
            yield field.required(at)
        elif not given.startswith("."):
            yield field.invalid(at, given, "must be a simple json path starting with .")
        elif not given.startswith(root):
            yield field.invalid(at, given, f"should be a json path under {root[:-1]}")
    at, given = f"{path}.scale.labelSelectorPath", scale.get("labelSelectorPath") or ""
    if given and not given.startswith("."):
        yield field.invalid(at, given, "must be a simple json path starting with .")
    elif given and not given.startswith((".spec.", ".status.")):
        yield field.invalid(at, given, "should be a json path under either .spec or .status")


def _validate_column(path: str, column: Tree) -> Iterator[Cause]:
    if not column.get("name"):
        yield field.required(f"{path}.name")
    kind, form, where = column.get("type") or "", column.get("format") or "", column.get("jsonPath") or ""
    if not kind:
        yield field.required(f"{path}.type", f"must be one of {COLUMN_TYPES}")
    elif kind not in COLUMN_TYPES.split(","):
        yield field.invalid(f"{path}.type", kind, f"must be one of {COLUMN_TYPES}")
    if form and form not in COLUMN_FORMATS.split(","):
        yield field.invalid(f"{path}.format", form, f"must be one of {COLUMN_FORMATS}")
    if not where:
        yield field.required(f"{path}.JSONPath")
    elif not where.startswith("."):
        yield field.invalid(f"{path}.JSONPath", where, "must be a simple json path starting with .")


def _validate_selectable(fields: list[Tree], schema: Tree, path: str) -> Iterator[Cause]:
    seen: set[str] = set()
    root = Schema.of(schema)
    for index, one in enumerate(fields):
        at, given = f"{path}[{index}].jsonPath", one.get("jsonPath") or ""
        if not given:
            yield field.required(at)
            continue
        try:
            said, below = fieldpaths.resolve(given, root, brackets=False)
        except fieldpaths.InvalidPath as error:
            yield field.invalid(at, given, f"is an invalid path: {error}")
            continue
        if re.match(r"\.metadata\b", said):
            yield field.invalid(at, given, "must not point to fields in metadata")
        if below.type not in ("string", "boolean", "integer"):
            detail = (
                "must point to a field of type string, boolean or integer. "
                "Enum string fields and strings with formats are allowed."
            )
            yield field.invalid(at, given, detail)
        if said in seen:
            yield field.duplicate(at, given)
        seen.add(said)
    if len(seen) > MAX_SELECTABLE_FIELDS:
        yield field.too_many(path, len(seen), MAX_SELECTABLE_FIELDS)


# ---------------------------------------------------------------- conversion


def _validate_conversion(found: Hub, options: Options) -> Iterator[Cause]:
    conversion = found.spec.get("conversion")
    if conversion is None:
        return
    path, strategy = "spec.conversion", conversion.get("strategy") or ""
    if strategy != "None" and found.keeps_unknown:
        detail = "must be None if spec.preserveUnknownFields is true"
        yield field.invalid(f"{path}.strategy", strategy, detail)
    yield from _choice(f"{path}.strategy", strategy, STRATEGIES)
    webhook = conversion.get("webhook") or {}
    config, reviews = webhook.get("clientConfig"), webhook.get("conversionReviewVersions") or []
    if strategy == "Webhook":
        yield from _validate_client(config, f"{path}.webhookClientConfig", options)
        yield from _validate_reviews(reviews, f"{path}.conversionReviewVersions", options)
        return
    unwanted = "should not be set when strategy is not set to Webhook"
    if config is not None:
        yield field.forbidden(f"{path}.webhookClientConfig", unwanted)
    if reviews:
        yield field.forbidden(f"{path}.conversionReviewVersions", unwanted)


def _validate_client(config: Tree | None, path: str, options: Options) -> Iterator[Cause]:
    if config is None:
        yield field.required(path, "required when strategy is set to Webhook")
        return
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        yield field.required(path, "exactly one of url or service is required")
    elif url is not None:
        yield from validate_url(f"{path}.url", url)
    elif service is not None:
        yield from validate_service(f"{path}.service", service)
    bundle = config.get("caBundle")
    if bundle and not options.allow_invalid_ca:
        yield from validate_ca_bundle(f"{path}.caBundle", bundle)


def _validate_reviews(versions: list[str], path: str, options: Options) -> Iterator[Cause]:
    if not versions:
        yield field.required(path)
        return
    for index, version in enumerate(versions):
        if version in versions[:index]:
            yield field.invalid(f"{path}[{index}]", version, "duplicate version")
            continue
        yield from checks.told(f"{path}[{index}]", version, names.dns1035_label(version))
    if options.require_known_review and not set(versions) & set(REVIEW_VERSIONS):
        yield field.invalid(path, versions, f"must include at least one of {', '.join(REVIEW_VERSIONS)}")


# ---------------------------------------------------------------- status, and what concerns the whole


def _validate_status(crd: Object) -> Iterator[Cause]:
    status, versions = crd.get("status") or {}, (crd.get("spec") or {}).get("versions") or []
    yield from _validate_names(status.get("acceptedNames") or {}, "status.acceptedNames")
    path, stored = "status.storedVersions", status.get("storedVersions")
    if not stored:
        yield field.invalid(path, None, "must have at least one stored version")
        return
    left = set(stored)
    for version in versions:
        name = version.get("name", "")
        if version.get("storage") and name not in left:
            yield field.invalid(path, stored, f"must have the storage version {name}")
        left.discard(name)
    given = {version.get("name") for version in versions}
    for index, name in enumerate(stored):
        if name not in given:
            detail = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in "
                f"spec.versions until a storage migration ensures no data remains persisted in {name} and removes "
                f"{name} from status.storedVersions"
            )
            yield field.invalid(f"{path}[{index}]", name, detail)


def is_protected(group: str) -> bool:
    """Groups that belong to the Kubernetes project."""
    return any(group == owner or group.endswith(f".{owner}") for owner in ("k8s.io", "kubernetes.io"))


def approval(crd: Object) -> tuple[str, str]:
    """(missing, unapproved, approved or invalid; why)."""
    given = (crd["metadata"].get("annotations") or {}).get(APPROVAL, "")
    if not given:
        return "missing", f"protected groups must have approval annotation {field.quote(APPROVAL)}, {_SEE}"
    if given.startswith("unapproved"):
        return "unapproved", f"not approved: {field.quote(given)}"
    try:
        parts = urlsplit(given)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme and parts.netloc:
        return "approved", f"approved in {given}"
    return "invalid", (
        f"protected groups must have approval annotation {field.quote(APPROVAL)} with either a URL or a reason "
        f'starting with "unapproved", {_SEE}'
    )


def _validate_approval(crd: Object, old: Object | None) -> Iterator[Cause]:
    if not is_protected((crd.get("spec") or {}).get("group") or ""):
        return
    state, why = approval(crd)
    if old is not None and approval(old)[0] == state:
        return
    path = f"metadata.annotations[{APPROVAL}]"
    if state == "missing":
        yield field.required(path, why)
    elif state == "invalid":
        yield field.invalid(path, crd["metadata"]["annotations"][APPROVAL], why)


def _validate_keeps_unknown(found: Hub, old: Hub | None) -> Iterator[Cause]:
    if found.keeps_unknown and not (old is not None and old.keeps_unknown):
        detail = (
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in "
            "spec.versions[*].schema instead"
        )
        yield field.invalid("spec.preserveUnknownFields", True, detail)
