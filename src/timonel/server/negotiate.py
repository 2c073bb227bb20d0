"""In which form a client wants its answer: JSON or YAML; the object, its metadata, or a Table.

Upstream: apiserver/pkg/endpoints/handlers/negotiation/negotiate.go.
"""

from __future__ import annotations

from timonel.machinery import errors
from timonel.machinery.protobuf import MEDIA_TYPE
from timonel.records import dataclass

ACCEPTED = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
TRANSFORMS = {
    "Table": ("v1", "v1beta1"),
    "PartialObjectMetadata": ("v1", "v1beta1"),
    "PartialObjectMetadataList": ("v1", "v1beta1"),
}
META_GROUP = "meta.k8s.io"


@dataclass(frozen=True, slots=True)
class Form:
    """`transform` is empty for the object as it is."""

    yaml: bool = False
    protobuf: bool = False
    transform: str = ""
    version: str = "v1"

    @property
    def as_stored(self) -> bool:
        """JSON of the whole object: its bytes need not be decoded."""
        return not (self.yaml or self.protobuf or self.transform)

    @property
    def api_version(self) -> str:
        return f"{META_GROUP}/{self.version}"


PLAIN = Form()


@dataclass(frozen=True, slots=True)
class Clause:
    media: str
    params: dict[str, str]
    quality: float


def clauses(accept: str) -> list[Clause]:
    found = []
    for text in accept.split(","):
        media, *params = (part.strip() for part in text.split(";"))
        pairs = dict(p.split("=", 1) for p in params if "=" in p)
        try:
            quality = float(pairs.pop("q", "1"))
        except ValueError:
            quality = 1.0
        if media:
            found.append(Clause(media, pairs, quality))
    return sorted(found, key=lambda c: -c.quality)


def negotiate(accept: str, *, transforms: bool = True, tables: bool = True, protobuf: bool = False) -> Form:
    """The first acceptable form; protobuf only to those who accept nothing else. Raises NotAcceptable."""
    if not accept or accept == "*/*":
        return PLAIN
    known = False
    in_protobuf: Form | None = None
    for clause in clauses(accept):
        if clause.media in ("application/json", "*/*", "application/*"):
            yaml = False
        elif clause.media == "application/yaml":
            yaml = True
        else:
            if clause.media == MEDIA_TYPE:
                known = True
                in_protobuf = in_protobuf or _in_protobuf(clause, transforms)
            continue
        known = True
        transform = clause.params.get("as", "")
        if not transform:
            return Form(yaml=yaml)
        if not transforms or clause.params.get("g") != META_GROUP:
            continue
        if transform == "Table" and not tables:
            continue
        if clause.params.get("v") in TRANSFORMS.get(transform, ()):
            return Form(yaml=yaml, transform=transform, version=clause.params["v"])
    if in_protobuf is not None and protobuf:
        return in_protobuf
    if known:
        raise errors.NotAcceptable(f"only the following media types are accepted: {ACCEPTED}")
    raise errors.NotAcceptable(f"406: Not Acceptable\n\nAvailable representations: {ACCEPTED}", details=True)


def _in_protobuf(clause: Clause, transforms: bool) -> Form | None:
    """None for what has no message: Tables, and versions before v1."""
    transform = clause.params.get("as", "")
    if not transform:
        return Form(protobuf=True)
    wanted = (clause.params.get("g"), clause.params.get("v"))
    if not transforms or transform == "Table" or transform not in TRANSFORMS or wanted != (META_GROUP, "v1"):
        return None
    return Form(protobuf=True, transform=transform)
