"""The fields of a KubeSchedulerConfiguration and their types: what is unknown, and what is of the wrong type. Pure.

The words are those of Go's decoder, as upstream shows them. Upstream: k8s.io/kube-scheduler/config/v1/types.go,
component-base/config/v1alpha1/types.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from timonel.machinery import durations
from timonel.scheduler.profile import POINTS

INT32, STRING, BOOL, FLOAT32, DURATION, ANYTHING = "int32", "string", "bool", "float32", "duration", "any"
MOST_INT32 = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Struct:
    name: str
    fields: Mapping[str, Any]  # a type, a Struct, or a list of one


PLUGIN = Struct("Plugin", {"name": STRING, "weight": INT32})
PLUGIN_SET = Struct("PluginSet", {"enabled": [PLUGIN], "disabled": [PLUGIN]})
PROFILE = Struct(
    "KubeSchedulerProfile",
    {
        "schedulerName": STRING,
        "percentageOfNodesToScore": INT32,
        "plugins": Struct("Plugins", dict.fromkeys(("multiPoint", *POINTS), PLUGIN_SET)),
        "pluginConfig": [Struct("PluginConfig", {"name": STRING, "args": ANYTHING})],
    },
)
TLS = Struct(
    "ExtenderTLSConfig",
    {
        "insecure": BOOL,
        **dict.fromkeys(
            ("serverName", "certFile", "keyFile", "caFile", "certData", "keyData", "caData"), STRING
        ),
    },
)
EXTENDER = Struct(
    "Extender",
    {
        **dict.fromkeys(("urlPrefix", "filterVerb", "preemptVerb", "prioritizeVerb", "bindVerb"), STRING),
        "weight": INT32,
        "enableHTTPS": BOOL,
        "tlsConfig": TLS,
        "httpTimeout": DURATION,
        "nodeCacheCapable": BOOL,
        "managedResources": [Struct("ExtenderManagedResource", {"name": STRING, "ignoredByScheduler": BOOL})],
        "ignorable": BOOL,
    },
)
ELECTION = Struct(
    "LeaderElectionConfiguration",
    {
        "leaderElect": BOOL,
        **dict.fromkeys(("leaseDuration", "renewDeadline", "retryPeriod"), DURATION),
        **dict.fromkeys(("resourceLock", "resourceName", "resourceNamespace"), STRING),
    },
)
CONNECTION = Struct(
    "ClientConnectionConfiguration",
    {
        **dict.fromkeys(("kubeconfig", "acceptContentTypes", "contentType"), STRING),
        "qps": FLOAT32,
        "burst": INT32,
    },
)
CONFIGURATION = Struct(
    "KubeSchedulerConfiguration",
    {
        "apiVersion": STRING,
        "kind": STRING,
        "parallelism": INT32,
        "leaderElection": ELECTION,
        "clientConnection": CONNECTION,
        "enableProfiling": BOOL,
        "enableContentionProfiling": BOOL,
        "percentageOfNodesToScore": INT32,
        "podInitialBackoffSeconds": INT32,
        "podMaxBackoffSeconds": INT32,
        "profiles": [PROFILE],
        "extenders": [EXTENDER],
        "delayCacheUntilActive": BOOL,
    },
)


def wrong_types(value: Any, kind: Any, struct: str = "", path: str = "") -> Iterator[str]:
    """Values that cannot be read as what they should be; `path` names fields without the numbers of elements."""
    if value is None or kind == ANYTHING:
        return
    if isinstance(kind, Struct):
        if not isinstance(value, dict):
            yield _mismatch(value, kind.name, struct, path)
            return
        for name, inner in value.items():
            if name in kind.fields:
                yield from wrong_types(
                    inner, kind.fields[name], kind.name, f"{path}.{name}" if path else name
                )
    elif isinstance(kind, list):
        if not isinstance(value, list):
            yield _mismatch(value, f"[]{_go_name(kind[0])}", struct, path)
            return
        for inner in value:
            yield from wrong_types(inner, kind[0], struct, path)
    elif kind == DURATION:
        if not isinstance(value, str):
            yield f"json: cannot unmarshal {_shown(value)} into Go value of type string"
        elif seconds(value) is None:
            yield f'time: invalid duration "{value}"'
    elif not _is(value, kind):
        yield _mismatch(value, kind, struct, path)


def unknown(value: Any, kind: Any, path: str = "") -> Iterator[str]:
    """The paths of fields that there are not."""
    if isinstance(kind, Struct) and isinstance(value, dict):
        for name, inner in value.items():
            where = f"{path}.{name}" if path else str(name)
            if name not in kind.fields:
                yield where
            else:
                yield from unknown(inner, kind.fields[name], where)
    elif isinstance(kind, list) and isinstance(value, list):
        for number, inner in enumerate(value):
            yield from unknown(inner, kind[0], f"{path}[{number}]")


def seconds(duration: Any) -> float | None:
    """None where it is no duration as Go writes them."""
    try:
        return durations.parse(duration) if isinstance(duration, str) else None
    except ValueError:
        return None


def _is(value: Any, kind: str) -> bool:
    if kind == BOOL:
        return isinstance(value, bool)
    if kind == STRING:
        return isinstance(value, str)
    if isinstance(value, bool):
        return False
    if kind == INT32:
        return isinstance(value, int) and -MOST_INT32 <= value <= MOST_INT32
    return isinstance(value, int | float)


def _go_name(kind: Any) -> str:
    return kind.name if isinstance(kind, Struct) else str(kind)


def _mismatch(value: Any, kind: str, struct: str, path: str) -> str:
    shown = _shown(value)
    if kind == INT32 and shown == "number":
        shown = f"number {value}"
    into = f"Go struct field {struct}.{path}" if path else "Go value"
    name = f"v1.{kind}" if kind[:1].isupper() else kind.replace("[]", "[]v1.") if kind[:1] == "[" else kind
    return f"json: cannot unmarshal {shown} into {into} of type {name}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, Sequence):
        return "array"
    return "object" if isinstance(value, Mapping) else "number"
