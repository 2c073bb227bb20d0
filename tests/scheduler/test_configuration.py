"""KubeSchedulerConfiguration: which plugins come of it, and what is wrong with a bad one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.scheduler.test_cycle import Objects, node, pod, world
from timonel.objects.meta import Object
from timonel.scheduler import cycle
from timonel.scheduler.configuration import API_VERSION, KIND, Configuration, ConfigurationError, parse
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


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"profile": []}, 'unknown field "profile"'),
        ({"profiles": [{"plugin": {}}]}, 'unknown field "profiles[0].plugin"'),
        ({"profiles": [{}, {}]}, 'profiles[1].schedulerName: Duplicate value: "default-scheduler"'),
        (
            {"profiles": [{"plugins": {"multiPoint": {"enabled": [{"name": "X"}]}}}]},
            'plugin "X" does not exist',
        ),
        (
            {"profiles": [{"plugins": {"bind": {"disabled": [{"name": "*"}]}}}]},
            "plugins.bind: Required value",
        ),
        ({"profiles": [{"plugins": {"queueSort": {"disabled": [{"name": "*"}]}}}]}, "plugins.queueSort"),
        ({"podInitialBackoffSeconds": 0}, "podInitialBackoffSeconds: Invalid value: 0"),
        (
            {"podInitialBackoffSeconds": 5, "podMaxBackoffSeconds": 2},
            "podMaxBackoffSeconds: Invalid value: 2",
        ),
        (fit_args(scoringStrategy={"type": "Best"}), 'scoringStrategy.type: Unsupported value: "Best"'),
        (
            fit_args(scoringStrategy={"resources": [{"name": "cpu", "weight": 0}]}),
            "not in valid range [1, 100]",
        ),
        (fit_args(colour="red"), 'unknown field "profiles[0].pluginConfig[0].args.colour"'),
        (args("InterPodAffinity", hardPodAffinityWeight=101), "hardPodAffinityWeight: Invalid value: 101"),
        (args("DefaultPreemption", minCandidateNodesPercentage=-1), "not in valid range [0, 100]"),
        (args("PodTopologySpread", defaultConstraints=[{"maxSkew": 1}]), "must be List"),
        (args("NodeName", x=1), 'plugin "NodeName" takes no arguments'),
        ({"extenders": [{"filterVerb": "f"}]}, "extenders[0].urlPrefix: Required value"),
        ({"extenders": [{"urlPrefix": "http://x", "httpTimeout": "soon"}]}, "invalid duration"),
    ],
)
def test_what_is_wrong_is_told(fields: Object, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configured(**fields)

    assert problem in str(caught.value)


@pytest.mark.parametrize("tree", [None, [], {"kind": KIND}, {"apiVersion": "v1", "kind": KIND}])
def test_what_is_no_configuration_at_all(tree: Any) -> None:
    with pytest.raises(ConfigurationError):
        parse(tree, {})
