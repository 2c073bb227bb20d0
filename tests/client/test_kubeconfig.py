from __future__ import annotations

from pathlib import Path

import pytest

from timonel.client.kubeconfig import ConfigError, in_cluster, load

FIRST = """
current-context: one
clusters: [{name: c, cluster: {server: "http://first:1"}}]
users: [{name: u, user: {tokenFile: token}}]
contexts: [{name: one, context: {cluster: c, user: u, namespace: shop}}]
"""
SECOND = """
current-context: two
clusters: [{name: c, cluster: {server: "http://second:2"}}, {name: d, cluster: {server: "http://second:3"}}]
users: [{name: x, user: {exec: {command: aws}}}]
contexts:
- {name: two, context: {cluster: d}}
- {name: by-program, context: {cluster: d, user: x}}
- {name: broken, context: {cluster: nowhere}}
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "first").write_text(FIRST)
    (tmp_path / "second").write_text(SECOND)
    return {"KUBECONFIG": f"{tmp_path / 'first'}:{tmp_path / 'missing'}:{tmp_path / 'second'}"}


def test_the_first_file_to_name_a_thing_wins(environment: dict[str, str], tmp_path: Path) -> None:
    config = load(environment=environment)

    assert config.current_context == "one"
    assert config.namespace() == "shop"
    assert config.endpoint().server == "http://first:1"
    assert config.endpoint().token_file == str(tmp_path / "token")
    assert config.endpoint("two").server == "http://second:3"


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ("nobody", 'context "nobody" does not exist'),
        ("broken", 'cluster "nowhere" of context "broken" does not exist'),
        ("by-program", "credentials by exec, which is not supported"),
    ],
)
def test_what_cannot_be_used_is_named(environment: dict[str, str], context: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(environment=environment).endpoint(context)


def test_an_explicit_file_must_exist() -> None:
    with pytest.raises(ConfigError, match="no such file or directory"):
        load("/does/not/exist")


def test_outside_of_a_cluster_there_is_no_service_account(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not running inside a cluster"):
        in_cluster({}, tmp_path)
