"""Field numbers of the API's protobuf messages: the loader of `protobuf_fields.txt`.

The file has a line per message under a `[package]`: its name, and its fields as `number:name:kind`. The name is that in
JSON. A kind is `string` when it is left out, else one of

    int32 int64 boolean double bytes time microtime quantity intstr raw     as in `timonel.schema.store`
    strings             a message with a list of strings as its only field
    package.version.T   a message; `.T` in the package of the line
    []X {}X             repeated, and a map from strings
    =T                  a message of which the one field that is set stands for it

`number:+T` is a message whose fields are in JSON those of the message around it.

Upstream: generated.proto of each version in k8s.io/api, apimachinery/pkg/apis/meta/v1, apiextensions-apiserver and
kube-aggregator; `networking.retired` is networking/v1beta1.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources

# number, name (empty for an inlined message), kind with full message names
Field = tuple[int, str, str]


class Messages:
    """Messages by name (`core.v1.Pod`); a line is read when it is asked for."""

    def __init__(self, text: str) -> None:
        self._lines: dict[str, str] = {}
        package = ""
        for line in text.splitlines():
            if line.startswith("["):
                package = line[1:-1]
            else:
                name, _, fields = line.partition(" ")
                self._lines[f"{package}.{name}"] = fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __contains__(self, name: str) -> bool:
        return name in self._lines

    def fields(self, name: str) -> list[Field]:
        """Raises KeyError for a message that is not there."""
        package = name.rpartition(".")[0]
        return [_field(text, package) for text in self._lines[name].split()]


def _field(text: str, package: str) -> Field:
    number, _, rest = text.partition(":")
    if rest.startswith("+"):
        return int(number), "", "+" + _full(rest[1:], package)
    name, _, kind = rest.partition(":")
    bare = kind.lstrip("[]{}=")
    return int(number), name, kind[: len(kind) - len(bare)] + _full(bare or "string", package)


def _full(name: str, package: str) -> str:
    return package + name if name.startswith(".") else name


def load() -> Messages:
    file = resources.files("timonel.schema") / "protobuf_fields.txt"
    return Messages(file.read_text(encoding="utf-8"))
