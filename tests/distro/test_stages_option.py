"""A file of Stages that cannot be used is refused before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from timonel.cli.main import Failure
from timonel.distro.commands.up import up

STAGE = """
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: mine}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector: {SELECTOR}
  next: {statusTemplate: 'TEMPLATE'}
"""


@pytest.mark.parametrize(
    ("selector", "template", "why"),
    [
        ("", "phase: {{ NoSuch .x }}", "function 'NoSuch' not defined"),
        ("", "phase: {{ .x", "an action is not closed by }}"),
        (
            "matchExpressions: [{key: '.a | nosuch', operator: Exists}]",
            "",
            "cannot read '.a | nosuch' at 'nosuch'",
        ),
        ("matchExpressions: [{cel: {expression: 'nosuch(self)'}}]", "", "nosuch"),
        ("matchExpressions: [{cel: {expression: '1 +'}}]", "", "1 +"),
    ],
)
def test_up_says_which_stage_cannot_be_used_and_makes_nothing(
    selector: str, template: str, why: str, tmp_path: Path
) -> None:
    folder, file = tmp_path / "clusters", tmp_path / "stages.yaml"
    file.write_text(STAGE.replace("SELECTOR", selector).replace("TEMPLATE", template))
    line = ("--data-dir", str(folder), "--runtime", "simulated", "--nodes", "5", "--stages", str(file))

    with pytest.raises(Failure) as failure:
        up.main(line, standalone_mode=False)

    assert f"{file} cannot be used: stage 'mine': " in str(failure.value)
    assert why in str(failure.value)
    assert not folder.exists()
