"""KubeSchedulerConfiguration: which plugins come of it, and what is wrong with a bad one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.scheduler.test_cycle import Objects, node, pod, world
from timonel.objects.meta import Object
from timonel.scheduler import cycle
from timonel.scheduler.configuration import (
    API_VERSION,
    KIND,
    Configuration,
    ConfigurationError,
    Election,
    parse,
)
from timonel.scheduler.framework import State
from timonel.scheduler.nodes import Ints
from timonel.scheduler.podinfo import pod_info
from timonel.scheduler.profile import Profile, default_plugins


class Alphabet:
    """A plugin from elsewhere: the later the name of a node, the better."""

    name = "Alphabet"
    events: frozenset[str] = frozenset()

    def __init__(self, arguments: Any) -> None:
        self.most = arguments.get("most", 100)

    def score(self, state: State, rows: Ints) -> Ints | None:
        return np.array(
            [min(self.most, ord(state.nodes.name(row)[0])) for row in rows.tolist()], dtype=np.int64
        )


def configured(**fields: Any) -> Configuration:
    return parse({"apiVersion": API_VERSION, "kind": KIND, **fields}, {"Alphabet": Alphabet})


def profile_of(profile: Object) -> Profile:
    return configured(profiles=[profile]).profiles[0]


def fit(strategy: Object) -> Object:
    return {"pluginConfig": [{"name": "NodeResourcesFit", "args": {"scoringStrategy": strategy}}]}


def chosen(profile: Profile, *nodes: Object, obj: Object | None = None) -> str:
    table = world(nodes, [(nodes[0]["metadata"]["name"], pod("there", cpu="1"))])
    state = State(pod_info(obj or pod(cpu="1")), table, Objects())
    return table.name(cycle.choose(profile, state))


def names(plugins: Any) -> list[str]:
    return [plugin.name for plugin in plugins]


def test_nothing_said_is_upstreams_default() -> None:
    (profile,) = configured().profiles
    usual = Profile(default_plugins())

    for point in ("filter", "score", "pre_filter", "post_filter", "bind"):
        assert names(getattr(profile, point)) == names(getattr(usual, point))
    assert [profile.weight_of(p) for p in profile.score] == [usual.weight_of(p) for p in usual.score]
    assert profile.scheduler_name == "default-scheduler"


def test_a_plugin_can_be_disabled_everywhere_or_at_one_point() -> None:
    everywhere = profile_of({"plugins": {"multiPoint": {"disabled": [{"name": "NodeAffinity"}]}}})
    one = profile_of({"plugins": {"score": {"disabled": [{"name": "NodeAffinity"}]}}})

    assert "NodeAffinity" not in names(everywhere.filter)
    assert "NodeAffinity" in names(one.filter)
    assert "NodeAffinity" not in names(one.score)


def test_what_a_point_names_goes_first() -> None:
    enabled = [{"name": "NodeAffinity", "weight": 7}]
    profile = profile_of(
        {"plugins": {"score": {"enabled": enabled}, "filter": {"enabled": [{"name": "NodeName"}]}}}
    )

    assert names(profile.score)[0] == "NodeAffinity"
    assert profile.weight_of(profile.score[0]) == 7
    assert names(profile.filter)[:2] == ["NodeName", "NodeUnschedulable"]


def test_only_what_is_named_when_all_else_is_disabled() -> None:
    profile = profile_of(
        {
            "plugins": {
                "score": {"disabled": [{"name": "*"}], "enabled": [{"name": "ImageLocality", "weight": 2}]}
            }
        }
    )

    assert names(profile.score) == ["ImageLocality"]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ({"type": "LeastAllocated"}, "b"),
        ({"type": "MostAllocated"}, "a"),
        (
            {
                "type": "RequestedToCapacityRatio",
                "requestedToCapacityRatio": {
                    "shape": [{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]
                },
            },
            "a",
        ),
        (
            {
                "type": "RequestedToCapacityRatio",
                "requestedToCapacityRatio": {
                    "shape": [{"utilization": 0, "score": 10}, {"utilization": 100, "score": 0}]
                },
            },
            "b",
        ),
    ],
)
def test_strategies(strategy: Object, expected: str) -> None:
    assert chosen(profile_of(fit(strategy)), node("a"), node("b")) == expected


def test_an_affinity_added_to_all_pods() -> None:
    requirement = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["a"]}
    added = {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [requirement]}]
    }}  # fmt: skip
    profile = profile_of({"pluginConfig": [{"name": "NodeAffinity", "args": {"addedAffinity": added}}]})

    assert chosen(profile, node("a"), node("b")) == "a"


def test_a_plugin_from_elsewhere() -> None:
    profile = profile_of(
        {
            "plugins": {"multiPoint": {"enabled": [{"name": "Alphabet", "weight": 50}]}},
            "pluginConfig": [{"name": "Alphabet", "args": {"most": 99}}],
        }
    )

    assert chosen(profile, node("a"), node("c"), node("b"), node("d"), obj=pod(cpu="2")) in ("c", "d")
    assert not profile.remembers


def fit_args(**args: Any) -> Object:
    return {"profiles": [{"pluginConfig": [{"name": "NodeResourcesFit", "args": args}]}]}


def args(plugin: str, **given: Any) -> Object:
    return {"profiles": [{"pluginConfig": [{"name": plugin, "args": given}]}]}


def plugins(**points: Object) -> Object:
    return {"profiles": [{"plugins": points}]}


def enabled(*names: str) -> Object:
    return {"enabled": [{"name": name} for name in names]}


MAKING = "initializing profiles: creating profile for scheduler name default-scheduler: "
ARGS = "profiles[0].pluginConfig[0].args"
STRICT = "strict decoding error: "
SORTS = [{"plugins": {"queueSort": enabled("PrioritySort")}, "schedulerName": "a"}, {"schedulerName": "b"}]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        # fields and types
        ({"profile": []}, STRICT + 'unknown field "profile"'),
        ({"healthzBindAddress": ":1"}, STRICT + 'unknown field "healthzBindAddress"'),
        ({"profiles": [{"plugin": {}}]}, STRICT + 'unknown field "profiles[0].plugin"'),
        (plugins(sort={}), STRICT + 'unknown field "profiles[0].plugins.sort"'),
        (plugins(score={"enable": []}), STRICT + 'unknown field "profiles[0].plugins.score.enable"'),
        ({"leaderElection": {"elect": True}}, STRICT + 'unknown field "leaderElection.elect"'),
        ({"extenders": [{"url": "x"}]}, STRICT + 'unknown field "extenders[0].url"'),
        (
            {"parallelism": "many"},
            "json: cannot unmarshal string into Go struct field KubeSchedulerConfiguration.parallelism of type int32",
        ),
        (
            {"percentageOfNodesToScore": 1.5},
            "json: cannot unmarshal number 1.5 into Go struct field "
            "KubeSchedulerConfiguration.percentageOfNodesToScore of type int32",
        ),
        (
            {"profiles": [{"schedulerName": 5}]},
            "json: cannot unmarshal number into Go struct field "
            "KubeSchedulerProfile.profiles.schedulerName of type string",
        ),
        (
            plugins(score={"enabled": [{"name": "NodeAffinity", "weight": 99999999999}]}),
            "json: cannot unmarshal number 99999999999 into Go struct field "
            "Plugin.profiles.plugins.score.enabled.weight of type int32",
        ),
        ({"extenders": [{"urlPrefix": "http://x", "httpTimeout": "soon"}]}, 'time: invalid duration "soon"'),
        # the whole
        ({"parallelism": 0}, "parallelism: Invalid value: 0: should be an integer value greater than zero"),
        (
            {"percentageOfNodesToScore": 101},
            "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]",
        ),
        ({"podInitialBackoffSeconds": 0}, "podInitialBackoffSeconds: Invalid value: 0: must be greater than 0"),
        (
            {"podInitialBackoffSeconds": 5, "podMaxBackoffSeconds": 2},
            "podMaxBackoffSeconds: Invalid value: 2: must be greater than or equal to PodInitialBackoffSeconds",
        ),
        ({"clientConnection": {"burst": -1}}, "clientConnection.burst: Invalid value: -1: must be non-negative"),
        (
            {"leaderElection": {"leaseDuration": "5s"}},
            'leaderElection.leaseDuration: Invalid value: "10s": must be greater than `RenewDeadline`',
        ),
        (
            {"leaderElection": {"retryPeriod": "-1s"}},
            'leaderElection.retryPeriod: Invalid value: "-1s": must be greater than zero',
        ),
        (
            {"leaderElection": {"resourceLock": "endpoints"}},
            'leaderElection.resourceLock: Invalid value: "endpoints": resourceLock value must be "leases"',
        ),
        # profiles
        ({"profiles": [{}, {}]}, "profiles[1].schedulerName: Required value"),
        (
            {"profiles": [{"schedulerName": "a"}, {"schedulerName": "a"}]},
            'profiles[1].schedulerName: Duplicate value: "profiles[0].schedulerName"',
        ),
        (
            {"profiles": [{"percentageOfNodesToScore": -1}]},
            "profiles[0].percentageOfNodesToScore: Invalid value: -1: not in valid range [0-100]",
        ),
        (plugins(filter=enabled("X")), MAKING + 'FilterPlugin "X" does not exist'),
        (plugins(multiPoint=enabled("X")), MAKING + 'PreFilterPlugin "X" does not exist'),
        (
            plugins(score=enabled("NodeName")),
            MAKING + 'plugin "NodeName" does not extend ScorePlugin plugin',
        ),
        (
            plugins(score=enabled("ImageLocality", "ImageLocality")),
            MAKING + 'plugin "ImageLocality" already registered as "ScorePlugin"',
        ),
        (
            plugins(multiPoint=enabled("Alphabet", "Alphabet")),
            MAKING + 'plugin "Alphabet" already registered as "ScorePlugin"',
        ),
        (
            plugins(bind={"disabled": [{"name": "*"}]}),
            MAKING + 'at least one bind plugin is needed for profile with scheduler name "default-scheduler"',
        ),
        (
            plugins(queueSort={"disabled": [{"name": "*"}]}),
            MAKING
            + 'only one queue sort plugin required for profile with scheduler name "default-scheduler", but got 0',
        ),
        (
            plugins(queueSort=enabled("PrioritySort", "PrioritySort")),
            "profiles[0].plugins.queueSort.Enabled: Invalid value: 2: only one queue sort plugin can be enabled",
        ),
        (
            {"profiles": SORTS},
            'profiles[1].plugins.queueSort: Invalid value: {"Enabled":null,"Disabled":null}: '
            "must be the same for all profiles",
        ),
        (
            plugins(filter=enabled("EBSLimits")),
            'profiles[0].plugins.filter.enabled[0]: Invalid value: "EBSLimits": was invalid in version "v1" '
            '(KubeSchedulerConfiguration is version "kubescheduler.config.k8s.io/v1")',
        ),
        (
            {"profiles": [{"pluginConfig": [{"name": "NodeName"}, {"name": "NodeName"}]}]},
            'profiles[0].pluginConfig[1]: Duplicate value: "NodeName"',
        ),
        # arguments
        (
            fit_args(colour="red"),
            STRICT + "decoding .profiles[0].pluginConfig[0]: " + STRICT
            + "decoding args for plugin NodeResourcesFit: " + STRICT + 'unknown field "colour"',
        ),
        (
            args("DefaultPreemption", kind="InterPodAffinityArgs"),
            "decoding .profiles[0].pluginConfig[0]: args for plugin DefaultPreemption were not of type "
            "DefaultPreemptionArgs.kubescheduler.config.k8s.io, got InterPodAffinityArgs.kubescheduler.config.k8s.io",
        ),
        (
            fit_args(scoringStrategy={"type": "Best"}),
            f'{ARGS}.scoringStrategy.type: Unsupported value: "Best": supported values: '
            '"LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"',
        ),
        (
            fit_args(scoringStrategy={"resources": [{"name": "cpu", "weight": 101}]}),
            f"{ARGS}.scoringStrategy.resources[0].weight: Invalid value: 101: "
            "resource weight of cpu not in valid range (0, 100]",
        ),
        (
            fit_args(scoringStrategy={"type": "RequestedToCapacityRatio"}),
            f"{ARGS}.scoringStrategy.requestedToCapacityRatio: Required value: "
            "must be specified when type is RequestedToCapacityRatio",
        ),
        (
            fit_args(scoringStrategy={"requestedToCapacityRatio": {}}),
            f"{ARGS}.scoringStrategy.requestedToCapacityRatio: Forbidden: "
            "must be nil when type is not RequestedToCapacityRatio",
        ),
        (
            fit_args(ignoredResourceGroups=["a/b"]),
            f"{ARGS}.ignoredResourceGroups[0]: Invalid value: \"a/b\": resource group name can't contain '/'",
        ),
        (
            args("NodeResourcesBalancedAllocation", resources=[{"name": "cpu"}, {"name": "cpu"}]),
            f'{ARGS}.resources[1].name: Duplicate value: "cpu"',
        ),
        (
            args("InterPodAffinity", hardPodAffinityWeight=101),
            f"{ARGS}.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]",
        ),
        (
            args("DefaultPreemption", minCandidateNodesPercentage=-1),
            f"{ARGS}.minCandidateNodesPercentage: Invalid value: -1: not in valid range [0, 100]",
        ),
        (
            args("DefaultPreemption", minCandidateNodesPercentage=0, minCandidateNodesAbsolute=0),
            f"{ARGS}.minCandidateNodesAbsolute: Invalid value: 0: "
            "cannot be zero at the same time as minCandidateNodesPercentage",
        ),
        (
            args("PodTopologySpread", defaultConstraints=[{"maxSkew": 1}]),
            f'{ARGS}.defaultingType: Invalid value: "System": when .defaultConstraints are not empty',
        ),
        (
            args("PodTopologySpread", defaultingType="List", defaultConstraints=[{"topologyKey": "zone"}]),
            f"{ARGS}.defaultConstraints[0].maxSkew: Invalid value: 0: not in valid range (0, inf)",
        ),
        (
            args("VolumeBinding", bindTimeoutSeconds=-1),
            f"{ARGS}.bindTimeoutSeconds: Invalid value: -1: invalid BindTimeoutSeconds, "
            "should not be a negative value",
        ),
        (
            args("DynamicResources", bindingTimeout="500ms"),
            f'{ARGS}.bindingTimeout: Invalid value: "500ms": must be at least 1 second',
        ),
        (
            args("NodeAffinity", addedAffinity={
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In"}]}]
                }
            }),
            f"{ARGS}.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]"
            ".matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
        ),
        # extenders
        ({"extenders": [{"filterVerb": "f"}]}, "extenders[0].urlPrefix: Required value"),
        (
            {"extenders": [{"urlPrefix": "http://x", "prioritizeVerb": "p"}]},
            "extenders[0].weight: Invalid value: 0: must have a positive weight applied to it",
        ),
        (
            {"extenders": [{"urlPrefix": "http://x", "bindVerb": "b"}] * 2},
            'extenders: Invalid value: "found 2 extenders implementing bind": only one extender can implement bind',
        ),
        (
            {"extenders": [{"urlPrefix": "http://x", "managedResources": [{"name": "cpu"}]}]},
            'extenders[0].managedResources[0].name: Invalid value: "cpu": is an invalid extended resource name',
        ),
        (
            {"extenders": [{"urlPrefix": "http://x", "managedResources": [{"name": "example.com/gpu"}] * 2}]},
            'extenders[0].managedResources[1].name: Invalid value: "example.com/gpu": '
            "duplicate extender managed resource name",
        ),
        (
            {"extenders": [{"urlPrefix": "https://x", "tlsConfig": {"caFile": "/not/there"}}]},
            "extenders[0].tlsConfig: Invalid value: [Errno 2] No such file or directory",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(fields: Object, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configured(**fields)

    assert problem in str(caught.value).split("\n")


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        configured(parallelism=-1, podInitialBackoffSeconds=-1, percentageOfNodesToScore=-1)

    assert len(str(caught.value).split("\n")) == 3


def test_a_plugin_that_cannot_be_made_is_told_by_name() -> None:
    def broken(arguments: Any) -> Any:
        raise ValueError("no such price list")

    tree = {"apiVersion": API_VERSION, "kind": KIND, "profiles": [{"plugins": {"score": enabled("Broken")}}]}
    with pytest.raises(ConfigurationError) as caught:
        parse(tree, {"Broken": broken})

    assert str(caught.value) == MAKING + 'initializing plugin "Broken": no such price list'


def test_null_is_nothing_and_plugins_without_arguments_ignore_some() -> None:
    settings = configured(
        parallelism=None,
        extenders=None,
        leaderElection={"leaseDuration": "30s", "renewDeadline": "20s", "resourceName": "mine"},
        profiles=[{"schedulerName": None, "pluginConfig": [{"name": "NodeName", "args": {"x": 1}}]}],
    )

    assert settings.profiles[0].scheduler_name == "default-scheduler"
    assert settings.election == Election(duration=30.0, deadline=20.0, name="mine")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"percentageOfNodesToScore": 40}, 40),
        ({"percentageOfNodesToScore": 40, "profiles": [{"percentageOfNodesToScore": 70}]}, 70),
        ({"percentageOfNodesToScore": 0}, 0),
    ],
)
def test_the_percentage_of_a_profile_goes_before_that_of_all(fields: Object, expected: int | None) -> None:
    assert configured(**fields).profiles[0].percentage == expected


@pytest.mark.parametrize("tree", [None, [], {"kind": KIND}, {"apiVersion": "v1", "kind": KIND}])
def test_what_is_no_configuration_at_all(tree: Any) -> None:
    with pytest.raises(ConfigurationError):
        parse(tree, {})


def test_what_is_wrong_is_told_stage_by_stage() -> None:
    strange = {"strange": 1, "odd": 2}
    plugins = {"filter": {"enabled": [{"name": "Nope"}]}, "score": {"enabled": [{"name": "Neither"}]}}
    profile = {"plugins": plugins}
    values = {"percentageOfNodesToScore": 200, "podInitialBackoffSeconds": -1}

    def told(tree: Mapping[str, Any]) -> list[str]:
        kind = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}
        with pytest.raises(ConfigurationError) as wrong:
            parse({**kind, **tree}, {})
        return str(wrong.value).splitlines()

    everything = {**strange, **values, "profiles": [profile]}
    (of_type,) = told({**everything, "parallelism": "many"})
    assert "cannot unmarshal string" in of_type
    assert told(everything) == [f'strict decoding error: unknown field "{name}"' for name in sorted(strange)]
    of_values = told({**values, "profiles": [profile]})
    assert [line.partition(":")[0] for line in of_values] == list(values)
    (of_plugins,) = told({"profiles": [profile]})
    assert of_plugins.endswith('FilterPlugin "Nope" does not exist')
