"""The node agent on real containers: containerd of its own, in namespaces of its own.

The tests themselves are in the files `in_box*.py`, which nothing but this runs: their names hide them from
the collection.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

FOLDER = Path(__file__).parent
TESTS = [FOLDER / f"in_box{part}.py" for part in ("", "_pods", "_faults", "_duties")]
ADDRESS = "172.30.0.1"
ENTER = (
    "unshare --net --mount --uts --ipc --pid --fork --kill-child --mount-proc --propagation unchanged sh -c "
    "'mount --make-rshared / && mount -t tmpfs tmpfs /run && ip link set lo up && "
    f'ip addr add {ADDRESS}/32 dev lo && exec "$@"\' sh'
)


def test_the_agent_works_on_real_containers(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    files = " ".join(map(str, TESTS))
    command = (
        f"{ENTER} {sys.executable} -m pytest -q -p no:cacheprovider -p tests.system.boxed "
        f"--junit-xml {report} {files}"
    )

    done = subprocess.run(
        ["sh", "-c", command],
        cwd=FOLDER.parents[1],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=420,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    [suite] = ElementTree.parse(report).getroot()
    assert (suite.get("tests") != "0", suite.get("skipped")) == (True, "0")
