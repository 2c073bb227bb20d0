"""Generates src/timonel/schema/types.bin: the published API as data, from pinned packages.

`kubernetes-validate` has the JSON schemas of Kubernetes with descriptions, list types and merge keys;
`lightkube-models` has plurals, verbs and subresources; `timonel.schema.go_types` adds what only upstream's Go types
know. Run it by hand after a change to either; the build hook (`hatch_build.py`) runs it for every install and wheel.

The file is one JSON header line followed by sections, each compressed on its own so that a reader pays for what it
asks for: `index` (resources and kinds), one section per package of types (`core.v1`), and one of its descriptions
(`core.v1#docs`). `timonel.schema.store` reads it.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
import zlib
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

KUBERNETES = "v1.36.0"
HERE = Path(__file__).resolve().parent
SCHEMA = HERE.parent / "src" / "timonel" / "schema"
TARGET = SCHEMA / "types.bin"

# Versions that are served. A kind of any other version has no type of its own here.
SERVED = frozenset({"v1", "v2"})

_PREFIXES = (
    ("io.k8s.api.", ""),
    ("io.k8s.apimachinery.pkg.apis.", ""),
    ("io.k8s.apiextensions-apiserver.pkg.apis.", ""),
    ("io.k8s.kube-aggregator.pkg.apis.", ""),
)
# Definitions that are no structs: how the codec treats them.
_SPECIAL = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "intstr",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "microtime",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": "any",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "raw",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON": "any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray": "props-or-array",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool": "props-or-bool",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray": "props-or-strings",
}
_JSON_SCHEMA_PROPS = "apiextensions.v1.JSONSchemaProps"


def _go_types() -> ModuleType:
    spec = importlib.util.spec_from_file_location("_go_types", SCHEMA / "go_types.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GO = _go_types()


def package_dir(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{name} is not installed: pip install the build requirements of pyproject.toml")
    return Path(next(iter(spec.submodule_search_locations)))


# ---- types


def short_name(full: str) -> str:
    for prefix, replacement in _PREFIXES:
        if full.startswith(prefix):
            return replacement + full[len(prefix) :]
    return full


def package_of(short: str) -> str:
    return short.rpartition(".")[0]


def _plain_type(value: dict[str, Any]) -> str:
    kind = value.get("type")
    return (kind[0] if isinstance(kind, list) else kind) or "any"


def element(value: dict[str, Any]) -> dict[str, Any]:
    """What one value may be: `t` is its type, `ref` the struct, `of` the element of a list or map."""
    if "$ref" in value:
        full = value["$ref"].rpartition("/")[2]
        special = _SPECIAL.get(full)
        if special is None:
            return {"t": "ref", "ref": short_name(full)}
        return {"t": special, "ref": _JSON_SCHEMA_PROPS} if special.startswith("props") else {"t": special}
    kind = _plain_type(value)
    if kind == "object":
        inner = value.get("additionalProperties")
        return {"t": "map", "of": element(inner)} if isinstance(inner, dict) else {"t": "any"}
    if kind == "array":
        return {"t": "list", "of": element(value["items"])}
    if kind == "string" and value.get("format") == "byte":
        return {"t": "bytes"}
    if kind == "integer":
        return {"t": value.get("format") or "int64"}
    return {"t": kind}


def field_of(owner: str, name: str, value: dict[str, Any], required: bool) -> dict[str, Any]:
    field = element(value)
    optional = {
        "list": value.get("x-kubernetes-list-type"),
        "keys": value.get("x-kubernetes-list-map-keys"),
        "merge": value.get("x-kubernetes-patch-merge-key"),
        "strategy": value.get("x-kubernetes-patch-strategy"),
        "map": value.get("x-kubernetes-map-type"),
        "enum": [e for e in value.get("enum") or () if e is not None],
    }
    field.update({key: found for key, found in optional.items() if found})
    if name in GO.KEY_DEFAULTS.get(owner, {}):
        field["default"] = GO.KEY_DEFAULTS[owner][name]
    if required:
        field["req"] = 1
    if name in GO.listed(GO.REQUIRED_POINTERS, owner) or (not required and _is_pointer(owner, name, field)):
        field["ptr"] = 1
    if name in GO.listed(GO.KEPT_EMPTY, owner):
        field["empty"] = 1
    if required or _is_emitted(owner, name, field):
        field["emit"] = 1
    return field


_STRUCTS = frozenset({"ref", "time", "microtime", "quantity", "intstr"})


def _is_value_struct(owner: str, name: str, field: dict[str, Any]) -> bool:
    if name in GO.listed(GO.VALUES, owner):
        return True
    if name in GO.listed(GO.POINTERS, owner):
        return False
    if name in ("metadata", "spec", "status"):
        return field["t"] == "ref"
    return field["t"] == "time" and name in GO.VALUE_TIMES


def _is_pointer(owner: str, name: str, field: dict[str, Any]) -> bool:
    if field["t"] in _STRUCTS:
        return not _is_value_struct(owner, name, field)
    return name in GO.listed(GO.POINTERS, owner)


def _is_emitted(owner: str, name: str, field: dict[str, Any]) -> bool:
    if name in GO.listed(GO.EMITTED, owner):
        return True
    return field["t"] in _STRUCTS and _is_value_struct(owner, name, field)


def is_served(full: str) -> bool:
    return package_of(full).rpartition(".")[2] in SERVED and full not in _SPECIAL


def types_of(definitions: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(package -> type -> data, package -> type -> descriptions)"""
    types: dict[str, Any] = defaultdict(dict)
    docs: dict[str, Any] = defaultdict(dict)
    for full, schema in definitions.items():
        if not is_served(full):
            continue
        short = short_name(full)
        required = schema.get("required", ())
        properties = schema.get("properties", {})
        data: dict[str, Any] = {
            "full": full,
            "fields": {n: field_of(short, n, v, n in required) for n, v in properties.items()},
        }
        if schema.get("x-kubernetes-map-type"):
            data["map"] = schema["x-kubernetes-map-type"]
        if schema.get("x-kubernetes-group-version-kind"):
            data["gvk"] = [
                [g["group"], g["version"], g["kind"]] for g in schema["x-kubernetes-group-version-kind"]
            ]
        package = package_of(short)
        types[package][short] = data
        docs[package][short] = {
            "": schema.get("description", ""),
            **{n: v["description"] for n, v in properties.items() if v.get("description")},
        }
    for full in _SPECIAL:
        docs["special"][full] = definitions[full].get("description", "")
    return types, docs


