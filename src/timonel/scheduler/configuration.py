"""A KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1) becomes profiles and extenders.

What is wrong with it is told in upstream's form and stages: types, unknown fields, values, plugins. Plugins of
one's own are classes found by the entry point group `timonel.scheduler.plugins`; each is called with its arguments (a
mapping, empty without pluginConfig) and must be enabled by a profile, as upstream's out-of-tree plugins.

Upstream: pkg/scheduler/apis/config/{types.go,validation,v1/default_plugins.go}, framework/runtime/framework.go
(expandMultiPointPlugins).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from timonel.records import dataclass
from timonel.scheduler import arguments, configchecks, configfields
from timonel.scheduler.extenders import ExtenderConfig, context_for
from timonel.scheduler.framework import Plugin
from timonel.scheduler.profile import POINTS, WEIGHTS, Profile, default_plugins
from timonel.scheduler.queue import FIRST_BACKOFF, LONGEST_BACKOFF

API_VERSION, KIND = "kubescheduler.config.k8s.io/v1", "KubeSchedulerConfiguration"
GROUP = "timonel.scheduler.plugins"

Tree = Mapping[str, Any]
Factory = Callable[[Tree], Plugin]


class ConfigurationError(ValueError):
    """What is wrong, one cause a line."""


@dataclass(frozen=True, slots=True)
class Election:
    """How schedulers agree on who of them works."""

    wanted: bool = True
    duration: float = configchecks.LEASE
    deadline: float = configchecks.RENEW
    retry: float = configchecks.RETRY
    namespace: str = "kube-system"
    name: str = "kube-scheduler"


@dataclass(frozen=True, slots=True)
class Configuration:
    profiles: tuple[Profile, ...]
    extenders: tuple[ExtenderConfig, ...] = ()
    first_backoff: float = FIRST_BACKOFF
    longest_backoff: float = LONGEST_BACKOFF
    election: Election = Election()


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
    causes = list(configfields.wrong_types(tree, configfields.CONFIGURATION))
    if not causes:
        strange = sorted(configfields.unknown(tree, configfields.CONFIGURATION))
        causes += [f'strict decoding error: unknown field "{name}"' for name in strange]
    if causes:
        raise ConfigurationError("\n".join(causes))
    tree = _without_nulls(tree)
    causes += configchecks.problems(tree)
    extenders = [ExtenderConfig.of(each) for each in tree.get("extenders") or ()]
    for number, extender in enumerate(extenders):
        try:
            context_for(extender)
        except (OSError, ValueError) as exc:
            causes.append(f"extenders[{number}].tlsConfig: Invalid value: {exc}")
    ignored = {name for extender in extenders for name in extender.ignored_resources}
    found = tree.get("profiles") or [{}]
    profiles: list[Profile] = []
    for number, profile in enumerate(found):
        name = configchecks.scheduler_name(profile, found)
        percentage = profile.get("percentageOfNodesToScore", tree.get("percentageOfNodesToScore"))
        made = _profile(profile, name, percentage, f"profiles[{number}]", others, ignored, causes)
        if made is not None:
            profiles.append(made)
    if causes:
        raise ConfigurationError("\n".join(causes))
    return Configuration(
        tuple(profiles),
        tuple(extenders),
        float(tree.get("podInitialBackoffSeconds", FIRST_BACKOFF)),
        float(tree.get("podMaxBackoffSeconds", LONGEST_BACKOFF)),
        _election(tree.get("leaderElection") or {}),
    )


def _without_nulls(value: Any) -> Any:
    """A field that is null is one that is not there."""
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _election(tree: Tree) -> Election:
    usual = Election()
    return Election(
        wanted=tree.get("leaderElect", True),
        duration=configfields.seconds(tree.get("leaseDuration")) or usual.duration,
        deadline=configfields.seconds(tree.get("renewDeadline")) or usual.deadline,
        retry=configfields.seconds(tree.get("retryPeriod")) or usual.retry,
        namespace=tree.get("resourceNamespace") or usual.namespace,
        name=tree.get("resourceName") or usual.name,
    )


def load(file: Path) -> Configuration:
    """Raises ConfigurationError, OSError."""
    import yaml

    try:
        tree = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"it is no YAML: {exc}") from exc
    return parse(tree)


def _profile(
    tree: Tree,
    name: str,
    percentage: int | None,
    path: str,
    others: Mapping[str, Factory],
    ignored: set[str],
    causes: list[str],
) -> Profile | None:
    args = _arguments(tree.get("pluginConfig") or (), f"{path}.pluginConfig", others, causes)
    if causes:
        return None
    plugins = tree.get("plugins") or {}
    factories = {p.name: (lambda _, p=p: p) for p in default_plugins()} | arguments.FACTORIES | dict(others)
    try:
        return _made(name, percentage, plugins, args, factories, ignored)
    except ConfigurationError as exc:
        causes.append(f"initializing profiles: creating profile for scheduler name {name}: {exc}")
        return None


def _made(
    name: str,
    percentage: int | None,
    plugins: Tree,
    args: Mapping[str, Tree],
    factories: Mapping[str, Factory],
    ignored: set[str],
) -> Profile:
    """Raises ConfigurationError."""
    multi, weights = _multi_point(plugins.get("multiPoint") or {})
    wanted = list(multi)
    chosen: dict[str, list[str]] = {}
    for point in POINTS:
        chosen[point] = _expanded(multi, plugins.get(point) or {}, weights if point == "score" else None)
        wanted += [n for n in chosen[point] if n not in wanted]
    made: dict[str, Plugin] = {}
    for plugin in wanted:
        if plugin not in factories:
            continue
        given = dict(args.get(plugin) or {})
        if plugin == "NodeResourcesFit" and ignored:
            given["ignoredResources"] = [*(given.get("ignoredResources") or ()), *sorted(ignored)]
        try:
            made[plugin] = factories[plugin](given)
        except Exception as exc:  # of a class of somebody else
            raise ConfigurationError(f'initializing plugin "{plugin}": {exc}') from exc
    _check_points(plugins, multi, made)
    sorting = [n for n in chosen["queueSort"] if isinstance(made[n], POINTS["queueSort"])]
    if len(sorting) != 1:
        raise ConfigurationError(
            f'only one queue sort plugin required for profile with scheduler name "{name}", but got {len(sorting)}'
        )
    if not any(isinstance(made[n], POINTS["bind"]) for n in chosen["bind"]):
        raise ConfigurationError(
            f'at least one bind plugin is needed for profile with scheduler name "{name}"'
        )
    return Profile(
        list(made.values()), scheduler_name=name, weights=weights, points=chosen, percentage=percentage
    )


def _check_points(plugins: Tree, multi: Sequence[str], made: Mapping[str, Plugin]) -> None:
    """What a point names must exist, serve it, and be named once; raises ConfigurationError."""
    for point, protocol in POINTS.items():
        kind, known = f"{point[0].upper()}{point[1:]}Plugin", set()
        for entry in (plugins.get(point) or {}).get("enabled") or ():
            name = entry.get("name", "")
            if name not in made:
                raise ConfigurationError(f'{kind} "{name}" does not exist')
            if not isinstance(made[name], protocol):
                raise ConfigurationError(f'plugin "{name}" does not extend {kind} plugin')
            if name in known:
                raise ConfigurationError(f'plugin "{name}" already registered as "{kind}"')
            known.add(name)
    missing = next((n for n in multi if n not in made), None)
    if missing is not None:
        raise ConfigurationError(f'PreFilterPlugin "{missing}" does not exist')
    twice = next((n for n in multi if list(multi).count(n) > 1), None)
    if twice is not None:
        point = next((p for p in POINTS if isinstance(made[twice], POINTS[p])), "filter")
        raise ConfigurationError(
            f'plugin "{twice}" already registered as "{point[0].upper()}{point[1:]}Plugin"'
        )


def _multi_point(tree: Tree) -> tuple[list[str], dict[str, int]]:
    """The plugins enabled at all points, with their weights: the default ones, as changed."""
    names = [p.name for p in default_plugins()]
    weights = dict(WEIGHTS)
    removed = {e.get("name", "") for e in tree.get("disabled") or ()}
    names = [] if "*" in removed else [n for n in names if n not in removed]
    usual = set(names)
    for entry in tree.get("enabled") or ():
        name = entry.get("name", "")
        if name in usual:
            usual.discard(name)  # a default plugin that is set anew keeps its place
        else:
            names.append(name)
        if entry.get("weight"):
            weights[name] = entry["weight"]
        else:
            weights.pop(name, None)
    return names, weights


def _expanded(multi: Iterable[str], tree: Tree, weights: dict[str, int] | None) -> list[str]:
    """Those of one point: first what it names of the many-point ones, then the others of those, then its own."""
    enabled = [e.get("name", "") for e in tree.get("enabled") or ()]
    removed = {e.get("name", "") for e in tree.get("disabled") or ()}
    if weights is not None:
        weights.update({e.get("name", ""): e.get("weight") or 1 for e in tree.get("enabled") or ()})
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
        found.setdefault(name, args)
        if name not in others:
            causes += arguments.problems(name, args, f"{path}[{number}]")
    return found
