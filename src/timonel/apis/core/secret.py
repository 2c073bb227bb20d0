"""core/v1: Secret. `stringData` is folded into `data` when it arrives and never stored.

Upstream: pkg/apis/core/{v1/conversion.go,v1/defaults.go,validation/validation.go},
pkg/registry/core/secret/strategy.go, pkg/api/secret/warnings.go.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator

from timonel.apis import checks
from timonel.apis.core.configmap import MAX_BYTES, SEALED, decoded_length
from timonel.apis.printing import AGE
from timonel.apis.resource import Column, ResourceType
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object, annotations_of

ACCOUNT_NAME = "kubernetes.io/service-account.name"
REDACTED = "<secret contents redacted>"

# type -> the keys that it must have
_NEEDS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_JSON_KEYS = (".dockercfg", ".dockerconfigjson")
_PEM = re.compile(rb"-----BEGIN ([^\n-]+)-----\r?\n[\s\S]*?-----END \1-----")


def default_secret(obj: Object) -> None:
    texts = obj.pop("stringData", None)
    if texts:
        data = obj["data"] = dict(obj.get("data") or {})
        for key, text in texts.items():
            data[key] = base64.b64encode((text or "").encode()).decode()
    obj["type"] = obj.get("type") or "Opaque"


def validate(obj: Object) -> Iterator[Cause]:
    data, kind = obj.get("data") or {}, obj.get("type", "")
    for key in sorted(data):
        yield from checks.told(f"data[{key}]", key, names.config_map_key(key))
    if sum(map(decoded_length, data.values())) > MAX_BYTES:
        yield field.too_long("data", MAX_BYTES)
    if kind == "kubernetes.io/service-account-token" and not annotations_of(obj).get(ACCOUNT_NAME):
        yield field.required(f"metadata.annotations[{ACCOUNT_NAME}]")
    if kind == "kubernetes.io/basic-auth" and "username" not in data and "password" not in data:
        yield field.required("data[username]")
        yield field.required("data[password]")
    for key in _NEEDS.get(kind, ()):
        if key not in data or (key == "ssh-privatekey" and not data[key]):
            yield field.required(f"data[{key}]")
        elif key in _JSON_KEYS:
            problem = _not_an_object(_decoded(data[key]))
            if problem:
                yield field.invalid(f"data[{key}]", REDACTED, problem)


def _decoded(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded)
    except (binascii.Error, ValueError):
        return b""


def _not_an_object(raw: bytes) -> str:
    """Why a text is no JSON object, as Go's decoder says it; empty when it is one."""
    text = raw.decode(errors="replace")
    try:
        found = json.loads(text)
    except ValueError as error:
        return _go_json_error(text, getattr(error, "pos", 0))
    if found is None or isinstance(found, dict):
        return ""
    names_of = {bool: "bool", int: "number", float: "number", str: "string", list: "array"}
    return f"json: cannot unmarshal {names_of[type(found)]} into Go value of type map[string]interface {{}}"


def _go_json_error(text: str, at: int) -> str:
    start = len(text) - len(text.lstrip())
    for word in ("null", "true", "false"):
        if text[start : start + 1] == word[0]:
            for offset, wanted in enumerate(word):
                found = text[start + offset : start + offset + 1]
                if found and found != wanted:
                    return f"invalid character '{found}' in literal {word} (expecting '{wanted}')"
    if at >= len(text.rstrip()):
        return "unexpected end of JSON input"
    where = "looking for beginning of value" if at <= start else "after top-level value"
    return f"invalid character '{text[at]}' {where}"


def validate_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from checks.immutable("type", new.get("type"), old.get("type"))
    if old.get("immutable"):
        if not new.get("immutable"):
            yield field.forbidden("immutable", SEALED)
        if (new.get("data") or {}) != (old.get("data") or {}):
            yield field.forbidden("data", SEALED)
    yield from validate(new)


def warnings(obj: Object) -> Iterator[str]:
    data = obj.get("data") or {}
    if obj.get("type") != "kubernetes.io/tls":
        return
    for key, what in (("tls.crt", "certificate"), ("tls.key", "key")):
        if not _PEM.search(_decoded(data.get(key, ""))):
            yield f"tls: failed to find any PEM data in {what} input"
            return


def warnings_update(new: Object, old: Object) -> Iterator[str]:
    yield from warnings(new)


SECRET = ResourceType(
    group="",
    version="v1",
    kind="Secret",
    plural="secrets",
    secret=True,
    selectable={"type": lambda o: o.get("type", "")},
    default=default_secret,
    validate=validate,
    validate_update=validate_update,
    warnings=warnings,
    warnings_update=warnings_update,
    columns=(
        Column("Type", lambda o, now: o.get("type", ""), doc="type"),
        Column("Data", lambda o, now: len(o.get("data") or {}), doc="data"),
        AGE,
    ),
)

RESOURCES = (SECRET,)
