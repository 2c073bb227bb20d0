from __future__ import annotations

import pytest

from timonel.node.simulation.behaviour import Behaviour, Unclear, behaviour_of, seconds


@pytest.mark.parametrize(
    ("text", "expected"), [("5s", 5), ("1m30s", 90), ("200ms", 0.2), (3, 3), ("2h", 7200), (0.5, 0.5)]
)
def test_durations_are_gos(text: str | float, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["soon", "", "5", "5s soon", "1.2.3s", True])
def test_a_wrong_duration_is_said(text: str) -> None:
    with pytest.raises(Unclear, match="not a duration"):
        seconds(text)


@pytest.mark.parametrize(
    ("annotations", "runs_to_end", "expected"),
    [
        ({}, False, Behaviour()),
        ({}, True, Behaviour(run_for=1)),
        ({"timonel.dev/simulate": '{"runFor": "5s", "exitCode": 3}'}, False, Behaviour(5, 3)),
        ({"timonel.dev/simulate": '{"exitCode": 3}'}, False, Behaviour(1, 3)),
        (
            {"timonel.dev/simulate.web": '{"oom": true}', "timonel.dev/simulate": "{}"},
            False,
            Behaviour(1, 137, 0, True),
        ),
        ({"timonel.dev/simulate": '{"readyAfter": "3s"}'}, False, Behaviour(ready_after=3)),
        (
            {"timonel.dev/simulate": '{"usage": {"cpu": "1500m", "memory": "1Gi"}}'},
            False,
            Behaviour(cpu=1500, memory=1 << 30),
        ),
        ({"timonel.dev/simulate": '{"waiting": "ErrImagePull", "waitFor": 9}'}, False,
         Behaviour(waiting="ErrImagePull", wait_for=9)),
    ],
)  # fmt: skip
def test_annotations_say_how_a_container_behaves(
    annotations: dict[str, str], runs_to_end: bool, expected: Behaviour
) -> None:
    assert behaviour_of("web", annotations, runs_to_end=runs_to_end) == expected


@pytest.mark.parametrize(
    "text",
    [
        "{", "[]", '"x"', '{"runFor": []}', '{"exitCode": "x"}', '{"log": 5}', '{"usage": {"cpu": "much"}}',
        '{"runFor": NaN}', '{"runFor": 1e999}', '{"runFor": ' + "9" * 400 + "}", '{"startDelay": -1}',
        '{"stopDelay": "' + "9" * 400 + 'h"}', '{"exitCode": 1e999}', '{"exitCodes": [99999999999]}', "[" * 100_000,
        '{"waitFor": -5}', '{"usage": 5}', '{"usage": {"cpu": "1e999"}}', '{"usage": {"memory": "-1"}}',
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_said(text: str) -> None:
    with pytest.raises(Unclear, match=r"annotation timonel\.dev/simulate"):
        behaviour_of("web", {"timonel.dev/simulate": text}, runs_to_end=False)


def test_each_life_ends_as_its_number_says_and_the_last_one_stays() -> None:
    how = behaviour_of("web", {"timonel.dev/simulate": '{"exitCodes": [1, 2, 0]}'}, runs_to_end=True)

    assert [how.code_of(attempt) for attempt in range(5)] == [1, 2, 0, 0, 0]
