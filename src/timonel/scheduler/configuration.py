"""A KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1) becomes profiles and extenders.

What is wrong with it is told all at once, in upstream's form. Plugins of one's own are classes found by the entry point
group `timonel.scheduler.plugins`; each is called with its arguments (a mapping, empty without pluginConfig) and must be
enabled by a profile, as upstream's out-of-tree plugins.

Upstream: pkg/scheduler/apis/config/{types.go,validation,v1/default_plugins.go}, framework/runtime/framework.go
(expandMultiPointPlugins).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from timonel.records import dataclass
from timonel.scheduler import arguments
from timonel.scheduler.extenders import ExtenderConfig
from timonel.scheduler.framework import Plugin
from timonel.scheduler.profile import DEFAULT_NAME, POINTS, WEIGHTS, Profile, default_plugins
from timonel.scheduler.queue import FIRST_BACKOFF, LONGEST_BACKOFF

API_VERSION, KIND = "kubescheduler.config.k8s.io/v1", "KubeSchedulerConfiguration"
GROUP = "timonel.scheduler.plugins"

Tree = Mapping[str, Any]
Factory = Callable[[Tree], Plugin]

_FIELDS = frozenset({
    "apiVersion", "kind", "parallelism", "leaderElection", "clientConnection", "enableProfiling",
    "enableContentionProfiling", "percentageOfNodesToScore", "podInitialBackoffSeconds", "podMaxBackoffSeconds",
    "profiles", "extenders", "delayCacheUntilActive", "healthzBindAddress", "metricsBindAddress",
})  # fmt: skip
_PROFILE_FIELDS = frozenset({"schedulerName", "percentageOfNodesToScore", "plugins", "pluginConfig"})


class ConfigurationError(ValueError):
    """What is wrong, one cause a line."""


@dataclass(frozen=True, slots=True)
class Configuration:
    profiles: tuple[Profile, ...]
    extenders: tuple[ExtenderConfig, ...] = ()
    first_backoff: float = FIRST_BACKOFF
    longest_backoff: float = LONGEST_BACKOFF


def found_plugins() -> dict[str, Factory]:
    """Those of other packages, by name."""
    from importlib.metadata import entry_points  # which is not paid for by those who configure nothing

    return {entry.name: entry.load() for entry in entry_points(group=GROUP)}


def parse(tree: Any, others: Mapping[str, Factory] | None = None) -> Configuration:
    """Raises ConfigurationError. `others`: plugins besides the built-in ones; None looks for entry points."""
    if not isinstance(tree, dict):
        raise ConfigurationError("the file does not hold an object")
    if tree.get("kind") != KIND or tree.get("apiVersion") != API_VERSION:
        raise ConfigurationError(
            f'no kind "{tree.get("kind", "")}" is registered for version "{tree.get("apiVersion", "")}": '
            f"it must be {KIND} of {API_VERSION}"
        )
    others = found_plugins() if others is None else others
    causes = [f'strict decoding error: unknown field "{name}"' for name in sorted(tree.keys() - _FIELDS)]
    first, longest = tree.get("podInitialBackoffSeconds", 1), tree.get("podMaxBackoffSeconds", 10)
    if not isinstance(first, int) or first <= 0:
        causes.append(f"podInitialBackoffSeconds: Invalid value: {first}: must be greater than 0")
    elif not isinstance(longest, int) or longest < first:
        causes.append(
            f"podMaxBackoffSeconds: Invalid value: {longest}: must be greater than or equal to PodInitialBackoffSeconds"
        )
    extenders = list(ExtenderConfig.parse_all(tree.get("extenders") or (), causes))
    ignored = {name for extender in extenders for name in extender.ignored_resources}
    profiles: list[Profile] = []
    for number, profile in enumerate(tree.get("profiles") or [{}]):
        made = _profile(profile, f"profiles[{number}]", others, ignored, causes)
        if made is not None:
            profiles.append(made)
    causes += _together(profiles)
    if causes:
        raise ConfigurationError("\n".join(causes))
    return Configuration(tuple(profiles), tuple(extenders), float(first), float(longest))


def load(file: Path) -> Configuration:
    """Raises ConfigurationError, OSError."""
    import yaml

    try:
        tree = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"it is no YAML: {exc}") from exc
    return parse(tree)


def _together(profiles: Sequence[Profile]) -> Iterator[str]:
    names: set[str] = set()
    for number, profile in enumerate(profiles):
        if profile.scheduler_name in names:
            yield f'profiles[{number}].schedulerName: Duplicate value: "{profile.scheduler_name}"'
        names.add(profile.scheduler_name)
        if profile.name_of(profile.sort) != profile.name_of(profiles[0].sort):
            yield f"profiles[{number}].plugins.queueSort: Invalid value: queueSort must be the same for all profiles"


def _profile(
    tree: Any, path: str, others: Mapping[str, Factory], ignored: set[str], causes: list[str]
) -> Profile | None:
    if not isinstance(tree, dict):
        causes.append(f"{path}: Invalid value: must be an object")
        return None
    before = len(causes)
    causes += [
        f'strict decoding error: unknown field "{path}.{n}"' for n in sorted(tree.keys() - _PROFILE_FIELDS)
    ]
    name = tree.get("schedulerName") or DEFAULT_NAME
    plugins = tree.get("plugins") or {}
    known = {"multiPoint", *POINTS}
    causes += [
        f'strict decoding error: unknown field "{path}.plugins.{n}"' for n in sorted(plugins.keys() - known)
    ]
    args = _arguments(tree.get("pluginConfig") or (), f"{path}.pluginConfig", others, causes)
    if len(causes) > before:
        return None
    factories = {p.name: (lambda _, p=p: p) for p in default_plugins()} | arguments.FACTORIES | dict(others)
    multi, weights = _multi_point(plugins.get("multiPoint") or {})
    wanted = list(multi)
    chosen: dict[str, list[str]] = {}
    for point in POINTS:
        chosen[point] = _expanded(multi, plugins.get(point) or {}, weights if point == "score" else None)
        wanted += [n for n in chosen[point] if n not in wanted]
    unknown = [n for n in wanted if n not in factories]
    if unknown:
        causes += [f'{path}.plugins: Invalid value: plugin "{n}" does not exist' for n in unknown]
        return None
    made = []
    for plugin in wanted:
        given = dict(args.get(plugin) or {})
        if plugin == "NodeResourcesFit" and ignored:
            given["ignoredResources"] = [*(given.get("ignoredResources") or ()), *sorted(ignored)]
        made.append(factories[plugin](given))
    try:
        profile = Profile(made, scheduler_name=name, weights=weights, points=chosen)
    except IndexError:
        causes.append(
            f'{path}.plugins.queueSort: Required value: no queue sort plugin required for profile "{name}"'
        )
        return None
    if not profile.bind:
        causes.append(
            f'{path}.plugins.bind: Required value: at least one bind plugin is needed for profile "{name}"'
        )
        return None
    return profile


def _multi_point(tree: Tree) -> tuple[list[str], dict[str, int]]:
    """The plugins enabled at all points, with their weights: the default ones, as changed."""
    names = [p.name for p in default_plugins()]
    weights = dict(WEIGHTS)
    removed = {e["name"] for e in tree.get("disabled") or ()}
    names = [] if "*" in removed else [n for n in names if n not in removed]
    for entry in tree.get("enabled") or ():
        if entry["name"] not in names:
            names.append(entry["name"])
        if entry.get("weight"):
            weights[entry["name"]] = entry["weight"]
        elif entry["name"] in removed or "*" in removed:
            weights.pop(entry["name"], None)
    return names, weights


def _expanded(multi: Iterable[str], tree: Tree, weights: dict[str, int] | None) -> list[str]:
    """Those of one point: first what it names of the many-point ones, then the others of those, then its own."""
    enabled = [e["name"] for e in tree.get("enabled") or ()]
    removed = {e["name"] for e in tree.get("disabled") or ()}
    if weights is not None:
        weights.update({e["name"]: e["weight"] for e in tree.get("enabled") or () if e.get("weight")})
    inherited = [] if "*" in removed else [n for n in multi if n not in removed]
    return [
        *(n for n in enabled if n in inherited),
        *(n for n in inherited if n not in enabled),
        *(n for n in enabled if n not in inherited),
    ]


def _arguments(entries: Any, path: str, others: Mapping[str, Factory], causes: list[str]) -> dict[str, Tree]:
    found: dict[str, Tree] = {}
    for number, entry in enumerate(entries):
        name, args = entry.get("name", ""), entry.get("args") or {}
        where = f"{path}[{number}]"
        if name in found:
            causes.append(f'{where}: Duplicate value: "{name}"')
            continue
        found[name] = args
        if name not in others:
            causes += arguments.problems(name, args, f"{where}.args")
    return found