def kinds_of(types: dict[str, Any]) -> dict[str, str]:
    """`group/version/Kind` -> type name, for what has one home (DeleteOptions and the like have meta's)."""
    found = {}
    for package in types.values():
        for short, data in package.items():
            for group, version, kind in data.get("gvk", ()):
                if version in SERVED:
                    found[f"{group}/{version}/{kind}"] = short
    return found


# ---- resources

_VERBS = {
    "post": "create", "put": "update", "global_list": "", "global_watch": "", "global_patch": "", "patch": "patch",
    "get": "get", "list": "list", "watch": "watch", "delete": "delete", "deletecollection": "deletecollection",
}  # fmt: skip


def resources_of(folder: Path) -> list[dict[str, Any]]:
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    subresources: list[tuple[tuple[str, str, str], dict[str, Any]]] = []
    for file in sorted(folder.glob("*_*.py")):
        if file.stem.rpartition("_")[2] not in SERVED:
            continue
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef):
                info = _api_info(node)
                if info:
                    _add(info, found, subresources)
    for parent, subresource in subresources:
        if parent in found:
            found[parent]["subresources"].append(subresource)
    return list(found.values())


def _api_info(node: ast.ClassDef) -> dict[str, Any] | None:
    """The literal arguments of the class's `_api_info = res.ApiInfo(...)`."""
    for statement in node.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call):
            call = statement.value
            info: dict[str, Any] = {"base": ast.unparse(node.bases[0])}
            for keyword in call.keywords:
                if isinstance(keyword.value, ast.Call):
                    info[keyword.arg or ""] = tuple(ast.literal_eval(a) for a in keyword.value.args)
                else:
                    info[keyword.arg or ""] = ast.literal_eval(keyword.value)
            return info if "resource" in info else None
    return None


def _add(info: dict[str, Any], found: dict[Any, Any], subresources: list[Any]) -> None:
    group, version, kind = info["resource"]
    verbs = sorted({_VERBS[v] for v in info["verbs"]} - {""})
    if "action" in info:
        entry = {"name": info["action"], "group": group, "version": version, "kind": kind, "verbs": verbs}
        subresources.append((info.get("parent", info["resource"]), entry))
        return
    found[(group, version, kind)] = {
        "group": group, "version": version, "kind": kind, "plural": info["plural"],
        "namespaced": "Namespaced" in info["base"], "verbs": verbs, "subresources": [],
    }  # fmt: skip


# ---- the file


def build() -> bytes:
    folder = package_dir("kubernetes_validate") / "kubernetes-json-schema" / f"{KUBERNETES}-local"
    definitions = json.loads((folder / "_definitions.json").read_text())["$defs"]
    types, docs = types_of(definitions)
    index = {
        "kubernetes": KUBERNETES,
        "kinds": kinds_of(types),
        "resources": resources_of(package_dir("lightkube") / "resources"),
    }
    sections: dict[str, Any] = {"index": index, **types}
    sections.update({f"{package}#docs": found for package, found in docs.items()})
    header: dict[str, list[int]] = {}
    body = bytearray()
    for name, content in sections.items():
        packed = zlib.compress(json.dumps(content, separators=(",", ":"), sort_keys=True).encode(), 9)
        header[name] = [len(body), len(packed)]
        body += packed
    return json.dumps(header, separators=(",", ":")).encode() + b"\n" + bytes(body)


def main() -> int:
    data = build()
    TARGET.write_bytes(data)
    print(f"{TARGET.name}: {len(data):,} bytes", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
